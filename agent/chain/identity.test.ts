import { describe, expect, it } from "vitest";
import type { Address } from "../model.ts";
import { RpcProxy } from "../test/rpc-proxy.ts";
import { ScriptedChain } from "../test/scripted-chain.ts";
import { ScriptedContract } from "../test/scripted-contract.ts";
import type { WireFault } from "../test/wire-faults.ts";
import { headOf } from "./questions.ts";
import { connect } from "./rpc.ts";

describe("an upstream that does not tell its oldest block", () => {
  it.each<[string, WireFault]>([
    ["HTTP 403", { kind: "status", status: 403 }],
    ["half a block", { kind: "answer", outcome: { result: { number: "0x0" } } }],
    ["null", { kind: "answer", outcome: { result: null } }],
    ["an error", { kind: "answer", outcome: { error: { code: -32000, message: "pruned" } } }],
  ])("but %s is of use all the same", async (_, fault) => {
    const chain = new ScriptedChain();
    const contract = new ScriptedContract(chain);
    chain.mine(20);
    await using proxy = await RpcProxy.open(chain.answer);
    proxy.misbehave(fault, {
      when: ({ method, params }) => method === "eth_getBlockByNumber" && params[0] === "0x0",
    });
    const rpc = connect({ urls: [proxy.url()], expect: { chainId: 31_337, contract: contract.address as Address } });
    expect((await rpc.ask(headOf("latest"))).value.number).toBe(chain.head);
    expect(rpc.upstreams()).toMatchObject([{ healthy: true }]);
    rpc.close();
  });
});
