/** Where an agent may be struck: names by which a point is found again, and a choice that leaves out no kind of call. */
import type { Call, Thread } from "./crash-strace.ts";
import { type Chance, Tally } from "./story-seeds.ts";

export interface Point extends Call {
  readonly phase: string;
}

/** `full-pass:files:rename:/run/config/.wg0.conf.tmp:1`; what `--only` takes. */
export function nameOf({ phase, thread, name, path, nth }: Point): string {
  return [phase, thread, name, path ?? "", nth].join(":");
}

/** Undefined for what is no point's name. */
export function pointOf(text: string): Point | undefined {
  const match = /^([a-z-]+):(main|files):([a-z0-9_]+):(\/[^:]+|):([1-9][0-9]*)$/.exec(text);
  if (match === null) return undefined;
  const [, phase = "", thread, name = "", path, nth] = match;
  return { phase, thread: thread as Thread, name, path: path || undefined, nth: Number(nth), what: name };
}

/** So many of the points, as different in call and phase as can be, and always the same for a seed. */
export function drawn(points: readonly Point[], count: number, chance: Chance): Point[] {
  const left = points.map((point) => ({ point, lot: chance.next() })).sort((a, b) => a.lot - b.lot);
  const [calls, phases] = [new Tally(), new Tally()];
  const chosen = new Set<Point>();
  while (chosen.size < count && left.length > 0) {
    const weights = left.map(({ point: { what, phase } }) => 2 * calls.of(what) + phases.of(phase));
    const [next] = left.splice(weights.indexOf(Math.min(...weights)), 1);
    if (next === undefined) break;
    calls.add(next.point.what);
    phases.add(next.point.phase);
    chosen.add(next.point);
  }
  // In their own order, so that a phase's points come together.
  return points.filter((point) => chosen.has(point));
}
