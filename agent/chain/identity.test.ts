import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { WebSocketServer } from "ws";
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

describe("a WebSocket that is closed", () => {
  type Question = { id: number; method: string; params: unknown[] };
  it.each<[string, (asked: readonly string[]) => boolean]>([
    ["after every answer", () => true],
    ["after every two answers", (asked) => asked.length === 2],
    ["after every three answers", (asked) => asked.length === 3],
    ["whenever it has told its chain", (asked) => asked.at(-1) === "eth_chainId"],
  ])("%s fails, and is not dialled again and again", async (_, isOver) => {
    const chain = new ScriptedChain();
    const contract = new ScriptedContract(chain);
    const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
    await once(server, "listening");
    let connections = 0;
    server.on("connection", (ws) => {
      connections++;
      const asked: string[] = [];
      ws.on("message", (bytes: Buffer) => {
        const { id, method, params }: Question = JSON.parse(bytes.toString());
        if (ws.readyState !== ws.OPEN) return;
        asked.push(method);
        ws.send(JSON.stringify({ jsonrpc: "2.0", id, ...chain.answer(method, params) }));
        if (isOver(asked)) ws.close();
      });
    });
    const url = new URL(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
    const rpc = connect({ urls: [url], expect: { chainId: 31_337, contract: contract.address as Address } });
    await expect(rpc.ask(headOf("latest"))).rejects.toMatchObject({ fault: { code: "chain.request-failed" } });
    await sleep(1_000);
    expect(connections).toBeLessThan(40);
    expect(rpc.upstreams()).toMatchObject([{ healthy: false }]);
    rpc.close();
    server.close();
  });
});
