/** Ring 2: following over the real transport, from a scripted chain behind lying providers and from anvil. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { Interface } from "ethers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { readArtifact } from "../../contracts/artifact.ts";
import type { Address, Block, TokenId } from "../model.ts";
import {
  BLOCK_CAPS,
  behind,
  cappedBlocks,
  cappedBytes,
  cappedResults,
  frozen,
  lateLogs,
  RESULT_CAPS,
  refusedTags,
  silentCut,
  TAG_REFUSALS,
} from "../test/rpc-lies.ts";
import { type Lie, RpcProxy } from "../test/rpc-proxy.ts";
import { type Backend, ScriptedChain } from "../test/scripted-chain.ts";
import { ScriptedContract } from "../test/scripted-contract.ts";
import { Watcher } from "../test/watcher.ts";
import { readKeys, readTokens } from "./audit.ts";
import { emptiness } from "./bloom.ts";
import { TOPIC, TOPICS } from "./events.ts";
import { blockByNumber, logs } from "./questions.ts";
import { connect, type Rpc } from "./rpc.ts";

// The machine may be busy; nothing here waits for time to pass.
vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 });
const KEY = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
const ALICE = `0x${"a1".repeat(20)}`;
const open: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of open.splice(0)) await close();
});

/** An `Rpc` with as many upstreams before one backend as there are lists of lies. */
async function upstreams(backend: Backend, contract: string, ...lies: readonly (readonly Lie[])[]) {
  const proxies = await Promise.all(lies.map(() => RpcProxy.open(backend)));
  for (const [i, proxy] of proxies.entries()) for (const lie of lies[i] ?? []) proxy.lie(lie);
  const urls = proxies.map((proxy) => proxy.url());
  const rpc = connect({ urls, expect: { chainId: 31_337, contract: contract as Address } });
  open.push(rpc.close, ...proxies.map((proxy) => () => proxy.stop()));
  return { rpc, proxies };
}

function watching(rpc: Rpc, contract: string, startBlock: number | "unknown" = 0): Watcher {
  return new Watcher(rpc, startBlock === "unknown" ? undefined : startBlock, contract as Address);
}

/** Where the logs are that an honest upstream tells of; our contract names the token of every key update. */
async function places(backend: Backend, address: string): Promise<string[]> {
  const topics = TOPICS.filter((topic) => topic !== TOPIC.ownerKeyUpdate);
  const filter = { address, topics: [topics], fromBlock: "0x0", toBlock: "latest" };
  const outcome = await backend("eth_getLogs", [filter]);
  const found = ("result" in outcome ? outcome.result : []) as { blockNumber: string; logIndex: string }[];
  return found.map(({ blockNumber, logIndex }) => `${Number(blockNumber)}.${Number(logIndex)}`);
}
const toldPlaces = (watcher: Watcher) => watcher.told.events.map(({ at }) => `${at.block}.${at.logIndex}`);

describe("a provider", () => {
  const chain = new ScriptedChain();
  const contract = new ScriptedContract(chain);
  for (let i = 0; i < 250; i++) {
    contract.grant(ALICE, `node-${i}`, KEY);
    if (i % 10 === 9) contract.mine(100);
  }
  chain.mine(100);

  it.each([
    ...BLOCK_CAPS.map((cap) => [`caps blocks like ${cap.provider}`, cappedBlocks(700, cap)] as const),
    ...RESULT_CAPS.map((cap) => [`caps results like ${cap.provider}`, cappedResults(130, cap)] as const),
    ["caps bytes", cappedBytes(50_000)],
    ["cuts silently", silentCut(1_000)],
    ["tells of logs late", lateLogs(3)],
  ] as readonly (readonly [string, Lie])[])("that %s hides nothing", async (_, lie) => {
    const { rpc } = await upstreams(chain.answer, contract.address, [lie]);
    const watcher = watching(rpc, contract.address);
    await watcher.poll();
    expect(toldPlaces(watcher)).toEqual(await places(chain.answer, contract.address));
  });

  it.each(TAG_REFUSALS.map(({ client, outcome }) => [client, refusedTags(outcome)] as const))(
    "that knows no finality costs its depth: %s",
    async (_, lie) => {
      const { rpc } = await upstreams(chain.answer, contract.address, [lie]);
      const watcher = watching(rpc, contract.address);
      await watcher.poll();
      expect(watcher.follower.figures).toMatchObject({ usesDepthFallback: true, finalizedBlock: chain.head - 64 });
      expect(watcher.notices).toHaveLength(1);
    },
  );

  it("that keeps no old state is asked from the setting's block on, or named", async () => {
    const pruned = new ScriptedChain({ stateDepth: 100 });
    pruned.mine(500);
    const late = new ScriptedContract(pruned);
    late.grant(ALICE, "node", KEY);
    late.mine(200);
    const { rpc } = await upstreams(pruned.answer, late.address, []);
    await expect(watching(rpc, late.address, "unknown").poll()).rejects.toMatchObject({
      fault: { code: "chain.no-start-block" },
    });
    const watcher = watching(rpc, late.address, 501);
    await watcher.poll();
    expect(toldPlaces(watcher)).toEqual(await places(pruned.answer, late.address));
  });
});

describe("a START_BLOCK that the chain has not reached", () => {
  it("is named, until the chain has reached it", async () => {
    const young = new ScriptedChain();
    const contract = new ScriptedContract(young);
    young.mine(20);
    const { rpc } = await upstreams(young.answer, contract.address, []);
    const watcher = watching(rpc, contract.address, 40);
    const fault = { code: "chain.before-start", startBlock: 40, head: young.head };
    for (let polls = 0; polls < 2; polls++) await expect(watcher.poll()).rejects.toMatchObject({ fault });
    young.mine(19);
    contract.grant(ALICE, "node", KEY);
    contract.mine();
    await watcher.poll();
    expect(toldPlaces(watcher)).toEqual(await places(young.answer, contract.address));
  });
});

it("an upstream that tells logs slowly is not hurried where the other one stands still", async () => {
  const chain = new ScriptedChain({ finalizedDepth: 60 });
  const contract = new ScriptedContract(chain);
  contract.grant(ALICE, "node", KEY);
  contract.mine();
  chain.mine(100);
  let delayMs = 0;
  const slow: Lie = ({ method, params }, next) =>
    method === "eth_getLogs" ? sleep(delayMs).then(() => next(method, params)) : next(method, params);
  const { rpc } = await upstreams(chain.answer, contract.address, [slow], [frozen()]);
  const watcher = watching(rpc, contract.address);
  await watcher.poll();
  delayMs = 4_500;
  contract.revoke(1n);
  contract.mine();
  chain.mine(20);
  await watcher.poll();
  expect(watcher.trail.unfinal.at(-1)?.number).toBe(chain.head);
}, 90_000);

it("a first block that an upstream has not reached is not blamed where the one that is ahead gives no logs", async () => {
  const chain = new ScriptedChain();
  const contract = new ScriptedContract(chain);
  chain.mine(60);
  contract.grant(ALICE, "node", KEY);
  contract.mine();
  const silent: Lie = (call, next) =>
    call.method === "eth_getLogs" ? { error: { code: -32000, message: "busy" } } : next(call.method, call.params);
  const { rpc } = await upstreams(chain.answer, contract.address, [silent], [behind(40)]);
  const watcher = watching(rpc, contract.address, 50);
  for (let polls = 0; polls < 3; polls++) {
    const error = await watcher.poll().catch((error: unknown) => error);
    expect(error).not.toMatchObject({ fault: { code: "chain.before-start" } });
  }
});

describe("a contract whose first block nobody knows", () => {
  it.each([1, 2, 77, 500])("is found at block %d, and nothing is read before it", async (first) => {
    const chain = new ScriptedChain();
    if (first > 1) chain.mine(first - 1);
    const contract = new ScriptedContract(chain);
    contract.grant(ALICE, "node", KEY);
    contract.mine();
    chain.mine(300);
    const { rpc, proxies } = await upstreams(chain.answer, contract.address, []);
    const watcher = watching(rpc, contract.address, "unknown");
    await watcher.poll();
    expect(toldPlaces(watcher)).toEqual(await places(chain.answer, contract.address));
    const asked = proxies[0]?.calls.filter(({ method }) => method === "eth_getLogs").map(({ params }) => params[0]);
    expect(asked?.[0]).toMatchObject({ fromBlock: `0x${first.toString(16)}` });
  });
});

describe("a long history", () => {
  it("of 100,000 blocks and 12,000 events takes few calls and never holds up the event loop", async () => {
    const chain = new ScriptedChain();
    const contract = new ScriptedContract(chain);
    for (let i = 0; i < 6_000; i++) {
      contract.grant(ALICE, `node-${i}`, KEY);
      if (i % 60 === 59) contract.mine(999);
    }
    const { rpc, proxies } = await upstreams(chain.answer, contract.address, [cappedBlocks(2_000)]);
    const watcher = watching(rpc, contract.address);
    let [longestMs, last] = [0, performance.now()];
    const pulse = setInterval(() => {
      const now = performance.now();
      [longestMs, last] = [Math.max(longestMs, now - last), now];
    }, 5);
    const steps = await watcher.poll();
    clearInterval(pulse);
    // A restart in between would not begin anew.
    expect(steps.match(/\.\./g)).toHaveLength(3);
    expect(toldPlaces(watcher)).toHaveLength(12_000);
    expect(proxies[0]?.count("eth_getLogs")).toBeLessThan(1.2 * (100_000 / 2_000));
    console.log(`following.test.ts: the event loop was held up for at most ${longestMs.toFixed(0)} ms`);
  });

  it("that takes long is told in parts", async () => {
    const chain = new ScriptedChain();
    const contract = new ScriptedContract(chain);
    chain.mine(20_000);
    const { rpc } = await upstreams(chain.answer, contract.address, [cappedBlocks(500)]);
    const watcher = watching(rpc, contract.address);
    watcher.tickMs = 2_000;
    expect((await watcher.poll()).match(/\.\./g)?.length).toBeGreaterThan(4);
  });
});

describe("two upstreams", () => {
  it("of which one lags behind tell everything once, and nothing is taken back", async () => {
    const chain = new ScriptedChain();
    const contract = new ScriptedContract(chain);
    chain.mine(80);
    const { rpc, proxies } = await upstreams(chain.answer, contract.address, [behind(3)], []);
    const watcher = watching(rpc, contract.address);
    for (let i = 0; i < 20; i++) {
      contract.grant(ALICE, `node-${i}`, KEY);
      contract.mine();
      await watcher.poll();
    }
    for (const proxy of proxies) proxy.heal();
    await watcher.poll();
    expect(toldPlaces(watcher)).toEqual(await places(chain.answer, contract.address));
    expect(watcher.follower.figures.reorgs).toBe(0);
  });

  it("of which one falls silent leave the other one's blocks undelayed", async () => {
    const chain = new ScriptedChain();
    const contract = new ScriptedContract(chain);
    chain.mine(80);
    const { rpc, proxies } = await upstreams(chain.answer, contract.address, [], []);
    const watcher = watching(rpc, contract.address);
    await watcher.poll();
    const silent = proxies.find(({ host }) => host !== watcher.follower.heads.tipFrom);
    silent?.misbehave({ kind: "drop" }, { method: "eth_getLogs" });
    let slow = 0;
    for (let i = 0; i < 40; i++) {
      contract.grant(ALICE, `node-${i}`, KEY);
      contract.mine();
      const startedAt = performance.now();
      await watcher.poll();
      if (performance.now() - startedAt > 2_500) slow++;
    }
    expect(toldPlaces(watcher)).toEqual(await places(chain.answer, contract.address));
    // It may be the one that is followed, once, until its deadline of 3 s has shown what it is.
    expect(slow).toBeLessThanOrEqual(1);
  });
});

describe("anvil", () => {
  const { abi, bytecode } = readArtifact("DstackAccessNFT");
  const nft = new Interface(JSON.stringify(abi));
  let anvil: ChildProcess;
  let url: URL;
  let contract: string;
  let [owner, holder] = ["", ""];

  // One each: after some reorgs anvil forgets contracts.
  beforeEach(async () => {
    anvil = spawn("anvil", ["--port", "0", "--accounts", "3"], { stdio: ["ignore", "pipe", "ignore"] });
    for await (const line of createInterface({ input: anvil.stdout as NonNullable<typeof anvil.stdout> })) {
      const address = /Listening on (\S+)/.exec(line)?.[1];
      if (address === undefined) continue;
      url = new URL(`http://${address}`);
      break;
    }
    anvil.stdout?.resume();
    [owner = "", holder = ""] = (await ask("eth_accounts")) as string[];
    const receipt = await sent({ from: owner, data: bytecode + nft.encodeDeploy([]).slice(2) });
    contract = String(receipt["contractAddress"]).toLowerCase();
  });
  afterEach(async () => {
    anvil.kill();
    await once(anvil, "exit");
  });

  async function ask(method: string, ...params: readonly unknown[]): Promise<unknown> {
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
    const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body });
    const { result, error } = (await response.json()) as { result?: unknown; error?: { message: string } };
    if (error !== undefined) throw new Error(`${method}: ${error.message}`);
    return result;
  }
  async function sent(transaction: object): Promise<Record<string, unknown>> {
    const hash = await ask("eth_sendTransaction", transaction);
    for (;;) {
      const receipt = await ask("eth_getTransactionReceipt", hash);
      if (receipt !== null) return receipt as Record<string, unknown>;
      await sleep(5);
    }
  }
  let names = 0;
  const does = (method: string, args: readonly unknown[], from = owner) =>
    sent({ from, to: contract, data: nft.encodeFunctionData(method, args) });
  async function grants(key = ""): Promise<bigint> {
    const { logs } = await does("mintNodeAccess", [holder, `node-${++names}`, key, ""]);
    return BigInt((logs as { topics: string[] }[])[0]?.topics[3] ?? "");
  }
  const key = (n: number) => Buffer.alloc(32, n).toString("base64");
  const backend: Backend = (method, params) =>
    ask(method, ...params).then(
      (result) => ({ result }),
      (error: Error) => ({ error: { code: -32000, message: error.message } }),
    );
  const follows = async () => {
    const { rpc, proxies } = await upstreams(backend, contract, []);
    return { rpc, watcher: watching(rpc, contract), proxy: proxies[0] as RpcProxy };
  };
  const agrees = async (watcher: Watcher) => expect(toldPlaces(watcher)).toEqual(await places(backend, contract));

  it("is followed through everything that the contract does", async () => {
    const { watcher, rpc } = await follows();
    await watcher.poll();
    const id = await grants(key(1));
    await does("updatePublicKey", [id, key(2)], holder);
    await does("setRole", [id, 2]);
    await does("setEndpoint", [id, "node.example:51820"], holder);
    await does("transferFrom", [holder, owner, id], holder);
    await does("revokeNodeAccess", [id]);
    await watcher.poll();
    expect(watcher.told.events.map(({ kind }) => kind)).toEqual([
      ...["transfer", "grant", "key-update", "role", "endpoint"],
      ...["transfer", "role", "endpoint", "revoke"],
    ]);
    await agrees(watcher);
    const at = watcher.trail.unfinal.at(-1);
    if (at === undefined) throw new Error("there must be a head");
    const { signal } = new AbortController();
    const states = await readTokens(rpc, contract as Address, [id, 999n] as TokenId[], at, signal);
    expect([...states]).toEqual([
      [id, { kind: "present", nodeId: `node-${names}`, owner, key: "", active: false }],
      [999n, { kind: "missing" }],
    ]);
    expect([...(await readKeys(rpc, contract as Address, [id] as TokenId[], at, signal))]).toEqual([[id, ""]]);
  });

  it("fills its blooms as we read them", async () => {
    const { rpc, watcher } = await follows();
    await grants();
    await ask("anvil_mine", "0x2");
    await watcher.poll();
    const head = watcher.follower.figures.headBlock ?? 0;
    const seen: [boolean, string][] = [];
    for (let number = 1; number <= head; number++) {
      const { value: block } = await rpc.ask(blockByNumber(number));
      const question = logs({ address: contract as Address, topics: TOPICS, blockHash: (block as Block).hash });
      const { value: found } = await rpc.ask(question);
      seen.push([found.length > 0, emptiness(block, contract as Address, TOPICS)]);
    }
    expect(seen.filter(([hasLogs, word]) => word !== (hasLogs ? "unlikely" : "sure"))).toEqual([]);
    expect(new Set(seen.map(([hasLogs]) => hasLogs))).toEqual(new Set([true, false]));
  });

  // anvil puts empty blocks in their places, and an empty block of the same second is the same block.
  it.each([1, 2, 7, 30, 60])("is followed through a reorg of %d blocks, also while nobody looked", async (depth) => {
    const { watcher } = await follows();
    const happens = async () => {
      await ask("anvil_mine", "0x50");
      await grants();
      if (depth > 1) await ask("anvil_mine", `0x${(depth - 1).toString(16)}`);
    };
    await happens();
    await watcher.poll();
    await ask("anvil_reorg", depth, []);
    await watcher.poll();
    await agrees(watcher);
    expect(watcher.follower.figures).toMatchObject({ reorgs: 1, deepestReorg: depth });
    await happens();
    await watcher.poll();
    await ask("anvil_reorg", depth, []);
    watcher.restart();
    await grants();
    await watcher.poll();
    await agrees(watcher);
  });

  it("is followed when it is set back and goes another way", async () => {
    const { watcher } = await follows();
    const snapshot = await ask("evm_snapshot");
    await watcher.poll();
    await grants();
    await grants();
    await watcher.poll();
    await ask("evm_revert", snapshot);
    expect(await watcher.polls(5)).toBe("");
    await does("mintNodeAccess", [holder, "another", "", ""]);
    await watcher.polls(5);
    await agrees(watcher);
  });

  it("is not followed below what was final", async () => {
    const { watcher } = await follows();
    await ask("anvil_mine", "0x64");
    await grants();
    await ask("anvil_mine", "0x46");
    await watcher.poll();
    await ask("anvil_reorg", 80, []);
    await expect(watcher.poll()).rejects.toMatchObject({ fault: { code: "chain.fork-below-finality" } });
  });

  it("costs one question for an old head and two for a new one", async () => {
    const { watcher, proxy } = await follows();
    await watcher.polls(2);
    proxy.calls.length = 0;
    await watcher.poll();
    await grants();
    await watcher.poll();
    expect(proxy.calls.map(({ method }) => method)).toEqual([
      ...["eth_getBlockByNumber", "eth_getBlockByNumber", "eth_getLogs"],
    ]);
  });
});
