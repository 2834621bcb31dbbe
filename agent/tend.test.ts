import { setTimeout } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { tendDevice } from "./tend.ts";
import { Boot, keyOf } from "./test/boot.ts";
import { Down } from "./test/rpc-over.ts";

const [A, B, STRANGER] = [keyOf(1), keyOf(2), keyOf(99)] as const;
let boot: Boot;
afterEach(() => boot.end());

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

  it("with a lost database serves whom the last good file has, until the chain says otherwise", async () => {
    boot = new Boot();
    const [, b = 0n] = boot.grant(A, B);
    await boot.poll();
    await boot.fullPass();
    boot.device.peers.clear();
    await boot.forget();
    boot.contract.revoke(b);
    boot.contract.mine();
    await boot.fullPass();
    expect(boot.holds(A, B)).toEqual([true, true]);
    await boot.poll();
    await boot.fullPass();
    expect(boot.holds(A, B)).toEqual([true, false]);
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
