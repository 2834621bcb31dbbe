/** From a block that is visible at the RPC to the device, beside the least that has to be done for it. */
import type { ChildProcess } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import type { Benchmark, Context } from "./benchmark.ts";
import { type Figure, figure, quantile, ratio } from "./figure.ts";
import { arrived, Bed, bare } from "./latency-bed.ts";
import { deedsOf, type Kind } from "./latency-deeds.ts";
import type { Mined } from "./rpc.ts";

/** So many peers that as many removals as there are need no witness. */
const sizes = (quick: boolean) =>
  quick
    ? { peers: 1_200, events: 40, turn: 20, burst: 100, bursts: 1 }
    : { peers: 16_000, events: 1_000, turn: 50, burst: 500, bursts: 5 };
const EVERY_MS = 50;

export const wakeUp: Benchmark = {
  name: "latency-wake-up",
  about: "block visible to peer on the device, woken by a WebSocket",
  run: (context) => measured(context, true),
};

export const polling: Benchmark = {
  name: "latency-polling",
  about: "the same, polling every second",
  run: (context) => measured(context, false),
};

/** Milliseconds from visible to done; ours with the part that passed before anybody asked for the head. */
interface Samples {
  readonly ours: number[];
  readonly waits: number[];
  readonly theirs: number[];
}

const noSamples = (): Samples => ({ ours: [], waits: [], theirs: [] });

async function measured({ quick }: Context, byHeads: boolean): Promise<Figure[]> {
  const { peers, events, turn, burst, bursts } = sizes(quick);
  await using bed = await Bed.make(peers, byHeads ? ({ webSocketUrl }) => webSocketUrl : undefined);
  const limit = bed.start("latency-limit.ts");
  const members = oldest();
  // Whoever does something for the first time is slow: neither side's first turn counts.
  await steadily(bed, limit, members, 10, 10);
  const steady = await steadily(bed, limit, members, events, turn);
  await inBursts(bed, limit, burst, 1);
  // Apart: to remove a peer costs a device a fraction of what it costs to add one.
  const { grant, revoke } = await inBursts(bed, limit, burst, bursts);
  const way = byHeads ? "by wake-up" : "by polling every second";
  const rows = byHeads ? compared : split;
  return [
    ...rows(`event to device ${way}, ${1000 / EVERY_MS} a second`, steady),
    ...rows(`event to device ${way}, bursts of ${burst} grants`, grant),
    ...rows(`event to device ${way}, bursts of ${burst} revokes`, revoke),
  ];
}

/** The members' token ids; the node's own is the first. */
function* oldest(): Generator<string, never> {
  for (let id = 2; ; id++) yield String(id);
}

interface Done {
  readonly block: Mined;
  readonly kind: Kind;
}

/** In turns of some events each: on the agent's device at a steady pace, then the same on the bare one. */
async function steadily(
  bed: Bed,
  limit: ChildProcess,
  members: Generator<string, never>,
  events: number,
  turn: number,
): Promise<Samples> {
  const samples = noSamples();
  for (let count = 0; count < events; count += turn) {
    const done: Done[] = [];
    const startMs = performance.now();
    for (let i = 0; i < turn; i++) {
      await sleep(Math.max(0, startMs + i * EVERY_MS - performance.now()));
      const kind: Kind = i % 2 === 0 ? "grant" : "revoke";
      const block = kind === "grant" ? await bed.chain.grant(1) : await bed.chain.revoke([members.next().value]);
      done.push({ block, kind });
    }
    await note(samples, bed, done);
    for (const { block, kind } of done) {
      samples.theirs.push(...(await bare(limit, bed.theirs, block, deedsOf(block, kind))));
      await sleep(EVERY_MS / 2);
    }
  }
  return samples;
}

/** A block of many grants, and one that revokes them again. */
async function inBursts(bed: Bed, limit: ChildProcess, size: number, rounds: number): Promise<Record<Kind, Samples>> {
  const samples = { grant: noSamples(), revoke: noSamples() };
  const burst = async (kind: Kind, block: Mined) => {
    await note(samples[kind], bed, [{ block, kind }]);
    samples[kind].theirs.push(...(await bare(limit, bed.theirs, block, deedsOf(block, kind))));
  };
  for (let round = 0; round < rounds; round++) {
    const granted = await bed.chain.grant(size);
    await burst("grant", granted);
    await burst("revoke", await bed.chain.revoke(granted.deeds.map(({ tokenId }) => tokenId)));
  }
  return samples;
}

async function note(samples: Samples, bed: Bed, done: readonly Done[]): Promise<void> {
  for (const { block, kind } of done) samples.ours.push(...(await arrived(bed.ours, block, kind)));
  const { asked } = await bed.chain.counted();
  for (const { block } of done) {
    const first = asked.find(({ atMs, head }) => atMs >= block.visibleMs && head >= block.block);
    samples.waits.push(...block.deeds.map(() => (first?.atMs ?? block.visibleMs) - block.visibleMs));
  }
}

const LIMIT = "eth_getLogs and wg set alone";

function compared(name: string, { ours, theirs }: Samples): Figure[] {
  const at = (part: string, rank: number, goal?: number) =>
    ratio({
      ...{ name: `${name}, ${part}`, ours: quantile(ours, rank) },
      ...{ theirs: { name: LIMIT, value: quantile(theirs, rank), unit: "ms" }, ...(goal && { goal }) },
    });
  return [at("p50", 0.5, 2), at("p99", 0.99, 4), at("max", 1)];
}

/** The wait for the poll is the setting's and not the work's: told apart. */
function split(name: string, { ours, waits, theirs }: Samples): Figure[] {
  const work = ours.map((ms, i) => ms - (waits[i] ?? 0));
  const at = (part: string, rank: number) =>
    figure({
      ...{ name: `${name}, ${part}`, value: quantile(ours, rank), unit: "ms" },
      baseline: { name: LIMIT, value: quantile(theirs, rank), unit: "ms" },
      note: `${quantile(work, rank).toFixed(1)} ms of it from the poll's first question on`,
    });
  return [at("p50", 0.5), at("p99", 0.99), at("max", 1)];
}
