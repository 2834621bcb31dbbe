/** The built agent as the machine sees it: how long it takes to be ready, what it keeps in memory, what it costs when idle. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Benchmark } from "./benchmark.ts";
import { type Figure, figure, median } from "./figure.ts";
import { peers, sizes } from "./sizes.ts";
import { cpuMs, TestBed } from "./testbed.ts";

export const start: Benchmark = {
  name: "start",
  about: "from starting the built agent to ready, from nothing and with its database on a fresh device",
  async run(context) {
    const { quick, log } = context;
    const rounds = quick ? 1 : 5;
    const figures: Figure[] = [];
    await using bed = await TestBed.open(context);
    const bare: number[] = [];
    for (let round = 0; round < rounds; round++) bare.push(await bed.bareStart());
    const baseline = { name: "a bare node:http", value: median(bare), unit: "ms" } as const;
    const many = quick ? 2_000 : 10_000;
    for (const size of quick ? [10, many] : [10, 1_000, many, 60_000]) {
      log(`starts with ${peers(size)}`);
      await using chain = await bed.chain(size);
      const [fromNothing, fromState]: [number[], number[]] = [[], []];
      for (let round = 0; round < (size > many ? 2 : rounds); round++) {
        bed.forget();
        fromNothing.push(await bed.start(chain));
        fromState.push(await bed.start(chain));
      }
      const row = {
        unit: "ms",
        baseline,
        note: `medians of ${fromState.length}; state on disk, asked every 20 ms`,
      } as const;
      const empty = {
        name: `start to ready from an empty state, ${peers(size)} on the chain`,
        value: median(fromNothing),
      };
      const kept = {
        name: `start to ready with ${peers(size)} in the database, on a fresh device`,
        value: median(fromState),
      };
      figures.push(
        figure({ ...row, ...empty, ...(size === 10 ? { goal: 1_000 } : {}) }),
        figure({ ...row, ...kept, ...(size === 10_000 ? { goal: 4_000 } : {}) }),
      );
    }
    return figures;
  },
};

const MEMORY_GOALS: ReadonlyMap<number, number> = new Map([
  [10, 110],
  [10_000, 140],
  [60_000, 250],
]);

export const memory: Benchmark = {
  name: "memory",
  about: "resident memory of the built agent with 10 to 60,000 peers",
  async run(context) {
    const { quick, log } = context;
    const figures: Figure[] = [];
    await using bed = await TestBed.open(context);
    const baseline = { name: "bare Node", value: (await bed.bareMemory()).residentMb, unit: "MB" } as const;
    for (const size of quick ? [10, 2_000] : sizes(false)) {
      const goal = MEMORY_GOALS.get(size);
      log(`memory with ${peers(size)}`);
      await using chain = await bed.chain(size);
      bed.forget();
      const synced = await bed.memory(chain, quick ? 3 : 20);
      const restarted = await bed.memory(chain, quick ? 3 : 20);
      const note = "RSS, the median of the last half of a while after ready, full passes going on";
      const names = { "that read it from the chain": synced, "started again": restarted };
      for (const [how, { residentMb }] of Object.entries(names)) {
        const row = { name: `memory of an agent with ${peers(size)}, ${how}`, value: residentMb, unit: "MB" } as const;
        figures.push(figure({ ...row, baseline, note, ...(goal === undefined ? {} : { goal }) }));
      }
      figures.push(
        figure({ name: `peak of it while it read ${peers(size)} from the chain`, value: synced.peakMb, unit: "MB" }),
      );
    }
    return figures;
  },
};

export const idle: Benchmark = {
  name: "idle",
  about: "CPU time of the built agent when nothing happens, 1,000 peers",
  async run(context) {
    const size = 1_000;
    const seconds = context.quick ? 6 : 40;
    context.log(`${seconds} s of nothing beside ${peers(size)}`);
    await using bed = await TestBed.open(context);
    await using chain = await bed.chain(size);
    // Started again: a history that was just read is audited at a quicker pace.
    await bed.start(chain);
    const agent = bed.agent(chain);
    try {
      await agent.ready(60_000);
      // V8 tidies up after a start for some fifteen seconds, and then no more.
      await sleep(context.quick ? 1_000 : 20_000);
      const [startedMs, usedMs] = [performance.now(), cpuMs(agent.pid)];
      while (performance.now() - startedMs < seconds * 1_000) {
        context.signal.throwIfAborted();
        await sleep(2_000);
        await chain.mine(1);
      }
      const value = (100 * (cpuMs(agent.pid) - usedMs)) / (performance.now() - startedMs);
      const note = `of one core, its wg and ip included, ${seconds} s, a block every 2 s, a poll a second, ready for 20 s before, by its database`;
      return [figure({ name: `idle CPU beside ${peers(size)}`, value, unit: "%", goal: 1, note })];
    } finally {
      await bed.end(agent);
    }
  },
};
