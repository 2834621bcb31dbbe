import { describe, expect, it } from "vitest";
import { decodeLogs } from "../chain/events.ts";
import { blockByHash, headOf, logs } from "../chain/questions.ts";
import { parseReply, resultOf } from "../chain/reply.ts";
import type { Address, Hash } from "../model.ts";
import { behind, cappedBlocks, flapping, frozen, type Json, lateLogs, silentCut } from "./rpc-lies.ts";
import type { Call, Lie } from "./rpc-proxy.ts";
import { type Outcome, ScriptedChain } from "./scripted-chain.ts";
import { ScriptedContract } from "./scripted-contract.ts";

const KEY = `${"A".repeat(42)}E=`;
const [OLD, NEW] = [`0x${"0a".repeat(20)}`, `0x${"0b".repeat(20)}`];

function made(style: "plain" | "full" = "full") {
  const chain = new ScriptedChain();
  const contract = new ScriptedContract(chain, { style, multicall: true });
  const result = (outcome: Outcome) => ("result" in outcome ? outcome.result : outcome.error.message);
  const ask = async (method: string, ...params: unknown[]) => result(await chain.answer(method, params));
  /** As told by an upstream with this lie. */
  const told = async (lie: Lie, method: string, ...params: unknown[]) =>
    result(await lie({ method, params } as unknown as Call, chain.answer));
  const all = { address: contract.address as Address, fromBlock: 0, toBlock: 1_000_000 };
  const events = async () => {
    const { params, read, parse } = logs(all);
    const outcome = await chain.answer("eth_getLogs", params);
    const reply = parseReply(Buffer.from(JSON.stringify({ jsonrpc: "2.0", id: 1, ...outcome })), read);
    return decodeLogs(parse(resultOf(reply, 1, "eth_getLogs")));
  };
  return { chain, contract, ask, told, events, everything: logs(all).params[0] };
}

describe("the scripted contract", () => {
  it("emits what the agent's decoder reads", async () => {
    const { contract, events } = made();
    const id = contract.grant(OLD, "node-a", KEY);
    contract.mine();
    contract.transfer(id, NEW);
    contract.updateKey(id, KEY);
    contract.setRole(id, 2);
    contract.setEndpoint(id, "host:1");
    contract.revoke(id);
    contract.mine(3);
    expect((await events()).map(({ kind, at }) => `${at.block}.${at.logIndex} ${kind}`)).toEqual([
      ...["2.0 transfer", "2.1 grant", "6.0 transfer"],
      ...["6.3 key-update", "6.4 role", "6.5 endpoint", "6.6 revoke"],
    ]);
    expect((await events())[1]).toMatchObject({ tokenId: 1n, nodeId: "node-a", owner: OLD, key: KEY });
  });

  it("names no token in a key update where it has only the deployed interface", async () => {
    const { contract, events } = made("plain");
    contract.updateKey(contract.grant(OLD, "a", ""), KEY);
    contract.mine();
    expect((await events()).at(-1)).toMatchObject({ kind: "owner-key-update", owner: OLD, key: KEY });
  });

  it("forgets with a reorg what was granted in it, in logs and in state", async () => {
    const { chain, contract, ask, events } = made();
    contract.grant(OLD, "a", KEY);
    contract.mine();
    const [head, gone] = [chain.head, chain.hashOf(chain.head)];
    const call = { to: contract.address, data: `0x6352211e${"1".padStart(64, "0")}` };
    expect(await ask("eth_call", call, "latest")).toBe(`0x${OLD.slice(2).padStart(64, "0")}`);
    chain.reorg(1);
    expect([chain.head, chain.hashOf(head) === gone]).toEqual([head, false]);
    expect(await ask("eth_call", call, "latest")).toBe("execution reverted");
    expect(await ask("eth_getBlockByHash", gone, false)).toBeNull();
    expect(await events()).toEqual([]);
    expect(contract.grant(OLD, "b", KEY)).toBe(1n);
  });
});

describe("the scripted chain", () => {
  it("links its blocks, also over a reorg", async () => {
    const { chain, ask } = made();
    chain.mine(10);
    chain.reorg(4, 6);
    let block = headOf("latest").parse(await ask("eth_getBlockByNumber", "latest", false));
    while (block.number > 0) {
      block = blockByHash(block.parentHash as Hash).parse(await ask("eth_getBlockByHash", block.parentHash, false));
    }
    expect(chain.head).toBe(13);
  });

  it("tells its logs by block hash too, and knows no others", async () => {
    const { chain, contract, ask } = made();
    contract.grant(OLD, "a", KEY);
    contract.mine();
    expect(await ask("eth_getLogs", { blockHash: chain.hashOf(chain.head) })).toHaveLength(2);
    expect(await ask("eth_getLogs", { blockHash: chain.hashOf(1) })).toEqual([]);
    expect(await ask("eth_getLogs", { blockHash: `0x${"0".repeat(64)}` })).toBe("unknown block");
  });
});

describe("a lie", () => {
  it.each<[string, Lie, readonly number[]]>([
    ["about a head that lags", behind(3), [18, 28]],
    ["about a head that stands still", frozen(), [21, 21]],
    ["about a head that flaps", flapping(5), [16, 31]],
  ])("%s", async (_, lie, heads) => {
    const { chain, told } = made();
    chain.mine(20);
    const first = await told(lie, "eth_blockNumber");
    chain.mine(10);
    expect([first, await told(lie, "eth_blockNumber")].map(Number)).toEqual(heads);
  });

  it("about the head is told of its blocks and logs too", async () => {
    const { chain, contract, told, everything } = made();
    contract.grant(OLD, "a", KEY);
    contract.mine();
    const lie = behind(1);
    expect(await told(lie, "eth_getBlockByNumber", "latest", false)).toMatchObject({ number: "0x1" });
    expect(await told(lie, "eth_getBlockByNumber", "0x2", false)).toBeNull();
    expect(await told(lie, "eth_getBlockByHash", chain.hashOf(2), false)).toBeNull();
    expect(await told(lie, "eth_getLogs", everything)).toEqual([]);
    expect(await told(lie, "eth_getLogs", { blockHash: chain.hashOf(2) })).toBe("unknown block");
  });

  it("about logs comes late, cuts them short or refuses the range", async () => {
    const { chain, contract, told, everything } = made();
    contract.grant(OLD, "a", KEY);
    contract.mine();
    expect(await told(lateLogs(1), "eth_getLogs", everything)).toEqual([]);
    expect(await told(silentCut(1), "eth_getLogs", everything)).toHaveLength(1);
    expect(await told(cappedBlocks(1_000), "eth_getLogs", everything)).toContain("up to a 1000 block range");
    expect(await told(cappedBlocks(1_000), "eth_getLogs", { ...(everything as Json), toBlock: "0x3e7" })).toHaveLength(
      2,
    );
    chain.mine();
    expect(await told(lateLogs(1), "eth_getLogs", everything)).toHaveLength(2);
  });
});
