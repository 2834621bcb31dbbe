import { afterEach, describe, expect, it } from "vitest";
import { resync } from "./actions.ts";
import { auditAll } from "./auditing.ts";
import { followChain, judgeStaleness, watchStaleness } from "./bridge.ts";
import { TOPIC } from "./chain/events.ts";
import { headOf } from "./chain/questions.ts";
import { AgentError, describe as told } from "./errors.ts";
import { save } from "./saving.ts";
import { snapshot } from "./snapshot.ts";
import { Boot, keyOf, ownerOf } from "./test/boot.ts";
import { upTo } from "./test/forks.ts";
import { Down } from "./test/rpc-over.ts";
import type { Backend } from "./test/scripted-chain.ts";

const [A, B, C, D] = [keyOf(1), keyOf(2), keyOf(3), keyOf(4)] as const;
let boot: Boot;
afterEach(() => boot.end());

/** Logs of final blocks only: a poll that reads history and no further. */
function historyOnly(method: string, params: readonly unknown[], truth: Backend): ReturnType<Backend> {
  if (method === "eth_getLogs" && !(lastOf(params) <= boot.chain.head - 12)) throw new Down();
  return truth(method, params);
}

/** The last block of a range of logs; not a number where they are asked for by block hash. */
const lastOf = ([filter]: readonly unknown[]) => Number((filter as { toBlock?: string }).toBlock);

describe("a history of several batches", { timeout: 60_000 }, () => {
  /** The final blocks that were on disk while it was read. */
  async function savedMeanwhile(clockStepMs: number): Promise<number> {
    for (let crowd = 0; crowd < 6; crowd++) {
      boot.grant(...Array.from({ length: 1_300 }, (_, i) => keyOf(100 + 1_300 * crowd + i)));
      boot.chain.mine(100);
    }
    const saved = new Set<number | undefined>();
    boot.lie((method, params, truth) => {
      boot.clockMs += clockStepMs;
      saved.add(boot.agent.savedLedger?.final.number);
      return truth(method, params);
    });
    expect(await boot.poll()).toBeUndefined();
    expect(boot.agent.savedLedger?.registry).toBe(boot.agent.ledger.registry);
    return saved.size;
  }

  it("is saved at its first batch, and then no more than once a second", async () => {
    boot = new Boot();
    expect(await savedMeanwhile(0)).toBe(2);
  });

  it("is saved at every batch where they come slowly", async () => {
    boot = new Boot();
    expect(await savedMeanwhile(600)).toBeGreaterThan(3);
  });

  it("is saved at every batch while somebody is on the device, who may be taken off it", async () => {
    boot = new Boot();
    boot.grant(A);
    await boot.poll();
    expect(await savedMeanwhile(0)).toBeGreaterThan(3);
  });
});

describe("blocks without events", () => {
  it("are saved together, ten seconds of them, and at once with the next event", async () => {
    boot = new Boot();
    boot.grant(A);
    await boot.poll();
    const saved = () => boot.agent.savedLedger;
    const before = saved();
    for (let i = 0; i < 5; i++) {
      boot.chain.mine(1);
      await boot.poll();
    }
    expect(saved()).toBe(before);
    boot.clockMs += 10_000;
    boot.chain.mine(1);
    await boot.poll();
    expect(saved()).toBe(boot.agent.ledger);
    boot.grant(B);
    await boot.poll();
    expect(saved()).toBe(boot.agent.ledger);
  });
});

describe("a poll that breaks off", () => {
  it("still takes away whoever was revoked until then", async () => {
    boot = new Boot();
    const [a = 0n] = boot.grant(A);
    await boot.poll();
    boot.contract.revoke(a);
    const revokedAt = boot.contract.mine();
    boot.chain.mine(40);
    boot.lie((method, params, truth) => {
      if (method === "eth_getLogs" && !(lastOf(params) < revokedAt + 8)) throw new Down();
      return truth(method, params);
    });
    expect(await boot.poll()).toBeDefined();
    expect(boot.holds(A)).toEqual([false]);
  });

  it("adds nobody while history is read", async () => {
    boot = new Boot();
    boot.grant(A);
    boot.chain.mine(30);
    boot.lie(historyOnly);
    expect(await boot.poll()).toBeDefined();
    expect(boot.agent.roster.verdict(2n as never)).toBe("admitted");
    expect(boot.held()).toEqual([]);
    boot.lie();
    await boot.poll();
    expect(boot.holds(A)).toEqual([true]);
  });

  /** A is served; B is granted and revoked among blocks that are not final, and what tells of the revoke is `told`. */
  async function grantedAndRevoked(told: (truth: () => ReturnType<Backend>) => ReturnType<Backend>): Promise<void> {
    boot = new Boot({ finalizedDepth: 600 });
    boot.grant(A);
    boot.chain.mine(700);
    await boot.poll();
    const [b = 0n] = boot.grant(B);
    boot.chain.mine(250);
    boot.contract.revoke(b);
    const revokedAt = boot.contract.mine();
    boot.chain.mine(50);
    boot.lie((method, params, truth) => {
      if (method !== "eth_getLogs") return truth(method, params);
      const { fromBlock } = params[0] as { fromBlock?: string };
      const isWide = lastOf(params) - Number(fromBlock) >= 100;
      if (isWide) return { error: { code: -32005, message: "block range is too wide" } };
      return lastOf(params) < revokedAt ? truth(method, params) : told(() => truth(method, params));
    });
  }

  it("adds nobody who was granted and revoked among blocks that are not final", async () => {
    await grantedAndRevoked(() => {
      throw new Down();
    });
    expect(await boot.poll()).toBeDefined();
    await boot.fullPass();
    expect(boot.holds(A, B)).toEqual([true, false]);
    await boot.restart();
    await boot.fullPass();
    expect(boot.holds(A, B)).toEqual([true, false]);
    boot.lie();
    await boot.poll();
    expect(boot.holds(A, B)).toEqual([true, false]);
    expect(boot.device.added).toEqual([A]);
  });

  it("or goes on beside an audit adds nobody who was granted and revoked on the way", async () => {
    let audits = 0;
    await grantedAndRevoked(async (truth) => {
      if (audits++ === 0) await auditAll(boot.agent, boot.signal);
      return truth();
    });
    expect(await boot.poll()).toBeUndefined();
    expect(audits).toBeGreaterThan(0);
    expect(boot.holds(A, B)).toEqual([true, false]);
    expect(boot.device.added).toEqual([A]);
  });

  it("adds whoever was granted until then with the poll that reaches the head", async () => {
    boot = new Boot();
    boot.grant(A);
    await boot.poll();
    const grantedAt = boot.chain.head + 1;
    boot.grant(B);
    boot.chain.mine(40);
    boot.lie((method, params, truth) => {
      if (method === "eth_getLogs" && !(lastOf(params) < grantedAt + 8)) throw new Down();
      return truth(method, params);
    });
    expect(await boot.poll()).toBeDefined();
    expect(boot.holds(B)).toEqual([false]);
    boot.lie();
    await boot.poll();
    expect(boot.holds(B)).toEqual([true]);
  });

  it("in the middle of a reorg interrupts nobody who survives it", async () => {
    boot = new Boot();
    boot.grant(A);
    await boot.poll();
    boot.chain.reorg(1, 0);
    boot.grant(A);
    boot.chain.mine(100);
    boot.lie((method, params, truth) => {
      if (method === "eth_getLogs") throw new Down();
      return truth(method, params);
    });
    await boot.poll();
    expect(boot.agent.isWhole).toBe(false);
    expect(boot.holds(A)).toEqual([true]);
    boot.lie();
    await boot.poll();
    expect(boot.device.added).toEqual([A]);
  });
});

describe("a revoke that one of two upstreams makes up", () => {
  it("is refused by a bloom also where nothing has happened since a restart", async () => {
    boot = new Boot();
    const [a = 0n] = boot.grant(A);
    await boot.poll();
    await boot.restart();
    await boot.fullPass();
    boot.chain.mine(1);
    const [revoked, id] = [TOPIC.revoke, `0x${a.toString(16).padStart(64, "0")}`];
    boot.upstreams.set("other", boot.chain.answer);
    boot.lie((method, params, truth) => {
      if (method !== "eth_getLogs") return truth(method, params);
      const place = { blockNumber: `0x${boot.chain.head.toString(16)}`, blockHash: boot.chain.hashOf(boot.chain.head) };
      const log = { ...place, transactionHash: id, logIndex: "0x0", data: "0x", topics: [revoked, id] };
      return { result: [{ ...log, address: boot.contract.address }] };
    });
    await boot.poll();
    expect(boot.holds(A)).toEqual([true]);
    expect(boot.agent.follower.figures.cursorBlock).toBe(boot.chain.head);
  });
});

describe("what an upstream refuses in an error object", () => {
  it.each([
    [
      "at once",
      { code: -32005, message: "query returned more than 10000 results" },
      0,
      "limited (JSON-RPC error -32005)",
    ],
    [
      "where it lacks a block, when that lasts",
      { code: -32000, message: "unknown block" },
      6_000,
      "absent (JSON-RPC error -32000)",
    ],
  ])("is told as the cause, and mended: %s", async (_, error, afterMs, problem) => {
    boot = new Boot({ env: { POLL_INTERVAL: "50" } });
    boot.grant(A);
    await boot.poll();
    let refused = 0;
    boot.lie((method, params, truth) => {
      if (method !== "eth_getLogs") return truth(method, params);
      refused++;
      return { error };
    });
    boot.grant(B);
    const loop = followChain(boot.agent, boot.signal);
    await boot.until(() => refused > 4);
    expect(boot.agent.faults.has("chain.request-failed")).toBe(afterMs === 0);
    boot.clockMs += afterMs;
    await boot.until(() => boot.agent.faults.has("chain.request-failed"));
    const fault = { code: "chain.request-failed", method: "eth_getLogs", upstream: "scripted", problem };
    expect(boot.agent.faults.get("chain.request-failed")).toEqual(fault);
    boot.lie();
    await boot.until(() => boot.agent.faults.size === 0);
    expect(boot.holds(B)).toEqual([true]);
    await boot.end();
    await loop;
    boot = new Boot();
  });
});

describe("a history that is read again", () => {
  /** Two members, and logs of the first `blocks` blocks only. */
  async function brokenOff(blocks: number): Promise<readonly bigint[]> {
    boot = new Boot();
    boot.grant();
    boot.chain.mine(300);
    const ids = boot.grant(A, B);
    boot.chain.mine(100);
    await boot.poll();
    await boot.fullPass();
    boot.agent.isRebuildAsked = true;
    boot.lie((method, params, truth) => {
      boot.clockMs += 11_000;
      if (method === "eth_getLogs" && !(lastOf(params) < blocks)) throw new Down();
      return truth(method, params);
    });
    expect(await boot.poll()).toBeDefined();
    expect(boot.holds(A, B)).toEqual([true, true]);
    return ids;
  }

  it("and is not whole when the agent stops leaves on disk whom it served", async () => {
    await brokenOff(300);
    await save(boot.agent);
    // The interface goes with its container.
    boot.device.peers.clear();
    boot.lie(() => {
      throw new Down();
    });
    await boot.restart();
    await boot.fullPass();
    await boot.poll();
    expect(boot.holds(A, B)).toEqual([true, true]);
  });

  it("and cannot be read to its end does not keep audits from taking away whom the state has out, and lets nobody in", async () => {
    const [a = 0n] = await brokenOff(300);
    boot.contract.revoke(a);
    boot.grant(C);
    boot.chain.mine(100);
    expect(await boot.poll()).toBeDefined();
    await auditAll(boot.agent, boot.signal);
    await boot.fullPass();
    expect(boot.holds(A, B, C)).toEqual([false, true, false]);
    boot.lie();
    await boot.poll();
    expect(boot.holds(A, B, C)).toEqual([false, true, true]);
  });

  it("takes the ledger's place when it is whole, and whom it no longer has goes", async () => {
    const [, b = 0n] = await brokenOff(300);
    boot.contract.revoke(b);
    boot.contract.mine();
    boot.lie();
    expect(await boot.poll()).toBeUndefined();
    expect(boot.holds(A, B)).toEqual([true, false]);
    expect(boot.agent.savedLedger).toBe(boot.agent.ledger);
    expect(boot.device.added).toEqual([A, B]);
  });

  it("is news from where we stood, and counts on", async () => {
    boot = new Boot();
    boot.grant(A, B);
    boot.chain.mine(20);
    await boot.poll();
    boot.chain.mine(2);
    await boot.poll();
    boot.chain.reorg(2, 3);
    await boot.poll();
    const before = boot.agent.journal.tail().length;
    boot.agent.isRebuildAsked = true;
    boot.grant(C);
    await boot.poll();
    const kinds = boot.agent.journal
      .tail()
      .slice(before)
      .map(({ kind }) => kind);
    expect(kinds).toEqual(["grant", "apply"]);
    expect(boot.agent.follower.figures.reorgs).toBe(1);
    expect(boot.holds(A, B, C)).toEqual([true, true, true]);
  });
});

describe("this node's own token", () => {
  it("must be found before anybody is added, and its addresses be on the interface before it is ready", async () => {
    boot = new Boot();
    boot.contract.grant(ownerOf(5), "other", A, 2n);
    boot.contract.mine();
    await boot.poll();
    await boot.fullPass();
    expect(boot.held()).toEqual([]);

    const release = boot.occupy();
    const tending = boot.fullPass();
    await boot.until(() => boot.device.asked.read > 1);
    boot.grant();
    const polling = boot.poll();
    await boot.until(() => !boot.agent.isVerified);
    release();
    await Promise.all([tending, polling]);
    expect(boot.agent.isVerified).toBe(false);
    await boot.fullPass();
    expect(boot.device.wanted?.addresses).toContain("10.213.0.3/32");
    expect(boot.agent.isVerified).toBe(true);
    expect(boot.holds(A)).toEqual([true]);
  });

  it("is not ready without one, adds nobody, and goes on removing", async () => {
    boot = new Boot();
    const [a = 0n] = boot.grant(A);
    await boot.poll();
    await boot.fullPass();
    boot.contract.revoke(1n);
    boot.contract.grant(ownerOf(7), "late", B);
    boot.contract.mine();
    await boot.poll();
    expect(boot.agent.isVerified).toBe(false);
    expect(boot.holds(A, B)).toEqual([true, false]);
    boot.contract.revoke(a);
    boot.contract.mine();
    await boot.poll();
    expect(boot.held()).toEqual([]);
  });
});

describe("a key that its owner announces without naming the token", () => {
  async function twoTokensOfOneOwner(): Promise<void> {
    boot = new Boot({ style: "plain" });
    boot.grant();
    boot.contract.grant(ownerOf(1), "one", A);
    boot.contract.grant(ownerOf(1), "two", B);
    boot.contract.mine();
    await boot.poll();
    boot.contract.updateKey(2n, C);
    boot.contract.mine();
  }

  it("does not interrupt the owner's other token", async () => {
    await twoTokensOfOneOwner();
    await boot.poll();
    expect(boot.holds(A, B, C)).toEqual([false, true, true]);
    expect(boot.device.added).toEqual([A, B, C]);
  });

  it("leaves the old keys off while the contract does not answer, saves what it knows, and heals", async () => {
    await twoTokensOfOneOwner();
    boot.lie((method, params, truth) => {
      if (method === "eth_call") throw new Down();
      return truth(method, params);
    });
    await boot.poll();
    expect(boot.held()).toEqual([]);
    expect(boot.agent.savedLedger).toBe(boot.agent.ledger);
    boot.lie();
    await boot.poll();
    expect(boot.holds(A, B, C)).toEqual([false, true, true]);
  });
});

describe("a genesis block that is another than before", () => {
  it.each([
    ["at a first start goes on, for upstreams tell differently", false],
    ["than the database's ends the process by name", true],
  ])("%s", async (_, hasRun) => {
    boot = new Boot();
    boot.grant(A);
    if (hasRun) {
      await boot.poll();
      await boot.restart();
    }
    const { rpc } = boot.agent;
    const { ask } = rpc;
    let isTorn = true;
    const torn = new AgentError({ code: "chain.other-genesis", upstream: "scripted" });
    rpc.ask = (question, choice) => (isTorn ? Promise.reject(torn) : ask(question, choice));
    const loop = followChain(boot.agent, boot.signal);
    const ended = loop.then(
      () => undefined,
      (error: unknown) => error,
    );
    if (hasRun) {
      expect(await ended).toMatchObject({ fault: { code: "store.other-chain", field: "genesis block" } });
      return;
    }
    await boot.until(() => boot.agent.faults.has("chain.other-genesis"));
    isTorn = false;
    boot.agent.poll.nudge();
    await boot.until(() => boot.agent.isCaughtUp);
    expect(boot.agent.faults.size).toBe(0);
    await boot.end();
    expect(await ended).toBeUndefined();
    boot = new Boot();
  });
});

describe("an upstream", () => {
  it("is shown as unhealthy where its head is old beside the one that is followed", async () => {
    boot = new Boot();
    boot.grant(A);
    const top = boot.chain.head;
    boot.upstreams.set(
      "other",
      upTo(boot.chain, () => top),
    );
    await boot.poll();
    const startedAt = Math.floor(Date.now() / 1_000);
    const healthy = async (seconds: number) => {
      boot.chain.mine(1, [], startedAt + seconds);
      await boot.agent.rpc.ask(headOf("latest"), { only: "other" });
      await boot.poll();
      return snapshot(boot.agent).chain.upstreams.map((one) => one.healthy);
    };
    expect(await healthy(5)).toEqual([true, true]);
    expect(await healthy(20)).toEqual([true, false]);
  });
});

describe("a history that is read again on a contract that names no token", () => {
  it("interrupts nobody whose key has to be asked for", async () => {
    boot = new Boot({ style: "plain" });
    const [a = 0n] = boot.grant(A, B);
    boot.contract.updateKey(a, C);
    boot.contract.mine();
    boot.chain.mine(100);
    await boot.poll();
    await boot.fullPass();
    expect(boot.holds(B, C)).toEqual([true, true]);
    boot.agent.isRebuildAsked = true;
    await boot.poll();
    await boot.fullPass();
    expect(boot.agent.isRebuilding).toBe(false);
    expect(boot.holds(B, C)).toEqual([true, true]);
    expect(boot.device.gone).toEqual(new Map());
  });
});

describe("a restart while no chain answers", () => {
  it("shows how far the chain was read before", async () => {
    boot = new Boot();
    boot.grant(A);
    boot.chain.mine(30);
    await boot.poll();
    const { cursorBlock, finalizedBlock } = snapshot(boot.agent).chain;
    boot.lie(() => {
      throw new Down();
    });
    await boot.restart();
    await boot.poll();
    expect(snapshot(boot.agent).chain).toMatchObject({ cursorBlock, finalizedBlock, headBlock: undefined });
    expect(cursorBlock).toBe(boot.chain.head);
  });
});

describe("MAX_STALENESS", () => {
  it("takes everybody away, also whose removal was in doubt and who was never ours, and gives them back", async () => {
    boot = new Boot({ env: { MAX_STALENESS: "60" } });
    const keys = [1, 2, 3, 4, 5, 6, 7, 8].map(keyOf);
    const ids = boot.grant(...keys);
    await boot.poll();
    await boot.fullPass();
    for (const id of ids.slice(0, 7)) boot.contract.revoke(id);
    boot.contract.mine();
    await boot.poll();
    expect(boot.held()).toHaveLength(3);
    const loop = followChain(boot.agent, boot.signal);
    boot.lie(() => {
      throw new Down();
    });
    boot.clockMs += 61_000;
    boot.agent.poll.nudge();
    await boot.until(() => boot.held().length === 0);
    boot.lie();
    boot.agent.poll.nudge();
    await boot.until(() => boot.held().length === 1);
    expect(boot.holds(keys[7] ?? A)).toEqual([true]);
    await boot.end();
    await loop;
    boot = new Boot();
  });

  it("does not wait for a poll that goes on and on", async () => {
    boot = new Boot({ env: { MAX_STALENESS: "60" } });
    boot.grant(A);
    await boot.poll();
    boot.chain.mine(1);
    const { promise: never, reject } = Promise.withResolvers<never>();
    boot.lie((method, params, truth) => (method === "eth_getLogs" ? never : truth(method, params)));
    const loops = [followChain(boot.agent, boot.signal), watchStaleness(boot.agent, boot.signal)];
    boot.clockMs += 61_000;
    await boot.until(() => boot.held().length === 0);
    boot.lie();
    reject(new Down());
    await boot.until(() => boot.held().length === 1);
    await boot.end();
    await Promise.all(loops);
    boot = new Boot();
  });
});

describe("what counts as a fresh chain for MAX_STALENESS", () => {
  const env = { MAX_STALENESS: "60", NETWORK: "base" };
  const judged = async () => {
    await boot.poll();
    await judgeStaleness(boot.agent);
    return boot.holds(A);
  };

  it("is a new head, not an old one said again", async () => {
    boot = new Boot({ env });
    boot.grant(A);
    expect(await judged()).toEqual([true]);
    boot.clockMs += 59_000;
    expect(await judged()).toEqual([true]);
    boot.clockMs += 2_000;
    expect(await judged()).toEqual([false]);
    // Nobody is served, whatever the upstream answers: that is not ready.
    expect([...boot.agent.faults.values()].map(told)).toEqual([
      expect.stringMatching(/nobody is connected .*MAX_STALENESS=60/),
    ]);
    boot.chain.mine(1);
    expect(await judged()).toEqual([true]);
    expect(boot.agent.faults.size).toBe(0);
  });

  it("is counted on by each that comes after one that died early", async () => {
    boot = new Boot({ env });
    boot.grant(A);
    await boot.poll();
    boot.lie(() => {
      throw new Down();
    });
    for (let lives = 0; lives < 4; lives++) {
      expect(await judged()).toEqual([true]);
      boot.clockMs += 16_000;
      await boot.restart();
      await boot.fullPass();
    }
    expect(await judged()).toEqual([false]);
  });

  it("is not what was noted before the setting was taken out for a while", async () => {
    boot = new Boot({ env: { NETWORK: "base" } });
    boot.grant(A);
    const settings = [env, { NETWORK: "base" }, env];
    for (const [i, setting] of settings.entries()) {
      await boot.restart(setting);
      await judgeStaleness(boot.agent);
      await boot.fullPass();
      if (i > 0) expect(boot.holds(A)).toEqual([true]);
      for (let polls = 0; polls < 3; polls++) {
        boot.chain.mine(1);
        expect(await judged()).toEqual([true]);
        boot.clockMs += setting === env ? 20_000 : 600_000;
      }
    }
  });

  it("is any complete poll on a devnet, which makes no block of its own accord", async () => {
    boot = new Boot({ env: { ...env, NETWORK: "devnet" } });
    boot.grant(A);
    for (let i = 0; i < 4; i++) {
      expect(await judged()).toEqual([true]);
      boot.clockMs += 40_000;
    }
  });

  it.each(["base", "devnet"])("is what the agent before a restart had, on %s", async (network) => {
    boot = new Boot({ env: { ...env, NETWORK: network } });
    boot.grant(A);
    for (let i = 0; i < 5; i++) {
      boot.chain.mine(network === "base" ? 1 : 0);
      expect(await judged()).toEqual([true]);
      boot.clockMs += 20_000;
    }
    await boot.restart();
    boot.lie(() => {
      throw new Down();
    });
    await judgeStaleness(boot.agent);
    await boot.fullPass();
    expect(boot.holds(A)).toEqual([true]);
    boot.clockMs += 41_000;
    await boot.restart();
    await judgeStaleness(boot.agent);
    await boot.fullPass();
    expect(boot.holds(A)).toEqual([false]);
    boot.lie();
    boot.chain.mine(1);
    expect(await judged()).toEqual([true]);
  });
});

describe("a fork below finality", () => {
  it("freezes additions, also while an upstream lags in silence; removals and a resync go on without cutting anybody", async () => {
    boot = new Boot({ finalizedDepth: 4, env: { POLL_INTERVAL: "100" } });
    const [, b = 0n] = boot.grant(A, B);
    await boot.poll();
    boot.device.refuses.add(D);
    boot.grant(D);
    boot.chain.mine(100);
    await boot.poll();
    boot.chain.reorg(90, 91);
    boot.contract.revoke(b);
    boot.grant(C);
    const loop = followChain(boot.agent, boot.signal);
    const isFrozen = () => boot.agent.faults.has("chain.fork-below-finality");
    await boot.until(isFrozen);
    boot.device.refuses.clear();
    boot.clockMs += 20_000;
    await auditAll(boot.agent, boot.signal);
    await boot.fullPass();
    expect(boot.holds(A, B, C, D)).toEqual([true, false, false, false]);

    let asked = 0;
    boot.lie((method, params, truth) => {
      if (method === "eth_getBlockByNumber" && params[0] === "latest") {
        asked++;
        return truth(method, ["0x1"]);
      }
      return truth(method, params);
    });
    for (const polls of [2, 4, 6]) {
      boot.agent.poll.nudge();
      await boot.until(() => asked >= polls);
    }
    expect(isFrozen()).toBe(true);
    boot.lie();
    expect(await resync(boot.agent, boot.signal)).toMatchObject({ rebuilding: true });
    await boot.until(() => boot.holds(C)[0] === true);
    expect(boot.device.added.filter((key) => key === A)).toHaveLength(1);
    expect(boot.holds(A, B, C, D)).toEqual([true, false, true, true]);
    await boot.end();
    await loop;
    boot = new Boot();
  });
});
