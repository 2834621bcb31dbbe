import { afterEach, describe, expect, it } from "vitest";
import { settle } from "./access.ts";
import type { TokenId } from "./model.ts";
import { witnessRemovals } from "./proving.ts";
import { tendDevice } from "./tend.ts";
import { Boot, keyOf, ownerOf } from "./test/boot.ts";

const [A, B, C] = [keyOf(1), keyOf(2), keyOf(3)] as const;
let boot: Boot;
afterEach(() => boot.end());

describe("a device that is busy", () => {
  it("loses nothing that is asked for meanwhile", async () => {
    boot = new Boot();
    boot.grant(A);
    const release = boot.occupy();
    const first = boot.poll();
    await boot.until(() => boot.device.asked.apply > 0);
    const [b = 0n] = boot.grant(B);
    const second = boot.poll();
    await boot.until(() => boot.agent.waiting.has(b as TokenId));
    release();
    await Promise.all([first, second]);
    expect(boot.holds(A, B)).toEqual([true, true]);
  });
});

describe("a crowd that is granted at once", { timeout: 60_000 }, () => {
  const crowd = Array.from({ length: 2_000 }, (_, i) => keyOf(100 + i));
  /** As main does: the loop over the device beside the one over the chain. */
  const tending = async (work: () => Promise<void>) => {
    const stop = new AbortController();
    const loop = tendDevice(boot.agent, stop.signal);
    await work().finally(() => stop.abort());
    await loop;
  };

  it("is added without holding up a revoke, and nothing is verified before the last one is there", async () => {
    boot = new Boot();
    const [a = 0n] = boot.grant(A);
    await boot.poll();
    await boot.fullPass();
    boot.grant(...crowd);
    await boot.poll();
    expect(boot.device.peers.size).toBeLessThan(crowd.length);
    expect(boot.agent.isVerified).toBe(false);
    const { apply, read } = boot.device.asked;
    const letRead = boot.occupy();
    await tending(async () => {
      await boot.until(() => boot.device.asked.read > read);
      letRead();
      const goOn = boot.occupy();
      // The next slice is under way: the revoke comes when its turn is over.
      await boot.until(() => boot.device.asked.apply > apply);
      boot.contract.revoke(a);
      boot.contract.mine();
      const polling = boot.poll();
      await boot.until(() => boot.agent.waiting.has(a as TokenId));
      expect(boot.agent.isVerified).toBe(false);
      goOn();
      await polling;
      expect(boot.holds(A)).toEqual([false]);
      await boot.until(() => boot.agent.isVerified);
    });
    expect(boot.device.gone.get(A)).toBeLessThan(crowd.length);
    expect(boot.device.peers.size).toBe(crowd.length);
    expect(boot.device.added).toHaveLength(crowd.length + 1);
  });

  it("is there but for the one that the device refuses", async () => {
    boot = new Boot();
    await boot.fullPass();
    boot.device.refuses.add(crowd[1_700] ?? A);
    boot.grant(...crowd);
    await boot.poll();
    expect(await boot.fullPass()).toMatchObject({ fault: { code: "device.command-failed" } });
    expect(boot.device.peers.size).toBe(crowd.length - 1);
    expect(boot.agent.waiting.size).toBe(1);
    expect(boot.agent.isVerified).toBe(false);
  });

  it("comes back in slices to a device that lost it, and a slice that fails takes nobody back", async () => {
    boot = new Boot();
    boot.grant(...crowd);
    await boot.poll();
    await boot.fullPass();
    const refused = crowd[1_700] ?? A;
    boot.device.peers.clear();
    boot.device.refuses.add(refused);
    await boot.fullPass();
    expect(boot.device.peers.size).toBe(crowd.length - 1);
    expect(boot.agent.isVerified).toBe(false);
    boot.device.refuses.clear();
    await boot.fullPass();
    expect(boot.agent.isVerified).toBe(true);
  });

  it("revoked at once goes without waiting for another pass, and a key that changes hands keeps its session", async () => {
    boot = new Boot({ style: "plain" });
    const ids = boot.grant(...crowd);
    await boot.poll();
    await boot.fullPass();
    // Their keys are granted anew in the same block.
    const heirs = crowd.slice(0, 1_000);
    for (const id of ids.slice(0, 1_000)) boot.contract.revoke(id);
    for (const [i, key] of heirs.entries()) boot.contract.grant(ownerOf(i + 5_000), `heir-${i}`, key);
    boot.contract.mine();
    await boot.poll();
    for (const id of boot.agent.doubtful.keys()) boot.agent.witnessed.add(id);
    await settle(boot.agent, [...boot.agent.doubtful.keys()]);
    await boot.fullPass();
    expect(boot.device.added).toHaveLength(crowd.length);
    expect(boot.holds(...heirs).every((isThere) => isThere)).toBe(true);
  });
});

describe("a device that fails", () => {
  it("is left alone until its pause is over, and loses nothing", async () => {
    boot = new Boot();
    boot.grant(A);
    boot.device.refuses.add(A);
    await boot.poll();
    const { apply } = boot.device.asked;
    for (let i = 0; i < 3; i++) await boot.poll();
    expect(boot.device.asked.apply).toBe(apply);
    boot.device.refuses.clear();
    boot.clockMs += 20_000;
    await boot.poll();
    expect(boot.holds(A)).toEqual([true]);
  });

  it("at one peer does not hold up those that come later", async () => {
    boot = new Boot();
    boot.grant(A);
    boot.device.refuses.add(A);
    await boot.poll();
    boot.grant(B);
    await boot.poll();
    boot.clockMs += 20_000;
    boot.grant(C);
    await boot.poll();
    expect(boot.holds(A, B, C)).toEqual([false, true, true]);
  });

  it("does not get back who was revoked in the same block, by no full pass either", async () => {
    boot = new Boot();
    const [a = 0n] = boot.grant(A);
    await boot.poll();
    await boot.fullPass();
    boot.contract.revoke(a);
    boot.grant(B);
    boot.device.refuses.add(B);
    await boot.poll();
    expect(boot.holds(A)).toEqual([false]);
    await boot.fullPass();
    await boot.fullPass();
    expect(boot.device.added).toEqual([A]);
  });

  it("is not verified by a full pass that fails to add somebody", async () => {
    boot = new Boot();
    boot.grant(A);
    boot.device.refuses.add(A);
    await boot.poll();
    expect(await boot.fullPass()).toMatchObject({ fault: { code: "device.command-failed" } });
    expect(boot.agent.isVerified).toBe(false);
  });
});

describe("many removals at once", () => {
  it("leave a peer alone that another token has taken over while the first one's removal waited", async () => {
    boot = new Boot();
    const keys = [1, 2, 3, 4, 5, 6, 7].map(keyOf);
    const ids = boot.grant(...keys);
    await boot.poll();
    for (const id of ids) boot.contract.revoke(id);
    boot.contract.mine();
    await boot.poll();
    const last = keys.at(-1) ?? A;
    expect(boot.holds(last)).toEqual([true]);
    const heir = boot.contract.grant(ownerOf(40), "heir", last);
    boot.contract.mine();
    await boot.poll();
    const loop = witnessRemovals(boot.agent, boot.signal);
    boot.clockMs += 6_000;
    await boot.until(() => boot.held().join() === `${last} 10.213.0.${heir}/32`);
    expect(boot.agent.doubtful.size).toBe(0);
    await boot.end();
    await loop;
    boot = new Boot();
  });

  it("of the operator's own choice are nobody's reason to doubt the chain", async () => {
    boot = new Boot();
    const keys = [1, 2, 3, 4, 5, 6, 7].map(keyOf);
    const [first = 0n] = boot.grant(...keys);
    await boot.poll();
    await boot.fullPass();
    boot.agent.held = { generation: 1, keys: new Set(keys.slice(0, 1)) };
    await boot.fullPass();
    await settle(boot.agent, [...boot.agent.placed.keys()]);
    expect(boot.held()).toHaveLength(1);
    boot.contract.revoke(first);
    boot.contract.mine();
    await boot.poll();
    expect(boot.held()).toEqual([]);
  });
});
