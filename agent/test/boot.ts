/**
 * A whole agent but for the network and the kernel: over a scripted chain and a device in memory, with a real store and
 * real files in a directory of its own. Its clock stands still unless a test moves it.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { type Agent, newAgent } from "../agent.ts";
import { pass } from "../bridge.ts";
import { origin, tipOf } from "../chain/follower.ts";
import { overlayPrefix } from "../chain/prefix.ts";
import { type Rpc, RpcError } from "../chain/rpc.ts";
import { parseSettings } from "../config.ts";
import { AgentError } from "../errors.ts";
import { holdAgain } from "../hold.ts";
import { type Address, type Cidr, PrivateKey, type PublicKey } from "../model.ts";
import { createJournal } from "../observe/journal.ts";
import { createLog, type Log } from "../observe/log.ts";
import { createMetrics } from "../observe/metrics.ts";
import { addressPlan } from "../registry/addresses.ts";
import { emptyLedger, trail } from "../registry/ledger.ts";
import { openStore } from "../registry/store.ts";
import { fullPass } from "../tend.ts";
import { createEndpoints, type Lookup } from "../wireguard/endpoints.ts";
import { type Generation, openFiles } from "../wireguard/files.ts";
import { FakeDevice } from "./fake-device.ts";
import { rpcOver } from "./rpc-over.ts";
import { type Backend, type ChainOptions, ScriptedChain } from "./scripted-chain.ts";
import { type ContractOptions, ScriptedContract } from "./scripted-contract.ts";

export const NODE_KEY = PrivateKey.generate();

export interface BootOptions extends Pick<ContractOptions, "style">, Pick<ChainOptions, "bloom" | "finalizedDepth"> {
  readonly env?: Readonly<Record<string, string>>;
  readonly lookup?: Lookup;
  /** Said to nobody without it. */
  readonly log?: Log;
  /** A contract on a chain of another kind, and the way there; the scripted one is left alone then. */
  readonly over?: { readonly rpc: () => Rpc; readonly contract: string };
}

export class Boot {
  readonly chain: ScriptedChain;
  readonly contract: ScriptedContract;
  readonly device = new FakeDevice();
  /** What each upstream answers; tests put lies in front of the chain. */
  readonly upstreams = new Map<string, Backend>();
  /** The head that an upstream was last heard to tell, where that is not the chain's. */
  readonly heads = new Map<string, number>();
  readonly #options: BootOptions;
  readonly #directory = mkdtempSync(join(tmpdir(), "agent-"));
  readonly #stop = new AbortController();
  readonly signal = this.#stop.signal;
  clockMs = 0;
  agent: Agent;

  constructor(options: BootOptions = {}) {
    this.#options = options;
    const { finalizedDepth = 12, bloom = "exact" } = options;
    this.chain = new ScriptedChain({ finalizedDepth, bloom });
    this.contract = new ScriptedContract(this.chain, options);
    this.upstreams.set("scripted", this.chain.answer);
    this.agent = this.#open();
  }

  /** As after a crash: what was not saved is gone, the device stays. */
  async restart(env: Readonly<Record<string, string>> = {}): Promise<void> {
    const lastGood = await this.agent.files.newest();
    await this.#close();
    this.agent = this.#open(env, lastGood);
    await holdAgain(this.agent);
  }

  /** The database is lost with what the agent knew. */
  async forget(): Promise<void> {
    const lastGood = await this.agent.files.newest();
    await this.#close();
    for (const end of ["", "-wal", "-shm"]) rmSync(join(this.#directory, `ledger.sqlite${end}`), { force: true });
    this.agent = this.#open({}, lastGood);
  }

  async end(): Promise<void> {
    this.#stop.abort();
    await this.#close();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** One poll. @returns what it failed with */
  async poll(): Promise<AgentError | RpcError | undefined> {
    return refusal(pass(this.agent, this.signal));
  }

  async fullPass(): Promise<AgentError | RpcError | undefined> {
    return refusal(fullPass(this.agent, this.signal));
  }

  /** Takes the device's next turn until the returned function is called. */
  occupy(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.device.busy = promise;
    return () => {
      this.device.busy = undefined;
      resolve();
    };
  }

  /** Puts a lie in front of the only upstream; without one it tells the truth again. */
  lie(lie?: (method: string, params: readonly unknown[], truth: Backend) => ReturnType<Backend>): void {
    const { answer } = this.chain;
    this.upstreams.set("scripted", lie === undefined ? answer : (method, params) => lie(method, params, answer));
  }

  async until(isSo: () => boolean): Promise<void> {
    for (let i = 0; !isSo(); i++) {
      if (i > 1_000) throw new Error("it never came to be");
      await setTimeout(5);
    }
  }

  /** The peers of the device, as `key address`, in order. */
  held(): string[] {
    return [...this.device.peers.values()].map(({ key, allowedIps }) => `${key} ${allowedIps[0]}`).sort();
  }

  holds(...keys: readonly PublicKey[]): boolean[] {
    return keys.map((key) => this.device.peers.has(key));
  }

  /** The node's own token, then members with these keys, in one block. @returns the members' token ids */
  grant(...keys: readonly string[]): bigint[] {
    if (this.contract.token(1n) === undefined) this.contract.grant(ownerOf(0), "node-a", NODE_KEY.publicKey);
    const ids = keys.map((key, i) => this.contract.grant(ownerOf(i + 1), `m-${i}`, key));
    this.contract.mine();
    return ids;
  }

  async #close(): Promise<void> {
    this.agent.rpc.close();
    await this.agent.store.close();
    this.agent.metrics.close();
  }

  #open(env: Readonly<Record<string, string>> = {}, lastGood?: Generation): Agent {
    const parsed = parseSettings({
      ...{ NODE_ID: "node-a", NETWORK: "devnet", RPC_URL: "http://127.0.0.1:1", MAX_PEERS: "60000" },
      ...{ ...this.#options.env, ...env },
    });
    const { over } = this.#options;
    if ("mistakes" in parsed) throw new Error("the test's settings are wrong");
    const settings = { ...parsed.settings, contract: (over?.contract ?? this.contract.address) as Address };
    const { chainId, contract, overlayIpv4, maxTokensPerOwner, maxPeers } = settings;
    const ipv6Prefix = overlayPrefix(chainId, contract);
    const overlay: Cidr[] = [overlayIpv4, ipv6Prefix];
    const { store, ledger } = openStore(join(this.#directory, "ledger.sqlite"), { chainId, contract });
    const upstreams = () =>
      [...this.upstreams.keys()].map((name) => ({ name, headBlock: this.heads.get(name) ?? this.chain.head }));
    const parts = {
      ...{ settings, version: "0", privateKey: NODE_KEY, overlay, store, device: this.device },
      rpc:
        over?.rpc() ??
        rpcOver(upstreams, (name) => this.upstreams.get(name) ?? this.chain.answer, { steadyMs: () => this.clockMs }),
      rules: {
        ...{ nodeId: "node-a", ownKey: NODE_KEY.publicKey, confirmations: settings.grantConfirmations },
        ...{ maxTokensPerOwner, maxPeers, gateways: new Set<string>(), peerEndpoints: new Map() },
        addresses: addressPlan({ ipv6Prefix, overlayIpv4 }, { ipv6: true }),
      },
      files: openFiles({ interfaceName: "wg0", configDir: join(this.#directory, "config"), maxBackups: 3 }),
      endpoints: createEndpoints(this.#options.lookup ?? (async () => []), overlay),
      journal: createJournal({ now: () => 0 }),
      metrics: createMetrics(),
      log: this.#options.log ?? createLog({ level: "fatal" }),
      now: () => ({ wallMs: Date.now() + this.clockMs, steadyMs: this.clockMs }),
    };
    const agent = newAgent(parts, ledger ?? emptyLedger(origin(0)), lastGood, ledger !== undefined);
    agent.roster.rebuild(agent.ledger.registry, tipOf(trail(agent.ledger)).number);
    return agent;
  }
}

export const ownerOf = (index: number) => `0x${String(index + 1).padStart(40, "0")}`;

/** A member's key, another one for each number. */
export function keyOf(index: number): PublicKey {
  const bytes = Buffer.alloc(32, 3);
  bytes.writeUInt32LE(index, 8);
  return bytes.toString("base64") as PublicKey;
}

async function refusal(work: Promise<unknown>): Promise<AgentError | RpcError | undefined> {
  try {
    await work;
    return undefined;
  } catch (error) {
    if (error instanceof AgentError || error instanceof RpcError) return error;
    throw error;
  }
}
