import { describe, expect, it } from "vitest";
import { AgentError } from "../errors.ts";
import type { Address, Hash } from "../model.ts";
import { DrawnChain, refusal } from "../test/drawn-chain.ts";
import type { RawLog } from "./log-list.ts";
import { type AskRange, contradiction, rangeAsker, readRanges } from "./ranges.ts";
import { newReach } from "./reach.ts";
import { type Rpc, RpcError } from "./rpc.ts";

/** `perBlock` logs in every block; `limit` is what the provider does with a question. */
function provider(perBlock: number, limit: (blocks: number, logs: number) => number = (_, logs) => logs) {
  const asked: [number, number][] = [];
  const ask: AskRange = async (from, to) => {
    asked.push([from, to]);
    const blocks = to - from + 1;
    const count = limit(blocks, blocks * perBlock);
    const logs = Array.from({ length: count }, (_, i) => log(from + Math.floor(i / perBlock), i % perBlock));
    return { value: logs, upstream: "one" };
  };
  return { ask, asked };
}

function log(blockNumber: number, logIndex: number, change: Partial<RawLog> = {}): RawLog {
  const blockHash = `0x${blockNumber.toString(16).padStart(64, "0")}` as Hash;
  const transactionHash = `0x${"7".repeat(64)}` as Hash;
  const address = `0x${"c0".repeat(20)}` as Address;
  return { address, topics: [], data: "0x", blockNumber, blockHash, transactionHash, logIndex, ...change };
}

const refuse = (kind: "limited" | "other" = "limited"): never => {
  throw new RpcError(kind, -32005, "too wide, in words of our own");
};
const capped = (blocks: number) => (asked: number, logs: number) => (asked > blocks ? refuse() : logs);

/** The places of all logs, once each and in order. */
async function read(from: number, to: number, ask: AskRange, reach = newReach()): Promise<string[]> {
  const places = new Set<string>();
  let next = from;
  for await (const piece of readRanges(from, to, ask, reach)) {
    expect(piece.from).toBe(next);
    next = piece.to + 1;
    for (const { blockNumber, logIndex } of piece.logs) places.add(`${blockNumber}.${logIndex}`);
  }
  expect(next).toBe(to + 1);
  return [...places];
}

const all = (from: number, to: number, perBlock: number) =>
  Array.from({ length: (to - from + 1) * perBlock }, (_, i) => `${from + Math.floor(i / perBlock)}.${i % perBlock}`);

describe("a range", () => {
  it.each([10_000, 5_000, 3_500, 2_000, 1_500, 1_000, 800, 500, 100, 10, 7])(
    "of at most %d blocks is found, and 100,000 blocks take fewer than 1.2 times the calls there must be",
    async (cap) => {
      const { ask, asked } = provider(0, capped(cap));
      await read(1, 100_000, ask);
      expect(asked.length / (100_000 / cap)).toBeLessThan(1.2);
    },
  );

  it("is tried larger now and then, at the cost of one call each time", async () => {
    const { ask, asked } = provider(0, capped(1_000));
    await read(1, 400_000, ask);
    expect(asked.filter(([from, to]) => to - from + 1 > 1_000).length).toBeLessThan(10);
  });

  it("that floods us is cut down to a tenth at once", async () => {
    let floods = 0;
    const ask: AskRange = async (from, to) => {
      const crowded = Math.max(0, Math.min(to, 10_200) - Math.max(from, 10_101) + 1);
      if (crowded * 300 > 8_000) {
        floods++;
        const fault = { code: "chain.reply-refused", method: "eth_getLogs", upstream: "one", problem: "8 MB" } as const;
        throw new AgentError(fault);
      }
      const blocks = Array.from({ length: crowded }, (_, i) => Math.min(to, 10_200) - crowded + 1 + i);
      return {
        value: blocks.flatMap((block) => Array.from({ length: 300 }, (_, i) => log(block, i))),
        upstream: "one",
      };
    };
    expect(await read(1, 20_000, ask)).toHaveLength(30_000);
    expect(floods).toBeLessThan(5);
  });

  it.each([
    ["is read ahead once it is known", 0, 2],
    ["is read less far ahead while replies are long", 10, 1],
  ])("%s", async (_, perBlock, expected) => {
    const { ask, asked } = provider(perBlock);
    let [taken, furthest] = [0, 0];
    for await (const { to } of readRanges(1, 2_000, ask, { ...newReach(), size: 99, isSettled: true })) {
      // What the first replies are like is not known before they are there.
      if (++taken > 3 && to < 2_000) furthest = Math.max(furthest, asked.length - taken);
    }
    expect(furthest).toBe(expected);
  });

  it("of one block is all that some allow", async () => {
    const { ask, asked } = provider(2, capped(1));
    expect(await read(1, 500, ask)).toEqual(all(1, 500, 2));
    expect(asked.length).toBeLessThan(520);
  });

  it("is wider than what providers allow where nobody minds", async () => {
    const { ask, asked } = provider(0);
    await read(1, 10_000_000, ask);
    expect(asked.length).toBeLessThan(120);
  });

  it("starts where the last poll has found it to work", async () => {
    const { ask, asked } = provider(0, capped(300));
    const reach = newReach();
    await read(1, 30_000, ask, reach);
    asked.length = 0;
    await read(30_001, 33_000, ask, reach);
    expect(asked.length).toBeLessThan(13);
  });

  it("recovers from an outage that made it small", async () => {
    let isDown = true;
    const { ask, asked } = provider(0, (_, logs) => (isDown ? refuse("other") : logs));
    const reach = newReach();
    await expect(read(1, 100_000, ask, reach)).rejects.toBeInstanceOf(RpcError);
    expect(reach.size).toBe(1);
    isDown = false;
    asked.length = 0;
    await read(1, 100_000, ask, reach);
    expect(asked.length).toBeLessThan(50);
  });

  it("shrinks where results are capped, and grows again behind the crowd", async () => {
    const asked: number[] = [];
    const isCrowded = (block: number) => block >= 40_000 && block < 41_000;
    const ask: AskRange = async (from, to) => {
      const blocks = Array.from({ length: to - from + 1 }, (_, i) => from + i).filter(isCrowded);
      asked.push(to - from + 1);
      if (blocks.length * 10 > 2_000) throw new RpcError("limited", -32005);
      return { value: blocks.flatMap((block) => Array.from({ length: 10 }, (_, i) => log(block, i))), upstream: "one" };
    };
    expect(await read(1, 2_000_000, ask)).toHaveLength(10_000);
    expect(asked.at(-2)).toBeGreaterThan(5_000);
    expect(asked.length).toBeLessThan(300);
  });

  it("is not widened by answers that are nearly as long as a reply may be", async () => {
    const { ask, asked } = provider(40, capped(1_000_000));
    const reach = { ...newReach(), size: 100 };
    await read(1, 2_000, ask, reach);
    // The first, its halves, and what was asked by the size that these left.
    expect(Math.max(...asked.slice(5).map(([from, to]) => (to - from + 1) * 40))).toBeLessThanOrEqual(2_500);
  });
});

describe("a silent cut", () => {
  const cut = (limit: number) => (_: number, logs: number) => Math.min(limit, logs);

  it.each([
    [1_000, 7],
    [1_000, 1],
    [2_000, 13],
    [5_000, 3],
    [10_000, 11],
    [100, 1],
    [500, 3],
    [230, 1],
    [777, 2],
    [10, 1],
    [20, 3],
    [50, 7],
  ])("at %d logs leaves nothing out of %d a block", async (limit, perBlock) => {
    const { ask } = provider(perBlock, cut(limit));
    expect(await read(1, 2_000, ask)).toEqual(all(1, 2_000, perBlock));
  });

  it("is not suspected of who has sent more before", async () => {
    const { ask, asked } = provider(10);
    await read(1, 50, ask, { ...newReach(), size: 150 });
    const reach = newReach();
    await read(1, 150, ask, { ...reach, size: 150 });
    asked.length = 0;
    await read(1, 100, ask, { ...reach, size: 100 });
    expect(asked).toHaveLength(1);
  });

  it("is suspected all the same of who has sent more of one block, for that may have come kind by kind", async () => {
    const reach = newReach();
    const crowd = Array.from({ length: 1_200 }, (_, i) => log(9_000, i));
    await read(9_000, 9_000, async () => ({ value: crowd, upstream: "one" }), reach);
    const { ask } = provider(7, cut(1_000));
    expect(await read(1, 2_000, ask, reach)).toEqual(all(1, 2_000, 7));
  });

  it("makes the ranges smaller, and a false alarm only a little", async () => {
    const cutting = provider(7, cut(1_000));
    await read(1, 5_000, cutting.ask);
    expect(cutting.asked.length).toBeLessThan(90);
    const honest = provider(10, capped(100));
    await read(1, 5_000, honest.ask);
    expect(honest.asked.length).toBeLessThan(75);
  });

  it("of a single block is made good by another upstream", async () => {
    const upstreams: (string | undefined)[] = [];
    const ask: AskRange = async (from, _, not) => {
      upstreams.push(not);
      const count = not === undefined ? 1_000 : 1_003;
      return { value: Array.from({ length: count }, (_, i) => log(from, i)), upstream: not ? "two" : "one" };
    };
    expect(await read(5, 5, ask)).toHaveLength(1_003);
    expect(upstreams).toEqual([undefined, "one"]);
  });
});

describe("an answer that cannot be true", () => {
  const other = `0x${"f".repeat(64)}` as Hash;
  it.each([
    ["two logs in one place", [log(1, 0), log(1, 0, { data: "0x01" })], "one place holds two logs"],
    ["two transactions in one place", [log(1, 0), log(1, 0, { transactionHash: other })], "one place holds two logs"],
    ["two topics in one place", [log(1, 0), log(1, 0, { topics: [other] })], "one place holds two logs"],
    ["two hashes of one block", [log(1, 0), log(1, 1, { blockHash: other })], "one block has two hashes"],
    ["one hash of two blocks", [log(1, 0), log(2, 0, { blockHash: log(1, 0).blockHash })], "two blocks have one hash"],
    [
      "two hashes of a block that comes back",
      [log(1, 0), log(2, 0), log(1, 1, { blockHash: other })],
      "one block has two hashes",
    ],
    [
      "a hash that comes back",
      [log(1, 0), log(2, 0), log(3, 0, { blockHash: log(1, 0).blockHash })],
      "two blocks have one hash",
    ],
    [
      "two logs in one place, others between",
      [log(1, 0), log(2, 0), log(1, 0, { data: "0x01" })],
      "one place holds two logs",
    ],
    ["the same log twice", [log(1, 0), log(1, 0)], undefined],
    ["any order", [log(2, 0), log(1, 1), log(1, 0)], undefined],
  ])("%s", (_, logs, problem) => {
    expect(contradiction(logs)).toBe(problem);
  });

  it("is asked for again of another upstream", async () => {
    const ask: AskRange = async (_, __, not) =>
      not === undefined
        ? { value: [log(1, 0), log(1, 0, { data: "0x01" })], upstream: "bad" }
        : { value: [log(1, 0)], upstream: "good" };
    expect(await read(1, 1, ask)).toEqual(["1.0"]);
  });

  it("is refused where nobody knows better", async () => {
    const ask: AskRange = async () => ({ value: [log(1, 0), log(1, 0, { data: "0x01" })], upstream: "bad" });
    await expect(read(1, 1, ask)).rejects.toBeInstanceOf(AgentError);
  });
});

describe("whom a range is asked of", () => {
  const contract = { address: log(1, 0).address, topics: [], limits: new Map() };
  const signal = new AbortController().signal;
  const names = ({ calls }: DrawnChain) =>
    calls.filter(({ method }) => method === "eth_getLogs").map(({ upstream }) => upstream);

  it("is the upstream that has it, and another when that one fails", async () => {
    const chain = new DrawnChain("one", "two").draw("a1..a10");
    await rangeAsker(chain.rpc, contract, "two", signal)(1, 5);
    chain.whims.set("two", ({ method }) => (method === "eth_getLogs" ? { result: "nonsense" } : undefined));
    await rangeAsker(chain.rpc, contract, "two", signal)(1, 5);
    expect(names(chain)).toEqual(["two", "two", "one"]);
  });

  it("is the other one first from then on: whoever is silent would cost its deadline with every range", async () => {
    const chain = new DrawnChain("one", "two").draw("a1..a10");
    chain.whims.set("two", ({ method }) => (method === "eth_getLogs" ? { result: "nonsense" } : undefined));
    const ask = rangeAsker(chain.rpc, contract, "two", signal);
    for (const from of [1, 3, 5]) await ask(from, from + 1);
    expect(names(chain)).toEqual(["two", "one", "one", "one"]);
  });

  it("has less time where another may have the logs, until one has failed", async () => {
    const chain = new DrawnChain("one", "two").draw("a1..a10");
    const given: unknown[] = [];
    const rpc: Rpc = {
      ...chain.rpc,
      ask(question, choice) {
        if (question.method === "eth_getLogs") given.push([choice?.only ?? "another", question.deadlineMs]);
        return chain.rpc.ask(question, choice);
      },
    };
    const ask = rangeAsker(rpc, contract, "two", signal);
    await ask(1, 2);
    chain.whims.set("two", ({ method }) => (method === "eth_getLogs" ? { result: "nonsense" } : undefined));
    await ask(3, 4);
    await ask(5, 6);
    expect(given).toEqual([
      ["two", 4_000],
      ["two", 4_000],
      ["another", 10_000],
      ["another", 10_000],
    ]);
  });

  it("is nobody else where it is too wide: all would have to be asked each time", async () => {
    const chain = new DrawnChain("one", "two").draw("a1..a10");
    const tooWide = refusal("block range is too wide");
    chain.whims.set("one", ({ method }) => (method === "eth_getLogs" ? tooWide : undefined));
    await expect(rangeAsker(chain.rpc, contract, "one", signal)(1, 5)).rejects.toBeInstanceOf(RpcError);
    expect(names(chain)).toEqual(["one"]);
  });

  it("is never one whose head is below it: it would answer with nothing", async () => {
    const chain = new DrawnChain("behind", "one").draw("a1..a10").draw("a1..a4", "behind");
    chain.whims.set("one", ({ method }) => (method === "eth_getLogs" ? { result: "nonsense" } : undefined));
    await expect(rangeAsker(chain.rpc, contract, "one", signal)(1, 5)).rejects.toBeInstanceOf(AgentError);
    await rangeAsker(chain.rpc, contract, "one", signal)(1, 4);
  });

  it("is another one first where it is to witness", async () => {
    const chain = new DrawnChain("one", "two").draw("a1..a10");
    await rangeAsker(chain.rpc, contract, "one", signal, true)(1, 5);
    expect(names(chain)).toEqual(["two"]);
  });
});
