import { describe, expect, it } from "vitest";
import { AgentError } from "../errors.ts";
import { type Call, DrawnChain, refusal } from "../test/drawn-chain.ts";
import { Down } from "../test/rpc-over.ts";
import type { Outcome } from "../test/scripted-chain.ts";
import { Watcher } from "../test/watcher.ts";

describe("a poll", () => {
  it.each([
    ["a first block", "", "a1", "..a0 a1"],
    ["one more block", "a1", "a2+7", "a2+7"],
    ["several blocks", "a1", "a2+7-a3-a4-7+8", "a2+7 a3 a4-7+8"],
    ["nothing new", "a1-a2", "", ""],
    ["another block at the same height", "a1-a2+7", "a1-b2+8", "<a1 b2+8"],
    ["a longer fork", "a1-a2+7-a3", "a1-b2-b3+8-b4", "<a1 b2 b3+8 b4"],
    ["a fork from genesis", "a1-a2", "b1-b2-b3", "<a0 b1 b2 b3"],
    ["a deep fork", "a1-a2+7-a3..a61", "a1-b2-b3..b61-b62+7", `<a1 ${row("b", 2, 61)} b62+7`],
    ["a fork that is left again", "a1-a2-a3 | a1-b2-b3-b4", "a1-a2-a3-a4-a5", "<a1 a2 a3 a4 a5"],
  ])("tells %s", async (_, before, after, expected) => {
    const chain = new DrawnChain();
    const watcher = new Watcher(chain.rpc, 0);
    for (const path of before.split("|").filter((text) => text !== "")) {
      chain.draw(path);
      await watcher.poll();
    }
    if (after !== "") chain.draw(after);
    expect(await watcher.poll()).toBe(expected);
    expect(watcher.told.words).toEqual(chain.truth());
  });

  it("costs one question where nothing is new, and two for one more block", async () => {
    const chain = new DrawnChain().draw("a1..a9-a10+1");
    const watcher = new Watcher(chain.rpc, 0);
    await watcher.poll();
    chain.calls.length = 0;
    await watcher.polls(3);
    expect(chain.calls.map(({ method }) => method)).toEqual(Array(3).fill("eth_getBlockByNumber"));
    chain.calls.length = 0;
    chain.draw("a10-a11+7");
    await watcher.poll();
    expect(chain.calls.map(({ method }) => method)).toEqual(["eth_getBlockByNumber", "eth_getLogs"]);
  });

  it("tells of what was figured", async () => {
    const chain = new DrawnChain().draw("a1..a100");
    const watcher = new Watcher(chain.rpc, 0);
    await watcher.poll();
    chain.draw("a98-b99-b100-b101");
    await watcher.poll();
    expect(watcher.follower.figures).toMatchObject({
      ...{ headBlock: 101, headTimestamp: 1_700_000_202, cursorBlock: 101, finalizedBlock: 36 },
      ...{ reorgs: 1, deepestReorg: 2, invalidLogs: 0, divergences: 0, usesDepthFallback: false },
    });
  });
});

describe("a restart", () => {
  it("knows the head before there is a new one", async () => {
    const chain = new DrawnChain().draw("a1..a10");
    const watcher = new Watcher(chain.rpc, 0);
    await watcher.poll();
    watcher.restart();
    expect(await watcher.poll()).toBe("");
    expect(watcher.follower.figures).toMatchObject({ headBlock: 10, headTimestamp: 1_700_000_020 });
  });
});

describe("catching up", () => {
  it("reads final blocks by range and the rest sparsely, down to the last 64", async () => {
    const chain = new DrawnChain().draw("a1-a2+1-a3..a99-a100+2-a101..a149-a150+3-a151..a300");
    chain.finalDepth = 200;
    const watcher = new Watcher(chain.rpc, 0);
    expect(await watcher.poll()).toBe(`..a100(+1+2) a128 a150+3 a160 a192 a224 ${row("a", 237, 300)}`);
    expect(chain.count("eth_getBlockByNumber")).toBeLessThan(75);
    expect(chain.count("eth_getLogs")).toBe(3);
  });

  it("goes on where it was stopped", async () => {
    const chain = new DrawnChain().draw("a1+1-a2..a10");
    const watcher = new Watcher(chain.rpc, 0);
    await watcher.poll();
    watcher.restart();
    chain.draw("a10-a11..a80-a81-1-a82..a200");
    expect(await watcher.poll()).toBe(`=a10 ..a136(-1) ${row("a", 137, 200)}`);
    expect(watcher.told.words).toEqual(chain.truth());
  });

  it("goes back first where the chain was reorganised meanwhile", async () => {
    const chain = new DrawnChain().draw("a1..a8-a9+1-a10");
    const watcher = new Watcher(chain.rpc, 0);
    await watcher.poll();
    watcher.restart();
    chain.draw("a8-b9-b10+2-b11..b200");
    expect(await watcher.poll()).toBe(`<a8 =a8 ..b136(+2) ${row("b", 137, 200)}`);
    expect(watcher.told.words).toEqual(chain.truth());
  });

  it("finds a fork far above the final block and far below the head", async () => {
    const chain = new DrawnChain().draw("a1..a99-a100+1-a101..a200");
    chain.finalDepth = 1_000;
    const watcher = new Watcher(chain.rpc, 0);
    await watcher.poll();
    chain.draw("a50-b51..b149-b150+2-b151..b300");
    await watcher.poll();
    expect(watcher.told.words).toEqual(chain.truth());
    expect(watcher.trail.unfinal.at(-1)?.number).toBe(300);
    expect(watcher.follower.figures).toMatchObject({ reorgs: 1 });
  });

  it("survives a reorg between two of its questions", async () => {
    const chain = new DrawnChain().draw("a1..a39-a40+1-a41..a60");
    const watcher = new Watcher(chain.rpc, 0);
    let asked = 0;
    chain.whims.set("one", ({ method }) => {
      if (method === "eth_getBlockByNumber" && ++asked === 30) chain.draw("a30-b31..b44-b45+2-b46..b61");
      return undefined;
    });
    await watcher.poll();
    expect(watcher.told.words).toEqual(chain.truth());
  });

  it("asks once more for a header that it does not get", async () => {
    const chain = new DrawnChain().draw("a1..a60");
    const watcher = new Watcher(chain.rpc, 0);
    const failed = new Set<unknown>();
    chain.whims.set("one", ({ method, params: [at] }) => {
      if (method !== "eth_getBlockByNumber" || !String(at).startsWith("0x") || failed.has(at)) return undefined;
      failed.add(at);
      throw new Down();
    });
    await watcher.poll();
    expect(watcher.trail.unfinal).toHaveLength(60);
  });

  it("tells nothing of a fork before it has read all of it", async () => {
    const chain = new DrawnChain().draw("a1-a2+1-a3");
    const watcher = new Watcher(chain.rpc, 0);
    await watcher.poll();
    chain.draw("a1-b2-b3-b4");
    const logs = (call: Call) => (call.method === "eth_getLogs" ? refusal("boom") : undefined);
    chain.whims.set("one", logs);
    await expect(watcher.poll()).rejects.toThrow();
    expect(watcher.told.words).toEqual(["2.0 +1"]);
    chain.whims.clear();
    expect(await watcher.poll()).toBe("<a1 b2 b3 b4");
  });
});

describe("below finality", () => {
  it.each([
    ["the final block itself", "a1..a36-b37..b101"],
    ["a deeper one", "a1..a10-b11..b120"],
    ["a chain that is shorter than what is final", "a1..a10-b11..b37"],
    ["a chain from genesis", "b1..b200"],
  ])("a fork is refused: %s", async (_, fork) => {
    const chain = new DrawnChain().draw("a1+1-a2..a101");
    const watcher = new Watcher(chain.rpc, 0);
    await watcher.polls(2);
    expect(watcher.follower.figures.finalizedBlock).toBe(37);
    chain.draw(fork);
    await expect(watcher.poll()).rejects.toMatchObject({
      fault: { code: "chain.fork-below-finality", block: 37 },
    });
    watcher.restart();
    await expect(watcher.poll()).rejects.toBeInstanceOf(AgentError);
    chain.draw("a101-a102-1");
    expect(await watcher.poll()).toBe("a102-1");
  });
});

describe("finality", () => {
  it("moves every sixteen blocks, by the tag", async () => {
    const chain = new DrawnChain().draw("a1..a100");
    const watcher = new Watcher(chain.rpc, 0);
    await watcher.poll();
    const steps: string[] = [];
    for (let number = 101; number <= 134; number++) {
      chain.draw(`a${number - 1}-a${number}`);
      steps.push(await watcher.poll());
    }
    expect(steps.filter((step) => step.includes("="))).toEqual(["a117 =a52", "a133 =a68"]);
  });

  const absent = { result: null };
  it.each([
    ["an invalid tag", () => refusal("invalid argument 0: hex string without 0x prefix", -32602)],
    ["an unsupported one", () => refusal("'finalized' tag not supported on pre-merge network", -39001)],
    ["a block that is not there", () => absent],
    ["a strange error", () => refusal("internal error", -32603)],
    [
      "no answer at all",
      () => {
        throw new Down();
      },
    ],
    ["nonsense", () => ({ result: "0x" })],
    ["a block without a number", () => ({ result: {} })],
    ["the head", (chain) => latest(chain)],
  ] as readonly [string, (chain: DrawnChain) => Outcome][])(
    "falls back to a depth on %s, and says so once",
    async (_, answer) => {
      const chain = new DrawnChain().draw("a1..a100");
      chain.whims.set("one", ({ params }) => (params[0] === "finalized" ? answer(chain) : undefined));
      const watcher = new Watcher(chain.rpc, 0);
      expect(await watcher.poll()).toBe(`..a36 ${row("a", 37, 100)}`);
      chain.draw("a100..a300");
      await watcher.polls(3);
      expect(watcher.follower.figures).toMatchObject({ finalizedBlock: 236, usesDepthFallback: true });
      expect(watcher.notices).toEqual([{ kind: "finality-by-depth", depth: 64 }]);
    },
  );

  it("comes back to the tag after an outage", async () => {
    const chain = new DrawnChain().draw("a1..a100");
    chain.whims.set("one", ({ params }) => (params[0] === "finalized" ? refusal("not now") : undefined));
    const watcher = new Watcher(chain.rpc, 0);
    await watcher.poll();
    chain.whims.clear();
    chain.finalDepth = 80;
    chain.draw("a100..a400");
    await watcher.polls(2);
    expect(watcher.follower.figures).toMatchObject({ finalizedBlock: 320, usesDepthFallback: false });
  });

  it("reads a young chain to its genesis and no further", async () => {
    const chain = new DrawnChain().draw("a1+1-a2");
    const watcher = new Watcher(chain.rpc, 0);
    expect(await watcher.poll()).toBe("..a0 a1+1 a2");
  });

  it("is asked once more after an accident", async () => {
    const chain = new DrawnChain().draw("a1..a100");
    let asked = 0;
    chain.whims.set("one", ({ params }) => {
      if (params[0] !== "finalized" || asked++ > 0) return undefined;
      throw new Down();
    });
    const watcher = new Watcher(chain.rpc, 0);
    await watcher.poll();
    expect(watcher.notices).toEqual([]);
  });

  it.each([
    ["the genesis of an old chain is none", 1_200, 1_136, true],
    ["the genesis of a young one is", 900, 0, false],
  ])("%s", async (_, height, final, isByDepth) => {
    const chain = new DrawnChain().draw(`a1..a${height}`);
    chain.finalDepth = 5_000;
    const watcher = new Watcher(chain.rpc, 0);
    await watcher.poll();
    expect(watcher.follower.figures).toMatchObject({ finalizedBlock: final, usesDepthFallback: isByDepth });
  });

  it("that upstreams cannot agree on stops a long way before it begins", async () => {
    const chain = new DrawnChain("one", "two").draw("a1..a1200");
    const watcher = new Watcher(chain.rpc, 0);
    chain.whims.set("two", ({ params }) => {
      const block = json(chain, "0x470");
      return params[0] === "0x470" ? { result: { ...block, hash: chain.block("a1").hash } } : undefined;
    });
    await expect(watcher.poll()).rejects.toMatchObject({ fault: { code: "chain.reply-refused" } });
    // Each one's head was tried.
    expect(chain.calls.length).toBeLessThan(200);
    chain.whims.clear();
    await watcher.poll();
    expect(watcher.follower.figures).toMatchObject({ finalizedBlock: 1_136, cursorBlock: 1_200 });
  });

  it("that contradicts our blocks is told of once", async () => {
    const chain = new DrawnChain().draw("a1..a9-b10..b30 | a1..a90");
    const watcher = new Watcher(chain.rpc, 0);
    chain.finalDepth = 80;
    await watcher.poll();
    const other = { result: { ...json(chain, "0x1e"), hash: chain.block("b30").hash } };
    chain.whims.set("one", ({ params }) => (params[0] === "finalized" ? other : undefined));
    for (let number = 91; number < 115; number++) {
      chain.draw(`a${number - 1}-a${number}`);
      await watcher.poll();
    }
    expect(watcher.notices).toEqual([{ kind: "conflict", block: 30, upstream: "one" }]);
    expect(watcher.trail.final.number).toBe(10);
  });

  it("of a chain that has nothing but its genesis needs no fallback", async () => {
    const chain = new DrawnChain();
    const watcher = new Watcher(chain.rpc, 0);
    expect(await watcher.poll()).toBe("..a0");
    expect(watcher.notices).toEqual([]);
  });

  it("above the head is told by someone who is far ahead, and waited for", async () => {
    const chain = new DrawnChain().draw("a1..a100");
    const far = chain.answer("one")("eth_getBlockByNumber", ["latest", false]) as Outcome;
    chain.draw("a1..a50");
    chain.whims.set("one", ({ params }) => (params[0] === "finalized" ? far : undefined));
    const watcher = new Watcher(chain.rpc, 0);
    await watcher.poll();
    expect(watcher.told.words).toEqual(chain.truth());
    expect(watcher.trail.final.number).toBe(-1);
  });

  it.each([
    ["says so only when asked for what is final", ["finalized"]],
    ["says so whenever that block is asked for", ["finalized", "0x1a"]],
  ])("of another chain than the head's is not believed of who %s", async (_, lies) => {
    const chain = new DrawnChain().draw("a1..a9-b10..b26 | a1..a90");
    const watcher = new Watcher(chain.rpc, 0);
    const other = { result: { ...json(chain, "0x1a"), hash: chain.block("b26").hash } };
    chain.whims.set("one", ({ params }) => (lies.includes(String(params[0])) ? other : undefined));
    await watcher.polls(3);
    expect(watcher.trail.final.number).toBeLessThan(1);
    expect(watcher.notices).toEqual([{ kind: "conflict", block: 26, upstream: "one" }]);
    chain.whims.clear();
    chain.draw("a90..a106");
    await watcher.polls(2);
    expect(watcher.trail.final.number).toBe(42);
    expect(watcher.told.words).toEqual(chain.truth());
  });

  it("of a block that was reorganised away meanwhile is forgotten", async () => {
    const chain = new DrawnChain().draw("a1..a50");
    chain.finalDepth = 20;
    const watcher = new Watcher(chain.rpc, 0);
    await watcher.poll();
    chain.finalDepth = 4;
    chain.draw("a50..a66");
    await watcher.poll();
    chain.finalDepth = 30;
    chain.draw("a40-b41..b67");
    await watcher.polls(2);
    expect(watcher.trail.final.number).toBeLessThan(41);
    expect(watcher.told.words).toEqual(chain.truth());
  });

  it("is not declared by one upstream alone, where it is suspiciously near the head", async () => {
    const chain = new DrawnChain("liar", "honest").draw("a1..a100");
    const watcher = new Watcher(chain.rpc, 0);
    const near = chain.answer("honest")("eth_getBlockByNumber", ["0x5f", false]) as Outcome;
    chain.whims.set("liar", ({ params }) => (params[0] === "finalized" ? near : undefined));
    await watcher.poll();
    expect(watcher.follower.figures.finalizedBlock).toBe(36);
  });

  it("is taken for a depth where another upstream is much behind", async () => {
    const chain = new DrawnChain("one", "two").draw("a1..a100");
    const watcher = new Watcher(chain.rpc, 0);
    chain.whims.set("one", ({ params }) => (params[0] === "finalized" ? { result: json(chain, "0x5f") } : undefined));
    chain.whims.set("two", ({ params }) => (params[0] === "finalized" ? { result: json(chain, "0x14") } : undefined));
    await watcher.poll();
    expect(watcher.follower.figures.finalizedBlock).toBe(36);
  });

  it("near the head is believed where all upstreams say so", async () => {
    const chain = new DrawnChain("one", "two").draw("a1..a100");
    chain.finalDepth = 4;
    const watcher = new Watcher(chain.rpc, 0);
    await watcher.poll();
    expect(watcher.follower.figures.finalizedBlock).toBe(96);
  });

  it("of a block that another upstream does not have is left alone", async () => {
    const chain = new DrawnChain("one", "two").draw("a1..a200");
    const watcher = new Watcher(chain.rpc, 0);
    await watcher.poll();
    chain.draw("a200..a264", "one").draw("a100-b101..b264", "two");
    await watcher.polls(2);
    expect(watcher.follower.figures.finalizedBlock).toBe(136);
  });
});

function json(chain: DrawnChain, at: string): object {
  const outcome = chain.answer("one")("eth_getBlockByNumber", [at, false]) as { result: object };
  return outcome.result;
}

function latest(chain: DrawnChain, upstream = "one"): Outcome {
  return chain.answer(upstream)("eth_getBlockByNumber", ["latest", false]) as Outcome;
}

function row(fork: string, from: number, to: number): string {
  return Array.from({ length: to - from + 1 }, (_, i) => `${fork}${from + i}`).join(" ");
}
