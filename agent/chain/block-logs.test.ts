import { describe, expect, it } from "vitest";
import type { Address } from "../model.ts";
import { cappedResults } from "../test/rpc-lies.ts";
import { RpcProxy } from "../test/rpc-proxy.ts";
import { ScriptedChain } from "../test/scripted-chain.ts";
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
});
