/** Ring 3, what takes long: a history of many blocks that is read in parts, and minutes of silence with restarts in them. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { followChain } from "../bridge.ts";
import { connect } from "../chain/rpc.ts";
import type { Address } from "../model.ts";
import { health } from "../observe/health.ts";
import type { Log, Write } from "../observe/log.ts";
import { snapshot } from "../snapshot.ts";
import { tendDevice } from "../tend.ts";
import { Boot, keyOf, ownerOf } from "./boot.ts";
import { until } from "./lab/command.ts";
import { refusal } from "./rpc-lies.ts";
import { Down } from "./rpc-over.ts";
import { RpcProxy } from "./rpc-proxy.ts";

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

describe("a long history", () => {
  it("is told of while it is read, and goes on after a crash where it was saved last", async () => {
    const said: Record<string, unknown>[] = [];
    const write: Write = (fields, event) => said.push({ event, ...fields });
    const log: Log = { ...{ fatal: write, error: write, warn: write, info: write, debug: write, trace: write }, flush };
    const boot = new Boot({ log });
    open.push(() => boot.end());
    boot.grant();
    for (let i = 0; i < 20; i++) {
      boot.contract.grant(ownerOf(i + 1), `m-${i}`, keyOf(i));
      boot.contract.mine(500);
    }
    const asked: number[] = [];
    let answers = 12;
    boot.lie((method, params, truth) => {
      if (method !== "eth_getLogs") return truth(method, params);
      const { fromBlock, toBlock } = params[0] as Record<string, string>;
      if (Number(toBlock) - Number(fromBlock) >= 500) return refusal(-32000, "block range is too wide");
      boot.clockMs += 3_000;
      asked.push(Number(fromBlock));
      if (answers-- <= 0) throw new Down();
      return truth(method, params);
    });
    expect(await boot.poll()).toMatchObject({ fault: { code: "chain.request-failed" } });
    const saved = boot.agent.ledger.final.number;
    expect(saved).toBeGreaterThan(1_000);
    expect(said).toContainEqual({ event: "chain.catching-up", block: expect.any(Number), head: boot.chain.head });
    const { reasons } = health(snapshot(boot.agent), boot.agent.now());
    expect(reasons.map(({ code }) => code)).toContain("chain.catching-up");
    // What `/health` and the gauges of the metrics are made of.
    const { cursorBlock, headBlock } = snapshot(boot.agent).chain;
    expect(cursorBlock).toBeGreaterThanOrEqual(saved);
    expect(cursorBlock).toBeLessThan(boot.chain.head);
    expect(headBlock).toBe(boot.chain.head);
    expect(boot.held()).toEqual([]);

    await boot.restart();
    await boot.fullPass();
    [asked.length, answers] = [0, Number.POSITIVE_INFINITY];
    await boot.poll();
    expect(asked[0]).toBe(saved + 1);
    await boot.fullPass();
    expect(boot.held()).toHaveLength(20);
  });
});

describe("silence of every upstream", () => {
  it("cuts nobody, over minutes and restarts, and what happened meanwhile is on the device soon after it", async () => {
    const proxies: RpcProxy[] = [];
    const rpc = () => connect({ urls: proxies.map((proxy) => proxy.url()), expect: { chainId: 31_337, contract } });
    const contract = "0x5fbdb2315678afecb367f032d93f642f64180aa3" as Address;
    const scripted: { answer?: Boot["chain"]["answer"] } = {};
    for (let i = 0; i < 2; i++) {
      proxies.push(await RpcProxy.open((method, params) => scripted.answer?.(method, params) ?? { result: null }));
    }
    open.push(() => Promise.all(proxies.map((proxy) => proxy.stop())));
    const boot = new Boot({ over: { rpc, contract }, env: { POLL_INTERVAL: "50", SYNC_INTERVAL: "100" } });
    open.push(() => boot.end());
    scripted.answer = boot.chain.answer;
    const [first = 0n, second = 0n] = boot.grant(...[1, 2, 3].map(keyOf));
    const holds = () => boot.holds(...[1, 2, 3, 4].map(keyOf)).join();
    await boot.poll();
    expect(holds()).toBe("true,true,true,false");

    await Promise.all(proxies.map((proxy) => proxy.stop()));
    boot.contract.revoke(first);
    boot.contract.transfer(second, ownerOf(5));
    boot.contract.grant(ownerOf(6), "m-4", keyOf(4));
    boot.contract.mine(40);
    // Long enough for the pauses between two tries to have become as long as they get.
    for (const silenceMs of [1_000, 2_000, 5_000]) {
      await during(boot, async () => {
        await sleep(silenceMs);
        boot.clockMs += 10 * 60_000;
        await boot.fullPass();
        expect(holds()).toBe("true,true,true,false");
        expect(health(snapshot(boot.agent), boot.agent.now()).reasons.map(({ code }) => code)).toContain(
          "chain.unreachable",
        );
      });
      if (silenceMs < 5_000) await boot.restart();
    }

    await during(boot, async () => {
      const backAt = performance.now();
      await Promise.all(proxies.map((proxy) => proxy.start()));
      await until("the device to be exact", 60_000, () => holds() === "false,false,true,true", 5);
      console.info(`exact ${Math.round(performance.now() - backAt)} ms after the upstreams were back (goal: 10 s)`);
    });
    expect(boot.device.added.filter((key) => key === keyOf(3))).toHaveLength(1);
  }, 120_000);
});

/** With both loops at work. */
async function during(boot: Boot, work: () => Promise<void>): Promise<void> {
  const stop = new AbortController();
  const loops = [followChain(boot.agent, stop.signal), tendDevice(boot.agent, stop.signal)];
  try {
    await work();
  } finally {
    stop.abort();
    await Promise.all(loops);
  }
}

async function flush(): Promise<void> {}
