/** The agent under test: `node agent/main.ts` on a host, seen through its HTTP and its log alone. */
import { fileURLToPath } from "node:url";
import { type Exit, type Running, until } from "./command.ts";
import type { Host } from "./host.ts";

/** From source, unless a benchmark means the built one. */
const MAIN = process.env["AGENT_MAIN"] ?? fileURLToPath(new URL("../../main.ts", import.meta.url));
const HTTP_PORT = 8080;

export class AgentProcess implements AsyncDisposable {
  readonly host: Host;
  readonly #running: Running;
  readonly #startedAt = performance.now();

  constructor(host: Host, settings: Readonly<Record<string, string>>, wrapper: readonly string[]) {
    this.host = host;
    this.#running = host.start([...wrapper, process.execPath, MAIN], { env: environment(host, settings) });
  }

  /** Resolves with the milliseconds from start to ready. @throws with the log when that takes longer than the deadline. */
  async ready(deadlineMs = 15_000): Promise<number> {
    try {
      await until(`${this.host.name} to be ready`, deadlineMs, () => {
        if (!this.#running.isRunning) throw new Error(`${this.host.name} ended`);
        return this.isReady();
      });
    } catch (cause) {
      throw new Error(`${this.host.name} is not ready; its log:\n${this.log}`, { cause });
    }
    return performance.now() - this.#startedAt;
  }

  async isReady(): Promise<boolean> {
    return (await this.status("/ready")) === 200;
  }

  /** The HTTP status, or 0 where nothing answers. */
  async status(path: string): Promise<number> {
    return fetch(this.url(path)).then(
      async (response) => {
        await response.body?.cancel();
        return response.status;
      },
      () => 0,
    );
  }

  // biome-ignore lint/suspicious/noExplicitAny: what an outsider reads from JSON has no type
  async get(path: string): Promise<any> {
    return (await fetch(this.url(path))).json();
  }

  url(path: string): string {
    return `http://${this.host.address}:${HTTP_PORT}${path}`;
  }

  get pid(): number {
    return this.#running.pid;
  }

  get log(): string {
    return this.#running.output;
  }

  get exited(): Promise<Exit> {
    return this.#running.exited;
  }

  end(signal: NodeJS.Signals = "SIGTERM"): Promise<Exit> {
    return this.#running.end(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end("SIGKILL");
  }
}

/** Nothing of our own environment gets in but PATH; `/run` is the host's own. */
function environment(host: Host, settings: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  return {
    PATH: process.env["PATH"],
    NODE_ID: host.name,
    NETWORK: "devnet",
    ALLOW_INSECURE_RPC: "true",
    HEALTH_CHECK_HOST: host.address,
    HEALTH_CHECK_PORT: String(HTTP_PORT),
    ALLOWED_HOSTS: host.address,
    STATE_DIR: "/run/state",
    WG_CONFIG_DIR: "/run/config",
    ...settings,
  };
}
