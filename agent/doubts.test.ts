import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { PublicKey } from "./model.ts";
import { witnessRemovals } from "./proving.ts";
import { save } from "./saving.ts";
import { Boot, keyOf } from "./test/boot.ts";
import { Down } from "./test/rpc-over.ts";
import type { Backend } from "./test/scripted-chain.ts";

const KEYS = [1, 2, 3, 4, 5, 6, 7].map(keyOf);
const [A, B, NEW] = [keyOf(1), keyOf(2), keyOf(99)] as const;
const MINUTE_MS = 60_000;
const down = () => {
  throw new Down();
};
let boot: Boot;
let ids: readonly bigint[];
beforeEach(async () => {
  boot = new Boot();
  ids = boot.grant(...KEYS);
  await boot.poll();
  await boot.fullPass();
});
afterEach(() => boot.end());

/** What the chain does in one block, seen by one poll. */
async function seen(deed: () => void): Promise<void> {
  deed();
  boot.contract.mine();
  await boot.poll();
}

const revoke = (...gone: readonly bigint[]) => {
  for (const id of gone) boot.contract.revoke(id);
};

/** A start, as the program makes it, while no upstream answers. */
async function restartInSilence(): Promise<void> {
  await boot.restart();
  boot.lie(down);
  await boot.fullPass();
  await boot.poll();
  await boot.fullPass();
}

/** Witnesses ask until it is so; then their loop ends with the agent. */
async function witnessedUntil(isSo: () => boolean): Promise<void> {
  const stop = new AbortController();
  const loop = witnessRemovals(boot.agent, stop.signal);
  await boot.until(isSo).finally(() => stop.abort());
  boot.agent.doubt.nudge();
  await loop;
}

/** State is read as it was at this block, whatever block is asked for. */
const stateOf = (block: number) => (method: string, params: readonly unknown[], truth: Backend) =>
  truth(method, method === "eth_call" ? [params[0], `0x${block.toString(16)}`] : params);

describe("removals that wait for a witness when the agent dies", () => {
  it("wait on after it, while the chain is silent, however long ago the others went", async () => {
    await seen(() => revoke(...ids));
    expect(boot.held()).toHaveLength(2);
    boot.clockMs += 11 * MINUTE_MS;
    await restartInSilence();
    await restartInSilence();
    expect(boot.held()).toHaveLength(2);
    expect(boot.device.added).toHaveLength(KEYS.length);
  });

  it("are carried out when the contract's state has said so, and not asked about again", async () => {
    await seen(() => revoke(...ids));
    await restartInSilence();
    boot.lie();
    boot.clockMs += 6_000;
    await witnessedUntil(() => boot.held().length === 0);
    await boot.poll();
    await boot.restart();
    expect(boot.agent.doubtful.size).toBe(0);
  });

  it("are still refuted by a state that says otherwise", async () => {
    const before = boot.chain.head;
    await seen(() => revoke(...ids));
    await boot.restart();
    boot.lie(stateOf(before));
    await boot.fullPass();
    await boot.poll();
    const { doubtful } = boot.agent;
    boot.clockMs += 6_000;
    await witnessedUntil(() => boot.agent.doubtful !== doubtful);
    await boot.fullPass();
    expect(boot.held()).toHaveLength(2);
  });

  it("are not proven by the upstream that told of them, but by another at once", async () => {
    const before = boot.chain.head;
    await seen(() => revoke(...ids));
    await boot.restart();
    await boot.fullPass();
    let asked = 0;
    boot.upstreams.set("other", (method, params) => {
      if (method === "eth_call") asked++;
      return stateOf(before)(method, params, boot.chain.answer);
    });
    await witnessedUntil(() => asked > 0);
    expect(boot.held()).toHaveLength(2);
  });

  it("are not proven at once by the only upstream there is", async () => {
    await seen(() => revoke(...ids));
    await boot.restart();
    await boot.fullPass();
    let asked = 0;
    boot.lie((method, params, truth) => {
      if (method === "eth_call") asked++;
      return truth(method, params);
    });
    boot.clockMs += 4_000;
    let turns = 0;
    await witnessedUntil(() => turns++ > 150);
    expect([asked, boot.held().length]).toEqual([0, 2]);
  });

  it("keep an old key where it was, and the new one off, until the witness has spoken", async () => {
    const [first = 0n, ...others] = ids.toReversed();
    const old = KEYS.at(-1) ?? A;
    await seen(() => revoke(...others));
    await seen(() => boot.contract.updateKey(first, NEW));
    expect(boot.holds(old, NEW)).toEqual([true, false]);
    await restartInSilence();
    expect(boot.holds(old, NEW)).toEqual([true, false]);
    expect(boot.device.peers.get(old)?.allowedIps).toContain(`10.213.0.${first}/32`);
    boot.lie();
    boot.clockMs += 6_000;
    await witnessedUntil(() => boot.holds(NEW)[0] === true);
    expect(boot.holds(old)).toEqual([false]);
  });

  it("bring nobody back whom the device has lost meanwhile", async () => {
    await seen(() => revoke(...ids));
    boot.device.peers.clear();
    await restartInSilence();
    expect(boot.held()).toEqual([]);
    expect(boot.agent.doubtful.size).toBe(0);
  });

  it("are known to the next agent also where the chain was left in the middle of a reorg", async () => {
    boot.chain.mine(30);
    await boot.poll();
    boot.chain.reorg(1, 0);
    revoke(...ids);
    boot.contract.mine();
    boot.chain.mine(100);
    let answers = 2;
    boot.lie((method, params, truth) => (method === "eth_getLogs" && answers-- <= 0 ? down() : truth(method, params)));
    await boot.poll();
    expect([boot.agent.isWhole, boot.agent.touched.size]).toEqual([false, KEYS.length]);
    expect(boot.held()).toHaveLength(KEYS.length);
    await save(boot.agent);
    await restartInSilence();
    expect(boot.held()).toHaveLength(KEYS.length);
  });
});

describe("removals that were decided when the agent dies", () => {
  it("are carried out at the start without the chain, and the others are not", async () => {
    boot.device.refusesRemovals = true;
    await seen(() => revoke(...ids));
    expect(boot.held()).toHaveLength(7);
    boot.device.refusesRemovals = false;
    await restartInSilence();
    expect(boot.held()).toHaveLength(2);
  });

  it("stay decided when their device fails: what others do meanwhile does not bring them into doubt", async () => {
    boot.device.refusesRemovals = true;
    await seen(() => revoke(...ids.slice(0, 5)));
    boot.clockMs += MINUTE_MS;
    await seen(() => revoke(...ids.slice(5)));
    expect([...boot.agent.doubtful.keys()]).toEqual(ids.slice(5));
    boot.device.refusesRemovals = false;
    boot.clockMs += MINUTE_MS;
    await boot.poll();
    expect(boot.held()).toHaveLength(2);
  });

  it("are carried out at the start where a witness has spoken and the device has failed", async () => {
    await seen(() => revoke(...ids));
    boot.device.refusesRemovals = true;
    boot.clockMs += 6_000;
    await witnessedUntil(() => boot.agent.failures > 0);
    await boot.poll();
    expect(boot.held()).toHaveLength(2);
    boot.device.refusesRemovals = false;
    await restartInSilence();
    expect(boot.held()).toEqual([]);
  });
});

describe("a removal that was decided and that the chain has taken back", () => {
  it("is in doubt when it is told of again", async () => {
    boot.device.refusesRemovals = true;
    await seen(() => revoke(...ids.slice(0, 5)));
    boot.chain.reorg(1, 0);
    // Without its own token the node places nobody.
    await seen(() => revoke(1n));
    boot.device.refusesRemovals = false;
    boot.clockMs += MINUTE_MS;
    await seen(() => revoke(...ids));
    expect(boot.held()).toHaveLength(7);
  });
});

describe("ten minutes of removals", () => {
  it.each(["[k1796004935,5]]", "[[1796004935,-1]]", "[[1796004935,4e9]]", "[[null]]", "[7]", "7"])(
    "are forgotten where a disk has made %s of them, and nobody is cut by it",
    async (removals) => {
      await seen(() => revoke(...ids.slice(0, 5)));
      for (const name of ["removals", "doubts"]) await boot.agent.store.save(boot.agent.ledger, { [name]: removals });
      await boot.restart();
      await boot.fullPass();
      expect(boot.holds(...KEYS.slice(5))).toEqual([true, true]);
      await seen(() => revoke(...ids.slice(5)));
      expect(boot.held()).toEqual([]);
    },
  );

  it("go on over restarts", async () => {
    await seen(() => revoke(...ids.slice(0, 3)));
    await boot.restart();
    await boot.fullPass();
    await seen(() => revoke(...ids.slice(3, 5)));
    boot.clockMs += 9 * MINUTE_MS;
    await boot.restart();
    await boot.fullPass();
    await seen(() => revoke(...ids.slice(5)));
    await boot.fullPass();
    expect(boot.holds(...KEYS.slice(5))).toEqual([true, true]);
  });

  it("end over a restart, too", async () => {
    await seen(() => revoke(...ids.slice(0, 5)));
    boot.clockMs += 11 * MINUTE_MS;
    await boot.restart();
    await boot.fullPass();
    await seen(() => revoke(...ids.slice(5)));
    expect(boot.held()).toEqual([]);
  });

  it("have among them what a start carries out for the agent before it", async () => {
    boot.device.refusesRemovals = true;
    await seen(() => revoke(...ids.slice(0, 5)));
    boot.device.refusesRemovals = false;
    await boot.restart();
    await boot.fullPass();
    expect(boot.held()).toHaveLength(2);
    await seen(() => revoke(...ids.slice(5)));
    expect(boot.held()).toHaveLength(2);
  });
});

describe("a gateway whose removal is in doubt", () => {
  const OVERLAY = "10.213.0.0/16";
  const carries = (...keys: readonly PublicKey[]) =>
    keys.map((key) => boot.device.peers.get(key)?.allowedIps.some((cidr) => cidr === OVERLAY));

  it.each(["goes on", "restarts"])("leaves the overlay to the next one, where the agent %s", async (what) => {
    const [a = 0n, b = 0n, ...others] = ids;
    await seen(() => {
      boot.contract.setRole(a, 2);
      boot.contract.setRole(b, 2);
    });
    await boot.fullPass();
    expect(carries(A, B)).toEqual([true, false]);
    await seen(() => revoke(...others));
    await seen(() => revoke(a));
    if (what === "restarts") await restartInSilence();
    for (let i = 0; i < 2; i++) await boot.fullPass();
    expect(boot.holds(A)).toEqual([true]);
    expect(carries(A, B)).toEqual([false, true]);
    expect(await boot.fullPass()).toBeUndefined();
  });
});
