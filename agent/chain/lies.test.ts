/** Following upstreams that leave logs out, make them up, lag, freeze, fork or contradict one another. */
import { describe, expect, it } from "vitest";
import { AgentError } from "../errors.ts";
import { type Call, DrawnChain, logsOf, refusal, type Whim } from "../test/drawn-chain.ts";
import { Down } from "../test/rpc-over.ts";
import type { Outcome } from "../test/scripted-chain.ts";
import { Watcher } from "../test/watcher.ts";

const asksLogs = ({ method }: Call) => method === "eth_getLogs";
const asksFor = ({ params }: Call, blockHash: string) => (params[0] as { blockHash?: string }).blockHash === blockHash;
/** Leaves out the logs of these blocks, however they are asked for. */
const omitting =
  (...numbers: number[]): Whim =>
  (call, honest) => {
    const outcome = honest();
    if (!asksLogs(call) || !("result" in outcome)) return outcome;
    const logs = outcome.result as { blockNumber: string }[];
    return { result: logs.filter(({ blockNumber }) => !numbers.includes(Number(blockNumber))) };
  };

const blankBloom: Whim = ({ method }, honest) => {
  const outcome = honest();
  if (!method.startsWith("eth_getBlock") || !("result" in outcome)) return outcome;
  return { result: { ...(outcome.result as object), logsBloom: `0x${"0".repeat(512)}` } };
};

/** The texts of every log are cut off. */
const damaging: Whim = (call, honest) => {
  const outcome = honest();
  if (!asksLogs(call) || !("result" in outcome)) return outcome;
  return { result: (outcome.result as { data: string }[]).map((log) => ({ ...log, data: log.data.slice(0, 66) })) };
};

/** Of the first log alone. */
const damagingFirst: Whim = (call, honest) => {
  const outcome = honest();
  if (!asksLogs(call) || !("result" in outcome)) return outcome;
  const logs = outcome.result as { data: string }[];
  return { result: logs.map((log, i) => (i === 0 ? { ...log, data: log.data.slice(0, 66) } : log)) };
};

const refusing: Whim = (call, honest) => {
  if (asksLogs(call)) throw new Down();
  return honest();
};

/** The same logs, under the hash of block a1. */
function misplaced(chain: DrawnChain, outcome: Outcome): Outcome {
  if (!("result" in outcome)) return outcome;
  return { result: (outcome.result as object[]).map((log) => ({ ...log, blockHash: chain.block("a1").hash })) };
}

async function followed(chain: DrawnChain, start = "a1..a10"): Promise<Watcher> {
  chain.draw(start);
  const watcher = new Watcher(chain.rpc, 0);
  // As other contracts' logs show in the first headers.
  watcher.follower.habits.hasBlooms = chain.bloom === "exact";
  await watcher.poll();
  chain.calls.length = 0;
  return watcher;
}

/** Mines one block after another, each seen by a poll; the steps of each. */
async function mined(chain: DrawnChain, watcher: Watcher, from: number, to: number): Promise<string[]> {
  const steps: string[] = [];
  for (let number = from; number <= to; number++) {
    chain.draw(`a${number - 1}-a${number}`);
    steps.push(await watcher.poll());
  }
  return steps;
}

describe("logs that an upstream leaves out", () => {
  it("are asked for once more where the bloom has them, and of another upstream", async () => {
    const chain = new DrawnChain("bad", "good");
    const watcher = await followed(chain);
    chain.whims.set("bad", omitting(11));
    chain.draw("a10-a11+7");
    expect(await watcher.poll()).toBe("a11+7");
    const asked = chain.calls.filter((call) => asksLogs(call) && asksFor(call, chain.block("a11").hash));
    expect(asked.map(({ upstream }) => upstream)).toEqual(["bad", "good"]);
    expect(chain.suspected).toEqual(["bad"]);
  });

  it("are believed where nobody tells of them, and read again with the next block", async () => {
    const chain = new DrawnChain();
    const watcher = await followed(chain);
    chain.whims.set("one", omitting(11));
    chain.draw("a10-a11+7");
    expect(await watcher.poll()).toBe("a11");
    expect(chain.calls.filter(asksLogs)).toHaveLength(2);
    chain.whims.clear();
    expect(await mined(chain, watcher, 12, 13)).toEqual(["a12", "a13 =a0(+7@11)"]);
    expect(watcher.notices).toEqual([{ kind: "missed-logs", count: 1, fromBlock: 11, toBlock: 11 }]);
    expect(watcher.follower.figures.divergences).toBe(1);
  });

  it("are one divergence, however many they are", async () => {
    const chain = new DrawnChain();
    const watcher = await followed(chain);
    chain.whims.set("one", omitting(11));
    chain.draw("a10-a11+7+8");
    expect(await watcher.poll()).toBe("a11");
    chain.whims.clear();
    await mined(chain, watcher, 12, 13);
    expect(watcher.notices).toMatchObject([{ kind: "missed-logs", count: 2 }]);
    expect(watcher.follower.figures.divergences).toBe(1);
  });

  it("are looked for again when looking for them failed", async () => {
    const chain = new DrawnChain();
    const watcher = await followed(chain);
    chain.whims.set("one", omitting(11));
    chain.draw("a10-a11+7");
    await watcher.poll();
    chain.whims.set("one", (call) => {
      const isLate = asksLogs(call) && /"(0xb|0x613131.*)"/.test(JSON.stringify(call.params));
      return isLate ? refusal("try again later") : undefined;
    });
    await mined(chain, watcher, 12, 13);
    chain.whims.clear();
    expect(await mined(chain, watcher, 14, 15)).toEqual(["a14", "a15 =a0(+7@11)"]);
  });

  it("are looked for every few seconds where the chain stands still", async () => {
    const chain = new DrawnChain();
    const watcher = await followed(chain);
    chain.whims.set("one", omitting(11));
    chain.draw("a10-a11+7");
    await watcher.poll();
    await watcher.polls(3);
    const asked = chain.calls.filter(asksLogs).length;
    await watcher.polls(3);
    expect(chain.calls.filter(asksLogs)).toHaveLength(asked);
    chain.whims.clear();
    watcher.tickMs = 4_000;
    expect(await watcher.polls(2)).toBe("=a0(+7@11)");
    chain.calls.length = 0;
    await watcher.polls(3);
    expect(chain.calls.filter(asksLogs)).toEqual([]);
  });

  it("for ten blocks are found then", async () => {
    const chain = new DrawnChain();
    const watcher = await followed(chain);
    chain.whims.set("one", omitting(11));
    chain.draw("a10-a11+7");
    await watcher.poll();
    await mined(chain, watcher, 12, 20);
    chain.whims.clear();
    expect(await mined(chain, watcher, 21, 22)).toEqual(["a21", "a22 =a0(+7@11)"]);
  });

  it("for longer still are found in between", async () => {
    const chain = new DrawnChain();
    const watcher = await followed(chain);
    chain.whims.set("one", omitting(11));
    chain.draw("a10-a11+7");
    await watcher.poll();
    await mined(chain, watcher, 12, 25);
    chain.whims.clear();
    watcher.tickMs = 4_000;
    expect(await watcher.polls(2)).toBe("=a0(+7@11)");
  });

  it("until they are final are found then", async () => {
    const chain = new DrawnChain();
    const watcher = await followed(chain);
    chain.whims.set("one", omitting(11, 12));
    chain.draw("a10-a11+7-a12+8-7");
    await watcher.poll();
    await mined(chain, watcher, 13, 60);
    chain.whims.clear();
    await mined(chain, watcher, 61, 94);
    expect(watcher.told.words).toEqual(["11.0 +7", "12.0 +8", "12.1 -7"]);
    expect(watcher.trail.final.number).toBeGreaterThan(12);
  });

  it.each(["full", "zero"] as const)("are looked for in blocks whose blooms say nothing: %s", async (bloom) => {
    const chain = new DrawnChain();
    chain.bloom = bloom;
    const watcher = await followed(chain);
    chain.whims.set("one", omitting(11));
    chain.draw("a10-a11+7");
    expect(await watcher.poll()).toBe("a11");
    chain.whims.clear();
    expect(await mined(chain, watcher, 12, 13)).toEqual(["a12", "a13 =a0(+7@11)"]);
  });

  it("beside others of the same block are found when the block is read again", async () => {
    const chain = new DrawnChain();
    const watcher = await followed(chain);
    chain.draw("a10-a11+7-6");
    chain.whims.set("one", (call, honest) => {
      const outcome = honest();
      const isAsked = asksLogs(call) && "result" in outcome;
      return isAsked ? { result: (outcome.result as unknown[]).slice(0, 1) } : outcome;
    });
    expect(await watcher.poll()).toBe("a11+7");
    chain.whims.clear();
    await mined(chain, watcher, 12, 94);
    expect(watcher.told.words).toEqual(["11.0 +7", "11.1 -6"]);
  });

  it("beside others of the same block are found within seconds where another upstream has them", async () => {
    const chain = new DrawnChain("bad", "good");
    const watcher = await followed(chain);
    chain.draw("a10-a11+7-6");
    chain.whims.set("bad", (call, honest) => {
      const outcome = honest();
      const isAsked = asksLogs(call) && "result" in outcome;
      return isAsked ? { result: (outcome.result as unknown[]).slice(0, 1) } : outcome;
    });
    expect(await watcher.poll()).toBe("a11+7");
    watcher.tickMs = 2_000;
    expect(await watcher.polls(5)).toBe("=a0(-6@11)");
    const { rereads } = watcher.follower.figures;
    await watcher.polls(20);
    expect(watcher.follower.figures.rereads).toBe(rereads);
  });

  it("with the bloom that has them are found within seconds, by one question to another upstream", async () => {
    const chain = new DrawnChain("bad", "good");
    const watcher = await followed(chain);
    chain.whims.set("bad", (call, honest) => (asksLogs(call) ? { result: [] } : blankBloom(call, honest)));
    chain.whims.set("good", (call) => {
      if (asksLogs(call)) throw new Down();
      return undefined;
    });
    chain.draw("a10-a11+7-a12-a13");
    await watcher.poll();
    chain.calls.length = 0;
    watcher.tickMs = 2_000;
    await watcher.polls(5);
    expect(watcher.told.words).toEqual([]);
    expect(new Set(chain.calls.filter(asksLogs).map(({ upstream }) => upstream))).toEqual(new Set(["good"]));
    chain.whims.delete("good");
    await watcher.polls(5);
    expect(watcher.told.words).toEqual(["11.0 +7"]);
  });

  it("of a fork that was gone over to are looked for as well", async () => {
    const chain = new DrawnChain();
    const watcher = await followed(chain);
    chain.whims.set("one", omitting(10));
    chain.draw("a9-b10+7");
    expect(await watcher.poll()).toBe("<a9 b10");
    chain.whims.clear();
    chain.draw("b10-b11");
    await watcher.poll();
    chain.draw("b11-b12");
    expect(await watcher.poll()).toBe("b12 =a0(+7@10)");
  });

  it("of blocks that were passed over while catching up are found when they are final", async () => {
    const chain = new DrawnChain().draw("a1..a149-a150+7-a151..a300");
    chain.finalDepth = 200;
    const watcher = new Watcher(chain.rpc, 0);
    chain.whims.set("one", omitting(150));
    await watcher.poll();
    chain.whims.clear();
    expect(watcher.told.words).toEqual([]);
    await mined(chain, watcher, 301, 370);
    expect(watcher.told.words).toEqual(["150.0 +7"]);
  });

  it.each([
    ["a block that was read", 270],
    ["a block that was passed over", 150],
  ])("of %s while catching up are found at once by another upstream", async (_, number) => {
    const chain = new DrawnChain("bad", "good").draw(`a1..a${number - 1}-a${number}+7-a${number + 1}..a300`);
    chain.finalDepth = 200;
    const watcher = new Watcher(chain.rpc, 0);
    chain.whims.set("bad", (call, honest) => (asksLogs(call) ? { result: [] } : blankBloom(call, honest)));
    await watcher.poll();
    expect(watcher.told.words).toEqual([]);
    chain.calls.length = 0;
    await watcher.polls(2);
    expect(watcher.told.words).toEqual([`${number}.0 +7`]);
    expect(chain.calls.filter(asksLogs)).toEqual([]);
  });

  it("of a block that was passed over are not taken from a fork", async () => {
    const chain = new DrawnChain("one", "fork").draw("a1..a300");
    chain.finalDepth = 200;
    const watcher = new Watcher(chain.rpc, 0);
    chain.draw("a149-b150+7-b151..b300", "fork");
    await watcher.polls(3);
    expect(watcher.told.words).toEqual([]);
  });

  it("near the head are asked of another upstream while catching up", async () => {
    const chain = new DrawnChain("bad", "good").draw("a1..a49-a50+7-a51..a60");
    const watcher = new Watcher(chain.rpc, 0);
    chain.whims.set("bad", omitting(50));
    await watcher.poll();
    expect(watcher.told.words).toEqual(["50.0 +7"]);
  });

  it("of blocks whose blooms say nothing are read again together", async () => {
    const chain = new DrawnChain();
    chain.bloom = "full";
    const watcher = await followed(chain);
    chain.whims.set("one", omitting(15));
    await mined(chain, watcher, 11, 14);
    chain.draw("a14-a15+7");
    await watcher.poll();
    await mined(chain, watcher, 16, 17);
    chain.whims.clear();
    await mined(chain, watcher, 18, 36);
    expect(watcher.told.words).toEqual(["15.0 +7"]);
    expect(watcher.trail.final.number).toBe(0);
  });

  it("of blocks that are long there are not doubted", async () => {
    const chain = new DrawnChain();
    chain.bloom = "full";
    const watcher = await followed(chain, "a1..a60");
    await mined(chain, watcher, 61, 62);
    expect(watcher.follower.figures.rereads).toBeLessThan(5);
  });

  it("of a block that a reorg has dropped are let go", async () => {
    const chain = new DrawnChain();
    const watcher = await followed(chain);
    chain.whims.set("one", omitting(11));
    chain.draw("a10-a11+7-a12");
    await watcher.poll();
    chain.whims.clear();
    chain.draw("a10-b11-b12-b13");
    await watcher.polls(3);
    expect(watcher.told.words).toEqual([]);
  });

  it("are no reason to drop what was seen before", async () => {
    const chain = new DrawnChain();
    const watcher = await followed(chain);
    chain.draw("a10-a11+7");
    await watcher.poll();
    chain.whims.set("one", omitting(11));
    await mined(chain, watcher, 12, 94);
    expect(watcher.told.words).toEqual(["11.0 +7"]);
    expect(watcher.trail.final.number).toBeGreaterThan(11);
  });

  it("are told once, also to a process that was restarted in between", async () => {
    const chain = new DrawnChain();
    const watcher = await followed(chain);
    chain.draw("a10-a11+7");
    await watcher.poll();
    watcher.restart();
    const steps = await mined(chain, watcher, 12, 94);
    expect(steps.filter((step) => step.includes("+7"))).toEqual([]);
    expect(watcher.follower.figures.divergences).toBe(0);
  });

  it("are asked for once more after a restart, of each upstream where there are two, and never of an only one", async () => {
    const asked: number[] = [];
    for (const names of [["one"], ["one", "two"]]) {
      const chain = new DrawnChain(...names);
      const watcher = await followed(chain);
      await mined(chain, watcher, 11, 30);
      watcher.restart();
      chain.calls.length = 0;
      await watcher.polls(10);
      asked.push(chain.calls.filter(asksLogs).length);
    }
    expect(asked).toEqual([0, 2]);
  });

  it("cost nothing where the bloom is sure that there are none", async () => {
    const chain = new DrawnChain();
    const watcher = await followed(chain);
    await mined(chain, watcher, 11, 25);
    expect(chain.calls.filter(asksLogs)).toHaveLength(15);
  });
});

describe("logs that an upstream damages", () => {
  it("are told by a reading that is whole, and told once", async () => {
    const chain = new DrawnChain("bad", "good");
    const watcher = await followed(chain);
    chain.whims.set("bad", damaging);
    chain.draw("a10-a11+7");
    expect(await watcher.poll()).toBe("a11+7");
    expect(chain.suspected).toEqual(["bad"]);
    await mined(chain, watcher, 12, 100);
    expect(watcher.told.words).toEqual(["11.0 +7"]);
    expect(watcher.follower.figures).toMatchObject({ invalidLogs: 0, divergences: 0 });
  });

  it("are passed as they are where another upstream has none or does not answer", async () => {
    for (const whim of [omitting(11), refusing]) {
      const chain = new DrawnChain("bad", "other");
      const watcher = await followed(chain);
      chain.whims.set("bad", damaging);
      chain.whims.set("other", whim);
      chain.draw("a10-a11+7");
      expect(await watcher.poll()).toBe("a11invalid");
    }
  });

  it("are read again soon, though others of that block are whole", async () => {
    const chain = new DrawnChain();
    const watcher = await followed(chain);
    chain.draw("a10-a11+7+8");
    chain.whims.set("one", damagingFirst);
    expect(await watcher.poll()).toBe("a11invalid+8");
    await mined(chain, watcher, 12, 13);
    chain.whims.clear();
    watcher.tickMs = 4_000;
    await mined(chain, watcher, 14, 15);
    expect(watcher.told.words).toEqual(["11.0 +7", "11.1 +8"]);
    expect(watcher.follower.figures).toMatchObject({ invalidLogs: 1, divergences: 1 });
  });

  it("do not stand before the whole ones of another", async () => {
    const chain = new DrawnChain("late", "bad");
    const watcher = await followed(chain);
    for (const name of ["late", "bad"]) chain.whims.set(name, omitting(11));
    chain.draw("a10-a11+7");
    await watcher.poll();
    chain.whims.delete("late");
    chain.whims.set("bad", damaging);
    await mined(chain, watcher, 12, 14);
    expect(watcher.told.words).toEqual(["11.0 +7"]);
  });

  it("are told once as what they are where nobody has them whole", async () => {
    const chain = new DrawnChain();
    const watcher = await followed(chain);
    chain.whims.set("one", damaging);
    chain.draw("a10-a11+7");
    await watcher.poll();
    await mined(chain, watcher, 12, 100);
    expect(watcher.trail.final.number).toBeGreaterThan(11);
    expect(watcher.follower.figures).toMatchObject({ invalidLogs: 1, divergences: 0 });
  });
});

describe("logs that an upstream makes up", () => {
  it.each([
    ["a block with other logs", "a11+8", "a11+8"],
    ["a block without any", "a11", "a11"],
  ])(
    "are refused where the bloom rules them out and another upstream does not have them: %s",
    async (_, block, step) => {
      const chain = new DrawnChain("bad", "good");
      const watcher = await followed(chain, "a1..a9-a10+9");
      chain.draw(`a10-${block}`);
      const { deeds, ...rest } = chain.block("a11");
      const invented = logsOf({ ...rest, deeds: [...deeds, "-7"] });
      chain.whims.set("bad", (call) => (asksLogs(call) ? { result: invented } : undefined));
      expect(await watcher.poll()).toBe(step);
      expect(chain.suspected).toEqual(["bad"]);
    },
  );

  it("are refused where they are told by whoever did not tell the block, when it is read again", async () => {
    const chain = new DrawnChain("good", "bad");
    const watcher = await followed(chain, "a1..a9-a10+9");
    chain.draw("a10-a11+8");
    await watcher.poll();
    const [, invented] = logsOf({ ...chain.block("a11"), deeds: ["+8", "-7"] });
    let told = 0;
    chain.whims.set("bad", (call, honest) => {
      const outcome = honest();
      if (!asksLogs(call) || !("result" in outcome)) return outcome;
      const logs = outcome.result as { blockNumber: string }[];
      if (!logs.some(({ blockNumber }) => Number(blockNumber) === 11)) return outcome;
      told++;
      return { result: [...logs, invented] };
    });
    await mined(chain, watcher, 12, 100);
    expect(told).toBeGreaterThan(0);
    expect(watcher.trail.final.number).toBeGreaterThan(11);
    expect(watcher.told.words).toEqual(["10.0 +9", "11.0 +8"]);
  });

  it("are not believed while nobody else can be asked", async () => {
    const chain = new DrawnChain("bad", "good");
    const watcher = await followed(chain, "a1..a9-a10+9");
    chain.draw("a10-a11");
    const invented = logsOf({ ...chain.block("a11"), deeds: ["-7"] });
    chain.whims.set("bad", (call) => (asksLogs(call) ? { result: invented } : undefined));
    chain.whims.set("good", () => {
      throw new Down();
    });
    await expect(watcher.poll()).rejects.toThrow();
    chain.whims.delete("good");
    expect(await watcher.poll()).toBe("a11");
  });

  it("with two logs in one place are refused, whoever says so", async () => {
    const chain = new DrawnChain();
    const watcher = await followed(chain);
    chain.draw("a10-a11+7");
    const both = [...logsOf(chain.block("a11")), ...logsOf({ ...chain.block("a11"), deeds: ["+8"] })];
    chain.whims.set("one", (call) => (asksLogs(call) ? { result: both } : undefined));
    await expect(watcher.poll()).rejects.toMatchObject({ fault: { code: "chain.reply-refused" } });
  });

  it.each([
    ["unfinal", "a1..a49-a50+7-a51..a60"],
    ["final", "a1..a35-a36+7-a37..a100"],
  ])("with the hash of another block are refused while catching up: %s", async (_, drawing) => {
    const chain = new DrawnChain().draw(drawing);
    const watcher = new Watcher(chain.rpc, 0);
    chain.whims.set("one", (call, honest) => (asksLogs(call) ? misplaced(chain, honest()) : undefined));
    await expect(watcher.poll()).rejects.toBeInstanceOf(AgentError);
    expect(watcher.told.words).toEqual([]);
    chain.whims.clear();
    await watcher.poll();
    expect(watcher.told.words).toEqual(chain.truth());
  });

  it("with the hash of another block never make anything final", async () => {
    const chain = new DrawnChain();
    const watcher = await followed(chain, "a1..a20-a21+7-a22..a60");
    const isRange = (call: Call) => asksLogs(call) && "fromBlock" in (call.params[0] as object);
    chain.whims.set("one", (call, honest) => (isRange(call) ? misplaced(chain, honest()) : undefined));
    await mined(chain, watcher, 61, 100);
    expect(watcher.trail.final.number).toBe(12);
    chain.whims.clear();
    await mined(chain, watcher, 101, 103);
    expect(watcher.trail.final.number).toBeGreaterThan(21);
  });

  it("with two logs in one place are refused", async () => {
    const chain = new DrawnChain("bad", "good");
    const watcher = await followed(chain);
    chain.draw("a10-a11+7");
    const both = [...logsOf(chain.block("a11")), ...logsOf({ ...chain.block("a11"), deeds: ["+8"] })];
    chain.whims.set("bad", (call) => (asksLogs(call) ? { result: both } : undefined));
    expect(await watcher.poll()).toBe("a11+7");
  });

  it("of another block than the one asked for are refused", async () => {
    const chain = new DrawnChain("bad", "good");
    const watcher = await followed(chain);
    chain.draw("a10-a11+7-a12");
    const others = logsOf(chain.block("a11"));
    chain.whims.set("bad", (call) => (asksLogs(call) ? { result: others } : undefined));
    expect(await watcher.poll()).toBe("a11+7 a12");
  });
});

describe("an upstream that cannot filter by block hash", () => {
  const byHash = (call: Call) => asksLogs(call) && "blockHash" in (call.params[0] as object);

  it("is asked by number, and held to the hash", async () => {
    const chain = new DrawnChain();
    const watcher = await followed(chain);
    chain.whims.set("one", (call) => (byHash(call) ? refusal("invalid params", -32602) : undefined));
    chain.draw("a10-a11+7");
    expect(await watcher.poll()).toBe("a11+7");
    await mined(chain, watcher, 12, 20);
    expect(chain.calls.filter(byHash)).toHaveLength(3);
    chain.draw("a20-a21+8");
    const elsewhere = logsOf({ ...chain.block("a21"), hash: chain.block("a20").hash });
    chain.whims.set("one", (call) => (asksLogs(call) ? { result: elsewhere } : undefined));
    await expect(watcher.poll()).rejects.toMatchObject({ fault: { code: "chain.reply-refused" } });
  });

  it("is asked again after a while", async () => {
    const chain = new DrawnChain();
    const watcher = await followed(chain, "a1..a50");
    chain.whims.set("one", (call) => (byHash(call) ? refusal("invalid params", -32602) : undefined));
    await mined(chain, watcher, 51, 60);
    expect(chain.calls.filter(byHash)).toHaveLength(3);
    chain.whims.clear();
    await mined(chain, watcher, 61, 66);
    expect(chain.calls.filter(byHash)).toHaveLength(3 + 3);
  });

  it("now and then is still asked by it", async () => {
    const chain = new DrawnChain();
    const watcher = await followed(chain);
    let asked = 0;
    chain.whims.set("one", (call) => (byHash(call) && asked++ % 3 < 2 ? refusal("no", -32603) : undefined));
    await mined(chain, watcher, 11, 22);
    expect(asked).toBe(12);
  });

  it("is not asked by number where it says that it lacks the block", async () => {
    const chain = new DrawnChain();
    const watcher = await followed(chain);
    chain.whims.set("one", (call) => (byHash(call) ? refusal("unknown block") : undefined));
    chain.draw("a10-a11+7");
    await expect(watcher.poll()).rejects.toThrow();
    chain.whims.clear();
    expect(await watcher.poll()).toBe("a11+7");
  });
});

describe("an upstream's head", () => {
  it("that is lower never takes anything back", async () => {
    const chain = new DrawnChain();
    const watcher = await followed(chain, "a1..a20");
    chain.draw("a1..a5");
    expect(await watcher.polls(10)).toBe("");
    chain.draw("a20-a21");
    expect(await watcher.poll()).toBe("a21");
  });

  it("that is lower makes way for another's", async () => {
    const chain = new DrawnChain("lagging", "good");
    const watcher = await followed(chain, "a1..a20");
    chain.draw("a1..a12", "lagging").draw("a20-a21-a22", "good");
    expect(await watcher.poll()).toBe("a21 a22");
    expect(chain.suspected).toEqual(["lagging"]);
  });

  it("that stands still makes way for another's", async () => {
    const chain = new DrawnChain("frozen", "good");
    const watcher = await followed(chain, "a1..a20");
    chain.draw("a20-a21-a22", "good");
    expect(await watcher.poll()).toBe("a21 a22");
  });

  it("that is made up beside one that stands still is held against its upstream", async () => {
    const chain = new DrawnChain("good", "liar");
    const watcher = await followed(chain, "a1..a20");
    chain.draw("c90..c99", "liar");
    expect(await watcher.poll()).toBe("");
    expect(chain.suspected).toEqual(["liar"]);
  });

  it("that is made up, and whose logs nobody tells, holds up nothing that another upstream has", async () => {
    const chain = new DrawnChain("liar", "good");
    const watcher = await followed(chain, "a1..a20");
    chain.draw("a20-c21-c22", "liar");
    chain.whims.set("liar", (call) => (asksLogs(call) ? refusal("unknown block") : undefined));
    expect(await watcher.poll()).toBe("");
    expect(chain.suspected).toEqual(["liar"]);
    expect(watcher.follower.figures.headBlock).toBe(20);
    chain.draw("a20-a21+7", "good");
    expect(await watcher.poll()).toBe("a21+7");
  });

  it("that one upstream alone has, and whose logs it does not tell yet, is reached with the next poll", async () => {
    const chain = new DrawnChain("good", "behind");
    const watcher = await followed(chain, "a1..a20");
    chain.draw("a20-a21+7", "good").draw("a1..a19", "behind");
    chain.whims.set("good", (call) => (asksLogs(call) ? refusal("header not found") : undefined));
    expect(await watcher.poll()).toBe("");
    chain.whims.clear();
    expect(await watcher.poll()).toBe("a21+7");
  });

  it("that an only upstream has, and whose logs it does not tell yet, is what the poll fails with", async () => {
    const chain = new DrawnChain();
    const watcher = await followed(chain, "a1..a20");
    chain.draw("a20-a21+7");
    chain.whims.set("one", (call) => (asksLogs(call) ? refusal("header not found") : undefined));
    await expect(watcher.poll()).rejects.toMatchObject({ kind: "absent" });
    chain.whims.clear();
    expect(await watcher.poll()).toBe("a21+7");
    expect(chain.suspected).toEqual([]);
  });

  it("that flaps between two heights tells each block once", async () => {
    const chain = new DrawnChain();
    const watcher = await followed(chain, "a1..a20");
    chain.draw("a20-a21");
    const steps: string[] = [];
    for (let i = 0; i < 6; i++) {
      chain.draw(i % 2 === 0 ? "a1..a21" : "a1..a19");
      steps.push(await watcher.poll());
    }
    expect(steps.filter((step) => step !== "")).toEqual(["a21"]);
  });

  it("on a shorter fork is followed once it was told three times in a row", async () => {
    const chain = new DrawnChain();
    const watcher = await followed(chain, "a1..a8-a9+7-a10");
    chain.draw("a5-b6-b7");
    expect([await watcher.poll(), await watcher.poll(), await watcher.poll()]).toEqual(["", "", "<a5 b6 b7"]);
    expect(watcher.told.words).toEqual([]);
  });

  it("that belongs to no chain is refused, whatever number it has", async () => {
    const chain = new DrawnChain("liar", "good");
    const watcher = await followed(chain, "a1..a20");
    chain.draw("a20-a21");
    const made = (number: number) => ({
      ...{ number: `0x${number.toString(16)}`, hash: `0x${"f".repeat(64)}`, parentHash: `0x${"e".repeat(64)}` },
      timestamp: "0x65000000",
    });
    for (const number of [21, 22, 1_000_000]) {
      chain.whims.set("liar", ({ params }) => (params[0] === "latest" ? { result: made(number) } : undefined));
      await watcher.poll();
    }
    expect(watcher.trail.unfinal.at(-1)).toEqual({ number: 21, hash: chain.block("a21").hash });
    expect(watcher.follower.figures.reorgs).toBe(0);
  });
});

describe("upstreams that disagree", () => {
  it("do not take us back while one still has our tip", async () => {
    const chain = new DrawnChain("b", "a").draw("a1..a9-a10+7");
    chain.whims.set("b", () => {
      throw new Down();
    });
    const watcher = await followed(chain, "a10-a11");
    chain.whims.clear();
    chain.draw("a5-b6..b11", "b");
    expect(await watcher.polls(3)).toBe("");
    chain.draw("a11-a12", "a").draw("b11-b12", "b");
    expect(await watcher.poll()).toBe("a12");
    expect(watcher.told.words).toEqual(["10.0 +7"]);
  });

  it("are settled by the one that told our tip", async () => {
    const chain = new DrawnChain("b", "c", "a").draw("a1..a10");
    chain.whims.set("b", () => {
      throw new Down();
    });
    chain.whims.set("c", () => {
      throw new Down();
    });
    const watcher = await followed(chain, "a10-a11");
    chain.whims.clear();
    chain.draw("a5-b6..b11", "b", "c");
    expect(await watcher.polls(3)).toBe("");
  });

  it("do, once the other chain has outgrown it", async () => {
    const chain = new DrawnChain("b", "a");
    const watcher = await followed(chain, "a1..a10");
    chain.draw("a9-b10-b11-b12", "b");
    expect(await watcher.poll()).toBe("");
    chain.draw("b12-b13", "b");
    expect(await watcher.poll()).toBe("<a9 b10 b11 b12 b13");
  });

  it("do where both have left our tip", async () => {
    const chain = new DrawnChain("one", "two");
    const watcher = await followed(chain, "a1..a10");
    chain.draw("a9-b10");
    expect(await watcher.poll()).toBe("<a9 b10");
  });

  it("do where the other one is down", async () => {
    const chain = new DrawnChain("one", "two");
    const watcher = await followed(chain, "a1..a10");
    chain.draw("a9-b10", "one");
    chain.whims.set("two", () => {
      throw new Down();
    });
    expect(await watcher.poll()).toBe("<a9 b10");
  });

  it("about what is final leave us with the one that fits", async () => {
    const chain = new DrawnChain("liar", "good");
    const watcher = await followed(chain, "a1..a200");
    chain.draw("a1-b2..b201", "liar").draw("a200-a201-a202", "good");
    expect(await watcher.poll()).toBe("a201 a202");
    expect(chain.suspected).toEqual(["liar"]);
  });

  it("about what is final are not settled for ever by one that stands still", async () => {
    const chain = new DrawnChain("one", "frozen");
    const watcher = await followed(chain, "a1..a200");
    chain.draw("a1-b2..b210", "one");
    expect(await watcher.polls(20)).toBe("");
    await expect(watcher.polls(20)).rejects.toMatchObject({ fault: { code: "chain.fork-below-finality" } });
    chain.draw("a200-a201", "frozen");
    expect(await watcher.poll()).toBe("a201");
  });

  it("as to the past never delay the present", async () => {
    const chain = new DrawnChain("good", "slow");
    const watcher = await followed(chain);
    const rpc = chain.rpc;
    const never = new Promise<never>(() => {});
    const slow: typeof rpc.ask = (question, choice = {}) => (choice.not === "good" ? never : rpc.ask(question, choice));
    const watching = new Watcher({ ...rpc, ask: slow }, 0);
    watching.trail = watcher.trail;
    const steps: string[] = [];
    for (let number = 11; number <= 60; number++) {
      chain.draw(`a${number - 1}-a${number}`);
      steps.push(await watching.poll());
    }
    expect(steps).toEqual(Array.from({ length: 50 }, (_, i) => `a${11 + i}`));
  });
});

describe("of three upstreams, two", () => {
  /** Blocks 12 and on; after each the agent polls twice. */
  const going = async (watcher: Watcher, blocks: number, draw: (number: number) => void) => {
    const told: string[] = [];
    for (let number = 12; number < 12 + blocks; number++) {
      draw(number);
      told.push(await watcher.polls(2));
    }
    return told.join(" ");
  };

  it("are followed where the one that we follow has a fork of its own", async () => {
    const chain = new DrawnChain("liar", "one", "two");
    const watcher = await followed(chain);
    chain.draw("a10-b11", "liar").draw("a10-a11-7", "one", "two");
    expect(await watcher.poll()).toBe("b11");
    const told = await going(watcher, 6, (number) => {
      chain.draw(`b${number - 1}-b${number}`, "liar").draw(`a${number - 1}-a${number}`, "one", "two");
    });
    expect(told).toContain("<a10 a11-7 a12");
    expect(watcher.told.words).toEqual(chain.truth("one"));
    expect(chain.suspected).toContain("liar");
  });

  it("are followed where their chain is a block behind the fork's", async () => {
    const chain = new DrawnChain("liar", "one", "two");
    const watcher = await followed(chain);
    chain.draw("a10-b11-b12", "liar").draw("a10-a11-7", "one", "two");
    const told = await going(watcher, 6, (number) => {
      chain.draw(`b${number}-b${number + 1}`, "liar").draw(`a${number - 1}-a${number}`, "one", "two");
    });
    expect(told).toContain("<a10 a11-7 a12");
    expect(watcher.told.words).toEqual(chain.truth("one"));
  });

  it("are not left for a fork that is longer", async () => {
    const chain = new DrawnChain("liar", "one", "two");
    const watcher = await followed(chain);
    chain.draw("a10-b11..b19", "liar").draw("a10-a11-7", "one", "two");
    await watcher.polls(2);
    const told = await going(watcher, 20, (number) => {
      chain.draw(`b${number + 7}-b${number + 8}`, "liar").draw(`a${number - 1}-a${number}`, "one", "two");
    });
    expect(told.match(/</g)).toHaveLength(1);
    expect(watcher.trail.unfinal.at(-1)?.hash).toBe(chain.heads.get("one")?.hash);
  });

  it.each([1, 2])("are followed where the fork stays %i blocks behind them", async (lag) => {
    const chain = new DrawnChain("liar", "one", "two");
    const watcher = await followed(chain);
    chain.draw("a10-b11", "liar").draw(`a10-a11-7-a12..a${11 + lag}`, "one", "two");
    await watcher.poll();
    await going(watcher, 10, (number) => {
      chain.draw(`b${number - 1}-b${number}`, "liar").draw(`a${number + lag - 1}-a${number + lag}`, "one", "two");
    });
    expect(watcher.told.words).toEqual(chain.truth("one"));
  });

  it("are not left for a longer fork because one of them fails for a moment", async () => {
    const down: Whim = () => {
      throw new Down();
    };
    const chain = new DrawnChain("liar", "one", "two");
    const watcher = await followed(chain);
    chain.whims.set("liar", down);
    chain.draw("a10-a11", "one", "two");
    expect(await watcher.poll()).toBe("a11");
    chain.whims.delete("liar");
    chain.draw("a10-b11..b14", "liar");
    chain.whims.set("one", down);
    expect(await watcher.poll()).toBe("");
  });

  it("are not left for a fork while one of them is a block behind", async () => {
    const chain = new DrawnChain("liar", "late", "honest");
    const watcher = await followed(chain);
    chain.draw("a10-a11");
    expect(await watcher.poll()).toBe("a11");
    chain.draw("a10-b11..b14", "liar").draw("a10", "late");
    expect(await watcher.polls(2)).toBe("");
  });

  it("of which one has not come so far and the other has ended are left for the third, once they have stalled", async () => {
    const chain = new DrawnChain("ended", "frozen", "honest");
    const watcher = await followed(chain);
    chain.draw("a10-b11", "ended").draw("a10-a11", "honest");
    expect(await watcher.poll()).toBe("b11");
    await going(watcher, 30, (number) => chain.draw(`a${number - 1}-a${number}`, "honest"));
    expect(watcher.trail.unfinal.at(-1)?.hash).toBe(chain.heads.get("honest")?.hash);
  });

  /** Whose chain each of them is on from block 11 on, the one that is followed first. */
  it.each<[string, Readonly<Record<string, string>>]>([
    ["that have two forks are no majority", { liar: "b", one: "c", two: "a" }],
    ["of which one is on our chain are no majority", { liar: "b", one: "b", two: "a" }],
    ["beside two others are no majority", { liar: "b", other: "b", one: "a", two: "a" }],
  ])("%s", async (_, chains) => {
    const chain = new DrawnChain(...Object.keys(chains));
    const watcher = await followed(chain);
    const draw = (number: number) => {
      for (const [name, of] of Object.entries(chains)) {
        chain.draw(`${number === 11 ? "a" : of}${number - 1}-${of}${number}`, name);
      }
    };
    draw(11);
    await watcher.poll();
    expect(await going(watcher, 10, draw)).not.toContain("<");
  });

  it("that come to a reorg later than the one that we follow take nothing back", async () => {
    const chain = new DrawnChain("first", "one", "two");
    const watcher = await followed(chain);
    const told: string[] = [];
    for (const [i, fork] of [..."bcdefg"].entries()) {
      const [height, before] = [11 + i, i === 0 ? "a" : "bcdefg"[i - 1]];
      // One block of another fork for those who are late, then the same for all.
      chain.draw(`${before}${height - 1}-${fork}${height}`, "first");
      chain.draw(`${before}${height - 1}-z${height}`, "one", "two");
      told.push(await watcher.polls(3));
      chain.draw(`${fork}${height}`, "one", "two");
      told.push(await watcher.polls(3));
    }
    expect(told.join(" ")).not.toContain("<");
  });

  it("that were elsewhere when they last told their head, and are not any more, change nothing", async () => {
    const chain = new DrawnChain("first", "one", "two");
    const watcher = await followed(chain);
    chain.draw("a10-b11", "one", "two").draw("a10-a11", "first");
    await watcher.poll();
    for (const name of ["one", "two"]) {
      chain.whims.set(name, ({ params: [at] }) => {
        return at === "latest"
          ? (chain.answer("first")("eth_getBlockByNumber", ["latest", false]) as Outcome)
          : undefined;
      });
    }
    expect(await watcher.polls(20)).not.toContain("<");
  });
});
