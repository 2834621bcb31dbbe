import { describe, expect, it } from "vitest";
import { type Call, DrawnChain, refusal, type Whim } from "../test/drawn-chain.ts";
import { Down } from "../test/rpc-over.ts";
import { Watcher } from "../test/watcher.ts";

describe("a long chain that one of two upstreams makes up", () => {
  it.each([
    ["and is followed", ["liar", "good"], 64],
    ["and was not followed before", ["good", "liar"], 64],
    ["where more than the usual depth is final", ["liar", "good"], 12],
    ["where less than the usual depth is final", ["liar", "good"], 70],
  ] as const)("%s makes nothing final, and is left again", async (_, names, depth) => {
    const chain = new DrawnChain(...names);
    chain.finalDepth = depth;
    chain.draw("a1..a100");
    const watcher = new Watcher(chain.rpc, 0);
    await watcher.poll();
    chain.draw("a100-b101..b300", "liar");
    for (let i = 0; i < 3; i++) await watcher.poll();
    // As deep below the other one's head as is final anywhere, and on the chain of both.
    const { number, hash } = watcher.trail.final;
    expect(number).toBeLessThanOrEqual(100 - Math.min(depth, 64));
    expect(hash).toBe(chain.block(`a${number}`).hash);
    chain.draw("a100-a101..a320", "liar", "good");
    await watcher.polls(3);
    expect(watcher.trail.unfinal.at(-1)?.hash).toBe(chain.block("a320").hash);
  });
});

describe("an upstream that is behind", () => {
  it("by some minutes puts off what is final, and not what is new", async () => {
    const chain = new DrawnChain("one", "behind");
    chain.draw("a1..a400").draw("a1..a200", "behind");
    const watcher = new Watcher(chain.rpc, 0);
    await watcher.poll();
    expect(watcher.trail.final.number).toBe(200 - 64);
    expect(watcher.trail.unfinal.at(-1)?.number).toBe(400);
  });

  it("by hours, for it reads a history of its own, puts off nothing", async () => {
    const chain = new DrawnChain("one", "behind");
    chain.draw("a1..a3000").draw("a1..a200", "behind");
    const watcher = new Watcher(chain.rpc, 0);
    await watcher.poll();
    expect(watcher.trail.final.number).toBe(3_000 - 64);
  });
});

describe("a long history", () => {
  const isOld = ({ method, params }: Call) => method === "eth_getBlockByNumber" && Number(params[0]) < 2_900;
  const lying: Whim = (call, honest) => {
    const outcome = honest();
    if (!isOld(call) || !("result" in outcome)) return outcome;
    return { result: { ...(outcome.result as object), hash: `0x${"ab".repeat(32)}` } };
  };
  const silent: Whim = (call) => {
    if (isOld(call)) throw new Down();
    return undefined;
  };
  it.each<[string, Whim, Whim, number, boolean]>([
    ["on which both agree is told in parts", () => undefined, () => undefined, 3_000, true],
    ["of which one makes up where a part ends is told as a whole", lying, () => undefined, 3_000, false],
    ["of which the other one does not answer is told as a whole", () => undefined, silent, 3_000, false],
    ["that the other one does not have yet is told in parts", () => undefined, () => undefined, 100, true],
  ])("%s", async (_, first, second, height, hasParts) => {
    const chain = new DrawnChain("one", "two").draw("a1..a3000").draw(`a1..a${height}`, "two");
    const isWide = ({ method, params: [filter] }: Call) => {
      const { fromBlock, toBlock } = filter as Record<string, string>;
      return method === "eth_getLogs" && Number(toBlock) - Number(fromBlock) >= 500;
    };
    for (const [name, whim] of [
      ["one", first],
      ["two", second],
    ] as const) {
      chain.whims.set(name, (call, honest) => (isWide(call) ? refusal("block range too wide") : whim(call, honest)));
    }
    const watcher = new Watcher(chain.rpc, 0);
    watcher.tickMs = 4_000;
    const parts = (await watcher.poll()).match(/\.\.\w+/g) ?? [];
    expect(parts.at(-1)).toBe("..a2936");
    expect(parts.length > 1).toBe(hasParts);
  });
});

describe("a client that takes any tag for latest", () => {
  it.each([0, 1, 2, 3])("and is %d blocks behind with its answer makes nothing final near the head", async (lag) => {
    const chain = new DrawnChain().draw("a1..a100");
    chain.finalDepth = lag;
    const watcher = new Watcher(chain.rpc, 0);
    await watcher.poll();
    chain.draw("a100-a101+7-a102");
    await watcher.polls(2);
    chain.draw("a95-b96..b103-b104+8");
    await watcher.polls(3);
    expect(watcher.told.words).toEqual(["104.0 +8"]);
    expect(watcher.follower.figures.usesDepthFallback).toBe(true);
  });
});

describe("the finalized tag", () => {
  const claims =
    (block: object): Whim =>
    () => ({
      result: { number: "0x0", hash: hash("6130"), parentHash: hash("00"), timestamp: "0x1", ...block },
    });
  const hash = (start: string) => `0x${start.padEnd(64, "0")}`;
  it.each<[string, Whim]>([
    ["tells a block far beyond the head", claims({ number: "0xffffff", hash: hash("11") })],
    ["tells a text", () => ({ result: "0x10" })],
    ["tells a list", () => ({ result: [] })],
    ["tells an object without a member", () => ({ result: {} })],
    ["tells the genesis", claims({})],
    ["tells a block without a hash", claims({ number: "0x100", hash: null })],
    [
      "is not answered",
      () => {
        throw new Down();
      },
    ],
  ])("that %s does not keep a long history from being read", async (_, whim) => {
    const chain = new DrawnChain();
    chain.draw("a1..a99-a100+7-a101..a1500");
    chain.whims.set("one", (call, honest) => (call.params[0] === "finalized" ? whim(call, honest) : undefined));
    const watcher = new Watcher(chain.rpc, 0);
    await watcher.polls(3);
    expect(watcher.told.words).toEqual(["100.0 +7"]);
    expect(watcher.trail.unfinal.at(-1)?.number).toBe(1_500);
  });

  it.each<[string, Whim]>([
    ["refuses", () => refusal("unknown tag", -32602)],
    [
      "takes for the head",
      () => ({ result: { number: "0xc8", hash: hash("6132"), parentHash: hash("00"), timestamp: "0x1" } }),
    ],
  ])("that another upstream %s makes no more final than the depth does", async (_, whim) => {
    const chain = new DrawnChain("liar", "good").draw("a1..a200");
    const watcher = new Watcher(chain.rpc, 0);
    chain.finalDepth = 2;
    chain.whims.set("good", (call, honest) => (call.params[0] === "finalized" ? whim(call, honest) : undefined));
    await watcher.poll();
    expect(watcher.trail.final.number).toBe(200 - 64);
  });
});

describe("a chain of which every poll brings more than is followed block by block", () => {
  it.each([70, 300])("becomes final all the same (%i at a time)", async (blocks) => {
    const chain = new DrawnChain("one", "two").draw("a1..a1000");
    chain.finalDepth = 600;
    const watcher = new Watcher(chain.rpc, 0);
    await watcher.poll();
    expect(watcher.trail.final.number).toBe(400);
    for (let head = 1_000; head < 1_900; ) {
      const next = head + blocks;
      chain.draw(`a${head}..a${next}`, "one", "two");
      head = next;
      await watcher.poll();
      expect(watcher.trail.unfinal.at(-1)?.number).toBe(head);
      // As soon as that is read again, a poll later.
      expect(watcher.trail.final.number).toBeGreaterThanOrEqual(head - 600 - 2 * blocks);
    }
  });
});
