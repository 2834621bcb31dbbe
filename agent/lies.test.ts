/** What one upstream makes up, leaves out or alters, held against a whole agent. */
import { setTimeout as sleep } from "node:timers/promises";
import { id as topicOf } from "ethers";
import { afterEach, describe, expect, it } from "vitest";
import { resync } from "./actions.ts";
import { report } from "./agent.ts";
import { attempt, auditAll } from "./auditing.ts";
import { TOPIC } from "./chain/events.ts";
import { headOf } from "./chain/questions.ts";
import { rivals } from "./chain/rivals.ts";
import { connect } from "./chain/rpc.ts";
import { heedRivals } from "./contest.ts";
import { AgentError } from "./errors.ts";
import type { Address } from "./model.ts";
import { witnessRemovals } from "./proving.ts";
import { trail } from "./registry/ledger.ts";
import { Boot, type BootOptions, keyOf, NODE_KEY, ownerOf } from "./test/boot.ts";
import { RpcProxy } from "./test/rpc-proxy.ts";
import { type Backend, type ChainOptions, ScriptedChain } from "./test/scripted-chain.ts";
import { type ContractOptions, ScriptedContract, strings, word } from "./test/scripted-contract.ts";
import { twinOf, withoutOther } from "./test/twin.ts";
import { disputed } from "./unvouched.ts";
import { vouchAdditions, vouchSoon } from "./vouching.ts";

const KEYS = Array.from({ length: 20 }, (_, i) => keyOf(i + 1));
const MALLORY = keyOf(999);
let boot: Boot;
afterEach(() => boot.end());

/** A node with twenty members before this many upstreams, the first of which is followed. */
async function node(upstreams: number, options: BootOptions = {}): Promise<void> {
  boot = new Boot({ ...options, finalizedDepth: 60 });
  if (upstreams === 2) boot.upstreams.set("other", boot.chain.answer);
  boot.grant(...KEYS);
  boot.chain.mine(80);
  await boot.poll();
  // On a busy machine they are vouched for a little later.
  await boot.until(() => boot.held().length === 20);
}

const twin = (options?: ChainOptions & ContractOptions, last?: (contract: ScriptedContract) => void) =>
  twinOf(boot, KEYS, options, last);

/** From now on the followed upstream has a chain of its own. */
function follow(chain: ScriptedChain, answer = chain.answer): void {
  boot.upstreams.set("scripted", answer);
  boot.heads.set("scripted", chain.head);
}

const third = () => boot.upstreams.set("third", boot.chain.answer);

type Way = (truth: Backend) => Backend;
const refusing =
  (refused: string, error: object = { code: -32601, message: "method not found" }): Way =>
  (truth) =>
  (method, params) =>
    method === refused ? { error: error as never } : truth(method, params);

interface Told {
  readonly topics: readonly string[];
  readonly blockNumber: string;
}
/** What the answers to eth_getLogs hold, changed. */
const altering =
  (change: (log: Told) => object): Way =>
  (truth) =>
  async (method, params) => {
    const outcome = await truth(method, params);
    if (method !== "eth_getLogs" || !("result" in outcome)) return outcome;
    return { result: (outcome.result as Told[]).map(change) };
  };

/** No logs, and no block's bloom that would have any. */
const blank: Way = (truth) => async (method, params) => {
  const outcome = await truth(method, params);
  if (method === "eth_getLogs") return { result: [] };
  if (!method.startsWith("eth_getBlock") || !("result" in outcome) || outcome.result === null) return outcome;
  return { result: { ...(outcome.result as object), logsBloom: `0x${"0".repeat(512)}` } };
};

/** Tells of nothing above so many blocks below the head. */
const behind =
  (lag: number): Way =>
  (truth) =>
  (method, params) => {
    const top = boot.chain.head - lag;
    const asked = JSON.stringify(params);
    const isAbove = Array.from({ length: lag }, (_, i) => boot.chain.hashOf(top + 1 + i)).some((hash) =>
      asked.includes(hash),
    );
    if (isAbove) return { error: { code: -32000, message: "header not found" } };
    if (method === "eth_getBlockByNumber" && params[0] === "latest")
      return truth(method, [`0x${top.toString(16)}`, false]);
    if (method === "eth_getBlockByNumber" && Number(params[0]) > top) return { result: null };
    return truth(method, params);
  };

const withoutTheOther = (work: () => Promise<unknown>) => withoutOther(boot, work);

/** Polls as the agent's own loop does, which remembers what fails. */
async function told(polls: number): Promise<void> {
  for (let i = 0; i < polls; i++) {
    const error = await boot.poll();
    if (error instanceof AgentError) report(boot.agent, error);
  }
}

/** Polls while blocks come every two seconds; second readings go on beside them. */
async function later(polls: number): Promise<void> {
  for (let i = 0; i < polls; i++) {
    boot.chain.mine(1);
    boot.clockMs += 2_000;
    await boot.poll();
    await sleep(2);
  }
}

describe("one block that would take everybody away", () => {
  it.each([1, 2])(
    "by announcing keys, where no state can be read, takes no more than a fifth (of %i upstreams)",
    async (upstreams) => {
      await node(upstreams);
      const liar = twin();
      const announcement = topicOf("PublicKeyUpdated(address,string)");
      for (const [i] of KEYS.entries()) {
        liar.contract.emit(liar.contract.log([announcement, word(ownerOf(i + 1))], strings(keyOf(500 + i))));
      }
      liar.contract.mine();
      follow(liar.chain, refusing("eth_call")(liar.chain.answer));
      await boot.poll();
      expect(boot.held().length).toBeGreaterThanOrEqual(15);
    },
  );

  it.each([1, 2])(
    "by granting their keys to their owners again moves no more than a fifth (of %i upstreams)",
    async (upstreams) => {
      await node(upstreams);
      const before = new Set(boot.held());
      const liar = twin();
      for (const [i, key] of KEYS.entries()) liar.contract.grant(ownerOf(i + 1), `x-${i}`, key);
      liar.contract.mine();
      follow(liar.chain);
      await boot.poll();
      expect(boot.held().filter((peer) => before.has(peer)).length).toBeGreaterThanOrEqual(15);
    },
  );

  it("by granting them anew, which waits for confirmations, takes no more than a fifth", async () => {
    await node(1, { env: { GRANT_CONFIRMATIONS: "2" } });
    const liar = twin();
    for (const [i, key] of KEYS.entries()) {
      liar.contract.revoke(BigInt(i + 2));
      liar.contract.grant(ownerOf(i + 1), `m-${i}`, key, BigInt(i + 2));
    }
    liar.contract.mine();
    follow(liar.chain);
    await boot.poll();
    expect(boot.held().length).toBeGreaterThanOrEqual(15);
  });

  it("moves all their keys to other tokens where the contract's state has it so", async () => {
    await node(1);
    const heirs = KEYS.map((key, i) => boot.contract.grant(ownerOf(i + 1), `x-${i}`, key));
    boot.contract.mine();
    await boot.poll();
    const loop = witnessRemovals(boot.agent, boot.signal);
    boot.clockMs += 6_000;
    const moved = KEYS.map((key, i) => `${key} 10.213.0.${heirs[i]}/32`).sort();
    await boot.until(() => boot.held().join() === moved.join());
    await boot.end();
    await loop;
    boot = new Boot();
  });
});

describe("a head that one of two upstreams makes up", () => {
  it.each([1, 300, 450])("with %i grants lets nobody in", async (count) => {
    await node(2);
    const liar = twin();
    for (let i = 1; i < count; i++) liar.contract.grant(ownerOf(1_000 + i), `x-${i}`, keyOf(1_000 + i));
    liar.contract.grant(ownerOf(999), "mallory", MALLORY);
    liar.contract.mine();
    follow(liar.chain);
    await boot.poll();
    await boot.poll();
    await boot.fullPass();
    expect(boot.holds(MALLORY)).toEqual([false]);
  });

  it.each([1, 8, 9, 20])("%i blocks ahead lets nobody in, however long the other one goes on", async (ahead) => {
    await node(2);
    const liar = twin();
    liar.contract.grant(ownerOf(999), "mallory", MALLORY);
    liar.contract.mine();
    liar.chain.mine(ahead - 1);
    follow(liar.chain);
    await boot.poll();
    const loop = vouchAdditions(boot.agent, boot.signal);
    boot.heads.set("other", boot.chain.mine(1));
    boot.clockMs += 3_000;
    await boot.until(() => disputed(boot.agent).length > 0);
    boot.clockMs += 60_000;
    await boot.poll();
    await boot.fullPass();
    expect(boot.holds(MALLORY)).toEqual([false]);
    await boot.end();
    await loop;
    boot = new Boot();
  });

  it.each([5, 12, 40])(
    "on a fork %i blocks longer, which lacks a revoke, does not bring the key back",
    async (longer) => {
      await node(2);
      const liar = twin();
      boot.contract.revoke(2n);
      boot.contract.mine();
      await boot.poll();
      expect(boot.holds(keyOf(1))).toEqual([false]);
      liar.chain.mine(1 + longer);
      follow(liar.chain);
      for (let i = 0; i < 3; i++) await boot.poll();
      expect(boot.holds(keyOf(1))).toEqual([false]);
    },
  );

  it("far beyond finality freezes nobody once it is gone", async () => {
    await node(2);
    const liar = twin();
    liar.chain.mine(150);
    follow(liar.chain);
    await boot.poll();
    follow(boot.chain);
    boot.contract.grant(ownerOf(50), "bob", keyOf(50));
    boot.contract.mine();
    boot.chain.mine(300);
    boot.heads.clear();
    await told(5);
    expect([...boot.agent.faults.keys()]).toEqual([]);
    expect(boot.holds(keyOf(50))).toEqual([true]);
  });
});

describe("a grant that is disputed", () => {
  const disputedNode = async () => {
    await node(2);
    const liar = twin();
    liar.contract.grant(ownerOf(999), "mallory", MALLORY);
    liar.contract.mine();
    follow(liar.chain);
    boot.heads.set("other", boot.chain.mine(1));
    await boot.poll();
    await boot.poll();
    expect(disputed(boot.agent)).toHaveLength(1);
    boot.clockMs += 60_000;
  };

  it("stays so while the one that denies it cannot be read", async () => {
    await disputedNode();
    boot.upstreams.set("other", () => ({ error: { code: -32603, message: "internal error" } }));
    await vouchSoon(boot.agent, boot.signal);
    await boot.poll();
    expect(boot.holds(MALLORY)).toEqual([false]);
  });

  it("stays so while the one that denies it is left alone for a moment", async () => {
    await disputedNode();
    await withoutTheOther(async () => {
      await vouchSoon(boot.agent, boot.signal);
      await boot.fullPass();
    });
    expect(boot.holds(MALLORY)).toEqual([false]);
  });
});

describe("upstreams of which one is on a fork", () => {
  it.each<[string, () => void]>([
    ["two", () => {}],
    ["three", third],
  ])("do not keep a node from what came during an outage (%s)", async (_, more) => {
    await node(2);
    const fork = twin();
    fork.chain.mine(2_000);
    boot.contract.revoke(2n);
    boot.contract.mine(1_999);
    boot.upstreams.set("other", fork.chain.answer);
    more();
    for (let i = 0; i < 5; i++) {
      await boot.poll();
      boot.chain.mine(1);
      fork.chain.mine(1);
    }
    expect(boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
  });

  it("do not keep what two others have from being final", async () => {
    await node(2);
    const fork = twin();
    boot.upstreams.set("other", fork.chain.answer);
    third();
    const { number } = boot.agent.ledger.final;
    for (let i = 0; i < 150; i++) {
      fork.chain.mine(1);
      await later(1);
    }
    expect(boot.agent.ledger.final.number).toBeGreaterThan(number + 60);
  });
});

describe("three upstreams of which the followed one is on a fork", () => {
  it("let in whom the two others have, and have final what they have", async () => {
    await node(2);
    third();
    const fork = twin().chain;
    const { number } = boot.agent.ledger.final;
    boot.contract.grant(ownerOf(50), "bob", keyOf(50));
    boot.contract.mine();
    for (let i = 0; i < 100; i++) {
      boot.chain.mine(1);
      fork.mine(boot.chain.head - fork.head);
      follow(fork);
      // As each upstream's patrol does.
      for (const only of boot.upstreams.keys()) {
        boot.heads.set(only, (await boot.agent.rpc.ask(headOf("latest"), { only })).value.number);
      }
      boot.clockMs += 2_000;
      await boot.poll();
      await boot.poll();
      await sleep(2);
    }
    expect(boot.holds(keyOf(50))).toEqual([true]);
    expect(boot.agent.ledger.final.number).toBeGreaterThan(number + 30);
  });
});

describe("a chain far ahead that one of two upstreams makes up", () => {
  it("is not final because the other one fails once", async () => {
    await node(2);
    const liar = twin();
    liar.chain.mine(150);
    follow(liar.chain);
    let failures = 1;
    boot.upstreams.set("other", (method, params) => {
      const isHigh = method === "eth_getBlockByNumber" && Number(params[0]) > boot.chain.head - 5;
      if (isHigh && failures-- > 0) return { error: { code: 429, message: "too many requests" } };
      return boot.chain.answer(method, params);
    });
    await boot.poll();
    follow(boot.chain);
    boot.contract.revoke(2n);
    boot.contract.mine();
    boot.chain.mine(300);
    boot.heads.clear();
    await told(5);
    expect([...boot.agent.faults.keys()]).toEqual([]);
    expect(boot.holds(keyOf(1))).toEqual([false]);
  });

  it("on which everybody is revoked, in its state too, is no witness of itself", async () => {
    await node(2);
    const liar = twin();
    for (const [i] of KEYS.entries()) liar.contract.revoke(BigInt(i + 2));
    liar.contract.mine();
    follow(liar.chain);
    boot.heads.set("other", boot.chain.mine(1));
    await boot.poll();
    const loop = witnessRemovals(boot.agent, boot.signal);
    for (let i = 0; i < 3; i++) {
      boot.clockMs += 6_000;
      await sleep(600);
      await boot.poll();
    }
    expect(boot.held().length).toBeGreaterThanOrEqual(15);
    await boot.end();
    await loop;
    boot = new Boot();
  });
});

describe("a fork of the followed upstream's own that keeps pace and lacks a removal", () => {
  /** Both chains go on, a block every two seconds, while the agent listens. */
  const listening = async (fork: ScriptedChain, work: (both: (blocks: number) => Promise<void>) => Promise<void>) => {
    const loops = [heedRivals(boot.agent, boot.signal), vouchAdditions(boot.agent, boot.signal)];
    await work(async (blocks) => {
      for (let i = 0; i < blocks; i++) {
        boot.chain.mine(1);
        await step(fork);
      }
    });
    await boot.end();
    await Promise.all(loops);
    boot = new Boot();
  };
  const step = async (fork: ScriptedChain) => {
    fork.mine(boot.chain.head - fork.head);
    follow(fork);
    boot.clockMs += 2_000;
    await boot.poll();
    await sleep(20);
  };

  it.each<[string, () => void, () => void, BootOptions?]>([
    ["a revoke", () => {}, () => boot.contract.revoke(2n)],
    ["a transfer", () => {}, () => boot.contract.transfer(2n, ownerOf(70))],
    ["a new key", () => {}, () => boot.contract.updateKey(2n, keyOf(70))],
    ["a new key that is announced", () => {}, () => boot.contract.updateKey(2n, keyOf(70)), { style: "plain" }],
    ["a revoke, of which two others tell", third, () => boot.contract.revoke(2n)],
    [
      "a revoke, where no state can be read",
      () => boot.upstreams.set("other", refusing("eth_call")(boot.chain.answer)),
      () => boot.contract.revoke(2n),
    ],
  ])("does not hide %s for over ten seconds", async (_, more, remove, options = {}) => {
    await node(2, options);
    more();
    const fork = twin().chain;
    await listening(fork, async (both) => {
      await both(20);
      remove();
      boot.contract.mine();
      await step(fork);
      await both(4);
      await boot.until(() => boot.holds(keyOf(1))[0] === false);
      expect(boot.held()).toHaveLength(19);
    });
  });
});

describe("a fork of the other upstream's own", () => {
  /** The agent goes on with the node's chain, and has heard of the fork. */
  const heard = async (fork: ScriptedChain, seconds: number) => {
    const loops = [heedRivals(boot.agent, boot.signal), vouchAdditions(boot.agent, boot.signal)];
    for (let i = 0; i < seconds; i += 2) {
      boot.chain.mine(1);
      fork.mine(boot.chain.head - fork.head);
      boot.clockMs += 2_000;
      await boot.poll();
      await sleep(20);
    }
    return async () => {
      await boot.end();
      await Promise.all(loops);
      boot = new Boot();
    };
  };
  const other = (answer: Backend) => boot.upstreams.set("other", answer);

  it("on which everybody is revoked takes no more than a fifth", async () => {
    await node(2);
    const liar = twin();
    for (const [i] of KEYS.entries()) liar.contract.revoke(BigInt(i + 2));
    liar.contract.mine();
    other(liar.chain.answer);
    const stop = await heard(liar.chain, 20);
    await boot.until(() => boot.held().length < 20);
    // They count as removals of these ten minutes.
    expect(boot.agent.removals).toHaveLength(5);
    const proving = witnessRemovals(boot.agent, boot.signal);
    for (let i = 0; i < 3; i++) {
      boot.clockMs += 11 * 60_000;
      await boot.poll();
      await sleep(1_000);
    }
    expect(boot.held()).toHaveLength(15);
    await stop();
    await proving;
  });

  it("takes nobody away where a fifth has gone within ten minutes already", async () => {
    await node(2);
    const liar = twin();
    for (const id of [2n, 3n, 4n, 5n, 6n]) for (const { contract } of [boot, liar]) contract.revoke(id);
    liar.contract.revoke(7n);
    for (const { contract } of [boot, liar]) contract.mine();
    other(liar.chain.answer);
    const stop = await heard(liar.chain, 10);
    await sleep(500);
    expect(boot.held()).toHaveLength(15);
    expect(boot.agent.doubtful.size).toBe(0);
    await stop();
  });

  it("takes nobody away whom two others have", async () => {
    await node(2);
    third();
    const liar = twin();
    liar.contract.revoke(2n);
    liar.contract.mine();
    other(liar.chain.answer);
    const stop = await heard(liar.chain, 10);
    await sleep(2_500);
    expect(boot.held()).toHaveLength(20);
    await stop();
  });

  it("keeps whom it took out over a restart, and gives the peer back once it comes round", async () => {
    await node(2);
    const fork = twin();
    fork.contract.revoke(2n);
    fork.contract.mine();
    other(fork.chain.answer);
    const stop = await heard(fork.chain, 10);
    await boot.until(() => boot.holds(keyOf(1))[0] === false);
    expect(disputed(boot.agent)).toEqual([2n]);
    await boot.poll();
    await boot.restart();
    await boot.fullPass();
    await boot.poll();
    await boot.fullPass();
    expect(boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
    other(() => ({ error: { code: -32603, message: "internal error" } }));
    boot.clockMs += 60_000;
    await vouchSoon(boot.agent, boot.signal);
    expect(boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
    other(boot.chain.answer);
    await vouchSoon(boot.agent, boot.signal);
    expect(boot.holds(keyOf(1), keyOf(2))).toEqual([true, true]);
    await stop();
  });

  it("takes nobody away whose new key was announced before it, and read", async () => {
    await node(2, { style: "plain" });
    boot.contract.updateKey(2n, keyOf(70));
    boot.contract.mine();
    await boot.poll();
    expect(boot.holds(keyOf(1), keyOf(70))).toEqual([false, true]);
    const fork = twin({ style: "plain" }, (contract) => contract.updateKey(2n, keyOf(70)));
    fork.contract.revoke(3n);
    fork.contract.mine();
    other(fork.chain.answer);
    const stop = await heard(fork.chain, 10);
    await boot.until(() => boot.holds(keyOf(2))[0] === false);
    expect(boot.holds(keyOf(70))).toEqual([true]);
    await stop();
  });

  it("that has nothing of ours but the genesis takes nobody away", async () => {
    await node(2);
    const fork = twin({ seed: "another" });
    fork.contract.revoke(2n);
    fork.contract.mine();
    other(fork.chain.answer);
    const stop = await heard(fork.chain, 10);
    await sleep(2_500);
    expect(boot.held()).toHaveLength(20);
    await stop();
  });

  it("that has ended when it is asked about takes nobody away", async () => {
    await node(2);
    const fork = twin();
    fork.contract.revoke(2n);
    fork.contract.mine();
    // Its head is remembered from when it had one of its own.
    let heads = 1;
    other((method, params) => {
      const isHead = method === "eth_getBlockByNumber" && params[0] === "latest";
      return (isHead && heads-- > 0 ? fork.chain : boot.chain).answer(method, params);
    });
    const stop = await heard(fork.chain, 10);
    await sleep(2_500);
    expect(heads).toBeLessThan(0);
    expect(boot.held()).toHaveLength(20);
    await stop();
  });

  it.each([1, 3])("is none of an upstream that is %i blocks behind", async (lag) => {
    await node(2);
    other(behind(lag)(boot.chain.answer));
    const stop = await heard(boot.chain, 12);
    await sleep(200);
    expect(rivals(boot.agent.rpc, trail(boot.agent.ledger))).toEqual([]);
    expect(boot.held()).toHaveLength(20);
    await stop();
  });
});

describe("a removal that one of two upstreams alters or leaves out", () => {
  const revokeOfAnother = (log: Told) =>
    log.topics[0] === TOPIC.revoke ? { ...log, topics: [TOPIC.revoke, word(999n)] } : log;
  const toItsOwner = (log: Told) => {
    const [event, from, , id] = log.topics;
    return event === TOPIC.transfer ? { ...log, topics: [event, from, from, id] } : log;
  };
  it.each<[string, ChainOptions["bloom"], (log: Told) => object]>([
    ["a revoke that is told of another token, where blooms are full", "full", revokeOfAnother],
    ["a revoke that is told of another token, where there are no blooms", "none", revokeOfAnother],
    ["a transfer that is told to go back to its owner", "exact", toItsOwner],
  ])("is carried out within seconds: %s", async (_, bloom = "exact", change) => {
    await node(2, { bloom });
    follow(boot.chain, altering(change)(boot.chain.answer));
    if (change === revokeOfAnother) boot.contract.revoke(2n);
    else boot.contract.transfer(2n, ownerOf(70));
    boot.contract.mine();
    await later(4);
    expect(boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
  });

  it("is carried out within seconds: a revoke that is left out, with the bloom that has it", async () => {
    await node(2);
    follow(boot.chain, blank(boot.chain.answer));
    boot.contract.revoke(2n);
    boot.contract.mine();
    await later(4);
    expect(boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
  });

  it.each([1, 3, 5])("is carried out within seconds by an upstream that is %i blocks behind", async (lag) => {
    await node(2);
    follow(boot.chain, blank(boot.chain.answer));
    boot.upstreams.set("other", behind(lag)(boot.chain.answer));
    boot.contract.revoke(2n);
    boot.contract.mine();
    for (let i = 0; i < 5 + lag; i++) {
      boot.heads.set("other", boot.chain.head - lag);
      await later(1);
    }
    expect(boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
  });

  it.each([0, 3])("is carried out within seconds where its block has another log (%i blocks behind)", async (lag) => {
    await node(2);
    const untold: Way = (truth) => async (method, params) => {
      const outcome = await truth(method, params);
      if (method !== "eth_getLogs" || !("result" in outcome)) return outcome;
      return { result: (outcome.result as Told[]).filter(({ topics }) => topics[0] !== TOPIC.revoke) };
    };
    follow(boot.chain, untold(boot.chain.answer));
    boot.upstreams.set("other", behind(lag)(boot.chain.answer));
    boot.contract.grant(ownerOf(60), "bob", keyOf(60));
    boot.contract.revoke(2n);
    boot.contract.mine();
    await boot.poll();
    for (let i = 0; i < 5; i++) {
      boot.heads.set("other", boot.chain.head - lag);
      await later(1);
    }
    expect(boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
  });

  it("is carried out within seconds where the other upstream was limited as it came", async () => {
    await node(2);
    follow(boot.chain, blank(boot.chain.answer));
    boot.contract.revoke(2n);
    boot.contract.mine();
    await withoutTheOther(() => boot.poll());
    await later(5);
    expect(boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
  });

  it("is nobody else's: a revoke that the second one tells of another token", async () => {
    await node(2);
    boot.upstreams.set("other", altering((log) => ({ ...log, topics: [log.topics[0], word(3n)] }))(boot.chain.answer));
    boot.contract.revoke(2n);
    boot.contract.mine();
    await later(8);
    expect(boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
  });
});

describe("the place of a log that an upstream makes up", () => {
  it("is refused beyond 2^31, and does not spoil the database", async () => {
    await node(1);
    const change = (log: Told) => (log.topics[0] === TOPIC.grant ? { ...log, logIndex: "0xfffffffff" } : log);
    boot.contract.grant(ownerOf(50), "bob", keyOf(50));
    boot.contract.mine();
    follow(boot.chain, altering(change)(boot.chain.answer));
    await later(2);
    boot.chain.mine(80);
    await later(2);
    await boot.restart();
    expect(boot.agent.savedLedger).toBeDefined();
  });
});

describe("a revoke that all logs leave out", () => {
  const untold: Way = (truth) => (method, params) =>
    method === "eth_getLogs" ? { result: [] } : truth(method, params);
  /** For a second it has neither the head nor its state. */
  const lagging: Way = (truth) => {
    const untilMs = performance.now() + 1_000;
    return (method, params) => {
      const asksTip = JSON.stringify(params).includes(boot.chain.hashOf(boot.chain.head));
      if (performance.now() > untilMs || !asksTip) return truth(method, params);
      return { error: { code: -32000, message: "header not found" } };
    };
  };
  it.each<[string, Way]>([
    ["cannot read state", refusing("eth_call")],
    ["is a block behind", lagging],
    ["tells the same", (truth) => truth],
  ])(
    "is carried out by a full audit where the other upstream %s",
    async (_, way) => {
      await node(2);
      follow(boot.chain, untold(boot.chain.answer));
      boot.upstreams.set("other", untold(way(boot.chain.answer)));
      boot.contract.revoke(2n);
      boot.contract.mine();
      await boot.poll();
      await auditAll(boot.agent, boot.signal);
      expect(boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
    },
    20_000,
  );
});

describe("the only upstream's state", () => {
  it("does not bring back whom its logs have revoked, for it may be an old one", async () => {
    await node(1);
    const before = `0x${boot.chain.head.toString(16)}`;
    boot.contract.revoke(2n);
    boot.contract.mine();
    await boot.poll();
    boot.lie((method, params, truth) => truth(method, method === "eth_call" ? [params[0], before] : params));
    boot.chain.mine(80);
    await later(3);
    await auditAll(boot.agent, boot.signal);
    await boot.poll();
    expect(boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
  });

  it.each<[string, () => Promise<unknown>]>([
    ["an audit", () => auditAll(boot.agent, boot.signal)],
    ["a resync", () => resync(boot.agent, boot.signal)],
  ])("brings back whom it took away by mistake, after a restart too, by %s", async (_, heal) => {
    await node(1);
    follow(boot.chain, refusing("eth_call", { code: 3, message: "execution reverted" })(boot.chain.answer));
    await auditAll(boot.agent, boot.signal);
    expect(boot.held()).toHaveLength(15);
    await boot.poll();
    boot.lie();
    await boot.restart();
    await boot.poll();
    boot.chain.mine(80);
    await later(3);
    await boot.fullPass();
    await heal();
    await later(2);
    expect(boot.held()).toHaveLength(20);
  });

  it("is not asked about a revoke that it made up: a resync reads the logs again", async () => {
    await node(1, { bloom: "full" });
    const made = boot.contract.log([TOPIC.revoke, word(2n)], strings("m-0"));
    const at = boot.chain.head + 1;
    follow(boot.chain, async (method, params) => {
      const outcome = await boot.chain.answer(method, params);
      if (method !== "eth_getLogs" || !("result" in outcome)) return outcome;
      const place = { blockNumber: `0x${at.toString(16)}`, blockHash: boot.chain.hashOf(at), logIndex: "0x0" };
      const log = { ...made, ...place, transactionHash: `0x${"7".repeat(64)}` };
      return { result: [...(outcome.result as object[]), log] };
    });
    boot.chain.mine(1);
    await boot.poll();
    boot.lie();
    boot.chain.mine(100);
    await later(3);
    expect(boot.holds(keyOf(1))).toEqual([false]);
    await resync(boot.agent, boot.signal);
    await later(3);
    expect(boot.holds(keyOf(1))).toEqual([true]);
  });
});

describe("a first start", () => {
  it("comes to an end where grants go on and one of two upstreams cannot read state", async () => {
    boot = new Boot();
    boot.upstreams.set("other", refusing("eth_call")(boot.chain.answer));
    boot.grant(keyOf(1));
    for (let i = 0; i < 6; i++) {
      boot.contract.grant(ownerOf(10 + i), `m-${i}`, keyOf(10 + i));
      boot.contract.mine();
      await boot.poll();
      boot.clockMs += 2_000;
    }
    expect(boot.agent.isCaughtUp).toBe(true);
  });
});

describe("an only upstream that comes to serve another network, where the contract is as well", () => {
  it("takes nobody away", async () => {
    const granted = () => {
      const chain = new ScriptedChain({ finalizedDepth: 12 });
      const contract = new ScriptedContract(chain);
      contract.grant(ownerOf(0), "node-a", NODE_KEY.publicKey);
      for (const [i, key] of KEYS.entries()) contract.grant(ownerOf(i + 1), `m-${i}`, key);
      contract.mine();
      chain.mine(30);
      return { chain, contract };
    };
    const { chain, contract } = granted();
    await using proxy = await RpcProxy.open(chain.answer);
    const expected = { chainId: 31_337, contract: contract.address as Address };
    boot = new Boot({
      over: { rpc: () => connect({ urls: [proxy.url()], expect: expected }), contract: contract.address },
    });
    await boot.poll();
    expect(boot.held()).toHaveLength(20);

    const other = new ScriptedChain({ seed: "other", chainId: 84_532, finalizedDepth: 12 });
    new ScriptedContract(other);
    other.mine(500);
    proxy.backend = other.answer;
    const loop = witnessRemovals(boot.agent, boot.signal);
    for (let i = 0; i < 6; i++) {
      await told(1);
      await attempt(boot.agent, boot.signal, () => auditAll(boot.agent, boot.signal));
      boot.clockMs += 6_000;
      await sleep(600);
    }
    expect(boot.held()).toHaveLength(20);
    await boot.end();
    await loop;
    boot = new Boot();
  }, 20_000);
});
