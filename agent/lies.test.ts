/** What one upstream makes up, leaves out or alters, held against a whole agent. */
import { setTimeout as sleep } from "node:timers/promises";
import { id as topicOf } from "ethers";
import { afterEach, describe, expect, it } from "vitest";
import { resync } from "./actions.ts";
import { attempt, auditAll, auditRolling } from "./auditing.ts";
import { TOPIC } from "./chain/events.ts";
import { headOf } from "./chain/questions.ts";
import { rivals } from "./chain/rivals.ts";
import { connect } from "./chain/rpc.ts";
import { heedRivals } from "./contest.ts";
import { AgentError } from "./errors.ts";
import { report } from "./faults.ts";
import type { Address } from "./model.ts";
import { witnessRemovals } from "./proving.ts";
import { trail } from "./registry/ledger.ts";
import { Boot, type BootOptions, keyOf, NODE_KEY, ownerOf } from "./test/boot.ts";
import { Forks, KEYS, upTo } from "./test/forks.ts";
import { RpcProxy } from "./test/rpc-proxy.ts";
import { type Backend, type ChainOptions, ScriptedChain } from "./test/scripted-chain.ts";
import { ScriptedContract, strings, word } from "./test/scripted-contract.ts";
import type { Way } from "./test/ways.ts";
import { disputed } from "./unvouched.ts";
import { vouchAdditions, vouchSoon } from "./vouching.ts";

const MALLORY = keyOf(999);
const world = new Forks();
afterEach(() => world.end());

/** From now on the followed upstream has a chain of its own. */
function follow(chain: ScriptedChain, answer = chain.answer): void {
  world.boot.upstreams.set("scripted", answer);
  world.boot.heads.set("scripted", chain.head);
}

const third = () => world.boot.upstreams.set("third", world.boot.chain.answer);

const REVERTED = { code: 3, message: "execution reverted" };

/** As if none of the tokens were there but the node's own. */
const withoutMembers: Way = (truth) => async (method, params) => {
  const { data = "" } = method === "eth_call" ? (params[0] as { data?: string }) : {};
  return data === "" || data.endsWith("1".padStart(64, "0")) ? truth(method, params) : { error: REVERTED };
};

const refusing =
  (refused: string, error: object = { code: -32601, message: "method not found" }): Way =>
  (truth) =>
  (method, params) =>
    method === refused ? { error: error as never } : truth(method, params);

/** The chain without its newest block, and with two empty ones in its place, which are others in each epoch. */
function outgrowing(chain: ScriptedChain, epoch: () => number): Backend {
  return async (method, params) => {
    const base = chain.head - 1;
    const hex = (number: number) => `0x${number.toString(16)}`;
    const hashOf = (number: number) => (number <= base ? chain.hashOf(number) : topicOf(`${epoch()} ${number}`));
    const asked = JSON.stringify(params).replace('"latest"', `"${hex(base + 2)}"`);
    const made = [base + 1, base + 2].find((n) => asked.includes(hashOf(n)) || asked.includes(`"${hex(n)}"`));
    if (made === undefined) return chain.answer(method, params);
    if (method === "eth_getBlockByNumber" || method === "eth_getBlockByHash") {
      const { result } = (await chain.answer("eth_getBlockByNumber", [hex(base), false])) as { result: object };
      const more = {
        number: hex(made),
        hash: hashOf(made),
        parentHash: hashOf(made - 1),
        logsBloom: `0x${"f".repeat(512)}`,
      };
      return { result: { ...result, ...more } };
    }
    if (method === "eth_getLogs" && asked.includes(hashOf(made))) return { result: [] };
    let below = asked;
    for (const number of [base + 1, base + 2]) {
      below = below.replaceAll(hashOf(number), hashOf(base)).replaceAll(`"${hex(number)}"`, `"${hex(base)}"`);
    }
    return chain.answer(method, JSON.parse(below));
  };
}

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

/** No revokes. */
const untold: Way = (truth) => async (method, params) => {
  const outcome = await truth(method, params);
  if (method !== "eth_getLogs" || !("result" in outcome)) return outcome;
  return { result: (outcome.result as Told[]).filter(({ topics }) => topics[0] !== TOPIC.revoke) };
};

/** Tells of nothing above so many blocks below the head. */
const behind = (lag: number) => upTo(world.boot.chain, () => world.boot.chain.head - lag);

/** Polls as the agent's own loop does, which remembers what fails. */
async function told(polls: number): Promise<void> {
  for (let i = 0; i < polls; i++) {
    const error = await world.boot.poll();
    if (error instanceof AgentError) report(world.boot.agent, error);
  }
}

/** Polls while blocks come every two seconds; second readings go on beside them. */
async function later(polls: number): Promise<void> {
  for (let i = 0; i < polls; i++) {
    world.boot.chain.mine(1);
    world.boot.clockMs += 2_000;
    await world.boot.poll();
    await sleep(2);
  }
}

describe("one block that would take everybody away", () => {
  it.each([1, 2])(
    "by announcing keys, where no state can be read, takes no more than a fifth (of %i upstreams)",
    async (upstreams) => {
      await world.node(upstreams);
      const liar = world.twin();
      const announcement = topicOf("PublicKeyUpdated(address,string)");
      for (const [i] of KEYS.entries()) {
        liar.contract.emit(liar.contract.log([announcement, word(ownerOf(i + 1))], strings(keyOf(500 + i))));
      }
      liar.contract.mine();
      follow(liar.chain, refusing("eth_call")(liar.chain.answer));
      await world.boot.poll();
      expect(world.boot.held().length).toBeGreaterThanOrEqual(15);
    },
  );

  it.each([1, 2])(
    "by granting their keys to their owners again moves no more than a fifth (of %i upstreams)",
    async (upstreams) => {
      await world.node(upstreams);
      const before = new Set(world.boot.held());
      const liar = world.twin();
      for (const [i, key] of KEYS.entries()) liar.contract.grant(ownerOf(i + 1), `x-${i}`, key);
      liar.contract.mine();
      follow(liar.chain);
      await world.boot.poll();
      expect(world.boot.held().filter((peer) => before.has(peer)).length).toBeGreaterThanOrEqual(15);
    },
  );

  it("by granting them anew, which waits for confirmations, takes no more than a fifth", async () => {
    await world.node(1, { env: { GRANT_CONFIRMATIONS: "2" } });
    const liar = world.twin();
    for (const [i, key] of KEYS.entries()) {
      liar.contract.revoke(BigInt(i + 2));
      liar.contract.grant(ownerOf(i + 1), `m-${i}`, key, BigInt(i + 2));
    }
    liar.contract.mine();
    follow(liar.chain);
    await world.boot.poll();
    expect(world.boot.held().length).toBeGreaterThanOrEqual(15);
  });

  it("moves all their keys to other tokens where the contract's state has it so", async () => {
    await world.node(1);
    const heirs = KEYS.map((key, i) => world.boot.contract.grant(ownerOf(i + 1), `x-${i}`, key));
    world.boot.contract.mine();
    await world.boot.poll();
    world.run(witnessRemovals);
    world.boot.clockMs += 6_000;
    const moved = KEYS.map((key, i) => `${key} 10.213.0.${heirs[i]}/32`).sort();
    await world.boot.until(() => world.boot.held().join() === moved.join());
  });
});

describe("a head that one of two upstreams makes up", () => {
  it.each([1, 300, 450])("with %i grants lets nobody in", async (count) => {
    await world.node(2);
    const liar = world.twin();
    for (let i = 1; i < count; i++) liar.contract.grant(ownerOf(1_000 + i), `x-${i}`, keyOf(1_000 + i));
    liar.contract.grant(ownerOf(999), "mallory", MALLORY);
    liar.contract.mine();
    follow(liar.chain);
    await world.boot.poll();
    await world.boot.poll();
    await world.boot.fullPass();
    expect(world.boot.holds(MALLORY)).toEqual([false]);
  });

  it.each([1, 8, 9, 20])("%i blocks ahead lets nobody in, however long the other one goes on", async (ahead) => {
    await world.node(2);
    const liar = world.twin();
    liar.contract.grant(ownerOf(999), "mallory", MALLORY);
    liar.contract.mine();
    liar.chain.mine(ahead - 1);
    follow(liar.chain);
    await world.boot.poll();
    world.run(vouchAdditions);
    world.boot.heads.set("other", world.boot.chain.mine(1));
    world.boot.clockMs += 3_000;
    await world.boot.until(() => disputed(world.boot.agent).length > 0);
    world.boot.clockMs += 60_000;
    await world.boot.poll();
    await world.boot.fullPass();
    expect(world.boot.holds(MALLORY)).toEqual([false]);
  });

  it.each([5, 12, 40])(
    "on a fork %i blocks longer, which lacks a revoke, does not bring the key back",
    async (longer) => {
      await world.node(2);
      const liar = world.twin();
      world.boot.contract.revoke(2n);
      world.boot.contract.mine();
      await world.boot.poll();
      expect(world.boot.holds(keyOf(1))).toEqual([false]);
      liar.chain.mine(1 + longer);
      follow(liar.chain);
      for (let i = 0; i < 3; i++) await world.boot.poll();
      expect(world.boot.holds(keyOf(1))).toEqual([false]);
    },
  );

  it("far beyond finality freezes nobody once it is gone", async () => {
    await world.node(2);
    const liar = world.twin();
    liar.chain.mine(150);
    follow(liar.chain);
    await world.boot.poll();
    follow(world.boot.chain);
    world.boot.contract.grant(ownerOf(50), "bob", keyOf(50));
    world.boot.contract.mine();
    world.boot.chain.mine(300);
    world.boot.heads.clear();
    await told(5);
    expect([...world.boot.agent.faults.keys()]).toEqual([]);
    expect(world.boot.holds(keyOf(50))).toEqual([true]);
  });
});

describe("a grant that is disputed", () => {
  const disputedNode = async () => {
    await world.node(2);
    const liar = world.twin();
    liar.contract.grant(ownerOf(999), "mallory", MALLORY);
    liar.contract.mine();
    follow(liar.chain);
    world.boot.heads.set("other", world.boot.chain.mine(1));
    await world.boot.poll();
    await world.boot.poll();
    expect(disputed(world.boot.agent)).toHaveLength(1);
    world.boot.clockMs += 60_000;
  };

  it("stays so while the one that denies it cannot be read", async () => {
    await disputedNode();
    world.boot.upstreams.set("other", () => ({ error: { code: -32603, message: "internal error" } }));
    await vouchSoon(world.boot.agent, world.boot.signal);
    await world.boot.poll();
    expect(world.boot.holds(MALLORY)).toEqual([false]);
  });

  it("stays so while the one that denies it is left alone for a moment", async () => {
    await disputedNode();
    await world.withoutTheOther(async () => {
      await vouchSoon(world.boot.agent, world.boot.signal);
      await world.boot.fullPass();
    });
    expect(world.boot.holds(MALLORY)).toEqual([false]);
  });
});

describe("upstreams of which one is on a fork", () => {
  it.each<[string, () => void]>([
    ["two", () => {}],
    ["three", third],
  ])("do not keep a node from what came during an outage (%s)", async (_, more) => {
    await world.node(2);
    const fork = world.twin();
    fork.chain.mine(2_000);
    world.boot.contract.revoke(2n);
    world.boot.contract.mine(1_999);
    world.boot.upstreams.set("other", fork.chain.answer);
    more();
    for (let i = 0; i < 5; i++) {
      await world.boot.poll();
      world.boot.chain.mine(1);
      fork.chain.mine(1);
    }
    expect(world.boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
  });

  it("do not keep what two others have from being final", async () => {
    await world.node(2);
    const fork = world.twin();
    world.boot.upstreams.set("other", fork.chain.answer);
    third();
    const { number } = world.boot.agent.ledger.final;
    for (let i = 0; i < 150; i++) {
      fork.chain.mine(1);
      await later(1);
    }
    expect(world.boot.agent.ledger.final.number).toBeGreaterThan(number + 60);
  });
});

describe("three upstreams of which the followed one is on a fork", () => {
  it("let in whom the two others have, and have final what they have", async () => {
    await world.node(2);
    third();
    const fork = world.twin().chain;
    const { number } = world.boot.agent.ledger.final;
    world.boot.contract.grant(ownerOf(50), "bob", keyOf(50));
    world.boot.contract.mine();
    for (let i = 0; i < 100; i++) {
      world.boot.chain.mine(1);
      fork.mine(world.boot.chain.head - fork.head);
      follow(fork);
      // As each upstream's patrol does.
      for (const only of world.boot.upstreams.keys()) {
        world.boot.heads.set(only, (await world.boot.agent.rpc.ask(headOf("latest"), { only })).value.number);
      }
      world.boot.clockMs += 2_000;
      await world.boot.poll();
      await world.boot.poll();
      await sleep(2);
    }
    expect(world.boot.holds(keyOf(50))).toEqual([true]);
    expect(world.boot.agent.ledger.final.number).toBeGreaterThan(number + 30);
  });
});

describe("a chain far ahead that one of two upstreams makes up", () => {
  it("is not final because the other one fails once", async () => {
    await world.node(2);
    const liar = world.twin();
    liar.chain.mine(150);
    follow(liar.chain);
    let failures = 1;
    world.boot.upstreams.set("other", (method, params) => {
      const isHigh = method === "eth_getBlockByNumber" && Number(params[0]) > world.boot.chain.head - 5;
      if (isHigh && failures-- > 0) return { error: { code: 429, message: "too many requests" } };
      return world.boot.chain.answer(method, params);
    });
    await world.boot.poll();
    follow(world.boot.chain);
    world.boot.contract.revoke(2n);
    world.boot.contract.mine();
    world.boot.chain.mine(300);
    world.boot.heads.clear();
    await told(5);
    expect([...world.boot.agent.faults.keys()]).toEqual([]);
    expect(world.boot.holds(keyOf(1))).toEqual([false]);
  });

  it("on which everybody is revoked, in its state too, is no witness of itself", async () => {
    await world.node(2);
    const liar = world.twin();
    for (const [i] of KEYS.entries()) liar.contract.revoke(BigInt(i + 2));
    liar.contract.mine();
    follow(liar.chain);
    world.boot.heads.set("other", world.boot.chain.mine(1));
    await world.boot.poll();
    world.run(witnessRemovals);
    for (let i = 0; i < 3; i++) {
      world.boot.clockMs += 6_000;
      await sleep(600);
      await world.boot.poll();
    }
    expect(world.boot.held().length).toBeGreaterThanOrEqual(15);
  });
});

describe("a fork of the followed upstream's own that keeps pace and lacks a removal", () => {
  /** Both chains go on, a block every two seconds, while the agent listens. */
  const listening = async (fork: ScriptedChain, work: (both: (blocks: number) => Promise<void>) => Promise<void>) => {
    world.run(heedRivals, vouchAdditions);
    await work(async (blocks) => {
      for (let i = 0; i < blocks; i++) {
        world.boot.chain.mine(1);
        await step(fork);
      }
    });
  };
  const step = async (fork: ScriptedChain) => {
    fork.mine(world.boot.chain.head - fork.head);
    follow(fork);
    world.boot.clockMs += 2_000;
    await world.boot.poll();
    await sleep(20);
  };

  it.each<[string, () => void, () => void, BootOptions?]>([
    ["a revoke", () => {}, () => world.boot.contract.revoke(2n)],
    ["a transfer", () => {}, () => world.boot.contract.transfer(2n, ownerOf(70))],
    ["a new key", () => {}, () => world.boot.contract.updateKey(2n, keyOf(70))],
    ["a new key that is announced", () => {}, () => world.boot.contract.updateKey(2n, keyOf(70)), { style: "plain" }],
    ["a revoke, of which two others tell", third, () => world.boot.contract.revoke(2n)],
    [
      "a revoke, where no state can be read",
      () => world.boot.upstreams.set("other", refusing("eth_call")(world.boot.chain.answer)),
      () => world.boot.contract.revoke(2n),
    ],
  ])("does not hide %s for over ten seconds", async (_, more, remove, options = {}) => {
    await world.node(2, options);
    more();
    const fork = world.twin().chain;
    await listening(fork, async (both) => {
      await both(20);
      remove();
      world.boot.contract.mine();
      await step(fork);
      await both(4);
      await world.boot.until(() => world.boot.holds(keyOf(1))[0] === false);
      expect(world.boot.held()).toHaveLength(19);
    });
  });
});

describe("a fork of the other upstream's own", () => {
  /** The agent goes on with the node's chain, and has heard of the fork. */
  const heard = async (fork: ScriptedChain, seconds: number) => {
    world.run(heedRivals, vouchAdditions);
    for (let i = 0; i < seconds; i += 2) {
      world.boot.chain.mine(1);
      fork.mine(world.boot.chain.head - fork.head);
      world.boot.clockMs += 2_000;
      await world.boot.poll();
      await sleep(20);
    }
  };
  const other = (answer: Backend) => world.boot.upstreams.set("other", answer);

  it("on which everybody is revoked takes no more than a fifth", async () => {
    await world.node(2);
    const liar = world.twin();
    for (const [i] of KEYS.entries()) liar.contract.revoke(BigInt(i + 2));
    liar.contract.mine();
    other(liar.chain.answer);
    await heard(liar.chain, 20);
    await world.boot.until(() => world.boot.held().length < 20);
    // They count as removals of these ten minutes.
    expect(world.boot.agent.removals).toHaveLength(5);
    world.run(witnessRemovals);
    for (let i = 0; i < 3; i++) {
      world.boot.clockMs += 11 * 60_000;
      await world.boot.poll();
      await sleep(1_000);
    }
    expect(world.boot.held()).toHaveLength(15);
  });

  it("takes nobody away where a fifth has gone within ten minutes already", async () => {
    await world.node(2);
    const liar = world.twin();
    for (const id of [2n, 3n, 4n, 5n, 6n]) for (const { contract } of [world.boot, liar]) contract.revoke(id);
    liar.contract.revoke(7n);
    for (const { contract } of [world.boot, liar]) contract.mine();
    other(liar.chain.answer);
    await heard(liar.chain, 10);
    await sleep(500);
    expect(world.boot.held()).toHaveLength(15);
    expect(world.boot.agent.doubtful.size).toBe(0);
  });

  it("takes nobody away whom two others have", async () => {
    await world.node(2);
    third();
    const liar = world.twin();
    liar.contract.revoke(2n);
    liar.contract.mine();
    other(liar.chain.answer);
    await heard(liar.chain, 10);
    await sleep(2_500);
    expect(world.boot.held()).toHaveLength(20);
  });

  it("keeps whom it took out over a restart, and gives the peer back once it comes round", async () => {
    await world.node(2);
    const fork = world.twin();
    fork.contract.revoke(2n);
    fork.contract.mine();
    other(fork.chain.answer);
    await heard(fork.chain, 10);
    await world.boot.until(() => world.boot.holds(keyOf(1))[0] === false);
    expect(disputed(world.boot.agent)).toEqual([2n]);
    await world.boot.poll();
    await world.boot.restart();
    await world.boot.fullPass();
    await world.boot.poll();
    await world.boot.fullPass();
    expect(world.boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
    other(() => ({ error: { code: -32603, message: "internal error" } }));
    world.boot.clockMs += 60_000;
    await vouchSoon(world.boot.agent, world.boot.signal);
    expect(world.boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
    other(world.boot.chain.answer);
    await vouchSoon(world.boot.agent, world.boot.signal);
    expect(world.boot.holds(keyOf(1), keyOf(2))).toEqual([true, true]);
  });

  it("takes nobody away whose new key was announced before it, and read", async () => {
    await world.node(2, { style: "plain" });
    world.boot.contract.updateKey(2n, keyOf(70));
    world.boot.contract.mine();
    await world.boot.poll();
    expect(world.boot.holds(keyOf(1), keyOf(70))).toEqual([false, true]);
    const fork = world.twin({ style: "plain" }, (contract) => contract.updateKey(2n, keyOf(70)));
    fork.contract.revoke(3n);
    fork.contract.mine();
    other(fork.chain.answer);
    await heard(fork.chain, 10);
    await world.boot.until(() => world.boot.holds(keyOf(2))[0] === false);
    expect(world.boot.holds(keyOf(70))).toEqual([true]);
  });

  it("that has nothing of ours but the genesis takes nobody away", async () => {
    await world.node(2);
    const fork = world.twin({ seed: "another" });
    fork.contract.revoke(2n);
    fork.contract.mine();
    other(fork.chain.answer);
    await heard(fork.chain, 10);
    await sleep(2_500);
    expect(world.boot.held()).toHaveLength(20);
  });

  it("that has ended when it is asked about takes nobody away", async () => {
    await world.node(2);
    const fork = world.twin();
    fork.contract.revoke(2n);
    fork.contract.mine();
    // Its head is remembered from when it had one of its own.
    let heads = 1;
    other((method, params) => {
      const isHead = method === "eth_getBlockByNumber" && params[0] === "latest";
      return (isHead && heads-- > 0 ? fork.chain : world.boot.chain).answer(method, params);
    });
    await heard(fork.chain, 10);
    await sleep(2_500);
    expect(heads).toBeLessThan(0);
    expect(world.boot.held()).toHaveLength(20);
  });

  it.each([1, 3])("is none of an upstream that is %i blocks behind", async (lag) => {
    await world.node(2);
    other(behind(lag));
    await heard(world.boot.chain, 12);
    await sleep(200);
    expect(rivals(world.boot.agent.rpc, trail(world.boot.agent.ledger))).toEqual([]);
    expect(world.boot.held()).toHaveLength(20);
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
    await world.node(2, { bloom });
    follow(world.boot.chain, altering(change)(world.boot.chain.answer));
    if (change === revokeOfAnother) world.boot.contract.revoke(2n);
    else world.boot.contract.transfer(2n, ownerOf(70));
    world.boot.contract.mine();
    await later(4);
    expect(world.boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
  });

  it("is carried out within seconds: a revoke that is left out, with the bloom that has it", async () => {
    await world.node(2);
    follow(world.boot.chain, blank(world.boot.chain.answer));
    world.boot.contract.revoke(2n);
    world.boot.contract.mine();
    await later(4);
    expect(world.boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
  });

  it("is carried out within seconds where the one that leaves it out stands still from then on", async () => {
    await world.node(2);
    world.boot.contract.revoke(2n);
    const top = world.boot.contract.mine();
    world.serve("scripted", blank(upTo(world.boot.chain, () => top)));
    await world.boot.poll();
    await later(5);
    expect(world.boot.agent.follower.heads.tipFrom).toBe("other");
    expect(world.boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
  });

  it.each([1, 3, 5])("is carried out within seconds by an upstream that is %i blocks behind", async (lag) => {
    await world.node(2);
    follow(world.boot.chain, blank(world.boot.chain.answer));
    world.boot.upstreams.set("other", behind(lag));
    world.boot.contract.revoke(2n);
    world.boot.contract.mine();
    for (let i = 0; i < 5 + lag; i++) {
      world.boot.heads.set("other", world.boot.chain.head - lag);
      await later(1);
    }
    expect(world.boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
  });

  it.each([0, 3])("is carried out within seconds where its block has another log (%i blocks behind)", async (lag) => {
    await world.node(2);
    follow(world.boot.chain, untold(world.boot.chain.answer));
    world.boot.upstreams.set("other", behind(lag));
    world.boot.contract.grant(ownerOf(60), "bob", keyOf(60));
    world.boot.contract.revoke(2n);
    world.boot.contract.mine();
    await world.boot.poll();
    for (let i = 0; i < 5; i++) {
      world.boot.heads.set("other", world.boot.chain.head - lag);
      await later(1);
    }
    expect(world.boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
  });

  it("is carried out within seconds where the other upstream was limited as it came", async () => {
    await world.node(2);
    follow(world.boot.chain, blank(world.boot.chain.answer));
    world.boot.contract.revoke(2n);
    world.boot.contract.mine();
    await world.withoutTheOther(() => world.boot.poll());
    await later(5);
    expect(world.boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
  });

  it("is carried out within seconds over a restart", async () => {
    await world.node(2);
    follow(world.boot.chain, untold(world.boot.chain.answer));
    world.boot.contract.grant(ownerOf(60), "bob", keyOf(60));
    world.boot.contract.revoke(2n);
    world.boot.contract.mine();
    await world.boot.poll();
    await world.boot.restart();
    await world.boot.fullPass();
    await later(3);
    expect(world.boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
  });

  it("is carried out within seconds of the other upstream's return where the blooms are full", async () => {
    await world.node(2, { bloom: "full" });
    const { answer } = world.boot.chain;
    follow(world.boot.chain, (method, params) => (method === "eth_getLogs" ? { result: [] } : answer(method, params)));
    world.boot.contract.revoke(2n);
    world.boot.contract.mine();
    await world.withoutTheOther(() => later(15));
    expect(world.boot.holds(keyOf(1))).toEqual([true]);
    await later(5);
    expect(world.boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
  });

  it("is nobody else's: a revoke that the second one tells of another token", async () => {
    await world.node(2);
    world.boot.upstreams.set(
      "other",
      altering((log) => ({ ...log, topics: [log.topics[0], word(3n)] }))(world.boot.chain.answer),
    );
    world.boot.contract.revoke(2n);
    world.boot.contract.mine();
    await later(8);
    expect(world.boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
  });
});

describe("the place of a log that an upstream makes up", () => {
  it("is refused beyond 2^31, and does not spoil the database", async () => {
    await world.node(1);
    const change = (log: Told) => (log.topics[0] === TOPIC.grant ? { ...log, logIndex: "0xfffffffff" } : log);
    world.boot.contract.grant(ownerOf(50), "bob", keyOf(50));
    world.boot.contract.mine();
    follow(world.boot.chain, altering(change)(world.boot.chain.answer));
    await later(2);
    world.boot.chain.mine(80);
    await later(2);
    await world.boot.restart();
    expect(world.boot.agent.savedLedger).toBeDefined();
  });
});

describe("a revoke that all logs leave out", () => {
  const untold: Way = (truth) => (method, params) =>
    method === "eth_getLogs" ? { result: [] } : truth(method, params);
  /** For a second it has neither the head nor its state. */
  const lagging: Way = (truth) => {
    const untilMs = performance.now() + 1_000;
    return (method, params) => {
      const asksTip = JSON.stringify(params).includes(world.boot.chain.hashOf(world.boot.chain.head));
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
      await world.node(2);
      follow(world.boot.chain, untold(world.boot.chain.answer));
      world.boot.upstreams.set("other", untold(way(world.boot.chain.answer)));
      world.boot.contract.revoke(2n);
      world.boot.contract.mine();
      await world.boot.poll();
      await auditAll(world.boot.agent, world.boot.signal);
      expect(world.boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
    },
    20_000,
  );
});

describe("the only upstream's state", () => {
  it("does not bring back whom its logs have revoked, for it may be an old one", async () => {
    await world.node(1);
    const before = `0x${world.boot.chain.head.toString(16)}`;
    world.boot.contract.revoke(2n);
    world.boot.contract.mine();
    await world.boot.poll();
    world.boot.lie((method, params, truth) => truth(method, method === "eth_call" ? [params[0], before] : params));
    world.boot.chain.mine(80);
    await later(3);
    await auditAll(world.boot.agent, world.boot.signal);
    await world.boot.poll();
    expect(world.boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
  });

  it.each<[string, () => Promise<unknown>]>([
    ["an audit", () => auditAll(world.boot.agent, world.boot.signal)],
    ["a resync", () => resync(world.boot.agent, world.boot.signal)],
  ])("brings back whom it took away by mistake, after a restart too, by %s", async (_, heal) => {
    await world.node(1);
    follow(world.boot.chain, withoutMembers(world.boot.chain.answer));
    await auditAll(world.boot.agent, world.boot.signal);
    expect(world.boot.held()).toHaveLength(15);
    await world.boot.poll();
    world.boot.lie();
    await world.boot.restart();
    await world.boot.poll();
    world.boot.chain.mine(80);
    await later(3);
    await world.boot.fullPass();
    await heal();
    await later(2);
    expect(world.boot.held()).toHaveLength(20);
  });

  it.each<[string, object]>([
    ["also about", REVERTED],
    ["and fails at those about", { code: -32603, message: "Internal error" }],
  ])("takes nobody away where it refuses every call, %s this very node", async (_, error) => {
    await world.node(1);
    follow(world.boot.chain, withoutMembers(refusing("eth_call", error)(world.boot.chain.answer)));
    world.run(witnessRemovals);
    await auditAll(world.boot.agent, world.boot.signal);
    await later(6);
    await sleep(1_200);
    expect(world.boot.held()).toHaveLength(20);
    expect(world.boot.agent.roster.self.kind).toBe("found");
  });

  it("proves no revoke of many by refusing every call", async () => {
    await world.node(1);
    follow(world.boot.chain, refusing("eth_call", REVERTED)(world.boot.chain.answer));
    world.run(witnessRemovals);
    for (let id = 2n; id <= 20n; id++) world.boot.contract.revoke(id);
    world.boot.contract.mine();
    await later(1);
    await later(6);
    await sleep(1_200);
    expect(world.boot.held()).toHaveLength(15);
    world.boot.lie();
    await world.boot.until(() => world.boot.held().length === 1);
  });

  it("is not asked about a revoke that it made up: a resync reads the logs again", async () => {
    await world.node(1, { bloom: "full" });
    const made = world.boot.contract.log([TOPIC.revoke, word(2n)], strings("m-0"));
    const at = world.boot.chain.head + 1;
    follow(world.boot.chain, async (method, params) => {
      const outcome = await world.boot.chain.answer(method, params);
      if (method !== "eth_getLogs" || !("result" in outcome)) return outcome;
      const place = { blockNumber: `0x${at.toString(16)}`, blockHash: world.boot.chain.hashOf(at), logIndex: "0x0" };
      const log = { ...made, ...place, transactionHash: `0x${"7".repeat(64)}` };
      return { result: [...(outcome.result as object[]), log] };
    });
    world.boot.chain.mine(1);
    await world.boot.poll();
    world.boot.lie();
    world.boot.chain.mine(100);
    await later(3);
    expect(world.boot.holds(keyOf(1))).toEqual([false]);
    await resync(world.boot.agent, world.boot.signal);
    await later(3);
    expect(world.boot.holds(keyOf(1))).toEqual([true]);
  });
});

describe("a first start", () => {
  it("comes to an end where grants go on and one of two upstreams cannot read state", async () => {
    world.boot = new Boot();
    world.boot.upstreams.set("other", refusing("eth_call")(world.boot.chain.answer));
    world.boot.grant(keyOf(1));
    for (let i = 0; i < 6; i++) {
      world.boot.contract.grant(ownerOf(10 + i), `m-${i}`, keyOf(10 + i));
      world.boot.contract.mine();
      await world.boot.poll();
      world.boot.clockMs += 2_000;
    }
    expect(world.boot.agent.isCaughtUp).toBe(true);
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
    world.boot = new Boot({
      over: { rpc: () => connect({ urls: [proxy.url()], expect: expected }), contract: contract.address },
    });
    await world.boot.poll();
    expect(world.boot.held()).toHaveLength(20);

    const other = new ScriptedChain({ seed: "other", chainId: 84_532, finalizedDepth: 12 });
    new ScriptedContract(other);
    other.mine(500);
    proxy.backend = other.answer;
    world.run(witnessRemovals);
    for (let i = 0; i < 6; i++) {
      await told(1);
      await attempt(world.boot.agent, world.boot.signal, () => auditAll(world.boot.agent, world.boot.signal));
      world.boot.clockMs += 6_000;
      await sleep(600);
    }
    expect(world.boot.held()).toHaveLength(20);
  }, 20_000);
});

describe("a revoke of many, where the other upstream", () => {
  it.each<[string, (second: number) => number]>([
    ["is frozen", () => 0],
    ["is always three blocks behind", (second) => Math.max(0, Math.floor(second) - 3)],
  ])(
    "%s, is carried out within ten seconds",
    async (_, reach) => {
      await world.node(2);
      const { boot } = world;
      const before = boot.chain.head;
      const startedMs = performance.now();
      const seconds = () => (performance.now() - startedMs) / 1_000;
      world.serve(
        "other",
        upTo(boot.chain, () => before + reach(seconds())),
      );
      for (let id = 2n; id < 14n; id++) boot.contract.revoke(id);
      boot.contract.mine();
      world.run(witnessRemovals);
      while (seconds() < 11 && boot.held().length > KEYS.length - 12) {
        boot.clockMs = 1_000 * seconds();
        await world.patrol();
        await boot.poll();
        await sleep(500);
        if (boot.chain.head < before + seconds()) boot.chain.mine(1);
      }
      expect(seconds()).toBeLessThan(10);
      expect(boot.held()).toHaveLength(KEYS.length - 12);
    },
    20_000,
  );
});

describe("below blocks that the followed upstream makes up, anew all the time", () => {
  /** Deeds on the true chain, and then seconds of which each half brings other blocks. */
  async function within(limit: number, deeds: () => void, isDone: () => boolean, env = {}): Promise<number> {
    await world.node(2, { env });
    const { boot } = world;
    const startedMs = performance.now();
    const seconds = () => (performance.now() - startedMs) / 1_000;
    world.serve(
      "scripted",
      outgrowing(boot.chain, () => Math.floor(seconds() * 2)),
    );
    deeds();
    boot.contract.mine();
    boot.chain.mine(3);
    world.run(witnessRemovals, heedRivals, vouchAdditions);
    while (seconds() < limit && !isDone()) {
      boot.clockMs = 1_000 * seconds();
      await world.patrol();
      await boot.poll();
      await sleep(300);
      boot.chain.mine(1);
    }
    return seconds();
  }

  it("a revoke of many is carried out within ten seconds", async () => {
    const revokes = () => {
      for (let id = 2n; id < 14n; id++) world.boot.contract.revoke(id);
    };
    expect(await within(11, revokes, () => world.boot.held().length === KEYS.length - 12)).toBeLessThan(10);
  }, 20_000);

  const grant = () => world.boot.contract.grant(ownerOf(60), "bob", keyOf(60));
  const isGranted = () => world.boot.holds(keyOf(60))[0] === true;

  it("a grant is carried out within ten seconds", async () => {
    expect(await within(11, grant, isGranted)).toBeLessThan(10);
  }, 20_000);

  it("a grant waits where more confirmations are asked for, which made-up blocks are not", async () => {
    expect(await within(3, grant, isGranted, { GRANT_CONFIRMATIONS: "2" })).toBeGreaterThanOrEqual(3);
  }, 20_000);
});

describe("revokes that an only upstream makes up", () => {
  it.each([1, 12])(
    "(%i of twenty) are taken back once it tells the truth again",
    async (count) => {
      await world.node(1, { env: { SYNC_INTERVAL: "1000" } });
      const { boot } = world;
      const at = boot.chain.mine(1);
      const made = Array.from({ length: count }, (_, i) => ({
        topics: [TOPIC.revoke, word(BigInt(i + 2))],
        data: strings("x"),
      }));
      world.serve("scripted", world.makingUp(at, ...made)(boot.chain.answer));
      world.run(witnessRemovals, auditRolling);
      await world.during(3, () => {});
      expect(boot.held()).toHaveLength(KEYS.length - Math.min(5, count));
      boot.chain.mine(100);
      await boot.poll();
      await world.during(3, () => boot.chain.mine(1));
      world.serve("scripted", boot.chain.answer);
      await world.during(20, () => sleep(250));
      await boot.fullPass();
      expect(boot.held()).toHaveLength(KEYS.length);
      expect(boot.agent.faults.size).toBe(0);
    },
    20_000,
  );

  it("and goes on telling are not asked for again and again", async () => {
    await world.node(1, { env: { SYNC_INTERVAL: "1000" } });
    const { boot } = world;
    const at = boot.chain.mine(1);
    const made = { topics: [TOPIC.revoke, word(2n)], data: strings("x") };
    let wide = 0;
    const counting: Backend = (method, params) => {
      const { fromBlock = "0x1", toBlock = "0x0" } = (params[0] ?? {}) as Record<string, string>;
      if (method === "eth_getLogs" && Number(fromBlock) === 0 && Number(toBlock) > 0) wide++;
      return world.makingUp(at, made)(boot.chain.answer)(method, params);
    };
    world.serve("scripted", counting);
    boot.chain.mine(100);
    await boot.poll();
    world.run(auditRolling);
    await world.during(36, () => sleep(150));
    expect(boot.holds(keyOf(1))).toEqual([false]);
    // At once, ten seconds later, and then twice as late each time.
    expect(wide).toBeLessThanOrEqual(3);
    expect(wide).toBeGreaterThan(1);
  }, 20_000);
});
