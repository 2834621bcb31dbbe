import { describe, expect, it } from "vitest";
import type { Address } from "../model.ts";
import { cappedResults, refusal, silentCut } from "../test/rpc-lies.ts";
import { rpcOver } from "../test/rpc-over.ts";
import { RpcProxy } from "../test/rpc-proxy.ts";
import { type Outcome, ScriptedChain } from "../test/scripted-chain.ts";
import { ScriptedContract } from "../test/scripted-contract.ts";
import { Watcher } from "../test/watcher.ts";
import { connect } from "./rpc.ts";

const OWNER = `0x${"11".repeat(20)}`;
/** In hex, with another one like it, it is more than one reply may hold. */
const LONG = "x".repeat(2_200_000);

/** After one block of `work` and so many empty ones, on a chain with a token of alice's. */
async function watched(work: (contract: ScriptedContract, proxy: RpcProxy) => void, blocks: number): Promise<Watcher> {
  const chain = new ScriptedChain({ finalizedDepth: 12 });
  const contract = new ScriptedContract(chain);
  const address = contract.address as Address;
  contract.grant(OWNER, "alice", "k");
  contract.mine();
  chain.mine(5);
  await using proxy = await RpcProxy.open(chain.answer);
  const rpc = connect({ urls: [proxy.url()], expect: { chainId: 31_337, contract: address } });
  const watcher = new Watcher(rpc, 0, address);
  await watcher.poll();
  work(contract, proxy);
  contract.mine();
  chain.mine(blocks);
  await watcher.poll();
  rpc.close();
  expect(watcher.trail.unfinal.at(-1)?.number).toBe(chain.head);
  return watcher;
}

describe("a block with", () => {
  it.each([
    ["near the head", 1],
    ["long final", 40],
  ])(
    "more than a reply may hold, %s, is read kind by kind, and what is still too long is invalid",
    async (_, blocks) => {
      const { told, follower } = await watched((contract) => {
        contract.grant(OWNER, LONG, "k");
        contract.grant(OWNER, LONG, "k");
        contract.revoke(1n);
      }, blocks);
      // Alice was granted before.
      expect(told.events.map(({ kind }) => kind).sort()).toEqual([
        "grant",
        "invalid",
        "revoke",
        "transfer",
        "transfer",
        "transfer",
      ]);
      expect(follower.figures.invalidLogs).toBe(1);
    },
    30_000,
  );

  it("more logs than the provider gives is read kind by kind", async () => {
    const { told } = await watched((contract, proxy) => {
      proxy.lie(cappedResults(100));
      for (let i = 0; i < 80; i++) contract.grant(OWNER, `x-${i}`, `k-${i}`);
    }, 1);
    expect(told.events.filter(({ kind }) => kind === "grant")).toHaveLength(81);
  });

  it.each([
    ["at the tip", 0],
    ["while catching up", 30],
    ["in history", 200],
  ])(
    "more logs than the provider gives, and a round number of them without a word, is read kind by kind: %s",
    async (_, blocks) => {
      const { told } = await watched((contract, proxy) => {
        proxy.lie(silentCut(1_000));
        for (let i = 0; i < 600; i++) contract.grant(OWNER, `x-${i}`, `k-${i}`);
      }, blocks);
      expect(told.events.filter(({ kind }) => kind === "grant")).toHaveLength(601);
    },
  );
});

describe("a block with too many logs of one kind", () => {
  /** Two tokens, then a block with 101 key updates of bob's and alice's revoke; each upstream gives at most so many logs. */
  async function crowded(blocks: number, ...limits: number[]) {
    const chain = new ScriptedChain({ finalizedDepth: 12 });
    const contract = new ScriptedContract(chain);
    const [alice, bob] = [contract.grant(OWNER, "alice", "k"), contract.grant(OWNER, "bob", "k")];
    contract.mine(5);
    const rpc = rpcOver(
      () => limits.map((_, i) => ({ name: String(i), headBlock: chain.head })),
      (name) => (method, params) => {
        const outcome = chain.answer(method, params) as Outcome;
        const isLogs = method === "eth_getLogs" && "result" in outcome;
        const isOver = isLogs && (outcome.result as unknown[]).length > (limits[Number(name)] ?? 0);
        return isOver ? refusal(-32005, "query returned more than 100 results") : outcome;
      },
    );
    const watcher = new Watcher(rpc, 0, contract.address as Address);
    await watcher.poll();
    for (let i = 0; i < 101; i++) contract.updateKey(bob, `k-${i}`);
    contract.revoke(alice);
    contract.mine();
    chain.mine(blocks);
    return { chain, limits, watcher };
  }
  const kinds = ({ told }: Watcher) => new Set(told.events.map(({ kind }) => kind));
  const PLACES = [
    ["at the tip", 1],
    ["while catching up", 30],
    ["in history", 200],
  ] as const;

  it.each(PLACES)(
    "for the only provider is passed without them, %s, once they were refused three times",
    async (_, blocks) => {
      const { chain, watcher } = await crowded(blocks, 100);
      for (let i = 0; i < 2; i++) await expect(watcher.poll()).rejects.toMatchObject({ kind: "limited" });
      await watcher.poll();
      expect(watcher.trail.unfinal.at(-1)?.number).toBe(chain.head);
      expect(kinds(watcher)).toEqual(new Set(["transfer", "grant", "revoke", "invalid"]));
      // Of what is final nothing is remembered.
      expect(watcher.follower.habits.limits.size).toBe(blocks === 200 ? 0 : 1);
    },
  );

  it.each(PLACES)("for one of two providers is read from the other, %s", async (_, blocks) => {
    const { watcher } = await crowded(blocks, 100, 1_000);
    await watcher.poll();
    expect(watcher.told.events.filter(({ kind }) => kind === "key-update")).toHaveLength(101);
    expect(watcher.follower.figures.invalidLogs).toBe(0);
  });

  it.each(PLACES)("is waited for, %s, where the provider gives none of any kind", async (_, blocks) => {
    const { limits, watcher } = await crowded(blocks, 100);
    limits[0] = -1;
    for (let i = 0; i < 6; i++) await expect(watcher.poll()).rejects.toMatchObject({ kind: "limited" });
    limits[0] = 1_000;
    await watcher.poll();
    expect(kinds(watcher)).toEqual(new Set(["transfer", "grant", "key-update", "revoke"]));
  });
});
