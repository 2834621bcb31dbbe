import { setTimeout } from "node:timers/promises";
import { afterEach, describe, expect, it, onTestFinished, test, vi } from "vitest";
import { rollback } from "./actions.ts";
import { AT_HEAD } from "./agent.ts";
import { AgentError, type Fault } from "./errors.ts";
import { report } from "./faults.ts";
import type { PublicKey } from "./model.ts";
import { createLog } from "./observe/log.ts";
import { snapshot } from "./snapshot.ts";
import { tendDevice } from "./tend.ts";
import { Boot, keyOf, ownerOf } from "./test/boot.ts";
import { cidr } from "./test/peers.ts";
import { Down } from "./test/rpc-over.ts";

const [A, B, C, D, LATER, STRANGER] = [1, 2, 3, 4, 98, 99].map(keyOf) as [
  PublicKey,
  PublicKey,
  PublicKey,
  PublicKey,
  PublicKey,
  PublicKey,
];
const down = () => {
  throw new Down();
};
const FORK: Fault = { code: "chain.fork-below-finality", block: 1 };
let boot: Boot;
afterEach(() => boot.end());

/** The newest entry of the journal, and how many peers have had to be put back. */
async function driftOf({ agent }: Boot): Promise<(string | undefined)[]> {
  const metrics = await agent.metrics.render(snapshot(agent), agent.now());
  const missing = /drift_repairs_total\{drift="(missing)"\}( \d+)/.exec(metrics)?.slice(1).join("");
  return [agent.journal.after(0).events.at(-1)?.kind, missing];
}

const noCalls: Parameters<Boot["lie"]>[0] = (method, params, truth) => {
  if (method === "eth_call") throw new Down();
  return truth(method, params);
};

describe("a start", () => {
  it("with a lost database and a live device removes nobody until the chain was read and the contract asked", async () => {
    boot = new Boot();
    boot.grant(A);
    await boot.poll();
    const peer = boot.device.peers.get(A);
    if (peer !== undefined) boot.device.peers.set(STRANGER, { ...peer, key: STRANGER, allowedIps: [] });
    await boot.forget();
    boot.lie(noCalls);
    await boot.fullPass();
    await boot.poll();
    await boot.fullPass();
    expect(boot.holds(A, STRANGER)).toEqual([true, true]);
    boot.lie();
    await boot.fullPass();
    expect(boot.holds(A, STRANGER)).toEqual([true, false]);
    expect(boot.device.added).toEqual([A]);
  });

  it("puts the last state on an empty device before the chain is asked", async () => {
    boot = new Boot();
    boot.grant(A);
    await boot.poll();
    boot.device.peers.clear();
    await boot.restart();
    await boot.fullPass();
    expect(boot.holds(A)).toEqual([true]);
  });

  it("on an empty device fills it, which is no drift; what goes from it afterwards is", async () => {
    boot = new Boot();
    boot.grant(A, B);
    await boot.poll();
    boot.device.peers.clear();
    await boot.restart();
    await boot.fullPass();
    expect(await driftOf(boot)).toEqual(["apply", "missing 0"]);
    boot.device.peers.delete(A);
    await boot.fullPass();
    expect(await driftOf(boot)).toEqual(["drift-repair", "missing 1"]);
  });

  it("with a lost database serves whom the last good file has, until the chain says otherwise", async () => {
    boot = new Boot();
    const [, b = 0n] = boot.grant(A, B);
    await boot.poll();
    await boot.fullPass();
    boot.device.peers.clear();
    await boot.forget();
    boot.contract.revoke(b);
    boot.contract.mine();
    // Twice: the second start finds the file as the first has left it.
    for (let i = 0; i < 2; i++) {
      await boot.fullPass();
      expect(boot.holds(A, B)).toEqual([true, true]);
      boot.device.peers.clear();
      await boot.forget();
    }
    await boot.fullPass();
    await boot.poll();
    await boot.fullPass();
    expect(boot.holds(A, B)).toEqual([true, false]);
  });

  it("with a lost database lets go of whom the last good file has, and a reorg has dropped meanwhile", async () => {
    boot = new Boot();
    boot.grant(A);
    boot.grant(B);
    await boot.poll();
    await boot.fullPass();
    await boot.forget();
    boot.chain.reorg(1, 2);
    await boot.fullPass();
    await boot.poll();
    await boot.fullPass();
    expect(boot.holds(A, B)).toEqual([true, false]);
  });

  it("takes away whom its database knows to be out, before the chain is asked, and no session that may be newer", async () => {
    boot = new Boot();
    const [a = 0n, b = 0n, d = 0n] = boot.grant(A, B, D);
    await boot.poll();
    await boot.fullPass();
    boot.device.refusesRemovals = true;
    boot.contract.revoke(a);
    boot.contract.updateKey(b, C);
    boot.contract.transfer(d, ownerOf(50));
    boot.contract.mine();
    await boot.poll();
    const peer = boot.device.peers.get(A);
    const plant = (key: PublicKey, ...ips: readonly string[]) => {
      if (peer !== undefined) boot.device.peers.set(key, { ...peer, key, allowedIps: ips.map(cidr) });
    };
    // Granted after the last save, as token 77; and somebody's who was never granted, with a token's address and more.
    plant(LATER, "10.213.0.77/32");
    plant(STRANGER, "0.0.0.0/0", "10.213.0.78/32");
    boot.device.refusesRemovals = false;
    await boot.restart();
    boot.lie(down);
    await boot.fullPass();
    expect(boot.holds(A, C, D, LATER, STRANGER)).toEqual([false, true, false, true, false]);
    // Its key may as well be the newer one, but the address is where the database says.
    expect(boot.device.peers.get(B)?.allowedIps).toEqual([]);
    boot.lie();
    await boot.poll();
    expect(boot.agent.isVerified).toBe(false);
    await boot.fullPass();
    expect(boot.agent.isVerified).toBe(true);
    expect(boot.holds(A, B, C, D, LATER, STRANGER)).toEqual([false, false, true, false, false, false]);
  });

  it("takes nobody away whose grant has been read again and not been judged yet", async () => {
    boot = new Boot({ finalizedDepth: 1_000 });
    boot.grant(A);
    await boot.poll();
    const [like] = boot.device.peers.values();
    if (like !== undefined) boot.device.peers.set(LATER, { ...like, key: LATER, allowedIps: [cidr("10.213.0.3/32")] });
    boot.contract.grant(ownerOf(2), "later", LATER);
    const granted = boot.contract.mine();
    boot.chain.mine(60);
    await boot.restart();
    const { promise, resolve } = Promise.withResolvers<void>();
    boot.lie(async (method, params, truth) => {
      const [{ fromBlock, toBlock } = {}] = params as [{ fromBlock?: string; toBlock?: string }];
      const isWide = Number(toBlock) - Number(fromBlock) > 10;
      if (isWide) return { error: { code: -32602, message: "the range is too wide" } };
      if (Number(fromBlock) > granted) await promise;
      return truth(method, params);
    });
    const polling = boot.poll();
    await boot.until(() => boot.agent.touched.size > 0);
    await boot.fullPass();
    expect(boot.holds(A, LATER)).toEqual([true, true]);
    resolve();
    await polling;
    await boot.fullPass();
    expect(boot.holds(A, LATER)).toEqual([true, true]);
    expect(boot.device.gone).toEqual(new Map());
  });

  /** Served: B. The database ends between a grant of A and its revoke; the chain is silent since. */
  const withinHistory = async (isFirst: boolean) => {
    boot = new Boot({ env: { NETWORK: "base" } });
    if (!isFirst) {
      boot.grant(B);
      await boot.poll();
      await boot.fullPass();
      boot.chain.mine(30);
    }
    const [a = 0n] = boot.grant(A);
    const grantedAt = boot.chain.head;
    boot.chain.mine(400);
    boot.contract.revoke(a);
    const revokedAt = boot.contract.mine();
    boot.chain.mine(200);
    await silentFrom(revokedAt);
    await boot.fullPass();
    expect(boot.agent.ledger.final.number).toBeGreaterThan(grantedAt);
    boot.lie(down);
  };

  it.each([true, false])("in the middle of a history lets nobody in (a first one: %s)", async (isFirst) => {
    await withinHistory(isFirst);
    await boot.restart();
    await boot.fullPass();
    expect(boot.holds(A, B)).toEqual([false, !isFirst]);
    boot.lie();
    await boot.poll();
    await boot.fullPass();
    expect(boot.holds(A, B)).toEqual([false, !isFirst]);
    expect(boot.device.added.includes(A)).toBe(false);
  });

  it("in the middle of a history, on an empty device, serves whom the last good file has, but for the revoked", async () => {
    await withinHistory(false);
    boot.device.peers.clear();
    await boot.restart();
    await boot.fullPass();
    expect(boot.holds(A, B)).toEqual([false, true]);
    boot.lie();
    boot.contract.revoke(2n);
    boot.contract.mine();
    await boot.poll();
    expect(boot.held()).toEqual([]);
    boot.lie(down);
    await boot.restart();
    await boot.fullPass();
    expect(boot.held()).toEqual([]);
  });

  it("with a database of an earlier agent, which did not note where it stood, is one in the middle of a history", async () => {
    boot = new Boot();
    boot.grant(A);
    await boot.poll();
    await boot.fullPass();
    boot.grant(B);
    await boot.poll();
    await boot.agent.store.save(boot.agent.ledger, { [AT_HEAD]: "" });
    boot.device.peers.clear();
    await boot.restart();
    boot.lie(down);
    await boot.fullPass();
    expect(boot.holds(A, B)).toEqual([true, false]);
    boot.lie();
    await boot.poll();
    expect(boot.holds(A, B)).toEqual([true, true]);
  });

  it("waits for the chain where that is the policy, and empties nothing that runs", async () => {
    boot = new Boot();
    boot.grant(A, B);
    await boot.poll();
    boot.device.peers.delete(B);
    await boot.restart({ BOOT_POLICY: "wait" });
    await boot.fullPass();
    expect(boot.holds(A, B)).toEqual([true, false]);
    await boot.poll();
    expect(boot.holds(A, B)).toEqual([true, true]);
  });
});

describe("tending", () => {
  it("a settled device changes nothing and does not wake itself up", async () => {
    boot = new Boot({ lookup: async () => ["192.0.2.7"] });
    boot.grant(A, B);
    for (const [id, endpoint] of [
      [2n, "node-b.example:51820"],
      [3n, "192.0.2.9:51820"],
    ] as const) {
      boot.contract.setRole(id, 2);
      boot.contract.setEndpoint(id, endpoint);
    }
    boot.contract.mine();
    await boot.poll();
    const loop = tendDevice(boot.agent, boot.signal);
    await boot.until(() => boot.device.peers.get(A)?.endpoint !== undefined);
    await setTimeout(100);
    const { apply, read } = boot.device.asked;
    boot.agent.tend.nudge();
    await setTimeout(200);
    expect(boot.device.asked).toEqual({ apply, read: read + 1 });
    await boot.end();
    await loop;
    boot = new Boot();
  });

  it("looks a name that has no address yet up again soon, long before the next pass is due", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    onTestFinished(() => void vi.useRealTimers());
    const answers: string[][] = [[], ["192.0.2.7"]];
    boot = new Boot({ env: { SYNC_INTERVAL: "86400000" }, lookup: async () => answers.shift() ?? [] });
    const [a = 0n] = boot.grant(A);
    boot.contract.setRole(a, 1);
    boot.contract.setEndpoint(a, "node-b.example:51820");
    boot.contract.mine();
    await boot.poll();
    const loop = tendDevice(boot.agent, boot.signal);
    await boot.until(() => {
      vi.advanceTimersByTime(100);
      boot.clockMs += 100;
      return boot.device.peers.get(A)?.endpoint === "192.0.2.7:51820";
    });
    await boot.end();
    await loop;
    boot = new Boot();
  });

  it("looks a name up again by a clock that nobody sets back", async () => {
    const answers: string[][] = [["192.0.2.7"], ["192.0.2.8"]];
    boot = new Boot({ lookup: async () => answers.shift() ?? [] });
    const [a = 0n] = boot.grant(A);
    boot.contract.setRole(a, 1);
    boot.contract.setEndpoint(a, "node-b.example:51820");
    boot.contract.mine();
    await boot.poll();
    await boot.fullPass();
    await boot.until(() => answers.length === 1);
    vi.spyOn(Date, "now").mockReturnValue(Date.now() - 3_600_000);
    onTestFinished(() => void vi.restoreAllMocks());
    boot.clockMs += 61_000;
    await boot.fullPass();
    await boot.until(() => answers.length === 0);
    await boot.fullPass();
    expect(boot.device.peers.get(A)?.endpoint).toBe("192.0.2.8:51820");
  });

  it("says once of a node that it cannot be dialled where it says, and again when it says another place", async () => {
    const log = createLog({ level: "fatal" });
    const warn = vi.spyOn(log, "warn");
    const told = () => warn.mock.calls.flatMap(([fields, event]) => (event === "endpoint.undialled" ? [fields] : []));
    boot = new Boot({ log, lookup: async () => [] });
    const [a = 0n] = boot.grant(A);
    boot.contract.setRole(a, 1);
    for (const endpoint of ["node-b.example:51820", "127.0.0.1:51820", "192.0.2.7:51820"]) {
      boot.contract.setEndpoint(a, endpoint);
      boot.contract.mine();
      await boot.poll();
      for (let passes = 0; passes < 2; passes++) {
        await boot.fullPass();
        await setTimeout(50);
      }
    }
    const tokenId = String(a);
    expect(told()).toEqual([
      { tokenId, endpoint: "node-b.example:51820" },
      { tokenId, endpoint: "127.0.0.1:51820" },
    ]);
  });

  it("what another is changing while it verifies is no flaw of its own", async () => {
    boot = new Boot();
    boot.grant(A);
    await boot.poll();
    boot.device.peers.clear();
    boot.contract.grant(ownerOf(2), "m-b", B);
    boot.contract.mine();
    const { device } = boot;
    const apply = device.apply.bind(device);
    let polling: Promise<unknown> | undefined;
    device.apply = async (changes) => {
      await apply(changes);
      if (!device.peers.has(B)) polling = boot.poll().then(() => boot.device.peers.has(B));
      // Done, and not yet known to be: wg takes its time to end.
      else await setTimeout(30);
    };
    const read = device.read.bind(device);
    device.read = async () => {
      if (polling !== undefined) await boot.until(() => device.peers.has(B));
      return read();
    };
    expect(await boot.fullPass()).toBeUndefined();
    expect(await polling).toBe(true);
    expect(boot.holds(A, B)).toEqual([true, true]);
  });

  it("a device that fails gives it a rest, however often it is woken", async () => {
    boot = new Boot();
    boot.grant(A);
    boot.device.refuses.add(A);
    await boot.poll();
    const loop = tendDevice(boot.agent, boot.signal);
    for (let i = 0; i < 20; i++) {
      boot.agent.tend.nudge();
      await setTimeout(10);
    }
    expect(boot.device.asked.read).toBeLessThan(3);
    expect([...boot.agent.faults.keys()]).toEqual(["device.command-failed"]);
    boot.device.refuses.clear();
    await boot.until(() => boot.agent.faults.size === 0);
    expect(boot.holds(A)).toEqual([true]);
    await boot.end();
    await loop;
    boot = new Boot();
  });

  it("repairs what somebody else did to the device", async () => {
    boot = new Boot();
    boot.grant(A, B);
    await boot.poll();
    await boot.fullPass();
    boot.device.peers.delete(A);
    const peer = boot.device.peers.get(B);
    if (peer !== undefined) boot.device.peers.set(STRANGER, { ...peer, key: STRANGER, allowedIps: [] });
    await boot.fullPass();
    expect(boot.holds(A, B, STRANGER)).toEqual([true, true, false]);
  });
});

describe("a node whose endpoint changed while the agent was away", () => {
  const endpoint = () => boot.device.peers.get(A)?.endpoint;
  const moved = async (handshakeAgoMs: number) => {
    boot = new Boot();
    const [a = 0n] = boot.grant(A);
    boot.contract.setRole(a, 1);
    boot.contract.setEndpoint(a, "192.0.2.1:51820");
    boot.contract.mine();
    await boot.poll();
    await boot.fullPass();
    const peer = boot.device.peers.get(A);
    const latestHandshakeAt = handshakeAgoMs === 0 ? 0 : Date.now() - handshakeAgoMs;
    if (peer !== undefined) boot.device.peers.set(A, { ...peer, latestHandshakeAt });
    boot.contract.setEndpoint(a, "192.0.2.2:51820");
    boot.contract.mine();
    // The database has the news, and the agent died before the device did.
    boot.device.failsAfter = 0;
    await boot.poll();
    boot.device.failsAfter = undefined;
    await boot.restart();
    await boot.fullPass();
    return a;
  };

  test.each([0, 200_000])(
    "is dialled at the new one where nothing holds the old, last heard %i ms ago",
    async (agoMs) => {
      await moved(agoMs);
      expect(endpoint()).toBe("192.0.2.2:51820");
    },
  );

  it("keeps its session, and is dialled at the new one when that has died", async () => {
    await moved(100_000);
    expect(endpoint()).toBe("192.0.2.1:51820");
    boot.clockMs += 100_000;
    await boot.fullPass();
    expect(endpoint()).toBe("192.0.2.2:51820");
  });
});

describe("the gateway that carries the overlay", () => {
  const OVERLAY = cidr("10.213.0.0/16");
  const NOW_MS = Date.now();
  const carries = (...keys: readonly PublicKey[]) =>
    keys.map((key) => boot.device.peers.get(key)?.allowedIps.includes(OVERLAY));
  const shakes = (key: PublicKey, latestHandshakeAt: number) => {
    const peer = boot.device.peers.get(key);
    if (peer !== undefined) boot.device.peers.set(key, { ...peer, latestHandshakeAt });
  };
  /** A and B are gateways, and A carries; then only B answers. */
  const failing = async (meanwhile: () => Promise<unknown>) => {
    boot = new Boot();
    for (const id of boot.grant(A, B)) boot.contract.setRole(id, 2);
    boot.contract.mine();
    await boot.poll();
    for (const key of [A, B]) shakes(key, NOW_MS);
    await boot.fullPass();
    await boot.fullPass();
    expect(carries(A, B)).toEqual([true, false]);
    await meanwhile();
    shakes(A, NOW_MS - 200_000);
    shakes(B, NOW_MS);
    await boot.fullPass();
  };

  const freezes: readonly (readonly [string, () => Promise<unknown>])[] = [
    ["at any time", async () => {}],
    ["while a fork below finality stands", async () => report(boot.agent, new AgentError(FORK))],
    ["while a generation is held", () => rollback(boot.agent, boot.agent.generation)],
    [
      "while the node has no token of its own",
      async () => {
        boot.contract.revoke(1n);
        boot.contract.mine();
        await boot.poll();
      },
    ],
  ];
  test.each(freezes)("is another when it has gone silent, %s", async (_, freeze) => {
    await failing(freeze);
    expect(carries(A, B)).toEqual([false, true]);
    expect(boot.device.added).toEqual([A, B]);
  });

  it("is none that cannot be dialled, where the node accepts no packets itself", async () => {
    boot = new Boot({ env: { INBOUND: "off" } });
    const [a = 0n, b = 0n] = boot.grant(A, B);
    for (const id of [a, b]) boot.contract.setRole(id, 2);
    boot.contract.setEndpoint(b, "192.0.2.7:51820");
    boot.contract.mine();
    await boot.poll();
    await boot.fullPass();
    await boot.fullPass();
    expect(carries(A, B)).toEqual([undefined, true]);
  });

  it("is none that only the middle of a history calls one", async () => {
    boot = new Boot({ env: { NETWORK: "base" } });
    const [a = 0n, b = 0n] = boot.grant(A, B);
    boot.contract.setRole(b, 2);
    boot.contract.mine();
    await boot.poll();
    await boot.fullPass();
    await boot.fullPass();
    boot.chain.mine(30);
    boot.contract.setRole(a, 2);
    boot.contract.mine();
    boot.chain.mine(400);
    boot.contract.setRole(a, 0);
    const until = boot.contract.mine();
    boot.chain.mine(200);
    await silentFrom(until);
    shakes(A, Date.now() + boot.clockMs);
    shakes(B, NOW_MS - 200_000);
    await boot.fullPass();
    await boot.fullPass();
    expect(boot.agent.nodes.size).toBe(2);
    expect(carries(A, B)).toEqual([false, true]);
  });

  it("is none that a held generation keeps off the device", async () => {
    boot = new Boot();
    const ids = boot.grant(A, B);
    await boot.poll();
    await boot.fullPass();
    boot.agent.held = { generation: 1, keys: new Set([B]) };
    for (const id of ids) boot.contract.setRole(id, 2);
    boot.contract.mine();
    await boot.poll();
    await boot.fullPass();
    expect(carries(A, B)).toEqual([undefined, true]);
  });
});

/** A poll of an upstream that is slow, and so read in batches, until it falls silent. */
const silentFrom = async (block: number) => {
  boot.lie((method, params, truth) => {
    boot.clockMs += 11_000;
    const [{ toBlock } = {}] = params as [{ toBlock?: string }];
    if (method === "eth_getLogs" && !(Number(toBlock) < block)) throw new Down();
    return truth(method, params);
  });
  expect(await boot.poll()).toBeDefined();
};
