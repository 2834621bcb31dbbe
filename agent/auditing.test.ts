import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { auditAll, auditRolling } from "./auditing.ts";
import { followChain } from "./bridge.ts";
import { witnessRemovals } from "./proving.ts";
import { Boot, keyOf, ownerOf } from "./test/boot.ts";
import { Down } from "./test/rpc-over.ts";
import type { Backend } from "./test/scripted-chain.ts";

const KEYS = [1, 2, 3, 4, 5, 6, 7].map(keyOf);
let boot: Boot;
afterEach(() => boot.end());

/** Seven members, all of them revoked in one block. */
async function revokeAll(): Promise<number> {
  boot = new Boot();
  const ids = boot.grant(...KEYS);
  await boot.poll();
  const before = boot.chain.head;
  for (const id of ids) boot.contract.revoke(id);
  boot.contract.mine();
  return before;
}

describe("the sixth removal", () => {
  it("waits for the contract's own word, and goes with it", async () => {
    await revokeAll();
    await boot.poll();
    expect(boot.held()).toHaveLength(2);
    const loop = witnessRemovals(boot.agent, boot.signal);
    boot.clockMs += 6_000;
    await boot.until(() => boot.held().length === 0);
    await stop(loop);
  });

  it("stays while the contract says otherwise, and is asked about again", async () => {
    const before = await revokeAll();
    const stateAt = `0x${before.toString(16)}`;
    let asked = 0;
    boot.lie((method, params, truth) => {
      if (method !== "eth_call") return truth(method, params);
      asked++;
      return truth(method, [params[0], stateAt]);
    });
    await boot.poll();
    const loop = witnessRemovals(boot.agent, boot.signal);
    await boot.until(() => {
      boot.clockMs += 500;
      return asked > 8;
    });
    expect(boot.held()).toHaveLength(2);
    await stop(loop);
  });

  it("does not wait for a second upstream that is down", async () => {
    await revokeAll();
    boot.upstreams.set("other", () => {
      throw new Down();
    });
    await boot.poll();
    const loop = witnessRemovals(boot.agent, boot.signal);
    boot.clockMs += 6_000;
    await boot.until(() => boot.held().length === 0);
    await stop(loop);
  });
});

describe("an audit", () => {
  const withoutLogs: Backend = (method, params) =>
    method === "eth_getLogs" ? { result: [] } : boot.chain.answer(method, params);
  /** Of a contract that never granted anything. */
  const withoutTokens: Backend = (method, params) => {
    if (method !== "eth_call") return boot.chain.answer(method, params);
    return { error: { code: 3, message: "execution reverted", data: "0x" } };
  };

  it("takes away whomever the contract no longer knows, however many, when two upstreams say so", async () => {
    await revokeAll();
    boot.upstreams.set("scripted", withoutLogs).set("other", withoutLogs);
    await boot.poll();
    expect(boot.held()).toHaveLength(7);
    await auditAll(boot.agent, boot.signal);
    expect(boot.held()).toEqual([]);
  });

  it("takes away no more at once by one upstream's word than logs do", async () => {
    await revokeAll();
    boot.upstreams.set("scripted", withoutLogs);
    await boot.poll();
    await auditAll(boot.agent, boot.signal);
    expect(boot.held()).toHaveLength(2);
    const loop = witnessRemovals(boot.agent, boot.signal);
    boot.clockMs += 6_000;
    await boot.until(() => boot.held().length === 0);
    await stop(loop);
  });

  it.each([
    ["scripted", 0],
    ["other", 0],
    ["scripted", 50],
    ["other", 50],
  ])("takes nobody away by a state that one of two upstreams makes up (%s), %i blocks later", async (liar, blocks) => {
    boot = new Boot();
    boot.upstreams.set("other", boot.chain.answer);
    boot.grant(...KEYS);
    boot.chain.mine(blocks);
    await boot.poll();
    boot.upstreams.set(liar, withoutTokens);
    for (let i = 0; i < 4; i++) await auditAll(boot.agent, boot.signal);
    expect([boot.held().length, boot.agent.auditRepairs]).toEqual([7, 0]);
  });

  it.each(["scripted", "other"])("admits nobody by a state that one of two upstreams makes up (%s)", async (liar) => {
    boot = new Boot();
    boot.upstreams.set("other", boot.chain.answer);
    boot.grant(...KEYS);
    boot.chain.mine(50);
    await boot.poll();
    // The next token, which nobody was granted yet, is what the contract will know one day.
    const before = boot.chain.head;
    const [id = 0n] = boot.grant(keyOf(99));
    const later = boot.chain.head;
    const truth: Backend = (method, params) => {
      if (method !== "eth_call") return boot.chain.answer(method, params);
      return boot.chain.answer(method, [params[0], `0x${before.toString(16)}`]);
    };
    boot.upstreams.set("scripted", truth).set("other", truth);
    boot.upstreams.set(liar, (method, params) => {
      const isOfNext = JSON.stringify(params[0] ?? "").includes(id.toString(16).padStart(64, "0"));
      if (method !== "eth_call" || !isOfNext) return truth(method, params);
      return boot.chain.answer(method, [params[0], `0x${later.toString(16)}`]);
    });
    for (let i = 0; i < 4; i++) await auditAll(boot.agent, boot.signal);
    expect(boot.agent.auditRepairs).toBe(0);
    expect(boot.holds(keyOf(99))).toEqual([false]);
  });

  it("takes an old key away at the tip when two upstreams say so, also where the contract goes on showing it", async () => {
    boot = new Boot({ style: "plain" });
    const [updated = 0n, moved = 0n] = boot.grant(keyOf(7), keyOf(8));
    await boot.poll();
    boot.upstreams.set("scripted", withoutLogs).set("other", withoutLogs);
    boot.contract.updateKey(updated, keyOf(17));
    boot.contract.transfer(moved, ownerOf(5));
    boot.contract.mine();
    await boot.poll();
    expect(boot.holds(keyOf(7), keyOf(8))).toEqual([true, true]);
    await auditAll(boot.agent, boot.signal);
    expect(boot.holds(keyOf(7), keyOf(8))).toEqual([false, false]);
  });

  it("comes as soon as the head is reached: a revoke of long ago may be left out by whoever tells the history", async () => {
    boot = new Boot();
    const [gone = 0n] = boot.grant(keyOf(7), keyOf(8));
    await boot.poll();
    boot.contract.revoke(gone);
    boot.contract.mine();
    boot.chain.mine(200);
    boot.upstreams.set("scripted", withoutLogs).set("other", boot.chain.answer);
    await boot.restart();
    await boot.fullPass();
    const loop = auditRolling(boot.agent, boot.signal);
    await boot.poll();
    expect(boot.agent.isCaughtUp).toBe(true);
    await boot.until(() => !boot.device.peers.has(keyOf(7)));
    expect(boot.holds(keyOf(7), keyOf(8))).toEqual([false, true]);
    await stop(loop);
  });

  it.each(["running", "restarted"])("takes away by its sample whom a fork below finality has out: %s", async (how) => {
    const env = { POLL_INTERVAL: "100" };
    boot = new Boot({ finalizedDepth: 2, env });
    const [, gone = 0n] = boot.grant(keyOf(7), keyOf(8));
    await boot.poll();
    boot.chain.mine(100);
    await boot.poll();
    await boot.fullPass();
    if (how === "restarted") await boot.restart();
    boot.chain.reorg(90, 91);
    boot.contract.revoke(gone);
    boot.contract.mine();
    await boot.fullPass();
    const loops = [followChain(boot.agent, boot.signal), auditRolling(boot.agent, boot.signal)];
    await boot.until(() => boot.agent.faults.has("chain.fork-below-finality"));
    await boot.until(() => {
      boot.agent.audit.nudge();
      return !boot.device.peers.has(keyOf(8));
    });
    expect(boot.holds(keyOf(7))).toEqual([true]);
    await stop(...loops);
  });

  it("takes away by its sample who was revoked while the agent was stopped, where logs are refused since", async () => {
    boot = new Boot();
    const [gone = 0n] = boot.grant(keyOf(7), keyOf(8));
    await boot.poll();
    boot.contract.revoke(gone);
    boot.contract.mine();
    boot.chain.mine(100);
    boot.lie((method, params, truth) => {
      if (method === "eth_getLogs") throw new Down();
      return truth(method, params);
    });
    await boot.restart();
    await boot.fullPass();
    boot.clockMs += 30_000;
    const loop = auditRolling(boot.agent, boot.signal);
    await boot.until(() => {
      boot.agent.audit.nudge();
      return !boot.device.peers.has(keyOf(7));
    });
    expect(boot.holds(keyOf(8))).toEqual([true]);
    await stop(loop);
  });

  it("leaves half of what may be in flight to whoever follows the chain", async () => {
    boot = new Boot();
    boot.grant(...Array.from({ length: 30 }, (_, i) => keyOf(100 + i)));
    await boot.poll();
    let [inFlight, most] = [0, 0];
    boot.lie(async (method, params, truth) => {
      if (method !== "eth_call") return truth(method, params);
      most = Math.max(most, ++inFlight);
      await sleep(1);
      inFlight--;
      return truth(method, params);
    });
    await auditAll(boot.agent, boot.signal);
    expect(most).toBe(4);
  });

  it("finds a grant and a revoke that no upstream ever tells of", async () => {
    boot = new Boot();
    const [gone = 0n] = boot.grant(keyOf(7));
    await boot.poll();
    boot.lie((method, params, truth) => (method === "eth_getLogs" ? { result: [] } : truth(method, params)));
    boot.contract.grant(ownerOf(3), "m-8", keyOf(8));
    boot.contract.revoke(gone);
    boot.contract.mine();
    boot.chain.mine(200);
    await boot.poll();
    expect(boot.holds(keyOf(7), keyOf(8))).toEqual([true, false]);
    await auditAll(boot.agent, boot.signal);
    expect(boot.holds(keyOf(7), keyOf(8))).toEqual([false, true]);
    expect(boot.agent.auditRepairs).toBeGreaterThanOrEqual(2);
  });

  it.each([
    ["by an error", { error: { code: -32601, message: "the method eth_getLogs is not available" } }],
    ["by silence", undefined],
  ])("finds a revoke, and lets nobody in, where heads and state are told and logs refused: %s", async (_, refusal) => {
    boot = new Boot();
    const [gone = 0n] = boot.grant(keyOf(7), keyOf(8));
    boot.chain.mine(300);
    await boot.poll();
    boot.lie((method, params, truth) => {
      if (method !== "eth_getLogs") return truth(method, params);
      if (refusal === undefined) throw new Down();
      return refusal;
    });
    boot.contract.revoke(gone);
    boot.grant(keyOf(9));
    boot.chain.mine(100);
    expect(await boot.poll()).toBeDefined();
    boot.clockMs += 10_000;
    await auditAll(boot.agent, boot.signal);
    expect(boot.holds(keyOf(7), keyOf(8), keyOf(9))).toEqual([false, true, false]);
    boot.lie();
    await boot.poll();
    expect(boot.holds(keyOf(7), keyOf(8), keyOf(9))).toEqual([false, true, true]);
  });

  it.each([
    ["stays", true],
    ["is revoked", false],
    ["is granted anew on another branch", false],
  ])(
    "of an only upstream without the state of final blocks believes a grant once its block is final: it %s",
    async (what, isAdded) => {
      boot = new Boot({ finalizedDepth: 600 });
      boot.grant(keyOf(7));
      boot.chain.mine(700);
      await boot.poll();
      boot.lie((method, params, truth) => {
        if (method === "eth_getLogs") return { result: [] };
        if (method !== "eth_call") return truth(method, params);
        const { blockHash } = params[1] as { blockHash: string };
        const isKept = Array.from({ length: 128 }, (_, i) => boot.chain.hashOf(boot.chain.head - i)).includes(
          blockHash,
        );
        return isKept ? truth(method, params) : { error: { code: -32000, message: "missing trie node" } };
      });
      const auditedAfter = async (blocks: number) => {
        for (let i = 0; i < blocks; i += 10) {
          boot.chain.mine(10);
          await boot.poll();
        }
        return auditAll(boot.agent, boot.signal);
      };
      const [id = 0n] = boot.grant(keyOf(8));
      await boot.poll();
      expect(await auditedAfter(0)).toEqual({ repairs: 0, isWhole: false, withheld: 0 });
      if (what === "is revoked") boot.contract.revoke(id);
      if (what === "is granted anew on another branch") {
        boot.chain.reorg(1, 0);
        boot.contract.grant(ownerOf(1), "m-0", keyOf(8), id);
      }
      boot.contract.mine();
      if (what === "stays") expect(await auditedAfter(300)).toMatchObject({ repairs: 0, isWhole: false });
      const { isWhole } = await auditedAfter(what === "stays" ? 360 : 660);
      expect(boot.holds(keyOf(7), keyOf(8))).toEqual([true, isAdded]);
      expect(isWhole).toBe(what !== "is granted anew on another branch");
    },
  );

  it("finds what differs in every piece of a large registry", async () => {
    boot = new Boot();
    const ids = boot.grant(...Array.from({ length: 1_100 }, (_, i) => keyOf(100 + i)));
    while (!boot.agent.isCaughtUp) await boot.poll();
    await boot.fullPass();
    boot.upstreams.set("scripted", withoutLogs);
    for (const id of [ids.at(0), ids.at(-1)]) boot.contract.revoke(id ?? 0n);
    boot.contract.mine();
    await boot.poll();
    expect(boot.held()).toHaveLength(1_100);
    expect(await auditAll(boot.agent, boot.signal)).toEqual({ repairs: 2, isWhole: true, withheld: 0 });
    expect(boot.held()).toHaveLength(1_098);
  });

  it("finds forty grants that no upstream ever tells of, all in one round", async () => {
    boot = new Boot();
    boot.grant(keyOf(7));
    await boot.poll();
    boot.lie((method, params, truth) => (method === "eth_getLogs" ? { result: [] } : truth(method, params)));
    const keys = Array.from({ length: 40 }, (_, i) => keyOf(100 + i));
    boot.grant(...keys);
    boot.chain.mine(200);
    await boot.poll();
    await auditAll(boot.agent, boot.signal);
    expect(boot.holds(...keys)).toEqual(keys.map(() => true));
  });

  it("finds a key update and a transfer with a new key that no upstream ever tells of, both in one round", async () => {
    boot = new Boot();
    const [updated = 0n, moved = 0n] = boot.grant(keyOf(7), keyOf(8));
    await boot.poll();
    boot.lie((method, params, truth) => (method === "eth_getLogs" ? { result: [] } : truth(method, params)));
    boot.contract.updateKey(updated, keyOf(17));
    boot.contract.transfer(moved, ownerOf(5));
    boot.contract.updateKey(moved, keyOf(18));
    boot.contract.mine();
    boot.chain.mine(200);
    await boot.poll();
    expect(boot.holds(keyOf(7), keyOf(8))).toEqual([true, true]);
    await auditAll(boot.agent, boot.signal);
    boot.chain.mine(1);
    await boot.poll();
    expect(boot.holds(keyOf(7), keyOf(17), keyOf(8), keyOf(18))).toEqual([false, true, false, true]);
  });

  it.each([
    ["after an audit that was told a lie and one that was not", 2],
    ["after an audit had seen it", 1],
  ])("never believes an old state again about whom a log has revoked (%s)", async (_, audits) => {
    boot = new Boot();
    const [id = 0n] = boot.grant(keyOf(7));
    boot.chain.mine(20);
    await boot.poll();
    const about = id.toString(16).padStart(64, "0");
    const isAbout = (method: string, params: readonly unknown[]) =>
      method === "eth_call" && JSON.stringify(params[0]).includes(about);
    boot.lie((method, params, truth) =>
      isAbout(method, params)
        ? { error: { code: 3, message: "execution reverted", data: "0x" } }
        : truth(method, params),
    );
    expect(await auditAll(boot.agent, boot.signal)).toMatchObject({ repairs: 1 });
    boot.lie();
    if (audits > 1) await auditAll(boot.agent, boot.signal);
    expect(boot.holds(keyOf(7))).toEqual([audits > 1]);
    const old = boot.chain.hashOf(boot.chain.head);
    boot.contract.revoke(id);
    boot.contract.mine();
    boot.chain.mine(40);
    await boot.poll();
    await boot.poll();
    boot.lie((method, params, truth) =>
      truth(method, isAbout(method, params) ? [params[0], { blockHash: old }] : params),
    );
    expect(await auditAll(boot.agent, boot.signal)).toMatchObject({ repairs: 0, withheld: 1 });
    expect(boot.holds(keyOf(7))).toEqual([false]);
  });

  it("takes away what changed at the tip though what is final cannot be read", async () => {
    boot = new Boot();
    const [updated = 0n] = boot.grant(keyOf(7));
    await boot.poll();
    const calledAt: unknown[] = [];
    boot.lie((method, params, truth) => {
      if (method === "eth_getLogs") return { result: [] };
      if (method === "eth_call") calledAt.push(params[1]);
      if (method === "eth_call" && JSON.stringify(params[1]) !== JSON.stringify(calledAt[0])) throw new Down();
      return truth(method, params);
    });
    boot.contract.updateKey(updated, keyOf(17));
    boot.contract.mine();
    boot.chain.mine(200);
    await boot.poll();
    await auditAll(boot.agent, boot.signal).catch(() => undefined);
    expect(new Set(calledAt.map((at) => JSON.stringify(at))).size).toBe(2);
    expect(boot.holds(keyOf(7), keyOf(17))).toEqual([false, false]);
  });

  it("finds a grant that was damaged where the mint itself was told", async () => {
    boot = new Boot();
    boot.grant(keyOf(7));
    await boot.poll();
    boot.lie(async (method, params, truth) => {
      const outcome = await truth(method, params);
      if (method !== "eth_getLogs" || !("result" in outcome)) return outcome;
      return { result: (outcome.result as { data: string }[]).map((log) => ({ ...log, data: log.data.slice(0, 66) })) };
    });
    boot.contract.grant(ownerOf(3), "m-8", keyOf(8));
    boot.contract.mine();
    boot.chain.mine(200);
    await boot.poll();
    expect(boot.holds(keyOf(8))).toEqual([false]);
    await auditAll(boot.agent, boot.signal);
    expect(boot.holds(keyOf(7), keyOf(8))).toEqual([true, true]);
  });

  it("between a rewind and the head interrupts nobody who survives it", async () => {
    boot = new Boot();
    const [gone = 0n] = boot.grant(keyOf(8));
    await boot.poll();
    boot.contract.revoke(gone);
    boot.contract.mine();
    boot.lie((method, params, truth) => (method === "eth_getLogs" ? { result: [] } : truth(method, params)));
    await boot.poll();
    boot.lie();
    boot.grant(keyOf(9));
    await boot.poll();
    boot.chain.reorg(1, 0);
    boot.grant(keyOf(9));
    boot.chain.mine(100);
    boot.lie((method, params, truth) => {
      if (method === "eth_getLogs") throw new Down();
      return truth(method, params);
    });
    await boot.poll();
    expect(boot.agent.isWhole).toBe(false);
    expect(await auditAll(boot.agent, boot.signal)).toMatchObject({ repairs: 1 });
    expect(boot.holds(keyOf(9))).toEqual([true]);
    boot.lie();
    await boot.poll();
    expect(boot.holds(keyOf(8), keyOf(9))).toEqual([false, true]);
    expect(boot.device.added.filter((key) => key === keyOf(9))).toHaveLength(1);
  });
});

/** Ends the agent, and with it the loops. */
async function stop(...loops: readonly Promise<void>[]): Promise<void> {
  await boot.end();
  await Promise.all(loops);
  boot = new Boot();
}
