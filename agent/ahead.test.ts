/** Where nobody tells logs, or only late, the contract's state is read at a head that our blocks have not come to. */
import { afterEach, describe, expect, it } from "vitest";
import { type Audit, auditAll } from "./auditing.ts";
import { Boot, keyOf, ownerOf } from "./test/boot.ts";
import { Down } from "./test/rpc-over.ts";

const [FIRST, SECOND, OTHER] = [keyOf(1), keyOf(2), keyOf(3)];
let boot: Boot;
afterEach(() => boot.end());

describe.each(["plain", "full"] as const)("a token that was sold while no logs were told (%s contract)", (style) => {
  it.each([
    ["one upstream", ["scripted"]],
    ["two", ["scripted", "other"]],
  ])("does not lend its buyer the key that the seller set last (%s)", async (_, names) => {
    boot = new Boot({ style });
    const logs = Promise.withResolvers<void>();
    let isLate = false;
    for (const name of names) {
      boot.upstreams.set(name, async (method, params) => {
        if (method === "eth_getLogs" && isLate) await logs.promise;
        return boot.chain.answer(method, params);
      });
    }
    const [id = 0n] = boot.grant(FIRST);
    boot.chain.mine(20);
    await boot.poll();
    expect(boot.holds(FIRST)).toEqual([true]);
    isLate = true;
    boot.contract.updateKey(id, SECOND);
    boot.contract.mine();
    boot.contract.transfer(id, ownerOf(9));
    boot.contract.mine();
    const polling = boot.poll();
    expect(await auditedLater()).toMatchObject({ repairs: 1 });
    expect(boot.holds(FIRST)).toEqual([false]);
    logs.resolve();
    await polling;
    expect(boot.holds(FIRST, SECOND)).toEqual([false, false]);
    for (let i = 0; i < 3; i++) {
      boot.chain.mine(20);
      await boot.poll();
      await auditedLater();
      expect(boot.holds(FIRST, SECOND)).toEqual([false, false]);
    }
    boot.contract.updateKey(id, OTHER);
    boot.contract.mine();
    await boot.poll();
    await boot.poll();
    expect(boot.holds(OTHER)).toEqual([true]);
  });
});

it("a revoke that the state shows stays off until its log comes, also if the rewind before it was the last step", async () => {
  boot = new Boot({ finalizedDepth: 70 });
  const [id = 0n] = boot.grant(FIRST, SECOND);
  boot.chain.mine(100);
  await boot.poll();
  boot.contract.grant(ownerOf(3), "late", OTHER);
  boot.contract.mine();
  await boot.poll();
  boot.chain.reorg(1, 0);
  boot.contract.revoke(id);
  boot.contract.grant(ownerOf(3), "late", OTHER);
  boot.contract.mine();
  boot.chain.mine(300);
  boot.lie((method, params, truth) => {
    if (method === "eth_getLogs") throw new Down();
    return truth(method, params);
  });
  await boot.poll();
  expect(boot.agent.isWhole).toBe(false);
  expect(await auditedLater()).toMatchObject({ repairs: 1 });
  // Who was granted in a block that the reorg has dropped waits for the logs of those that replace it.
  expect(boot.holds(FIRST, SECOND, OTHER)).toEqual([false, true, true]);
  await boot.fullPass();
  boot.lie();
  await boot.poll();
  expect(boot.holds(FIRST, SECOND, OTHER)).toEqual([false, true, true]);
  expect(boot.device.added.filter((key) => key === OTHER)).toHaveLength(1);
});

it("whom the state took away by mistake is back as soon as the logs have come that far", async () => {
  boot = new Boot();
  const [id = 0n] = boot.grant(FIRST);
  boot.chain.mine(20);
  await boot.poll();
  const about = id.toString(16).padStart(64, "0");
  boot.lie((method, params, truth) => {
    if (method === "eth_getLogs") throw new Down();
    const text = JSON.stringify(params);
    const isLie = method === "eth_call" && text.includes(about) && text.includes(boot.chain.hashOf(boot.chain.head));
    return isLie ? { error: { code: 3, message: "execution reverted", data: "0x" } } : truth(method, params);
  });
  boot.contract.grant(ownerOf(2), "another", SECOND);
  boot.contract.mine();
  await boot.poll();
  await auditedLater();
  expect(boot.holds(FIRST)).toEqual([false]);
  boot.lie();
  await boot.poll();
  expect(boot.holds(FIRST, SECOND)).toEqual([true, true]);
});

/** Of everything, after more time than a poll takes. */
async function auditedLater(): Promise<Audit> {
  boot.clockMs += 6_000;
  return auditAll(boot.agent, boot.signal);
}
