/** What a soak has measured, and what it says of it at its end. Pure. */

/** Of one process, from when it was ready; a restart begins another life. */
export interface Life {
  readonly node: string;
  readonly samples: readonly Sample[];
}

export interface Sample {
  readonly atMs: number;
  readonly residentBytes: number;
  readonly descriptors: number;
}

export interface Soaked {
  readonly minutes: number;
  readonly seed: number;
  /** How often each thing happened. */
  readonly events: string;
  readonly faults: string;
  readonly checkpoints: number;
  /** Peers too many, too few or wrong on any node, over all checkpoints. */
  readonly divergence: number;
  readonly pings: { readonly sent: number; readonly lost: number };
  readonly lives: readonly Life[];
  /** Nodes that are not ready in the end, with every fault over. */
  readonly unready: readonly string[];
}

const MB = 2 ** 20;
/** A process that has only just started has not warmed up. */
const WARM_MS = 30_000;
/** Connections come and go, up to eight for each upstream. */
const DESCRIPTORS = 20;

export function report(soaked: Soaked): { text: string; failed: number } {
  const leaks = soaked.lives.filter((life) => gained(life) > DESCRIPTORS);
  const checks: [name: string, isGood: boolean, value: string][] = [
    ["divergence", soaked.divergence === 0, `${soaked.divergence} peers at ${soaked.checkpoints} checkpoints`],
    [
      "lost pings",
      soaked.pings.lost === 0 && soaked.pings.sent > 0,
      `${soaked.pings.lost} of ${soaked.pings.sent} of members whose access did not change`,
    ],
    ["descriptors", leaks.length === 0, [...perNode(soaked.lives, descriptorsOf)].join("; ")],
    [
      "ready",
      soaked.unready.length === 0,
      soaked.unready.length === 0 ? "every node" : `not ${soaked.unready.join(", ")}`,
    ],
  ];
  const rows: [string, string][] = [
    ["events", soaked.events],
    ["faults", soaked.faults],
    ["memory", [...perNode(soaked.lives, memoryOf)].join("; ")],
    ...checks.map(([name, isGood, value]): [string, string] => [name, `${isGood ? "ok" : "FAILED"}: ${value}`]),
  ];
  const failed = checks.filter(([, isGood]) => !isGood).length;
  const title = `soak: ${soaked.minutes.toFixed(1)} minutes, seed ${soaked.seed}`;
  const body = rows.map(([name, value]) => `  ${name.padEnd(12)}${value}`);
  return { text: [title, ...body, `${checks.length - failed} passed, ${failed} failed`].join("\n"), failed };
}

/**
 * Bytes per millisecond: one slope through all lives, each about its own mean, so that a restart is no loss of memory.
 * Undefined where no life was long enough.
 */
export function slope(lives: readonly Life[]): number | undefined {
  let [covariance, variance] = [0, 0];
  for (const { samples } of lives) {
    const warm = samples.filter(({ atMs }) => atMs >= (samples[0]?.atMs ?? 0) + WARM_MS);
    const [meanMs, meanBytes] = [
      mean(warm.map(({ atMs }) => atMs)),
      mean(warm.map(({ residentBytes }) => residentBytes)),
    ];
    for (const { atMs, residentBytes } of warm) {
      covariance += (atMs - meanMs) * (residentBytes - meanBytes);
      variance += (atMs - meanMs) ** 2;
    }
  }
  return variance === 0 ? undefined : covariance / variance;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function* perNode(lives: readonly Life[], told: (own: readonly Life[]) => string): Generator<string> {
  for (const [node, own] of Map.groupBy(lives, ({ node }) => node)) yield `${node} ${told(own)}`;
}

function memoryOf(lives: readonly Life[]): string {
  const all = lives.flatMap(({ samples }) => samples).map(({ residentBytes }) => residentBytes / MB);
  const [first = 0, last = 0] = [all[0], all.at(-1)];
  const perHour = slope(lives);
  const trend = perHour === undefined ? "too short for a slope" : `${((perHour * 3_600_000) / MB).toFixed(1)} MB/hour`;
  return `${first.toFixed(0)} → ${last.toFixed(0)} MB (most ${Math.max(...all).toFixed(0)}), ${trend}`;
}

function descriptorsOf(lives: readonly Life[]): string {
  const [first, last] = [lives[0]?.samples[0], lives.at(-1)?.samples.at(-1)];
  const most = Math.max(...lives.map(gained));
  return `${first?.descriptors ?? 0} → ${last?.descriptors ?? 0} (most gained by one process ${most})`;
}

/** From the first sample to the last, when every fault is over or the process is about to be ended. */
function gained({ samples }: Life): number {
  return (samples.at(-1)?.descriptors ?? 0) - (samples[0]?.descriptors ?? 0);
}
