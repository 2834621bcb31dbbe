/** What upstreams tell otherwise of the same chain, or only one of them yet: who waits for somebody to vouch, and for how long. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { connect } from "./chain/rpc.ts";
import { heedRivals } from "./contest.ts";
import type { Address, Cidr } from "./model.ts";
import { Boot, keyOf, NODE_KEY, ownerOf } from "./test/boot.ts";
import { Forks, KEYS, replacing, upTo } from "./test/forks.ts";
import { Down } from "./test/rpc-over.ts";
import { RpcProxy } from "./test/rpc-proxy.ts";
import { type Backend, ScriptedChain } from "./test/scripted-chain.ts";
import { ScriptedContract } from "./test/scripted-contract.ts";
import { disputed } from "./unvouched.ts";
import { vouchAdditions, vouchSoon } from "./vouching.ts";

const [BOB, MALLORY] = [keyOf(60), keyOf(999)];
const world = new Forks();
afterEach(() => world.end());

describe("what is disputed, while the one that denies it is a block behind", () => {
  it("stays so: a grant on a fork of the followed upstream's own", async () => {
    await world.node(2);
    const liar = world.twin();
    liar.contract.grant(ownerOf(50), "mallory", MALLORY);
    liar.contract.mine();
    world.boot.chain.mine(1);
    let top = world.boot.chain.head;
    world.serve("scripted", liar.chain.answer);
    world.serve(
      "other",
      upTo(world.boot.chain, () => top),
    );
    await world.boot.poll();
    expect(disputed(world.boot.agent)).toHaveLength(1);
    expect(world.boot.holds(MALLORY)).toEqual([false]);
    // Its provider's next server has not come so far yet.
    top--;
    world.boot.clockMs += 6_000;
    await vouchSoon(world.boot.agent, world.boot.signal);
    expect(world.boot.holds(MALLORY)).toEqual([false]);
  });

  it("stays so: a revoke that the followed upstream's fork hides", async () => {
    await world.node(2);
    const fork = world.twin().chain;
    world.serve("scripted", fork.answer);
    let top = world.boot.chain.head;
    world.serve(
      "other",
      upTo(world.boot.chain, () => top),
    );
    await world.boot.poll();
    world.boot.contract.revoke(2n);
    world.boot.contract.mine();
    fork.mine(1);
    top++;
    world.run(heedRivals);
    await world.patrol();
    await world.boot.poll();
    await world.boot.until(() => world.boot.holds(keyOf(1))[0] === false);
    top -= 2;
    world.boot.clockMs += 6_000;
    await vouchSoon(world.boot.agent, world.boot.signal);
    expect(world.boot.holds(keyOf(1))).toEqual([false]);
  });
});

describe("a head that one of two upstreams makes up before its time", () => {
  it("lets nobody in before the next block shows what the other one has there", async () => {
    await world.node(2);
    const liar = world.twin();
    liar.contract.grant(ownerOf(50), "mallory", MALLORY);
    liar.contract.mine();
    world.serve("scripted", liar.chain.answer);
    world.serve("other", world.boot.chain.answer);
    world.run(heedRivals, vouchAdditions);
    await world.during(20, () => {});
    expect(world.boot.holds(MALLORY)).toEqual([false]);
    // Its block comes, and another one is there.
    world.boot.chain.mine(1);
    await world.during(10, () => {});
    expect(disputed(world.boot.agent)).toHaveLength(1);
  });
});

describe("a gateway in dispute, or not vouched for yet, over a restart", () => {
  const OVERLAY = "10.213.0.0/16" as Cidr;
  const [HOST, MADE_UP] = ["192.0.2.1:51820", "192.0.2.9:51820"];
  const gateway = async (env = {}) => {
    world.boot = new Boot({ env, finalizedDepth: 60 });
    world.boot.upstreams.set("other", world.boot.chain.answer);
    world.boot.grant(...KEYS);
    world.boot.chain.mine(80);
    await world.boot.poll();
    world.boot.contract.setRole(2n, 2);
    world.boot.contract.setEndpoint(2n, HOST);
    world.boot.contract.mine();
    await world.boot.poll();
    await world.boot.fullPass();
    await world.boot.fullPass();
    const peer = world.boot.device.peers.get(keyOf(1));
    expect([peer?.allowedIps.includes(OVERLAY), peer?.endpoint]).toEqual([true, HOST]);
  };
  const madeUp: Backend = (method, params) => {
    const { answer } = world.boot.chain;
    return (method === "eth_getLogs" ? replacing(answer, "192.0.2.5:51820", MADE_UP) : answer)(method, params);
  };
  const isSo = () => {
    const peer = world.boot.device.peers.get(keyOf(1));
    return [peer?.allowedIps.includes(OVERLAY), peer?.endpoint];
  };

  it("goes on carrying the overlay, though one of two upstreams alters its new endpoint", async () => {
    await gateway();
    world.serve("scripted", madeUp);
    world.boot.contract.setEndpoint(2n, "192.0.2.5:51820");
    world.boot.contract.mine();
    await world.boot.poll();
    await world.boot.fullPass();
    expect(disputed(world.boot.agent)).toEqual([2n]);
    expect(isSo()).toEqual([true, HOST]);
    await world.boot.restart();
    await world.boot.fullPass();
    await world.boot.poll();
    await world.boot.fullPass();
    expect(isSo()).toEqual([true, HOST]);
  });

  it("goes on carrying the overlay, though nobody could be asked between its new endpoint and a restart", async () => {
    await gateway();
    world.serve("other", (method, params) => {
      if (method === "eth_call") throw new Down();
      return world.boot.chain.answer(method, params);
    });
    world.boot.contract.setEndpoint(2n, "192.0.2.5:51820");
    world.boot.contract.mine();
    await world.boot.poll();
    await world.boot.fullPass();
    expect(isSo()).toEqual([true, HOST]);
    await world.boot.restart();
    // And the chain is silent.
    for (const name of world.boot.upstreams.keys()) {
      world.boot.upstreams.set(name, () => {
        throw new Down();
      });
    }
    await world.boot.poll();
    await world.boot.fullPass();
    await world.boot.fullPass();
    expect(isSo()[0]).toBe(true);
  });

  it("stays a peer of a node that nobody can dial", async () => {
    await gateway({ INBOUND: "off" });
    world.serve("scripted", madeUp);
    world.boot.contract.setEndpoint(2n, "192.0.2.5:51820");
    world.boot.contract.mine();
    await world.boot.poll();
    await world.boot.fullPass();
    expect(world.boot.holds(keyOf(1))).toEqual([true]);
    await world.boot.restart();
    await world.boot.fullPass();
    await world.boot.poll();
    await world.boot.fullPass();
    expect(world.boot.holds(keyOf(1))).toEqual([true]);
  });

  it("and this node itself stays one", async () => {
    await world.node(2);
    world.boot.contract.setRole(1n, 2);
    world.boot.contract.mine();
    await world.boot.poll();
    await world.boot.fullPass();
    expect(world.boot.agent.topology.role).toBe("gateway");
    world.serve("other", (method, params) => {
      if (method === "eth_call") throw new Down();
      return world.boot.chain.answer(method, params);
    });
    world.boot.contract.setEndpoint(1n, "192.0.2.5:51820");
    world.boot.contract.mine();
    await world.boot.poll();
    await world.boot.fullPass();
    expect(world.boot.agent.topology.role).toBe("gateway");
    await world.boot.restart();
    await world.boot.fullPass();
    expect(world.boot.agent.topology.role).toBe("gateway");
  });
});

describe("whoever is in dispute", () => {
  it("is asked about again, however many others are", async () => {
    await world.node(2);
    world.serve("scripted", async (method, params) => {
      const outcome = await world.boot.chain.answer(method, params);
      if (method !== "eth_getLogs") return outcome;
      const logs = (outcome as { result: { topics: string[]; data: string }[] }).result;
      return { result: logs.map((log) => ({ ...log, data: log.data.replaceAll("66616b65", "66616365") })) };
    });
    for (let i = 0; i < 110; i++) world.boot.contract.grant(ownerOf(100 + i), `fake-${i}`, keyOf(500 + i));
    world.boot.contract.mine();
    for (let i = 0; i < 5; i++) await vouchSoon(world.boot.agent, world.boot.signal).then(() => world.boot.poll());
    world.serve("scripted", world.boot.chain.answer);
    const fakes = disputed(world.boot.agent).length;
    expect(fakes).toBe(110);
    world.serve("other", async (method, params) => {
      const outcome = await world.boot.chain.answer(method, params);
      return JSON.parse(
        JSON.stringify(outcome).replaceAll(Buffer.from(BOB).toString("hex"), Buffer.from(MALLORY).toString("hex")),
      );
    });
    world.boot.contract.grant(ownerOf(60), "bob", BOB);
    world.boot.contract.mine();
    await world.boot.poll();
    await vouchSoon(world.boot.agent, world.boot.signal);
    expect(disputed(world.boot.agent)).toHaveLength(111);
    world.serve("other", world.boot.chain.answer);
    for (let i = 0; i < 10; i++) {
      world.boot.clockMs += 6_000;
      await vouchSoon(world.boot.agent, world.boot.signal);
    }
    expect(world.boot.holds(BOB)).toEqual([true]);
  });
});

describe("a key that the followed upstream alters", () => {
  const altered = async () => {
    await world.node(2);
    world.serve("scripted", replacing(world.boot.chain.answer, BOB, MALLORY));
    world.boot.contract.grant(ownerOf(60), "bob", BOB);
    world.boot.contract.mine();
  };

  it("is nobody's because the other one fails once", async () => {
    await altered();
    await world.withoutTheOther(() => world.boot.poll());
    for (let i = 0; i < 3; i++) {
      world.boot.chain.mine(1);
      await world.boot.poll();
    }
    expect(world.boot.holds(MALLORY)).toEqual([false]);
  });

  it("is believed once the other one has been down for five seconds: a node with one upstream works", async () => {
    await altered();
    await world.withoutTheOther(async () => {
      await world.boot.poll();
      expect(world.boot.holds(MALLORY)).toEqual([false]);
      world.boot.clockMs += 6_000;
      await world.boot.poll();
    });
    expect(world.boot.holds(MALLORY)).toEqual([true]);
  });
});

describe("a grant that waits, and then nobody can be asked", () => {
  it("is not let in: nobody is left whom to believe", async () => {
    await world.node(2);
    const { boot } = world;
    world.serve("scripted", replacing(boot.chain.answer, BOB, MALLORY));
    world.serve("other", (method, params) => {
      if (method === "eth_call") throw new Down();
      return boot.chain.answer(method, params);
    });
    boot.contract.grant(ownerOf(60), "bob", BOB);
    boot.contract.mine();
    await boot.poll();
    const { upstreams } = boot.agent.rpc;
    boot.agent.rpc.upstreams = () => upstreams().map((one) => ({ ...one, healthy: false }));
    boot.clockMs += 6_000;
    await vouchSoon(boot.agent, boot.signal);
    expect(boot.holds(MALLORY)).toEqual([false]);
  });
});

describe("a grant of which one upstream's state tells otherwise", () => {
  it("stays out while that one has our blocks and reads no state", async () => {
    await world.node(2);
    world.serve("scripted", replacing(world.boot.chain.answer, BOB, MALLORY));
    world.boot.contract.grant(ownerOf(60), "bob", BOB);
    world.boot.contract.mine();
    await world.boot.poll();
    expect(disputed(world.boot.agent)).toHaveLength(1);
    world.serve("other", (method, params) => {
      if (method === "eth_call") throw new Down();
      return world.boot.chain.answer(method, params);
    });
    world.boot.clockMs += 60_000;
    await vouchSoon(world.boot.agent, world.boot.signal);
    await world.boot.restart();
    world.boot.clockMs += 60_000;
    await world.boot.poll();
    await vouchSoon(world.boot.agent, world.boot.signal);
    await world.boot.fullPass();
    expect(world.boot.holds(MALLORY)).toEqual([false]);
  });
});

describe("a grant of which one upstream had another block", () => {
  it("is let in once that one has ours, though it reads no state", async () => {
    await world.node(2);
    const fork = world.twin().chain;
    fork.mine(1);
    world.serve("other", fork.answer);
    world.boot.contract.grant(ownerOf(60), "bob", BOB);
    world.boot.contract.mine();
    await world.boot.poll();
    expect(disputed(world.boot.agent)).toHaveLength(1);
    world.serve("other", (method, params) => {
      if (method === "eth_call") throw new Down();
      return world.boot.chain.answer(method, params);
    });
    world.boot.clockMs += 6_000;
    await vouchSoon(world.boot.agent, world.boot.signal);
    expect(world.boot.holds(BOB)).toEqual([true]);
  });
});

describe("whoever was let in while the other upstream was down", () => {
  it("stays while that one is on a fork which had them, too", async () => {
    await world.node(2);
    world.boot.contract.grant(ownerOf(60), "bob", BOB);
    world.boot.contract.mine();
    await world.withoutTheOther(async () => {
      await world.boot.poll();
      world.boot.clockMs += 6_000;
      await world.boot.poll();
    });
    const fork = world.twin({}, (contract) => contract.grant(ownerOf(60), "bob", BOB));
    world.serve("other", fork.chain.answer);
    for (const chain of [world.boot.chain, fork.chain]) chain.mine(1);
    world.run(heedRivals, vouchAdditions);
    await world.patrol();
    await world.boot.poll();
    await vouchSoon(world.boot.agent, world.boot.signal);
    await sleep(300);
    expect(world.boot.holds(BOB)).toEqual([true]);
  });
});

describe("a grant that waits for an upstream that is behind", () => {
  it.each(["is limited", "reads no state"])("is not let in because that one %s once", async (how) => {
    await world.node(2);
    world.boot.chain.mine(3);
    await world.boot.poll();
    world.serve("scripted", replacing(world.boot.chain.answer, BOB, MALLORY));
    let top = world.boot.chain.head;
    let isLimited = false;
    const behind = upTo(world.boot.chain, () => top);
    world.serve("other", (method, params) => {
      if (method === "eth_call" && isLimited) throw new Down();
      return behind(method, params);
    });
    world.boot.contract.grant(ownerOf(60), "bob", BOB);
    world.boot.contract.mine();
    for (let i = 0; i < 6; i++) {
      await world.boot.poll();
      world.boot.clockMs += 1_000;
    }
    expect(world.boot.holds(MALLORY)).toEqual([false]);
    if (how === "is limited") await world.withoutTheOther(() => world.boot.poll());
    else {
      top = world.boot.chain.head;
      isLimited = true;
      await world.boot.poll();
      isLimited = false;
    }
    expect(world.boot.holds(MALLORY)).toEqual([false]);
  });
});

describe("an upstream that is frozen on an orphan", () => {
  it("keeps nobody out once its head is old", async () => {
    await world.node(2);
    const orphan = world.twin().chain;
    const at = Math.floor(Date.now() / 1000);
    orphan.mine(1, [], at);
    world.serve("other", orphan.answer);
    world.boot.clockMs += 300_000;
    world.boot.chain.mine(10, [], at + 300);
    await world.boot.poll();
    world.boot.contract.grant(ownerOf(60), "bob", BOB);
    world.boot.contract.mine();
    world.run(heedRivals, vouchAdditions);
    await world.during(15, () => world.boot.chain.mine(1, [], Math.floor((Date.now() + world.boot.clockMs) / 1000)));
    await vouchSoon(world.boot.agent, world.boot.signal);
    expect(world.boot.holds(BOB)).toEqual([true]);
  }, 20_000);
});

describe("a hundred grants at once, before upstreams that take 200 ms for a call", () => {
  it("are vouched for, and not asked about for ever", async () => {
    await world.node(2);
    let calls = 0;
    for (const name of ["scripted", "other"]) {
      world.serve(name, async (method, params) => {
        if (method === "eth_call") {
          calls++;
          await sleep(210);
        }
        return world.boot.chain.answer(method, params);
      });
    }
    for (let i = 0; i < 100; i++) world.boot.contract.grant(ownerOf(100 + i), `x-${i}`, keyOf(500 + i));
    world.boot.contract.mine();
    await world.boot.poll();
    for (let i = 0; i < 3; i++) {
      world.boot.clockMs += 6_000;
      while (world.boot.agent.vouching) await sleep(100);
      await vouchSoon(world.boot.agent, world.boot.signal);
    }
    while (world.boot.agent.vouching) await sleep(100);
    console.log({ calls, left: world.boot.agent.unvouched.size, held: world.boot.held().length });
    expect(world.boot.agent.unvouched.size).toBeLessThan(100);
  }, 60_000);
});

describe("a disputed grant", () => {
  it("stays out while the one that denies it is down, though the followed upstream tells something new of the token", async () => {
    await world.node(2);
    world.serve("scripted", replacing(world.boot.chain.answer, BOB, MALLORY));
    const bob = world.boot.contract.grant(ownerOf(60), "bob", BOB);
    world.boot.contract.mine();
    await world.boot.poll();
    expect(disputed(world.boot.agent)).toHaveLength(1);
    await world.withoutTheOther(async () => {
      world.boot.contract.setRole(bob, 0);
      world.boot.contract.mine();
      await world.boot.poll();
      world.boot.clockMs += 6_000;
      await vouchSoon(world.boot.agent, world.boot.signal);
      expect(world.boot.holds(MALLORY)).toEqual([false]);
    });
  });
});

describe("two honest upstreams on a fast chain", () => {
  it.each([1, 2, 3])(
    "of which one lags, is many servers and is limited: everybody gets in, nobody is cut (%i)",
    async (seed) => {
      let state = seed * 7919;
      const random = () => {
        state = (state * 1103515245 + 12345) % 2147483648;
        return state / 2147483648;
      };
      await world.node(2);
      let [asked, most, down] = [0, 0, false];
      world.serve("scripted", (method, params) => {
        asked++;
        return world.boot.chain.answer(method, params);
      });
      world.serve("other", (method, params) => {
        asked++;
        if (down || random() < 0.1) throw new Down();
        const top = world.boot.chain.head - Math.floor(random() * 6);
        return upTo(world.boot.chain, () => top)(method, params);
      });
      const since = new Map<string, number>();
      const late: number[] = [];
      let [cuts, granted] = [0, 0];
      for (let second = 1; second <= 300; second++) {
        down = second > 150 && second < 200;
        if (second % 2 === 0) {
          if (second % 10 === 0 && second < 280) {
            const key = keyOf(2000 + granted);
            world.boot.contract.grant(ownerOf(200 + granted), `g-${granted++}`, key);
            since.set(key, second);
          }
          world.boot.contract.mine();
        }
        asked = 0;
        world.boot.clockMs += 1_000;
        const before = new Set(world.boot.device.peers.keys());
        await world.boot.poll();
        if (second % 5 === 0) {
          await world.patrol();
          await vouchSoon(world.boot.agent, world.boot.signal);
        }
        most = Math.max(most, asked);
        for (const key of before) if (!world.boot.device.peers.has(key)) cuts++;
        for (const [key, at] of since) {
          if (!world.boot.device.peers.has(key as never)) continue;
          late.push(second - at);
          since.delete(key);
        }
      }
      console.log({ late: late.join(), cuts, most, left: since.size, unvouched: world.boot.agent.unvouched.size });
      expect([cuts, since.size]).toEqual([0, 0]);
      expect(Math.max(...late)).toBeLessThan(20);
    },
    30_000,
  );
});

describe("a first start before real connections", () => {
  it("lets nobody in by the word of the upstream that answers a little sooner", async () => {
    const chain = new ScriptedChain({ finalizedDepth: 60 });
    const contract = new ScriptedContract(chain);
    contract.grant(ownerOf(0), "node-a", NODE_KEY.publicKey);
    contract.grant(ownerOf(60), "bob", BOB);
    contract.mine();
    chain.mine(80);
    const fast = await RpcProxy.open(replacing(chain.answer, BOB, MALLORY));
    const slow = await RpcProxy.open(async (method, params) => {
      await sleep(100);
      return chain.answer(method, params);
    });
    const expected = { chainId: 31_337, contract: contract.address as Address };
    world.boot = new Boot({
      over: {
        rpc: () => connect({ urls: [fast.url(), slow.url()], expect: expected }),
        contract: contract.address,
      },
    });
    await world.boot.poll();
    const isIn = world.boot.holds(MALLORY)[0];
    await fast.stop();
    await slow.stop();
    expect(isIn).toBe(false);
  });
});
