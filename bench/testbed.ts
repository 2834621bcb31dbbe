/** A host with a key, a state directory on the disk, and the built agents that are started on it one after the other. */
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { AgentProcess } from "../agent/test/lab/agent.ts";
import { until } from "../agent/test/lab/command.ts";
import type { Host } from "../agent/test/lab/host.ts";
import { LAB_ADDRESS, Lab } from "../agent/test/lab/lab.ts";
import type { Context } from "./benchmark.ts";
import { median } from "./figure.ts";
import { type ServedChain, serveChain } from "./rpc.ts";

export interface Memory {
  readonly residentMb: number;
  /** Since the start. */
  readonly peakMb: number;
}

export class TestBed implements AsyncDisposable {
  readonly #lab: Lab;
  readonly #host: Host;
  readonly #publicKey: string;
  readonly #context: Context;

  private constructor(lab: Lab, host: Host, publicKey: string, context: Context) {
    this.#lab = lab;
    this.#host = host;
    this.#publicKey = publicKey;
    this.#context = context;
  }

  static async open(context: Context): Promise<TestBed> {
    const lab = await Lab.open();
    const host = await lab.host("node-a");
    const privateKey = await host.run(["wg", "genkey"]);
    writeFileSync(host.file(KEY_FILE), privateKey, { mode: 0o600 });
    const publicKey = (await host.run(["wg", "pubkey"], { stdin: privateKey })).trim();
    return new TestBed(lab, host, publicKey, context);
  }

  /** So many members beside the node's own token, all final. */
  chain(tokens: number): Promise<ServedChain> {
    const self = { nodeId: this.#host.name, publicKey: this.#publicKey };
    return serveChain({ tokens, self, host: LAB_ADDRESS, perBlock: 100 });
  }

  agent(chain: ServedChain): AgentProcess {
    return this.#host.agent({
      ...{ RPC_URL: chain.url, CONTRACT_ADDRESS: chain.contract, WIREGUARD_PRIVATE_KEY_FILE: KEY_FILE },
      ...{ STATE_DIR: `${this.#directory}/state`, WG_CONFIG_DIR: `${this.#directory}/config`, MAX_PEERS: "65000" },
    });
  }

  /** An agent that starts now finds nothing of those before it. */
  forget(): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** The agent ends, and its interface with it. */
  async end(agent: AgentProcess): Promise<void> {
    await agent.end("SIGTERM");
    await this.#host.run(["ip", "link", "del", "wg0"]);
    await this.#host.run(["nft", "delete", "table", "inet", "dstack_vpn_wg0"]);
    const socket = this.#host.file("/run/wireguard/wg0.sock");
    await until("wireguard-go to end", 30_000, () => !existsSync(socket));
  }

  /** From start to ready, in milliseconds. */
  async start(chain: ServedChain): Promise<number> {
    this.#context.signal.throwIfAborted();
    const agent = this.agent(chain);
    try {
      return await agent.ready(120_000);
    } finally {
      await this.end(agent);
    }
  }

  /** The least that could answer a question, and when it did. */
  async bareStart(): Promise<number> {
    const startedMs = performance.now();
    const script = `require("node:http").createServer((_, to) => to.end()).listen(8080, "${this.#host.address}")`;
    await using _server = this.#host.start([process.execPath, "-e", script]);
    const answers = () =>
      fetch(`http://${this.#host.address}:8080/`).then(
        ({ ok }) => ok,
        () => false,
      );
    await until("node:http to answer", 10_000, answers);
    return performance.now() - startedMs;
  }

  /** Full passes go on meanwhile. @returns of the last half of it, the median */
  async memory(chain: ServedChain, seconds: number): Promise<Memory> {
    const agent = this.agent(chain);
    try {
      await agent.ready(120_000);
      return await memoryOf(agent.pid, seconds, this.#context.signal);
    } finally {
      await this.end(agent);
    }
  }

  async bareMemory(): Promise<Memory> {
    await using node = this.#host.start([process.execPath, "-e", "setInterval(() => {}, 1000)"]);
    return await memoryOf(node.pid, 2, this.#context.signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lab[Symbol.asyncDispose]();
    this.forget();
  }

  get #directory(): string {
    return `${this.#context.scratch}/node-a`;
  }
}

const KEY_FILE = "/run/node.key";

async function memoryOf(pid: number, seconds: number, signal: AbortSignal): Promise<Memory> {
  const samples: number[] = [];
  for (let i = 0; i < seconds * 2; i++) {
    await sleep(500, undefined, { signal });
    samples.push(statusMb(pid, "VmRSS"));
  }
  return { residentMb: median(samples.slice(samples.length / 2)), peakMb: statusMb(pid, "VmHWM") };
}

/** Megabytes of 2^20 bytes, as ps and Docker count them. */
function statusMb(pid: number, field: "VmRSS" | "VmHWM"): number {
  const [, kib] = new RegExp(`^${field}:\\s+([0-9]+) kB$`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kib) / 1024;
}

/** User and system time of the process and of its children that have ended; proc(5), fields 14 to 17, in hundredths. */
export function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields.slice(11, 15).reduce((ms, ticks) => ms + Number(ticks) * 10, 0);
}
