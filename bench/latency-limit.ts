/**
 * A program, started by `latency.ts` on a host of the lab: the least that has to be done once a block is visible, which is to
 * ask for its logs and to run `wg set`. It is told what the logs will say, and decides nothing.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { TOPICS } from "../agent/chain/events.ts";
import type { Deeds } from "./latency-deeds.ts";
import { steadyMs } from "./rpc.ts";

const [url = "", address = "", interfaceName = ""] = process.argv.slice(2);

process.on("message", async ({ block, words }: Deeds) => {
  const startedMs = steadyMs();
  const at = `0x${block.toString(16)}`;
  const params = [{ address, topics: [TOPICS], fromBlock: at, toBlock: at }];
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "eth_getLogs", params });
  const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body });
  JSON.parse(await response.text());
  const wg = spawn("wg", ["set", interfaceName, ...words], { stdio: ["ignore", "ignore", "inherit"] });
  const [code] = await once(wg, "exit");
  if (code !== 0) throw new Error(`wg set ended with ${code}`);
  process.send?.(startedMs);
});
process.on("disconnect", () => process.exit());
