/** Logs, states and blocks of one upstream's own making, of two or three: whom they let in, cut, or keep for good. */
import { setTimeout as sleep } from "node:timers/promises";
import { AbiCoder } from "ethers";
import { afterEach, describe, expect, it } from "vitest";
import { resync } from "./actions.ts";
import { auditAll } from "./auditing.ts";
import { TOPIC } from "./chain/events.ts";
import { connect } from "./chain/rpc.ts";
import { heedRivals } from "./contest.ts";
import type { Address } from "./model.ts";
import { witnessRemovals } from "./proving.ts";
import { heedRetellings } from "./retelling.ts";
import { Boot, keyOf, NODE_KEY, ownerOf } from "./test/boot.ts";
import { Forks, KEYS, replacing, upTo } from "./test/forks.ts";
import { RpcProxy } from "./test/rpc-proxy.ts";
import { type Backend, ScriptedChain } from "./test/scripted-chain.ts";
import { ScriptedContract, strings, word } from "./test/scripted-contract.ts";
import { bloomed, both, changing, honest, refusing, stateAt, type Way } from "./test/ways.ts";
import { disputed } from "./unvouched.ts";
import { vouchAdditions, vouchSoon } from "./vouching.ts";

const abi = AbiCoder.defaultAbiCoder();
const [BOB, MALLORY] = [keyOf(60), keyOf(999)];
const world = new Forks();
afterEach(() => world.end());

const serve = (name: string, way: Way, chain = world.boot.chain.answer) => world.serve(name, way(chain));

/** A block every two seconds, a poll for each; second readings go on beside them. */
async function later(blocks: number, each: () => unknown = () => world.boot.chain.mine(1)): Promise<void> {
  for (let i = 0; i < blocks; i++) {
    each();
    world.boot.clockMs += 2_000;
    await world.patrol();
    await world.boot.poll();
    await sleep(5);
  }
}

const ways = (lie: () => Way): [string, () => Way][] => [
  ["honest", () => honest],
  ["lying", lie],
];

describe("revokes of everybody that the second upstream alone makes up", () => {
  it.each<[string, string, boolean]>([
    ["and does not confirm by its state", "honest", false],
    ["and confirms by its own state", "lying", true],
  ])("%s take no more than a fifth (state: %s)", async (_, __, liesInState) => {
    await world.node(2);
    const at = world.boot.chain.mine(1);
    const revokes = KEYS.map((_, i) => ({ topics: [TOPIC.revoke, word(BigInt(i + 2))], data: strings("x") }));
    const stateless = refusing((method) => method === "eth_call", { code: 3, message: "execution reverted" });
    serve("other", both(world.makingUp(at, ...revokes), liesInState ? stateless : honest));
    world.run(heedRivals, vouchAdditions, witnessRemovals);
    await later(6);
    await sleep(1_200);
    await later(1);
    expect(world.boot.agent.follower.heads.tipFrom).toBe("scripted");
    expect(world.boot.held().length).toBeGreaterThanOrEqual(15);
  });
});

describe("revokes of everybody that one of three upstreams makes up", () => {
  it("take no more than a fifth where it is the second one that is asked", async () => {
    await world.node(3);
    const at = world.boot.chain.mine(1);
    const revokes = KEYS.map((_, i) => ({ topics: [TOPIC.revoke, word(BigInt(i + 2))], data: strings("x") }));
    const stateless = refusing((method) => method === "eth_call", { code: 3, message: "execution reverted" });
    serve("other", both(world.makingUp(at, ...revokes), stateless));
    world.run(heedRivals, vouchAdditions, witnessRemovals);
    await later(6);
    await sleep(1_200);
    await later(1);
    expect(world.boot.held().length).toBeGreaterThanOrEqual(15);
  });
});

/** Token 2 is given a new key: the old one goes, and nobody else. */
async function losesTheOldKey(): Promise<void> {
  world.boot.contract.updateKey(2n, keyOf(70));
  world.boot.contract.mine();
  world.run(heedRivals, vouchAdditions, witnessRemovals);
  await later(6);
  await vouchSoon(world.boot.agent, world.boot.signal);
  await auditAll(world.boot.agent, world.boot.signal);
  await later(2);
  expect(world.boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
}

describe("a new key that is announced, and both upstreams tell of it", () => {
  it.each(ways(() => stateAt(world.boot.chain.head)))(
    "takes the old one away where the followed upstream's state is %s",
    async (_, way) => {
      await world.node(2, { style: "plain" });
      serve("scripted", way());
      await losesTheOldKey();
    },
  );
});

describe("a new key that the followed upstream tells as the old one, in the same place", () => {
  it.each(
    ways(() =>
      both(
        changing((logs) =>
          JSON.parse(
            JSON.stringify(logs).replaceAll(
              Buffer.from(keyOf(70)).toString("hex"),
              Buffer.from(keyOf(1)).toString("hex"),
            ),
          ),
        ),
        stateAt(world.boot.chain.head),
      ),
    ),
  )("takes the old one away within seconds (%s)", async (_, way) => {
    await world.node(2);
    serve("scripted", way());
    await losesTheOldKey();
  });
});

describe("a history that one upstream tells", () => {
  const junk = (count: number) =>
    Array.from({ length: count }, (_, i) => ({
      topics: [TOPIC.grant, word(BigInt(10_000 + i)), word(ownerOf(5_000 + i))],
      data: strings(`x-${i}`, keyOf(20_000 + i)),
    }));
  const mallory = { topics: [TOPIC.grant, word(999n), word(ownerOf(999))], data: strings("mallory", MALLORY) };

  /** Its state has them, too. */
  const confirming: Way = (truth) => (method, params) => {
    const { data = "" } = (params[0] ?? {}) as { data?: string };
    const asked = Number(`0x${data.slice(10, 74) || "0"}`);
    if (method !== "eth_call" || (asked !== 999 && asked < 10_000)) return truth(method, params);
    const said =
      asked === 999
        ? { nodeId: "mallory", owner: ownerOf(999), key: MALLORY }
        : { nodeId: `x-${asked - 10_000}`, owner: ownerOf(asked - 5_000), key: keyOf(asked + 10_000) };
    if (data.startsWith("0x6352211e")) return { result: word(said.owner) };
    if (data.startsWith("0x6a572da6"))
      return { result: abi.encode(["string", "string", "uint256", "bool"], [said.nodeId, said.key, 1n, true]) };
    return truth(method, params);
  };

  it.each([10, 400])("lets nobody in after an outage, with %i more grants of its own making", async (count) => {
    await world.node(2);
    const at = world.boot.chain.mine(10);
    world.boot.chain.mine(300);
    serve("scripted", both(confirming, world.makingUp(at, ...junk(count), mallory)));
    world.run(heedRivals, vouchAdditions, witnessRemovals);
    await later(4);
    await world.boot.fullPass();
    await auditAll(world.boot.agent, world.boot.signal);
    await later(1);
    await world.boot.fullPass();
    expect(world.boot.holds(MALLORY)).toEqual([false]);
  });

  it.each([1, 700])(
    "lets in none of %i more than there are at a first start of hundreds",
    async (count) => {
      world.boot = new Boot({ finalizedDepth: 60 });
      const { boot } = world;
      boot.grant(...Array.from({ length: 450 }, (_, i) => keyOf(i + 1)));
      const at = boot.chain.mine(10);
      boot.chain.mine(300);
      serve("scripted", both(confirming, world.makingUp(at, ...junk(count - 1), mallory)));
      serve("other", honest);
      world.run(vouchAdditions, heedRetellings);
      await later(2);
      expect(boot.agent.isCaughtUp).toBe(false);
      for (let i = 0; i < 150 && !boot.agent.isCaughtUp; i++) {
        await sleep(100);
        boot.clockMs += 100;
        await boot.poll();
      }
      await boot.fullPass();
      expect(boot.holds(MALLORY)).toEqual([false]);
      expect(boot.held()).toHaveLength(450);
      expect(boot.device.added.includes(MALLORY)).toBe(false);
    },
    20_000,
  );

  it("of hundreds lets in nobody by a restart before the other upstream has told it", async () => {
    world.boot = new Boot({ finalizedDepth: 60 });
    const { boot } = world;
    boot.grant(...Array.from({ length: 450 }, (_, i) => keyOf(i + 1)));
    boot.chain.mine(300);
    serve("scripted", honest);
    serve("other", honest);
    await later(2);
    await boot.restart();
    await boot.fullPass();
    await later(2);
    expect(boot.held()).toHaveLength(0);
    world.run(vouchAdditions, heedRetellings);
    await boot.until(() => boot.agent.untold === undefined);
    await later(1);
    await boot.fullPass();
    expect(boot.held()).toHaveLength(450);
  });

  it("of hundreds lets them in after a while, where the other upstream does not tell its logs", async () => {
    world.boot = new Boot({ finalizedDepth: 60 });
    const { boot } = world;
    boot.grant(...Array.from({ length: 450 }, (_, i) => keyOf(i + 1)));
    boot.chain.mine(300);
    serve("scripted", honest);
    serve(
      "other",
      refusing((method) => method === "eth_getLogs", { code: -32005, message: "not on this plan" }),
    );
    world.run(vouchAdditions, heedRetellings);
    await later(10);
    expect(boot.held()).toHaveLength(0);
    await later(25);
    await boot.fullPass();
    expect(boot.held()).toHaveLength(450);
  });
});

describe("what one upstream made up", () => {
  const made = (i: number) =>
    [
      { topics: [TOPIC.transfer, word(ownerOf(1)), word(ownerOf(999)), word(2n)], data: "0x" },
      { topics: [TOPIC.revoke, word(2n)], data: strings("m-0") },
      { topics: [TOPIC.transfer, word(ownerOf(1)), word(`0x${"0".repeat(40)}`), word(2n)], data: "0x" },
      { topics: [TOPIC.grant, word(2n), word(ownerOf(999))], data: strings("m-0", keyOf(1)) },
      { topics: [TOPIC.keyUpdate, word(2n)], data: strings(keyOf(500)) },
    ][i] as { topics: string[]; data: string };
  it.each<[string, string, number]>([
    ["a transfer", "scripted", 0],
    ["a transfer", "other", 0],
    ["a revoke", "scripted", 1],
    ["a burn", "scripted", 2],
    ["a grant of the token to somebody else", "scripted", 3],
    ["a new key", "scripted", 4],
  ])("%s (by %s) is mended once all tell the truth, by audits and a resync", async (_, name, i) => {
    await world.node(2);
    const at = world.boot.chain.head + 1;
    world.boot.chain.mine(1);
    serve(name, world.makingUp(at, made(i)));
    world.run(heedRivals, vouchAdditions, witnessRemovals);
    await later(5);
    expect(world.boot.holds(keyOf(1))).toEqual([false]);
    serve(name, honest);
    await later(100);
    for (let round = 0; round < 3; round++) {
      await auditAll(world.boot.agent, world.boot.signal);
      await later(3);
      await world.boot.fullPass();
    }
    await resync(world.boot.agent, world.boot.signal);
    await later(4);
    await world.boot.fullPass();
    expect(world.boot.holds(keyOf(1), keyOf(2))).toEqual([true, true]);
  });

  it.each(["scripted", "other"])(
    "an earlier claim to Bob's key (by %s) does not keep him out for ever",
    async (name) => {
      await world.node(2);
      const at = world.boot.chain.mine(1);
      world.boot.contract.grant(ownerOf(60), "bob", BOB);
      world.boot.contract.mine();
      serve(
        name,
        world.makingUp(at, { topics: [TOPIC.grant, word(900n), word(ownerOf(999))], data: strings("mallory", BOB) }),
      );
      world.run(heedRivals, vouchAdditions, witnessRemovals);
      await later(6);
      serve(name, honest);
      await later(100);
      for (let round = 0; round < 3; round++) {
        await auditAll(world.boot.agent, world.boot.signal);
        await later(3);
        await world.boot.fullPass();
      }
      await resync(world.boot.agent, world.boot.signal);
      await later(4);
      await world.boot.fullPass();
      expect([disputed(world.boot.agent), world.boot.agent.roster.verdict(22n as never)]).toEqual([[], "admitted"]);
      expect(world.boot.holds(BOB)).toEqual([true]);
    },
  );
});

describe("a database that is lost, before a device that runs", () => {
  it.each<[string, () => Way]>([
    ["honest", () => honest],
    [
      "leaves out all grants and says that there are no tokens",
      () =>
        both(
          changing((logs) => logs.filter(({ topics }) => topics[0] !== TOPIC.grant && topics[0] !== TOPIC.transfer)),
          bloomed("f"),
          refusing((method) => method === "eth_call", { code: 3, message: "execution reverted" }),
        ),
    ],
  ])("takes no more than a fifth by one upstream's word, which %s", async (_, way) => {
    await world.node(2);
    await world.boot.fullPass();
    await world.boot.forget();
    world.boot.chain.mine(10);
    serve("scripted", way());
    await world.boot.fullPass();
    world.run(heedRivals, vouchAdditions, witnessRemovals);
    for (let i = 0; i < 4; i++) {
      await later(1);
      await world.boot.fullPass();
    }
    expect(world.boot.held().length).toBeGreaterThanOrEqual(15);
  });
});

describe("this node's own token", () => {
  it.each([false, true])("is not replaced by one that one upstream alone tells of (lying: %s)", async (isLying) => {
    await world.node(2);
    await world.boot.fullPass();
    await world.boot.fullPass();
    const own = world.boot.device.wanted?.addresses;
    expect(own).toContain("10.213.0.1/32");
    const liar = world.twin();
    liar.contract.revoke(1n);
    liar.contract.grant(ownerOf(999), "node-a", NODE_KEY.publicKey);
    liar.contract.mine();
    world.boot.chain.mine(1);
    if (isLying) serve("scripted", honest, liar.chain.answer);
    world.run(heedRivals, vouchAdditions, witnessRemovals);
    await later(2, () => {
      world.boot.chain.mine(1);
      liar.chain.mine(1);
    });
    await world.boot.fullPass();
    await world.boot.fullPass();
    expect(world.boot.device.wanted?.addresses).toEqual(own);
  });
});

describe("a fork of the followed upstream's own, many blocks ahead of the chain", () => {
  it.each([
    [40, 0],
    [500, 0],
    [500, 1],
  ])(
    "(%i blocks, third: %i) hides no revoke for over ten seconds",
    async (ahead, thirds) => {
      await world.node(2 + thirds);
      const fork = world.twin().chain;
      fork.mine(ahead);
      serve("scripted", honest, fork.answer);
      serve("other", honest);
      world.run(heedRivals, vouchAdditions, witnessRemovals);
      const both = () => {
        world.boot.chain.mine(1);
        fork.mine(1);
      };
      await later(2, both);
      world.boot.contract.revoke(2n);
      world.boot.contract.mine();
      // Ten seconds by its clock, and four by ours.
      for (let i = 0; i < 10; i++) {
        await later(1, both);
        await sleep(400);
      }
      expect(world.boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
    },
    90_000,
  );
});

describe("a first start before real connections, of which the first answers a little sooner", () => {
  it.each<[string, number, boolean]>([
    ["is honest", 2, false],
    ["has made up a genesis", 2, true],
    ["has made up a genesis, against two others", 3, true],
  ])(
    "and %s, keeps no honest one out and lets nobody in (of %i)",
    async (_, upstreams, isLying) => {
      const chain = new ScriptedChain({ finalizedDepth: 60 });
      const contract = new ScriptedContract(chain);
      contract.grant(ownerOf(0), "node-a", NODE_KEY.publicKey);
      contract.grant(ownerOf(1), "m-0", keyOf(1));
      contract.mine();
      chain.mine(80);
      let isBad = isLying;
      const lying: Backend = async (method, params) => {
        const outcome = await (isBad ? replacing(chain.answer, keyOf(1), MALLORY) : chain.answer)(method, params);
        const isFirst = isBad && method === "eth_getBlockByNumber" && params[0] === "0x0" && "result" in outcome;
        return isFirst ? { result: { ...(outcome.result as object), hash: `0x${"ee".repeat(32)}` } } : outcome;
      };
      const slow: Backend = async (method, params) => {
        await sleep(15);
        return chain.answer(method, params);
      };
      const backends = [lying, ...Array<Backend>(upstreams - 1).fill(slow)];
      const proxies = await Promise.all(backends.map((backend) => RpcProxy.open(backend)));
      const expected = { chainId: 31_337, contract: contract.address as Address };
      const urls = proxies.map((proxy) => proxy.url());
      const over = { rpc: () => connect({ urls, expect: expected }), contract: contract.address };
      const boot = new Boot({ over });
      world.boot = boot;
      const isHonestOut = () => boot.agent.rpc.upstreams().some(({ fault }, i) => i > 0 && fault !== undefined);
      await boot.poll();
      await sleep(500);
      await boot.poll();
      const isIn = boot.holds(MALLORY)[0];
      isBad = false;
      await boot.until(() => !isHonestOut());
      chain.mine(1);
      boot.clockMs += 10_000;
      for (let i = 0; i < 100 && !boot.holds(keyOf(1))[0]; i++) {
        await boot.poll();
        await sleep(50);
      }
      for (const proxy of proxies) await proxy.stop();
      expect([isIn, ...boot.holds(keyOf(1), MALLORY)]).toEqual([false, true, false]);
    },
    15_000,
  );
});

describe("earlier grants that one of two upstreams makes up, where there is no place left", () => {
  it.each<[string, Record<string, string>]>([
    ["on the device", { MAX_PEERS: "20" }],
    ["for one owner", { MAX_TOKENS_PER_OWNER: "1" }],
  ])("%s push nobody out", async (_, env) => {
    await world.node(2, { env });
    const { boot } = world;
    const at = boot.chain.mine(1);
    boot.contract.transfer(2n, ownerOf(80));
    boot.contract.mine();
    boot.contract.updateKey(2n, keyOf(80));
    boot.contract.mine();
    const owners = [...KEYS.keys()].map((i) => (i === 0 ? 80 : i + 1));
    const grants = owners.map((owner, i) => ({
      topics: [TOPIC.grant, word(BigInt(500 + i)), word(ownerOf(owner))],
      data: strings(`x-${i}`, keyOf(900 + i)),
    }));
    serve("other", world.makingUp(at, ...grants));
    world.run(heedRivals, vouchAdditions, witnessRemovals);
    await later(6);
    await sleep(1_200);
    await later(1);
    await boot.fullPass();
    expect(boot.holds(keyOf(80))).toEqual([true]);
    expect(boot.held()).toHaveLength(20);
  });
});

describe("a fork whose logs the followed upstream tells one block at a time, each as late as it may", () => {
  it.each([
    ["whose next poll is hurried", false],
    ["that is patient after a late one", true],
  ])(
    "hides no revoke from a node %s for over ten seconds",
    async (_, isPatient) => {
      await world.node(2);
      const { boot } = world;
      const fork = world.twin().chain;
      fork.mine(60);
      const dragging: Way = (truth) => async (method, params) => {
        if (method !== "eth_getLogs") return truth(method, params);
        const { fromBlock, toBlock } = params[0] as Record<string, string>;
        if (fromBlock !== toBlock) return { error: { code: -32005, message: "max block range 1" } };
        await sleep(2_800);
        return truth(method, params);
      };
      serve("scripted", dragging, fork.answer);
      serve("other", honest);
      boot.contract.revoke(2n);
      boot.contract.mine();
      await world.patrol();
      boot.agent.follower.isPatient = isPatient;
      const startedMs = performance.now();
      // Each pauses as the agent's own do, and none waits for the polls.
      world.run(heedRivals, vouchAdditions, witnessRemovals, async () => {
        while (!boot.signal.aborted) {
          await boot.poll().catch(() => {});
          boot.chain.mine(1);
          fork.mine(1);
          await sleep(100);
        }
      });
      while (performance.now() - startedMs < 11_000 && boot.holds(keyOf(1))[0]) {
        await sleep(100);
        boot.clockMs = performance.now() - startedMs;
      }
      expect(boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
    },
    30_000,
  );
});

describe("a longer fork that lacks a revoke, beside an upstream that has not come to the revoke yet", () => {
  it.each([
    ["below", 1],
    ["at", 0],
  ])("brings nobody back, where it begins %s the block that that one stands at", async (_, depth) => {
    await world.node(2);
    const { boot } = world;
    const top = boot.chain.head;
    const fork = world.twin().chain;
    fork.reorg(depth);
    boot.contract.revoke(2n);
    boot.contract.mine();
    await world.during(2, () => {});
    expect(boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
    fork.mine(7);
    serve("scripted", honest, fork.answer);
    world.serve(
      "other",
      upTo(boot.chain, () => top),
    );
    world.run(heedRivals, vouchAdditions, witnessRemovals);
    for (let second = 0; second < 8; second += 2) {
      fork.mine(1);
      boot.clockMs += 2_000;
      await world.patrol();
      await boot.poll();
      await sleep(50);
    }
    expect(boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
  });
});

describe("a head that the followed upstream makes up, with blocks down to ours", () => {
  it.each([500, 100_000, 5_000_000])(
    "%i blocks ahead hides no revoke for over ten seconds",
    async (ahead) => {
      await world.node(2);
      const { boot } = world;
      const base = boot.chain.head;
      const made = (number: number) => `0x${"d".repeat(48)}${number.toString(16).padStart(16, "0")}`;
      const madeUp: Way = (truth) => async (method, params) => {
        // As over a network, others have their turn.
        await sleep(1);
        const { toBlock, blockHash = "" } = (params[0] ?? {}) as Record<string, string>;
        const isAbove = Number(toBlock ?? 0) > base || blockHash.startsWith("0xdddd");
        if (method === "eth_getLogs" && isAbove) return { result: [] };
        if (method !== "eth_getBlockByNumber") return truth(method, params);
        const top = base + ahead;
        const number = params[0] === "latest" ? top : params[0] === "finalized" ? top - 64 : Number(params[0]);
        if (number <= base) return truth(method, params);
        const below = (await truth("eth_getBlockByNumber", [`0x${base.toString(16)}`, false])) as { result: object };
        const parentHash = number === base + 1 ? boot.chain.hashOf(base) : made(number - 1);
        return { result: { ...below.result, number: `0x${number.toString(16)}`, hash: made(number), parentHash } };
      };
      serve("scripted", madeUp);
      serve("other", honest);
      world.run(heedRivals, vouchAdditions, witnessRemovals);
      boot.contract.revoke(2n);
      boot.contract.mine();
      await world.patrol();
      const startedMs = performance.now();
      while (performance.now() - startedMs < 11_000 && boot.holds(keyOf(1))[0]) {
        await boot.poll();
        boot.clockMs = performance.now() - startedMs;
        await sleep(200);
      }
      expect(performance.now() - startedMs).toBeLessThan(11_000);
      expect(boot.holds(keyOf(1), keyOf(2))).toEqual([false, true]);
    },
    60_000,
  );
});
