import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { resync } from "./actions.ts";
import { auditAll } from "./auditing.ts";
import { TOPIC } from "./chain/events.ts";
import type { Cidr, TokenId } from "./model.ts";
import { addresses } from "./registry/addresses.ts";
import { heedRetellings } from "./retelling.ts";
import { snapshot } from "./snapshot.ts";
import { Boot, type BootOptions, keyOf, ownerOf } from "./test/boot.ts";
import { upTo } from "./test/forks.ts";
import { Down } from "./test/rpc-over.ts";
import type { Backend } from "./test/scripted-chain.ts";
import { word } from "./test/scripted-contract.ts";
import { disputed, mistrust } from "./unvouched.ts";
import { vouchAdditions, vouchSoon } from "./vouching.ts";

const [ALICE, BOB, MALLORY] = [keyOf(1), keyOf(2), keyOf(9)];
let boot: Boot;
afterEach(() => boot.end());

/** A node with a member before two upstreams, the first of which is followed. */
async function node(followed: Lie = honest, other: Lie = honest, env = {}, options: BootOptions = {}): Promise<bigint> {
  boot = new Boot({ ...options, env });
  boot.upstreams.set("other", boot.chain.answer);
  const [alice = 0n] = boot.grant(ALICE);
  boot.chain.mine(3);
  await boot.poll();
  expect(boot.holds(ALICE)).toEqual([true]);
  boot.upstreams.set("scripted", followed(boot.chain.answer)).set("other", other(boot.chain.answer));
  return alice;
}

type Lie = (truth: Backend) => Backend;
const honest: Lie = (truth) => truth;
const refusing =
  (...methods: readonly string[]): Lie =>
  (truth) =>
  (method, params) => {
    if (methods.includes(method)) throw new Down();
    return truth(method, params);
  };
/** Another's key in place of Bob's, wherever it is told. */
const altering =
  (...methods: readonly string[]): Lie =>
  (truth) =>
  async (method, params) => {
    const told = await truth(method, params);
    if (!methods.includes(method)) return told;
    return JSON.parse(JSON.stringify(told).replaceAll(hexOf(BOB), hexOf(MALLORY)));
  };
const hexOf = (key: string) => Buffer.from(key).toString("hex");

function grantBob(): TokenId {
  const id = boot.contract.grant(ownerOf(2), "bob", BOB);
  boot.contract.mine();
  return id as TokenId;
}

describe("a grant", () => {
  it("that two upstreams tell alike is carried out by the poll that reads it", async () => {
    await node();
    grantBob();
    await boot.poll();
    expect(boot.holds(ALICE, BOB)).toEqual([true, true]);
  });

  it.each([
    ["whose key the followed upstream alters in its logs", altering("eth_getLogs"), honest],
    ["whose key the followed upstream alters everywhere", altering("eth_getLogs", "eth_call"), honest],
  ])("%s lets nobody in, and is told", async (_, followed, other) => {
    await node(followed, other);
    grantBob();
    await boot.poll();
    await boot.poll();
    expect(boot.holds(ALICE, BOB, MALLORY)).toEqual([true, false, false]);
    expect(disputed(boot.agent)).toHaveLength(1);
    expect(snapshot(boot.agent).faults).toContainEqual({ code: "chain.grant-disputed", tokens: 1 });
  });

  it("that waits for its confirmations is vouched for all the same", async () => {
    await node(altering("eth_getLogs"), honest, { GRANT_CONFIRMATIONS: "3" });
    grantBob();
    for (let polls = 0; polls < 4; polls++) {
      await boot.poll();
      boot.chain.mine(1);
    }
    expect(boot.holds(ALICE, MALLORY)).toEqual([true, false]);
  });

  it("whose key was altered in one upstream's logs is its holder's once it is final", async () => {
    await node(altering("eth_getLogs"));
    grantBob();
    await boot.poll();
    const { head } = boot.chain;
    boot.chain.mine(40);
    // What becomes final is read again beside the polls.
    for (let polls = 0; boot.agent.ledger.final.number < head && polls < 20; polls++) {
      await boot.poll();
      boot.chain.mine(1);
    }
    await auditAll(boot.agent, boot.signal);
    await boot.poll();
    expect(boot.holds(ALICE, BOB, MALLORY)).toEqual([true, true, false]);
    expect(disputed(boot.agent)).toEqual([]);
  });

  it("waits five seconds, and no longer, for an upstream that reads no state", async () => {
    await node(honest, refusing("eth_call"));
    grantBob();
    await boot.poll();
    expect(boot.holds(BOB)).toEqual([false]);
    const loop = vouchAdditions(boot.agent, boot.signal);
    boot.clockMs += 6_000;
    await boot.until(() => boot.holds(BOB)[0] === true);
    await stop(loop);
  });

  it("waits five seconds where no upstream reads any state", async () => {
    await node(refusing("eth_call"), refusing("eth_call"));
    grantBob();
    await boot.poll();
    expect(boot.holds(BOB)).toEqual([false]);
    boot.clockMs += 6_000;
    await boot.poll();
    expect(boot.holds(BOB)).toEqual([true]);
  });

  it("is vouched for by an upstream that is always a block behind at the block that it has", async () => {
    const late: Lie = (truth) => (method, params) => {
      const top = boot.chain.head - 1;
      if (JSON.stringify(params).includes(boot.chain.hashOf(boot.chain.head))) {
        return { error: { code: -32000, message: "header not found" } };
      }
      return truth(method, params[0] === "latest" ? [`0x${top.toString(16)}`, false] : params);
    };
    await node(honest, late);
    grantBob();
    await boot.poll();
    expect(boot.holds(BOB)).toEqual([false]);
    boot.chain.mine(1);
    await boot.poll();
    expect(boot.holds(BOB)).toEqual([true]);
  });

  it("of three hundred at once is vouched for before the node counts as caught up", async () => {
    boot = new Boot();
    boot.upstreams.set("other", boot.chain.answer);
    const keys = Array.from({ length: 300 }, (_, i) => keyOf(100 + i));
    boot.grant(...keys);
    while (!boot.agent.isCaughtUp) await boot.poll();
    expect(boot.holds(...keys)).toEqual(keys.map(() => true));
  });

  it("is asked about however many there are in a block, also some blocks below the head", async () => {
    await node(altering("eth_getLogs", "eth_call"));
    boot.chain.mine(2);
    for (let i = 0; i < 420; i++) boot.contract.grant(ownerOf(10 + i), `m-${i}`, keyOf(1_000 + i));
    grantBob();
    boot.chain.mine(5);
    await boot.poll();
    expect(boot.holds(MALLORY)).toEqual([false]);
  });

  it("at a first start leaves no wg0.conf behind before all are vouched for", async () => {
    boot = new Boot();
    boot.upstreams.set("other", refusing("eth_call")(boot.chain.answer));
    boot.grant(ALICE, BOB);
    boot.chain.mine(3);
    await boot.poll();
    await boot.fullPass();
    expect(await boot.agent.files.newest()).toBeUndefined();
    boot.clockMs += 6_000;
    await boot.poll();
    await boot.fullPass();
    expect((await boot.agent.files.newest())?.peers).toHaveLength(2);
  });

  it("is not asked about while a history is read", async () => {
    let asked = 0;
    const counting: Lie = (truth) => (method, params) => {
      if (method === "eth_call") asked++;
      return truth(method, params);
    };
    const alice = await node(counting, counting);
    boot.agent.stoodAtHead = false;
    mistrust(boot.agent, [alice as TokenId]);
    const loop = vouchAdditions(boot.agent, boot.signal);
    await sleep(1_200);
    expect(asked).toBe(0);
    boot.agent.stoodAtHead = true;
    await boot.until(() => asked > 0);
    await stop(loop);
  });

  it("that is disputed, or has not been vouched for yet, lets nobody in over a restart", async () => {
    const followed = altering("eth_getLogs", "eth_call");
    await node(followed);
    grantBob();
    boot.upstreams.set("other", refusing("eth_call")(boot.chain.answer));
    await boot.poll();
    const isIn = async () => {
      await boot.restart();
      // Before anybody has answered nobody is known to be well, which is not to be the only one.
      const upstreams = [...boot.upstreams];
      boot.upstreams.clear();
      await boot.fullPass();
      for (const [name, answer] of upstreams) boot.upstreams.set(name, answer);
      const atStart = boot.holds(MALLORY);
      await boot.poll();
      await boot.fullPass();
      return [...atStart, ...boot.holds(MALLORY)];
    };
    expect(await isIn()).toEqual([false, false]);
    boot.upstreams.set("other", boot.chain.answer);
    await boot.poll();
    expect(disputed(boot.agent)).toHaveLength(1);
    expect(await isIn()).toEqual([false, false]);
    expect(disputed(boot.agent)).toHaveLength(1);
    expect(boot.holds(ALICE)).toEqual([true]);
  });

  it.each<[string, Lie, boolean]>([
    ["whoever made it up is", honest, false],
    ["whoever denied it is, and the one that is left tells it still", altering("eth_getLogs", "eth_call"), true],
    ["whoever denied it is, and the one that is left reads no state", refusing("eth_call"), true],
  ])("that is disputed is let in as the only upstream has it, where %s gone", async (_, left, isIn) => {
    await node(altering("eth_getLogs"), altering("eth_call"));
    grantBob();
    await boot.poll();
    boot.upstreams.set("scripted", boot.chain.answer);
    await vouchSoon(boot.agent, boot.signal);
    expect(disputed(boot.agent)).toHaveLength(1);
    boot.upstreams.delete("other");
    boot.upstreams.set("scripted", left(boot.chain.answer));
    await boot.restart();
    boot.clockMs += 60_000;
    await boot.poll();
    await vouchSoon(boot.agent, boot.signal);
    await boot.fullPass();
    expect(boot.holds(BOB, MALLORY)).toEqual([false, isIn]);
  });

  it("that was vouched for over a restart is carried out", async () => {
    await node(honest, refusing("eth_call"));
    grantBob();
    await boot.poll();
    await boot.restart();
    await boot.fullPass();
    expect(boot.holds(ALICE, BOB)).toEqual([true, false]);
    boot.upstreams.set("other", boot.chain.answer);
    await boot.poll();
    expect(boot.holds(ALICE, BOB)).toEqual([true, true]);
    await boot.restart();
    boot.device.peers.clear();
    await boot.fullPass();
    expect(boot.holds(ALICE, BOB)).toEqual([true, true]);
  });

  it.each([
    ["until somebody vouches for it", refusing("eth_call")],
    ["also where another upstream tells otherwise", altering("eth_call")],
  ])("on a device that has its peer from before a crash keeps it %s", async (_, other) => {
    await node(honest, other);
    const own = addresses(boot.agent.rules.addresses, grantBob());
    const [alice] = boot.device.peers.values();
    if (alice === undefined || own.kind !== "addresses") throw new Error("there is no peer to be like");
    boot.device.peers.set(BOB, { ...alice, key: BOB, allowedIps: own.cidrs });
    await boot.restart();
    await boot.fullPass();
    await boot.poll();
    await boot.fullPass();
    await boot.poll();
    await boot.fullPass();
    expect(boot.agent.unvouched.size).toBe(1);
    expect(boot.holds(ALICE, BOB)).toEqual([true, true]);
    boot.upstreams.set("other", boot.chain.answer);
    await vouchSoon(boot.agent, boot.signal);
    await boot.fullPass();
    expect(boot.agent.unvouched.size).toBe(0);
    expect(boot.agent.running.has(BOB)).toBe(true);
    expect(boot.device.gone).toEqual(new Map());
  });

  it.each([
    ["as long as it comes nearer", 2],
    ["and stands still twenty seconds, and no longer", 0],
  ])("waits for an upstream that is behind %s", async (_, step) => {
    await node();
    boot.chain.mine(90);
    let head = 20;
    const lagging: Lie = (truth) => (method, params) => {
      const isHead = method === "eth_getBlockByNumber" && params[0] === "latest";
      return truth(method, isHead ? [`0x${head.toString(16)}`, false] : params);
    };
    boot.heads.set("other", head);
    boot.upstreams.set("other", lagging(refusing("eth_call", "eth_getBlockByHash")(boot.chain.answer)));
    grantBob();
    const seconds = async (count: number) => {
      for (let i = 0; i < count; i++) {
        await boot.poll();
        boot.clockMs += 1_000;
        head += step;
      }
    };
    await seconds(20);
    expect(boot.holds(BOB)).toEqual([false]);
    await seconds(8);
    expect(boot.holds(BOB)).toEqual([step === 0]);
    // Whoever comes while it has not moved does not wait for it anew.
    const carol = keyOf(88);
    boot.contract.grant(ownerOf(88), "carol", carol);
    boot.contract.mine();
    await seconds(7);
    expect(boot.holds(carol)).toEqual([step === 0]);
  });

  it.each([
    ["at one block for as long as they do, for the chain may have halted there", 0],
    ["at two blocks twenty seconds, and no longer", 1],
  ])("waits for two upstreams that stand still %s", async (_, apart) => {
    await node();
    boot.upstreams.set("third", boot.chain.answer);
    boot.chain.mine(5);
    await boot.poll();
    const top = boot.chain.head;
    boot.upstreams.set(
      "other",
      upTo(boot.chain, () => top),
    );
    boot.upstreams.set(
      "third",
      upTo(boot.chain, () => top - apart),
    );
    grantBob();
    const seconds = async (count: number) => {
      for (let i = 0; i < count; i++) {
        await boot.poll();
        boot.clockMs += 1_000;
      }
    };
    await seconds(40);
    expect(boot.holds(BOB)).toEqual([apart > 0]);
    boot.upstreams.set("third", boot.chain.answer);
    await seconds(1);
    expect(boot.holds(BOB)).toEqual([true]);
  });
});

describe("what a token is to others", () => {
  /** In logs: everybody who is told to be something is a gateway, and another host in place of `HOST`. */
  const raising: Lie = (truth) => async (method, params) => {
    const told = await truth(method, params);
    if (method !== "eth_getLogs" || !("result" in told)) return told;
    const logs = told.result as { readonly topics: readonly string[]; readonly data: string }[];
    const raised = ({ topics, data }: (typeof logs)[number]) =>
      topics[0] === TOPIC.role ? word(2n) : data.replaceAll(hexOf(HOST), hexOf(ANOTHER));
    return { result: logs.map((log) => ({ ...log, data: raised(log) })) };
  };
  const [HOST, ANOTHER] = ["192.0.2.1:51820", "192.0.2.9:51820"];
  const OVERLAY = "10.213.0.0/16";
  const carries = () => boot.device.peers.get(ALICE)?.allowedIps.includes(OVERLAY as Cidr);
  const endpoint = () => boot.device.peers.get(ALICE)?.endpoint;
  const settled = async () => {
    await boot.poll();
    await boot.fullPass();
    await boot.fullPass();
  };

  it.each<[string, "full" | "plain"]>([
    ["that two upstreams tell alike", "full"],
    ["of which a contract has no view", "plain"],
  ])("%s acts at once", async (_, style) => {
    const alice = await node(honest, honest, {}, { style });
    boot.contract.setRole(alice, 2);
    boot.contract.setEndpoint(alice, HOST);
    boot.contract.mine();
    await settled();
    expect([carries(), endpoint()]).toEqual([true, HOST]);
  });

  it("is nobody's word alone: a role that is raised gives no overlay, over a restart too, and is told", async () => {
    const alice = await node(raising);
    boot.contract.setRole(alice, 1);
    boot.contract.mine();
    await settled();
    expect(carries()).toBe(false);
    expect(snapshot(boot.agent).faults).toContainEqual({ code: "chain.grant-disputed", tokens: 1 });
    await boot.restart();
    await boot.fullPass();
    expect(carries()).toBe(false);
    await settled();
    expect(boot.holds(ALICE)).toEqual([true]);
    expect(carries()).toBe(false);
  });

  it("is as the chain has it again, once a resync has read it from an upstream that tells the truth", async () => {
    const alice = await node(raising);
    boot.contract.setRole(alice, 1);
    boot.contract.mine();
    await settled();
    expect(disputed(boot.agent)).toHaveLength(1);
    boot.upstreams.set("scripted", boot.chain.answer);
    await resync(boot.agent, boot.signal);
    await settled();
    await boot.poll();
    expect(disputed(boot.agent)).toEqual([]);
    expect(boot.agent.roster.admitted(alice as TokenId)?.role).toBe("node");
  });

  it("is nobody's word alone in a long first history, of which only nodes and gateways are asked about", async () => {
    boot = new Boot();
    const honestly = boot.chain.answer;
    boot.upstreams.set("scripted", raising(honestly)).set("other", honestly);
    const keys = Array.from({ length: 450 }, (_, i) => keyOf(100 + i));
    const last = boot.grant(...keys, ALICE).at(-1) ?? 0n;
    boot.contract.setRole(last, 1);
    boot.contract.mine();
    boot.chain.mine(100);
    await settled();
    const retelling = heedRetellings(boot.agent, boot.signal);
    await boot.until(() => boot.agent.untold === undefined);
    await settled();
    expect(boot.holds(keyOf(100), ALICE)).toEqual([true, false]);
    await boot.end();
    await retelling;
    boot = new Boot();
  });

  it("is nobody's word alone: an endpoint that is altered aims nothing there", async () => {
    const alice = await node();
    boot.contract.setRole(alice, 1);
    boot.contract.setEndpoint(alice, "192.0.2.5:51820");
    boot.contract.mine();
    await settled();
    boot.upstreams.set("scripted", raising(boot.chain.answer));
    boot.contract.setEndpoint(alice, HOST);
    boot.contract.mine();
    await settled();
    expect(endpoint()).toBe("192.0.2.5:51820");
  });

  it("waits five seconds, and no longer, for an upstream that does not tell it", async () => {
    const alice = await node(honest, (truth) => (method, params) => {
      if (JSON.stringify(params).includes("5312fdc2")) throw new Down();
      return truth(method, params);
    });
    boot.contract.setRole(alice, 2);
    boot.contract.mine();
    await settled();
    expect(carries()).toBe(false);
    boot.clockMs += 6_000;
    await settled();
    expect(carries()).toBe(true);
  });

  it("becomes less at once, whatever the other upstream can read", async () => {
    const alice = await node();
    boot.contract.setRole(alice, 2);
    boot.contract.mine();
    await settled();
    boot.upstreams.set("other", refusing("eth_call")(boot.chain.answer));
    boot.contract.setRole(alice, 0);
    boot.contract.mine();
    await settled();
    expect(carries()).toBe(false);
  });

  it("is asked about for this node itself, and its interface follows", async () => {
    await node(honest, refusing("eth_call"));
    boot.contract.setRole(1n, 2);
    boot.contract.mine();
    await settled();
    await boot.agent.tend.sleep(1, boot.signal);
    expect(boot.agent.topology.role).toBe("node");
    boot.upstreams.set("other", boot.chain.answer);
    await vouchSoon(boot.agent, boot.signal);
    await boot.agent.tend.sleep(60_000, boot.signal);
    await boot.fullPass();
    expect(boot.agent.topology.role).toBe("gateway");
  });
});

describe("a revoke and a new key", () => {
  it("take the old peer away whatever the other upstream can read", async () => {
    const alice = await node(honest, refusing("eth_call"));
    boot.contract.updateKey(alice, BOB);
    boot.contract.mine();
    await boot.poll();
    expect(boot.holds(ALICE, BOB)).toEqual([false, false]);
  });
});

/** Ends the agent, and with it the loop. */
async function stop(loop: Promise<void>): Promise<void> {
  await boot.end();
  await loop;
  boot = new Boot();
}
