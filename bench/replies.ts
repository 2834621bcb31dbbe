/** How large the agent grows under replies that are made to make it grow. */
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { run } from "../agent/test/lab/command.ts";
import { RpcProxy } from "../agent/test/rpc-proxy.ts";
import { ScriptedChain } from "../agent/test/scripted-chain.ts";
import { ScriptedContract } from "../agent/test/scripted-contract.ts";
import type { WireFault } from "../agent/test/wire-faults.ts";
import type { Benchmark } from "./benchmark.ts";
import { figure, median } from "./figure.ts";
import { keyOf, ownerOf } from "./rpc.ts";

const MB = 2 ** 20;
const CAP = 8 * MB;

export const replies: Benchmark = {
  name: "replies",
  about: "resident growth under replies that are made to grow it",
  async run({ quick }) {
    const chain = new ScriptedChain();
    const contract = new ScriptedContract(chain);
    const all = faults(manyLogs(contract, chain));
    await using proxy = await RpcProxy.open(chain.answer);
    const grown = async (atOnce: number, rounds: number) => {
      const worst = new Map<string, number>();
      for (const [name, fault] of Object.entries(all)) {
        // The first question of each process gets an honest answer.
        let asked = 0;
        proxy.heal();
        proxy.misbehave(fault, { method: "eth_getLogs", when: () => asked++ % (atOnce + 1) > 0 });
        const readings: number[] = [];
        for (let round = 0; round < rounds; round++) readings.push(await reading(proxy, contract, atOnce));
        worst.set(name, median(readings));
      }
      return {
        value: Math.max(...worst.values()),
        note: [...worst].map(([name, mb]) => `${name} ${mb.toFixed(0)}`).join(", "),
      };
    };
    const rounds = quick ? 1 : 3;
    const one = figure({ name: "resident growth under any reply", unit: "MB", goal: 100, ...(await grown(1, rounds)) });
    if (quick) return [one];
    const name = "resident growth under eight such replies at once";
    return [one, figure({ name, unit: "MB", ...(await grown(8, rounds)) })];
  },
};

/** Megabytes. */
async function reading(proxy: RpcProxy, contract: ScriptedContract, atOnce: number): Promise<number> {
  const program = fileURLToPath(new URL("replies-client.ts", import.meta.url));
  const words = [process.execPath, program, proxy.url().href, contract.address, String(atOnce)];
  return JSON.parse(await run(words, { deadlineMs: 120_000 })) as number;
}

/** As many logs as fit under the cap of 8 MB: nothing is wrong with them. */
function manyLogs(contract: ScriptedContract, chain: ScriptedChain): Buffer {
  for (let i = 1; i <= 5_000; i++) contract.grant(ownerOf(i), `member-${i}`, keyOf(i));
  contract.mine();
  const outcome = chain.answer("eth_getLogs", [{ fromBlock: "0x0", toBlock: "latest" }]) as { result: unknown[] };
  const one = JSON.stringify(outcome.result.at(-1)).length + 1;
  const result = outcome.result
    .slice(0, Math.floor((CAP - 1_000) / one))
    .map((log) => ({ ...(log as object), blockNumber: "0x1" }));
  return Buffer.from(JSON.stringify({ jsonrpc: "2.0", id: 2, result }));
}

/** Each of the worst size that is let in, or larger. */
function faults(logs: Buffer): Readonly<Record<string, WireFault>> {
  const packed = (piece: string, before = "", after = ""): WireFault => {
    const body = before + piece.repeat(Math.floor((CAP - before.length - after.length - 1) / piece.length)) + after;
    return { kind: "text", text: gzipSync(body), encoding: "gzip" };
  };
  return {
    logs: { kind: "text", text: logs },
    "packed logs": { kind: "text", text: gzipSync(logs), encoding: "gzip" },
    "a bomb of 200 MB": { kind: "bomb", megabytes: 200 },
    "small objects": packed("{},", '{"jsonrpc":"2.0","id":2,"result":[', "{}]}"),
    "empty lists in depth": packed("["),
    "one long text": packed("a", '{"jsonrpc":"2.0","id":2,"result":"', '"}'),
    "texts of twenty bytes": packed('"aaaaaaaaaaaaaaaaaa",', '{"jsonrpc":"2.0","id":2,"result":[', '""]}'),
    "objects of twenty bytes": packed(
      '{"a":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},',
      '{"jsonrpc":"2.0","id":2,"result":[',
      "{}]}",
    ),
  };
}
