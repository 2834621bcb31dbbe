/** A host whose agent is made to die, and what is there to be looked at while it is dead and when it is back. */
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { PrivateKey } from "../model.ts";
import { type Files, openFiles } from "../wireguard/files.ts";
import { GATE } from "./crash-strace.ts";
import type { World } from "./crash-world.ts";
import type { AgentProcess } from "./lab/agent.ts";
import { run, until } from "./lab/command.ts";
import type { Host } from "./lab/host.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const BUILT = "/mnt/agent";
const ADMIN_TOKEN = "crash";
export const STATE = "/run/state";
export const CONFIG = "/run/config";
/** Generous: how long things take on a busy machine proves nothing. */
const DEADLINE_MS = 30_000;
const WG_LOG = "/run/wg.log";
/** The agent's `wg`: it does what it is told, and its arguments stay. */
const WG = `#!/bin/sh\necho "$*" >>${WG_LOG}\nPATH=\${PATH#*:} exec wg "$@"\n`;

/** The agent, compiled: that starts faster than its source. Below the lab's own /mnt, which vanishes with the lab. */
export async function build(): Promise<void> {
  await run(["mount", "-t", "tmpfs", "built", "/mnt"]);
  mkdirSync(`${BUILT}/bin`, { recursive: true });
  writeFileSync(`${BUILT}/bin/wg`, WG, { mode: 0o755 });
  symlinkSync(`${ROOT}/node_modules`, `${BUILT}/node_modules`);
  cpSync(`${ROOT}/package.json`, `${BUILT}/package.json`);
  const options = ["--noCheck", "--sourceMap", "false", "--outDir", `${BUILT}/dist`];
  await run([`${ROOT}/node_modules/.bin/tsc`, "-p", `${ROOT}/tsconfig.build.json`, ...options], { deadlineMs: 60_000 });
}

export class CrashNode {
  readonly world: World;
  readonly host: Host;
  readonly tokenId: bigint;
  #agent: AgentProcess | undefined;

  private constructor(world: World, host: Host, tokenId: bigint) {
    this.world = world;
    this.host = host;
    this.tokenId = tokenId;
  }

  static async create(world: World, name: string): Promise<CrashNode> {
    return new CrashNode(world, await world.lab.host(name), await world.keep(name, ""));
  }

  /** The agent that was started last. */
  get agent(): AgentProcess {
    if (this.#agent === undefined) throw new Error(`no agent was started on ${this.host.name}`);
    return this.#agent;
  }

  /** `isGated`: it waits before anything of ours is read, until `open`. */
  start(settings: Readonly<Record<string, string>> = {}, isGated = false): AgentProcess {
    rmSync(this.host.file(GATE.path), { force: true });
    const { url, contract } = this.world.chain;
    const common = {
      // By two URLs, for a second witness at once: the ring revokes more than a fifth of the peers within ten minutes.
      ...{ RPC_URL: `${url},${url}/?second`, CONTRACT_ADDRESS: contract, ADMIN_TOKEN },
      ...{ POLL_INTERVAL: "50", LOG_LEVEL: "warn", PATH: `${BUILT}/bin:${process.env["PATH"]}` },
    };
    // The lab's own last argument is the source, and is let go of.
    const program = `exec "$1" "$0" ${BUILT}/dist/main.js`;
    const flag = isGated ? GATE.flag : "--no-warnings";
    this.#agent = this.host.agent({ ...common, ...settings }, ["sh", "-c", program, flag]);
    return this.#agent;
  }

  get isRunning(): boolean {
    return this.#agent !== undefined && existsSync(`/proc/${this.#agent.pid}`);
  }

  open(): void {
    writeFileSync(this.host.file(GATE.path), "");
  }

  async kill(): Promise<void> {
    await this.#agent?.end("SIGKILL");
  }

  /** Its token has the key that the agent has made, and the agent is ready. */
  async ready(): Promise<void> {
    const key = await this.#while("it has a key", () => this.privateKey()?.publicKey);
    await this.world.setKey(this.tokenId, key);
    await this.#while("it is ready", () => this.agent.isReady());
  }

  /** It has written down, too, what there is. */
  async settled(): Promise<void> {
    await this.ready();
    await this.#while("it has written wg0.conf", () => this.hasWritten());
  }

  /** Every peer that the chain knows now is on the device, and nobody else. */
  async hasApplied(): Promise<void> {
    await this.#while("the device has what the chain says", async () => (await this.wrongPeers()).length === 0);
  }

  /** Between the device and the chain, as sentences. */
  async wrongPeers(): Promise<string[]> {
    const wanted = this.world.history.peers(this.tokenId);
    const found = new Map(
      (await this.host.wg("allowed-ips")).map(([key = "", ips = ""]) => [key, ips.split(" ").sort()]),
    );
    const lacking = [...wanted.keys()].filter((key) => !found.has(key));
    const wrong = [...found].flatMap(([key, ips]) => {
      const id = wanted.get(key);
      if (id === undefined)
        return `the peer of token ${this.world.history.tokenOf(key)} is on the device without access`;
      const { ipv4, ipv6 } = this.world.chain.addresses(id);
      return ips.join() === [`${ipv4}/32`, `${ipv6}/128`].sort().join() ? [] : `token ${id} has ${ips}`;
    });
    return lacking.length === 0 ? wrong : [...wrong, `${lacking.length} peers are not on the device`];
  }

  async hasWritten(): Promise<boolean> {
    const written = await this.files.newest();
    const keys = new Set<string>(written?.peers.map(({ key }) => key));
    return keys.symmetricDifference(new Set(this.world.history.peers(this.tokenId).keys())).size === 0;
  }

  get files(): Files {
    return openFiles({ interfaceName: "wg0", configDir: this.host.file(CONFIG), maxBackups: 10 });
  }

  /** Undefined where there is none yet. */
  privateKey(): PrivateKey | undefined {
    const path = this.host.file(`${STATE}/private.key`);
    return existsSync(path) ? PrivateKey.parse(readFileSync(path, "latin1")) : undefined;
  }

  /** What its `wg` was told since the last question. */
  commands(): string[] {
    const path = this.host.file(WG_LOG);
    if (!existsSync(path)) return [];
    const lines = readFileSync(path, "latin1").split("\n");
    rmSync(path);
    return lines;
  }

  /** The interface is gone, as when a container is made anew. */
  async loseInterface(): Promise<void> {
    if (!existsSync(this.host.file("/run/wireguard/wg0.sock"))) return;
    await this.host.run(["ip", "link", "del", "dev", "wg0"]);
    await until("wireguard-go to end", 5_000, () => !existsSync(this.host.file("/run/wireguard/wg0.sock")));
  }

  async post(path: string): Promise<void> {
    await fetch(this.agent.url(path), { method: "POST", headers: { authorization: `Bearer ${ADMIN_TOKEN}` } });
  }

  /** @throws when the agent ends meanwhile, with its log */
  #while<T>(what: string, ask: () => T | undefined | false | Promise<T | undefined | false>): Promise<T> {
    const { agent } = this;
    return until(`${this.host.name}: ${what}`, DEADLINE_MS, () => {
      if (!this.isRunning) throw new Error(`it ended before ${what}:\n${agent.log}`);
      return ask();
    });
  }
}
