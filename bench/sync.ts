/** Reading a contract's whole history: the agent beside a bare fetch of the same ranges, beside ethers, and beside a scan of token ids. */
import { fileURLToPath } from "node:url";
import { run } from "../agent/test/lab/command.ts";
import type { Benchmark, Context } from "./benchmark.ts";
import { type Figure, figure, median, ratio } from "./figure.ts";
import { type Counted, FINAL_DEPTH, type Range, type ServedChain, serveChain } from "./rpc.ts";

/** What one fresh process is to read, and how. */
export interface Task {
  readonly way: "agent" | "raw" | "ethers" | "scan";
  readonly url: string;
  readonly contract: string;
  /** Of `raw` and `ethers`: as the agent asked for them. */
  readonly ranges: readonly Range[];
  /** Of `scan`. */
  readonly tokens: number;
}

export interface Reading {
  readonly tookMs: number;
  /** Of the main thread alone: on a busy machine the steadier figure. */
  readonly cpuMs: number;
  /** Tokens, or logs. */
  readonly count: number;
  /** The longest that the event loop was held up. */
  readonly blockedMs: number;
  /** Resident memory at its highest, above what it was before. */
  readonly grownMb: number;
}

export const coldSync: Benchmark = {
  name: "cold-sync",
  about: "an empty state to a committed registry, beside a bare fetch of the same ranges",
  async run({ quick }) {
    const [tokens, rounds] = quick ? [5_000, 3] : [50_000, 7];
    await using chain = await serveChain({ tokens });
    // The first reading is the chain's own warm-up, and tells the ranges.
    await read(chain, "agent");
    const { ranges } = await chain.counted();
    const [ours, raw]: [Reading[], Reading[]] = [[], []];
    for (let round = 0; round < rounds; round++) {
      ours.push(await read(chain, "agent"));
      raw.push(await read(chain, "raw", { ranges }));
    }
    const ethers = await read(chain, "ethers", { ranges });
    if (ours.some(({ count }) => count !== tokens)) throw new Error("not every token was read");
    const name = `cold sync of ${tokens.toLocaleString("en-US")} tokens`;
    const ms = median(ours.map(({ tookMs }) => tookMs));
    const against = (what: string, value: number) => ({ name: what, value, unit: "ms" as const });
    const rawMs = median(raw.map(({ tookMs }) => tookMs));
    const busy = (readings: readonly Reading[]) => median(readings.map(({ cpuMs }) => cpuMs)).toFixed(0);
    const note = `${busy(ours)} ms of the main thread, raw ${busy(raw)} ms`;
    return [
      ratio({ name, ours: ms, theirs: against("the same ranges, fetch and JSON.parse alone", rawMs), goal: 2, note }),
      ratio({
        ...{ name: `${name}, against ethers`, ours: ms, theirs: against("ethers queryFilter", ethers.tookMs) },
        note: "ethers reads the grants alone, into memory",
      }),
      figure({
        ...{
          name: `event loop blocked in a ${name}`,
          value: median(ours.map(({ blockedMs }) => blockedMs)),
          unit: "ms",
        },
        ...{ goal: 100, baseline: against("fetch and JSON.parse", median(raw.map(({ blockedMs }) => blockedMs))) },
        note: "at most, median of the rounds",
      }),
      figure({
        ...{ name: `resident growth in a ${name}`, value: median(ours.map(({ grownMb }) => grownMb)), unit: "MB" },
        baseline: { name: "fetch and JSON.parse", value: median(raw.map(({ grownMb }) => grownMb)), unit: "MB" },
      }),
    ];
  },
};

export const tokenScan: Benchmark = {
  name: "token-scan",
  about: "what is known of 1,000 tokens, beside two calls a token",
  async run({ quick }) {
    const tokens = quick ? 100 : 1_000;
    await using chain = await serveChain({ tokens });
    const ours = await counting(chain, () => read(chain, "agent"));
    const scan = await counting(chain, () => read(chain, "scan", { tokens }));
    const name = `sync of ${tokens.toLocaleString("en-US")} tokens`;
    const way = "ownerOf and getNodeAccess of each token, by ethers";
    return [
      ratio({
        ...{ name: `${name}, against a scan`, ours: ours.reading.tookMs },
        ...{ theirs: { name: way, value: scan.reading.tookMs, unit: "ms" }, note: "the chain is on this machine" },
      }),
      figure({
        ...{ name: `RPC calls of a ${name}`, value: total(ours.counted), unit: "calls" },
        baseline: { name: way, value: total(scan.counted), unit: "calls" },
      }),
    ];
  },
};

export const ranges: Benchmark = {
  name: "ranges",
  about: "long histories: many events, many empty blocks, and the calls that they cost",
  async run(context) {
    return [...(await events(context)), ...(await emptyBlocks())];
  },
};

async function events({ quick }: Context): Promise<Figure[]> {
  const tokens = quick ? 1_000 : 5_000;
  await using chain = await serveChain({ tokens, maxRange: CAPS[0] });
  const { reading, counted } = await counting(chain, () => read(chain, "agent"));
  const name = `${(2 * tokens).toLocaleString("en-US")} events from empty`;
  return [figure({ name, value: reading.tookMs / 1000, unit: "s", goal: 30, note: `${total(counted)} calls` })];
}

/** The most blocks of one range that providers allow, as several of them do. */
const CAPS = [10_000, 2_000, 1_000] as const;

async function emptyBlocks(): Promise<Figure[]> {
  const blocks = 100_000;
  const [seconds, multiples]: [number[], number[]] = [[], []];
  const told: string[] = [];
  for (const maxRange of CAPS) {
    await using chain = await serveChain({ tokens: 1, emptyBlocks: blocks, maxRange });
    const { reading, counted } = await counting(chain, () => read(chain, "agent"));
    seconds.push(reading.tookMs / 1000);
    const final = counted.ranges.filter(([, to]) => Number(to) <= chain.head - FINAL_DEPTH);
    multiples.push(final.length / Math.ceil(blocks / maxRange));
    told.push(`${total(counted)} calls at ${maxRange.toLocaleString("en-US")} a range`);
  }
  const name = `${blocks.toLocaleString("en-US")} empty blocks`;
  return [
    figure({ name, value: Math.max(...seconds), unit: "s", goal: 60, note: told.join(", ") }),
    figure({
      ...{ name: `eth_getLogs calls per range, over ${name}`, value: Math.max(...multiples), unit: "×", goal: 1.2 },
      note: "in the final zone, the worst of the caps; refused calls count",
    }),
  ];
}

async function counting(chain: ServedChain, work: () => Promise<Reading>) {
  await chain.counted();
  return { reading: await work(), counted: await chain.counted() };
}

const total = ({ calls }: Counted) => Object.values(calls).reduce((sum, count) => sum + count, 0);

async function read({ url, contract }: ServedChain, way: Task["way"], more: Partial<Task> = {}): Promise<Reading> {
  const task: Task = { way, url, contract, ranges: [], tokens: 0, ...more };
  const program = fileURLToPath(new URL("sync-client.ts", import.meta.url));
  return JSON.parse(await run([process.execPath, program, JSON.stringify(task)], { deadlineMs: 300_000 })) as Reading;
}
