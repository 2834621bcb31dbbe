/** The device as a whole: filling it, and a full pass over it that finds nothing to do, against what `wg` itself takes. */
import { Lab } from "../agent/test/lab/lab.ts";
import type { Benchmark, Context } from "./benchmark.ts";
import { Corridor } from "./corridor.ts";
import { type Figure, figure, median, ratio } from "./figure.ts";
import { peers, sizes } from "./sizes.ts";

/** The goals are set for this many peers; at other sizes a row shows how it grows. */
const JUDGED = 10_000;

export const fill: Benchmark = {
  name: "fill",
  about: "the initial fill of a new interface, against one wg setconf of the same peers",
  async run({ quick, log, signal }) {
    const figures: Figure[] = [];
    for (const size of quick ? [2_000] : [1_000, JUDGED, 60_000]) {
      const rounds = size > JUDGED ? 2 : quick ? 3 : 7;
      log(`${rounds} fills with ${peers(size)}`);
      const [ours, bare]: [number[], number[]] = [[], []];
      await atSize(size, async (corridor) => {
        for (let round = 0; round < rounds; round++) {
          signal.throwIfAborted();
          const filled = await corridor.step("fill");
          if (filled.peers !== size) throw new Error(`filled with ${filled.peers} in place of ${size}`);
          ours.push(filled.ms);
          bare.push((await corridor.step("setconf")).ms);
        }
      });
      const theirs = { name: "one wg setconf", value: median(bare), unit: "ms" } as const;
      const goal = size === JUDGED ? { goal: 1.3 } : {};
      const note = `medians of ${rounds}, in turns`;
      figures.push(
        ratio({ name: `fill with ${peers(size)}, against wg setconf`, ours: median(ours), theirs, note, ...goal }),
      );
    }
    return figures;
  },
};

export const fullPass: Benchmark = {
  name: "full-pass",
  about: "a full pass with nothing to do, against one wg show dump; how long the event loop stands still",
  async run(context) {
    const figures: Figure[] = [];
    for (const size of context.quick ? [10, 2_000] : sizes(false)) {
      figures.push(...(await passes(size, size === JUDGED, context)));
    }
    // The rows with a goal first.
    return figures.toSorted((a, b) => Number(b.goal !== null) - Number(a.goal !== null));
  },
};

async function passes(size: number, isJudged: boolean, { quick, log, signal }: Context): Promise<Figure[]> {
  const rounds = quick ? 8 : size > 10_000 ? 10 : 25;
  log(`${rounds} full passes over ${peers(size)}`);
  const [ours, blocked, bare]: [number[], number[], number[]] = [[], [], []];
  await atSize(size, async (corridor) => {
    for (let round = 0; round < rounds; round++) {
      signal.throwIfAborted();
      const { ms, blockedMs } = await corridor.step("pass");
      ours.push(ms);
      blocked.push(blockedMs);
      bare.push((await corridor.step("dump")).ms);
    }
  });
  const theirs = { name: "wg show dump > /dev/null", value: median(bare), unit: "ms" } as const;
  const note = `medians of ${rounds}, in turns`;
  return [
    ratio({
      ...{ name: `full pass over ${peers(size)}, against wg show dump`, ours: median(ours), theirs, note },
      ...(isJudged ? { goal: 2 } : {}),
    }),
    figure({
      ...{ name: `longest block of the event loop in a full pass over ${peers(size)}`, value: Math.max(...blocked) },
      ...{ unit: "ms", note: `the longest of ${rounds} passes`, ...(isJudged ? { goal: 50 } : {}) },
      baseline: { name: "median of the passes", value: median(blocked), unit: "ms" },
    }),
  ];
}

export const limits: Benchmark = {
  name: "limits",
  about: "wg itself, at each size: one wg set, one wg show dump, one wg setconf",
  async run({ quick, log, signal }) {
    const rounds = quick ? 8 : 20;
    const figures: Figure[] = [];
    for (const size of quick ? [10, 1_000] : sizes(false)) {
      log(`wg alone with ${peers(size)}`);
      await atSize(size, async (corridor) => {
        const [sets, dumps, setconfs]: [number[], number[], number[]] = [[], [], []];
        for (let round = 0; round < rounds; round++) {
          signal.throwIfAborted();
          sets.push((await corridor.step("set")).addMs);
          dumps.push((await corridor.step("dump")).ms);
        }
        for (let round = 0; round < (quick ? 1 : 3); round++) setconfs.push((await corridor.step("setconf")).ms);
        const note = `median of ${rounds}`;
        figures.push(
          figure({ name: `wg set of one peer, beside ${peers(size)}`, value: median(sets), unit: "ms", note }),
          figure({ name: `wg show dump of ${peers(size)}`, value: median(dumps), unit: "ms", note }),
          figure({ name: `wg setconf of ${peers(size)}`, value: median(setconfs), unit: "ms" }),
        );
      });
    }
    return figures;
  },
};

async function atSize(size: number, work: (corridor: Corridor) => Promise<void>): Promise<void> {
  await using lab = await Lab.open();
  await using corridor = await Corridor.open(await lab.host(`peers-${size}`), size);
  await work(corridor);
}
