import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import type { Address } from "../model.ts";
import { type Call, DrawnChain, refusal, type Whim } from "../test/drawn-chain.ts";
import { rpcOver } from "../test/rpc-over.ts";
import { RpcProxy } from "../test/rpc-proxy.ts";
import { ScriptedChain } from "../test/scripted-chain.ts";
import { ScriptedContract } from "../test/scripted-contract.ts";
import { Watcher } from "../test/watcher.ts";
import type { WireFault } from "../test/wire-faults.ts";
import { readTokens } from "./audit.ts";
import { TOPICS } from "./events.ts";
import { newFollower } from "./follower.ts";
import { headOf } from "./questions.ts";
import { connect } from "./rpc.ts";
import { logsAtTip } from "./tip.ts";

const asksByHash = ({ method, params }: Call) => method === "eth_getLogs" && "blockHash" in (params[0] as object);

async function followed(...upstreams: readonly string[]): Promise<{ chain: DrawnChain; watcher: Watcher }> {
  const chain = new DrawnChain(...upstreams).draw("a1..a10");
  const watcher = new Watcher(chain.rpc, 0);
  await watcher.poll();
  return { chain, watcher };
}

describe("logs by block hash", () => {
  it.each<[string, Whim]>([
    ["no logs", (call) => (asksByHash(call) ? { result: [] } : undefined)],
    ["-32602", (call) => (asksByHash(call) ? refusal("invalid argument 0: json: unknown field", -32602) : undefined)],
    ["-32601", (call) => (asksByHash(call) ? refusal("nope", -32601) : undefined)],
    ["the words of a range", (call) => (asksByHash(call) ? refusal("invalid block range", -32000) : undefined)],
  ])("that an only upstream answers with %s are asked for by number", async (_, whim) => {
    const { chain, watcher } = await followed();
    chain.whims.set("one", whim);
    chain.draw("a10-a11+7");
    expect(await watcher.poll()).toBe("a11+7");
  });

  it("are asked for by number before they count as missing, also where the bloom says nothing", async () => {
    const { chain, watcher } = await followed();
    chain.bloom = "full";
    chain.whims.set("one", (call) => (asksByHash(call) ? { result: [] } : undefined));
    chain.draw("a10-a11+7");
    watcher.tickMs = 1_000;
    await watcher.polls(8);
    expect(watcher.told.words).toEqual(["11.0 +7"]);
  });

  it.each(["0x1", "0xfffffffff"])("that say they are of block %s are refused", async (blockNumber) => {
    const { chain, watcher } = await followed("bad", "good");
    chain.whims.set("bad", (call, honest) => {
      const outcome = honest();
      if (!asksByHash(call) || !("result" in outcome)) return outcome;
      return { result: (outcome.result as object[]).map((log) => ({ ...log, blockNumber })) };
    });
    chain.draw("a10-a11+7");
    await watcher.poll();
    expect(watcher.told.words).toEqual(["11.0 +7"]);
  });
});

it("an upstream that is late with logs fails alone where the other one goes down meanwhile", async () => {
  const chain = new ScriptedChain();
  const address = new ScriptedContract(chain).address as Address;
  const upstreams = [{ name: "late" }, { name: "other" }];
  const rpc = rpcOver(
    () => upstreams,
    () => async (method, params) => {
      if (method !== "eth_getLogs") return chain.answer(method, params);
      await sleep(4_100);
      upstreams.splice(1);
      return refusal("invalid argument 0: json: unknown field", -32602);
    },
  );
  const { value: head } = await rpc.ask(headOf("latest"));
  const contract = { address, topics: TOPICS, limits: new Map() };
  const habits = newFollower().habits;
  const logs = logsAtTip(rpc, contract, head, "late", habits, new AbortController().signal);
  await expect(logs).rejects.toMatchObject({ fault: { code: "chain.request-failed" } });
});

describe("an only upstream over HTTP that takes no block hash and answers with", () => {
  it.each<[string, WireFault]>([
    ["HTTP 400", { kind: "status", status: 400 }],
    ["null", { kind: "answer", outcome: { result: null } }],
    ["another shape", { kind: "answer", outcome: { result: {} } }],
  ])("%s is asked for logs and state by number", async (_, fault) => {
    const chain = new ScriptedChain();
    const contract = new ScriptedContract(chain);
    const address = contract.address as Address;
    chain.mine(10);
    await using proxy = await RpcProxy.open(chain.answer);
    const rpc = connect({ urls: [proxy.url()], expect: { chainId: 31_337, contract: address } });
    const watcher = new Watcher(rpc, 0, address);
    await watcher.poll();
    proxy.misbehave(fault, {
      when: ({ method, params }) => method !== "eth_getBlockByHash" && JSON.stringify(params).includes('"blockHash"'),
    });
    const id = contract.grant(`0x${"11".repeat(20)}`, "x", "k");
    contract.mine();
    watcher.tickMs = 500;
    for (let i = 0; i < 4 && watcher.told.events.length < 2; i++) await watcher.poll();
    expect(watcher.told.events.map(({ kind }) => kind)).toContain("grant");
    const [tip] = watcher.trail.unfinal.slice(-1);
    const states = await readTokens(
      rpc,
      address,
      [id as never],
      tip ?? watcher.trail.final,
      AbortSignal.timeout(9_000),
    );
    expect(states.get(id as never)).toMatchObject({ kind: "present", nodeId: "x" });
    rpc.close();
  });
});
