import { describe, expect, it } from "vitest";
import type { Address } from "../model.ts";
import { Down, rpcOver } from "../test/rpc-over.ts";
import { type Backend, ScriptedChain } from "../test/scripted-chain.ts";
import { ScriptedContract } from "../test/scripted-contract.ts";
import { firstBlock } from "./start.ts";

const SIGNAL = new AbortController().signal;
const over = (backend: Backend) =>
  rpcOver(
    () => [{ name: "one" }],
    () => backend,
  );

describe("the contract's first block", () => {
  it.each([1, 2, 63, 64, 100])("is found at %d with few questions", async (deployedAt) => {
    const chain = new ScriptedChain();
    if (deployedAt > 1) chain.mine(deployedAt - 1);
    const { address } = new ScriptedContract(chain);
    chain.mine(100 - deployedAt);
    let asked = 0;
    const rpc = over((method, params) => {
      asked++;
      return chain.answer(method, params);
    });
    expect(await firstBlock(rpc, address as Address, chain.head, { refusals: 0 }, SIGNAL)).toBe(deployedAt);
    expect(asked).toBeLessThan(10);
  });

  it.each<[string, Backend]>([
    ["tells of no code", () => ({ result: "0x" })],
    ["is no archive", () => ({ error: { code: -32000, message: "missing trie node" } })],
  ])("is the lower of what two upstreams say, of which one %s", async (_, whim) => {
    const chain = new ScriptedChain();
    chain.mine(9);
    const { address } = new ScriptedContract(chain);
    chain.mine(90);
    const honest: Backend = chain.answer;
    const early: Backend = (method, params) => (Number(params[1]) < 60 ? whim(method, params) : honest(method, params));
    for (const backends of [
      { one: early, two: honest },
      { one: honest, two: early },
    ]) {
      const names = Object.keys(backends).map((name) => ({ name }));
      const rpc = rpcOver(
        () => names,
        (name) => backends[name as "one" | "two"],
      );
      expect(await firstBlock(rpc, address as Address, chain.head, { refusals: 0 }, SIGNAL)).toBe(10);
    }
  });

  it("is found by one upstream where the other one is down, which is asked once", async () => {
    const chain = new ScriptedChain();
    chain.mine(59);
    const { address } = new ScriptedContract(chain);
    chain.mine(40);
    let asked = 0;
    const down: Backend = () => {
      asked++;
      throw new Down();
    };
    const rpc = rpcOver(
      () => [{ name: "one" }, { name: "down" }],
      (name) => (name === "one" ? chain.answer : down),
    );
    const { upstreams } = rpc;
    rpc.upstreams = () => upstreams().map((one) => ({ ...one, healthy: one.name === "one" }));
    expect(await firstBlock(rpc, address as Address, chain.head, { refusals: 0 }, SIGNAL)).toBe(60);
    expect(asked).toBe(1);
  });

  it("is none where there is no contract", async () => {
    const chain = new ScriptedChain();
    chain.mine(9);
    const nobody = `0x${"00".repeat(20)}` as Address;
    await expect(firstBlock(over(chain.answer), nobody, 9, { refusals: 0 }, SIGNAL)).rejects.toMatchObject({
      fault: { code: "chain.no-contract", contract: nobody, upstream: "one" },
    });
  });

  it("cannot be found where old state is refused in words never heard before, each time it is asked for", async () => {
    const chain = new ScriptedChain();
    const { address } = new ScriptedContract(chain);
    chain.mine(50);
    let asked = 0;
    const young: Backend = (method, params) => {
      const isOld = method === "eth_getCode" && Number(params[1]) < 40;
      if (isOld) asked++;
      return isOld ? { error: { code: -32000, message: "come back never" } } : chain.answer(method, params);
    };
    const search = { refusals: 0 };
    const once = () => firstBlock(over(young), address as Address, chain.head, search, SIGNAL);
    for (let i = 0; i < 2; i++) await expect(once()).rejects.toMatchObject({ kind: "other" });
    // Told for as long as it lasts, a question for each poll.
    for (let i = 0; i < 2; i++) {
      await expect(once()).rejects.toMatchObject({ fault: { code: "chain.no-start-block", upstream: "one" } });
    }
    expect(asked).toBe(4);
  });

  it("cannot be found without old state, and waits out an upstream that is down", async () => {
    const chain = new ScriptedChain({ stateDepth: 10 });
    const { address } = new ScriptedContract(chain);
    chain.mine(50);
    const ask = (backend: Backend) =>
      firstBlock(over(backend), address as Address, chain.head, { refusals: 0 }, SIGNAL);
    await expect(ask(chain.answer)).rejects.toMatchObject({ fault: { code: "chain.no-start-block", upstream: "one" } });
    const down: Backend = () => {
      throw new Down();
    };
    await expect(ask(down)).rejects.toMatchObject({ fault: { code: "chain.request-failed" } });
  });

  it.each([
    ["a block that is not there yet", -32000, "header not found"],
    ["an error of its own", -32603, "Internal error"],
  ])("is not given up for %s, which a second question would not meet", async (_, code, message) => {
    const chain = new ScriptedChain();
    const { address } = new ScriptedContract(chain);
    chain.mine(50);
    let asked = 0;
    const backend: Backend = (method, params) =>
      method === "eth_getCode" && asked++ === 0 ? { error: { code, message } } : chain.answer(method, params);
    const ask = () => firstBlock(over(backend), address as Address, chain.head, { refusals: 0 }, SIGNAL);
    await expect(ask()).rejects.toMatchObject({ name: "RpcError" });
    expect(await ask()).toBe(1);
  });
});
