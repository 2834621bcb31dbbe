/**
 * A program, started by `sync.ts`: reads one contract's history once, in one of the ways that there are, as a fresh process,
 * and prints what that took as one line of JSON. Loading the modules is not counted.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { pass } from "../agent/bridge.ts";
import { TOPICS } from "../agent/chain/events.ts";
import { size } from "../agent/registry/registry.ts";
import { readArtifact } from "../contracts/artifact.ts";
import { forgetPeak, peakMb, residentMb } from "./resident.ts";
import type { Reading, Task } from "./sync.ts";
import { agentWithoutDevice } from "./sync-agent.ts";

const task = JSON.parse(process.argv[2] ?? "{}") as Task;
const RESOLUTION_MS = 5;
const loop = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
const before = residentMb();
forgetPeak();
loop.enable();
const cpu = process.threadCpuUsage();
const { tookMs, count } = await work();
const { user, system } = process.threadCpuUsage(cpu);
loop.disable();
const reading: Reading = {
  ...{ tookMs, cpuMs: (user + system) / 1000, count, blockedMs: Math.max(0, loop.max / 1e6 - RESOLUTION_MS) },
  grownMb: peakMb() - before,
};
console.log(JSON.stringify(reading));
process.exit();

function work(): Promise<Done> {
  switch (task.way) {
    case "agent":
      return byAgent();
    case "raw":
      return raw(task.ranges);
    case "ethers":
      return byEthers(task.ranges);
    case "scan":
      return scanned(task.tokens);
  }
}

interface Done {
  readonly tookMs: number;
  /** Tokens, or logs. */
  readonly count: number;
}

/** Until the registry is on disk. */
async function byAgent(): Promise<Done> {
  const directory = mkdtempSync(join(tmpdir(), "dstack-vpn-bench-"));
  const agent = agentWithoutDevice(task.url, directory);
  const startedAt = performance.now();
  while (!agent.isCaughtUp) await pass(agent, new AbortController().signal);
  const tookMs = performance.now() - startedAt;
  if (agent.savedLedger !== agent.ledger) throw new Error("the registry is not on disk");
  rmSync(directory, { recursive: true });
  return { tookMs, count: size(agent.ledger.registry) };
}

async function raw(ranges: readonly Range[]): Promise<Done> {
  const startedAt = performance.now();
  let count = 0;
  for (const [fromBlock, toBlock] of ranges) {
    const params = [{ address: task.contract, topics: [TOPICS], fromBlock, toBlock }];
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "eth_getLogs", params });
    const response = await fetch(task.url, { method: "POST", headers: { "content-type": "application/json" }, body });
    const { result } = JSON.parse(await response.text()) as { result?: readonly unknown[] };
    if (result === undefined) continue; // a range that the provider refused: it was asked in parts then
    count += result.length;
  }
  return { tookMs: performance.now() - startedAt, count };
}

type Range = readonly [from: string, to: string];

/** The same ranges, for the granted tokens alone. */
async function byEthers(ranges: readonly Range[]): Promise<Done> {
  const contract = await contractOfEthers();
  const startedAt = performance.now();
  let count = 0;
  for (const [from, to] of ranges) {
    const found = await contract.queryFilter("NodeAccessGranted", Number(from), Number(to)).catch(() => []);
    count += found.length;
  }
  return { tookMs: performance.now() - startedAt, count };
}

/** Two calls a token, one after the other. */
async function scanned(tokens: number): Promise<Done> {
  const contract = await contractOfEthers();
  const startedAt = performance.now();
  for (let id = 1; id <= tokens; id++) {
    await contract.getFunction("ownerOf")(id);
    await contract.getFunction("getNodeAccess")(id);
  }
  return { tookMs: performance.now() - startedAt, count: tokens };
}

async function contractOfEthers() {
  const { Contract, JsonRpcProvider, Network } = await import("ethers");
  const provider = new JsonRpcProvider(task.url, 31_337, { staticNetwork: Network.from(31_337) });
  return new Contract(task.contract, JSON.stringify(readArtifact("DstackAccessNFT").abi), provider);
}
