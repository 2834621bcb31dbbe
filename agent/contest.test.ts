/** Two forks, and what is believed of either. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { TOPIC } from "./chain/events.ts";
import { heedRivals } from "./contest.ts";
import { keyOf, NODE_KEY, ownerOf } from "./test/boot.ts";
import { Forks, KEYS, replacing, upTo } from "./test/forks.ts";
import { Down } from "./test/rpc-over.ts";
import { ScriptedChain } from "./test/scripted-chain.ts";
import { ScriptedContract, word } from "./test/scripted-contract.ts";
import { vouchAdditions, vouchSoon } from "./vouching.ts";

const [BOB, MALLORY] = [keyOf(60), keyOf(999)];
const world = new Forks();
afterEach(() => world.end());

/** Token 2 is revoked on the other one's chain, and out; the followed fork has it still. */
async function denied() {
  await world.node(2);
  const { boot } = world;
  const fork = world.twin();
  world.serve("scripted", fork.chain.answer);
  world.serve("other", boot.chain.answer);
  await boot.poll();
  boot.contract.revoke(2n);
  boot.contract.mine();
  fork.chain.mine(1);
  world.run(heedRivals);
  await world.patrol();
  await boot.poll();
  await boot.until(() => boot.holds(keyOf(1))[0] === false);
  return fork;
}

describe("a fork that is followed and stays behind the chain", () => {
  it.each([1, 2])("by %i blocks hides no revoke for over ten seconds", async (lag) => {
    await world.node(2);
    const fork = world.twin().chain;
    world.serve("scripted", fork.answer);
    world.serve("other", world.boot.chain.answer);
    world.boot.chain.mine(lag);
    world.run(heedRivals, vouchAdditions);
    const both = async () => {
      world.boot.chain.mine(1);
      fork.mine(1);
      world.boot.clockMs += 2_000;
      await world.boot.poll();
    };
    for (let i = 0; i < 4; i++) await both();
    world.boot.contract.revoke(2n);
    world.boot.contract.mine();
    await world.patrol();
    await both();
    await world.boot.until(() => world.boot.holds(keyOf(1))[0] === false);
    expect(world.boot.agent.follower.heads.tipFrom).toBe("scripted");
    expect(world.boot.held()).toHaveLength(19);
  });
});

describe("a grant that both upstreams had", () => {
  it("is no more where one of them comes to have a chain without it", async () => {
    await world.node(2);
    const fork = world.twin().chain;
    world.boot.contract.grant(ownerOf(60), "bob", BOB);
    world.boot.contract.mine();
    await world.boot.poll();
    expect(world.boot.holds(BOB)).toEqual([true]);
    world.serve("other", fork.answer);
    fork.mine(1);
    world.run(heedRivals, vouchAdditions);
    await world.patrol();
    await world.boot.poll();
    await world.boot.until(() => world.boot.holds(BOB)[0] === false);
    expect(world.boot.held()).toHaveLength(20);
  });
});

describe("two of three upstreams that have stalled on a block of their own", () => {
  it("have no vote any more", async () => {
    await world.node(3);
    const stuck = world.twin().chain;
    stuck.mine(1);
    world.serve("scripted", stuck.answer);
    world.serve("third", stuck.answer);
    world.serve("other", world.boot.chain.answer);
    await world.boot.poll();
    world.boot.contract.revoke(2n);
    world.boot.contract.mine();
    await world.during(80, () => world.boot.chain.mine(1, [], Math.floor((Date.now() + world.boot.clockMs) / 1000)));
    expect(world.boot.holds(keyOf(1))).toEqual([false]);
    expect(world.boot.agent.follower.heads.tipFrom).toBe("other");
    expect(world.boot.agent.follower.figures.reorgs).toBe(1);
  });
});

describe("a fork that two of four upstreams deny", () => {
  it("is left once the fourth has stalled", async () => {
    await world.node(3);
    const { boot } = world;
    const fork = world.twin().chain;
    const top = boot.chain.head;
    fork.mine(1);
    world.serve("scripted", fork.answer);
    world.serve(
      "third",
      upTo(boot.chain, () => top),
    );
    for (const name of ["other", "fourth"]) world.serve(name, boot.chain.answer);
    await boot.poll();
    boot.contract.revoke(2n);
    boot.contract.mine();
    const now = () => Math.floor((Date.now() + boot.clockMs) / 1000);
    await world.during(80, () => {
      boot.chain.mine(1, [], now());
      fork.mine(2, [], now());
    });
    expect(["other", "fourth"]).toContain(boot.agent.follower.heads.tipFrom);
    expect(boot.holds(keyOf(1))).toEqual([false]);
  });
});

describe("removals that two of four upstreams tell of", () => {
  it("go beyond the limit of one, while the third is frozen and the fourth on a fork of its own", async () => {
    await world.node(4);
    const { boot } = world;
    const fork = world.twin().chain;
    const top = boot.chain.head;
    fork.mine(1);
    world.serve("scripted", fork.answer);
    world.serve(
      "third",
      upTo(boot.chain, () => top),
    );
    for (const name of ["other", "fourth"]) world.serve(name, boot.chain.answer);
    await boot.poll();
    const revoked = Array.from({ length: 8 }, (_, i) => i + 2);
    for (const id of revoked) boot.contract.revoke(BigInt(id));
    boot.contract.mine();
    world.run(heedRivals);
    await world.during(4, () => {
      boot.chain.mine(1);
      fork.mine(1);
    });
    await boot.until(() => boot.holds(...revoked.map((id) => keyOf(id - 1))).every((isIn) => !isIn));
    expect(boot.agent.follower.heads.tipFrom).toBe("scripted");
    expect(boot.held()).toHaveLength(12);
  });
});

describe("a host whose clock is an hour ahead of the chain's", () => {
  it("lets nobody in by the word of the one of three that stamps its heads with that clock", async () => {
    await world.node(3);
    const { boot } = world;
    const fork = world.twin();
    fork.contract.grant(ownerOf(999), "mallory", MALLORY);
    fork.contract.mine();
    world.serve("scripted", fork.chain.answer);
    for (const name of ["other", "third"]) world.serve(name, boot.chain.answer);
    world.run(heedRivals, vouchAdditions);
    const now = () => Math.floor((Date.now() + boot.clockMs) / 1000);
    await world.during(30, () => {
      boot.chain.mine(1, [], now() - 3_600);
      fork.chain.mine(1, [], now());
    });
    expect(boot.holds(MALLORY)).toEqual([false]);
    expect(["other", "third"]).toContain(boot.agent.follower.heads.tipFrom);
  });
});

describe("a fork of the other upstream's own, on which everybody is revoked", () => {
  it("takes no fifth anew every ten minutes, over a restart", async () => {
    await world.node(2);
    const liar = world.twin();
    for (const [i] of KEYS.entries()) liar.contract.revoke(BigInt(i + 2));
    liar.contract.mine();
    world.serve("other", liar.chain.answer);
    world.run(heedRivals, vouchAdditions);
    const going = (second: number) => {
      if (second % 2 !== 0) return;
      world.boot.chain.mine(1);
      liar.chain.mine(Math.max(0, world.boot.chain.head - liar.chain.head));
    };
    await world.during(20, going);
    await world.boot.until(() => world.boot.held().length < 20);
    expect(world.boot.held()).toHaveLength(15);
    await world.during(4, going);
    await world.boot.restart();
    await world.boot.fullPass();
    world.boot.clockMs += 11 * 60_000;
    world.run(heedRivals);
    await world.during(20, going);
    await sleep(2_500);
    await world.during(4, going);
    await sleep(300);
    expect(world.boot.held()).toHaveLength(15);
  }, 20_000);
});

describe("a natural reorg of one block, where the other upstream reads no state", () => {
  it("cuts nobody whose new key was announced before it, and read", async () => {
    await world.node(2, { style: "plain" });
    world.boot.contract.updateKey(2n, keyOf(70));
    world.boot.contract.mine();
    await world.boot.poll();
    await world.boot.poll();
    expect(world.boot.holds(keyOf(1), keyOf(70))).toEqual([false, true]);
    world.boot.chain.mine(1);
    // It has the same history but for its last block.
    const same = new ScriptedChain({ finalizedDepth: 60 });
    const contract = new ScriptedContract(same, { style: "plain" });
    contract.grant(ownerOf(0), "node-a", NODE_KEY.publicKey);
    for (const [i, key] of KEYS.entries()) contract.grant(ownerOf(i + 1), `m-${i}`, key);
    contract.mine();
    same.mine(80);
    contract.updateKey(2n, keyOf(70));
    contract.mine();
    expect(same.hashOf(same.head)).toBe(world.boot.chain.hashOf(same.head));
    same.reorg(0);
    same.mine(1);
    world.serve("other", (method, params) => {
      if (method === "eth_call") return { error: { code: -32601, message: "method not found" } };
      return same.answer(method, params);
    });
    world.run(heedRivals, vouchAdditions);
    await world.patrol();
    await world.boot.poll();
    await sleep(500);
    expect(world.boot.holds(keyOf(70))).toEqual([true]);
  });
});

describe("whom another fork denies", () => {
  it("stays out though the followed fork tells something new of the token, while the other one fails once", async () => {
    const fork = await denied();
    fork.contract.emit(fork.contract.log([TOPIC.role, word(2n)], word(0n)));
    fork.contract.mine();
    world.boot.chain.mine(1);
    await world.withoutTheOther(async () => {
      await world.boot.poll();
      world.boot.clockMs += 6_000;
      await vouchSoon(world.boot.agent, world.boot.signal);
    });
    expect(world.boot.holds(keyOf(1))).toEqual([false]);
  });
});

describe("whom another fork has denied", () => {
  it("gets no new key by the followed upstream's word alone, once the other one is back on our chain and a block behind", async () => {
    await world.node(2);
    const other = world.twin();
    other.contract.revoke(2n);
    other.contract.mine();
    world.boot.chain.mine(1);
    world.serve("scripted", world.boot.chain.answer);
    world.serve("other", other.chain.answer);
    world.run(heedRivals);
    await world.patrol();
    await world.boot.poll();
    await world.boot.until(() => world.boot.holds(keyOf(1))[0] === false);
    // The one that denied is on our chain again, a block behind; the followed one alters a new key.
    world.boot.chain.mine(2);
    let top = world.boot.chain.head;
    world.serve(
      "other",
      upTo(world.boot.chain, () => top),
    );
    world.serve("scripted", replacing(world.boot.chain.answer, BOB, MALLORY));
    world.boot.contract.updateKey(2n, BOB);
    world.boot.contract.mine();
    await world.boot.poll();
    await vouchSoon(world.boot.agent, world.boot.signal);
    expect(world.boot.holds(MALLORY)).toEqual([false]);
    top = world.boot.chain.head;
    await vouchSoon(world.boot.agent, world.boot.signal);
    expect(world.boot.holds(MALLORY)).toEqual([false]);
  });
});

describe("a grant that both upstreams had, and one of them on a lower fork has not", () => {
  it("stays though a server of one of them is on an orphan below it", async () => {
    await world.node(2);
    const orphan = world.twin().chain;
    orphan.mine(1);
    world.boot.chain.mine(1);
    world.boot.contract.grant(ownerOf(60), "bob", BOB);
    world.boot.contract.mine();
    await world.boot.poll();
    expect(world.boot.holds(BOB)).toEqual([true]);
    world.serve("other", orphan.answer);
    world.run(heedRivals, vouchAdditions);
    await world.patrol();
    await world.boot.poll();
    await sleep(600);
    expect(world.boot.holds(BOB)).toEqual([true]);
  });
});

describe("a revoke that the followed upstream's fork hides", () => {
  it("is heeded though that fork tells of another token of its owner with the key", async () => {
    await world.node(2);
    const fork = world.twin();
    fork.contract.grant(ownerOf(1), "m-0-again", keyOf(1));
    fork.contract.mine();
    world.serve("scripted", fork.chain.answer);
    world.serve("other", world.boot.chain.answer);
    world.boot.contract.revoke(2n);
    world.boot.contract.mine();
    world.run(heedRivals);
    await world.patrol();
    await world.boot.poll();
    await world.patrol();
    await world.boot.poll();
    await sleep(600);
    expect(world.boot.agent.unvouched.get(2n as never)?.isDenied).toBe(true);
    expect(world.boot.holds(keyOf(1))).toEqual([false]);
  });
});

describe("whom another fork denies, and who is on the device still", () => {
  it("goes after a restart, where the device did not do it before", async () => {
    await world.node(2);
    const fork = world.twin();
    fork.contract.revoke(2n);
    fork.contract.mine();
    world.boot.chain.mine(1);
    world.serve("other", fork.chain.answer);
    world.run(heedRivals);
    const peer = world.boot.device.peers.get(keyOf(1));
    await world.patrol();
    await world.boot.poll();
    await world.boot.until(() => world.boot.holds(keyOf(1))[0] === false);
    world.boot.chain.mine(1);
    await world.boot.poll();
    world.boot.device.peers.set(keyOf(1), peer as never);
    await world.boot.restart();
    for (const name of world.boot.upstreams.keys()) {
      world.boot.upstreams.set(name, () => {
        throw new Down();
      });
    }
    await world.boot.fullPass();
    await world.boot.poll();
    await world.boot.fullPass();
    expect(world.boot.holds(keyOf(1))).toEqual([false]);
  });
});

describe("a key that went to its owner's later token", () => {
  it("stays while the other upstream is on a fork that has it with the earlier one", async () => {
    await world.node(2);
    const fork = world.twin().chain;
    fork.mine(2);
    world.boot.contract.grant(ownerOf(1), "again", keyOf(1));
    world.boot.contract.mine();
    await world.boot.poll();
    expect(world.boot.agent.placed.get(22n as never)?.key).toBe(keyOf(1));
    world.boot.chain.mine(1);
    world.serve("other", fork.answer);
    world.run(heedRivals, vouchAdditions);
    await world.patrol();
    await world.boot.poll();
    await sleep(600);
    expect(world.boot.holds(keyOf(1))).toEqual([true]);
  });
});

describe("whom another fork denies, over a restart of a node that waits for the chain", () => {
  it("stays out though the followed fork tells something new, and the other upstream is not known yet", async () => {
    const fork = await denied();
    fork.chain.mine(1);
    await world.boot.poll();
    await world.boot.restart({ BOOT_POLICY: "wait" });
    fork.contract.emit(fork.contract.log([TOPIC.role, word(2n)], word(0n)));
    fork.contract.mine();
    await world.withoutTheOther(async () => {
      await world.boot.poll();
      world.boot.clockMs += 6_000;
      await world.boot.poll();
    });
    await world.boot.fullPass();
    expect(world.boot.holds(keyOf(1))).toEqual([false]);
  });
});
