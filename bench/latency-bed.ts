/** A host with an agent whose device is full, the same device once more without an agent, and taps on both. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { until } from "../agent/test/lab/command.ts";
import type { Host } from "../agent/test/lab/host.ts";
import { Lab } from "../agent/test/lab/lab.ts";
import { type ChainNode, startNode } from "./chain-node.ts";
import { adding, type Deeds, type Kind } from "./latency-deeds.ts";
import { Tap } from "./latency-tap.ts";
import { keyOf, type Mined, type ServedChain } from "./rpc.ts";

/** The interface that has the agent's peers and no agent. */
const BARE = "wg1";

export class Bed implements AsyncDisposable {
  readonly node: ChainNode;
  /** On the agent's device, and on the bare one. */
  readonly ours: Tap;
  readonly theirs: Tap;
  readonly #lab: Lab;
  readonly #children: ChildProcess[] = [];

  private constructor(lab: Lab, node: ChainNode, ours: Tap, theirs: Tap) {
    this.#lab = lab;
    this.node = node;
    this.ours = ours;
    this.theirs = theirs;
  }

  static async make(peers: number, urlOf?: (chain: ServedChain) => string): Promise<Bed> {
    const lab = await Lab.open();
    const node = await startNode(lab, peers, urlOf);
    await fillBare(node.host, peers);
    return new Bed(lab, node, ...(await Tap.open(node.host, ["wg0", BARE])));
  }

  get chain(): ServedChain {
    return this.node.chain;
  }

  /** A program of ours on the host, for the bare device: it is told where the chain is, the contract, and the interface. */
  start(program: string): ChildProcess {
    const [enter = "", ...prefix] = this.node.host.inside([process.execPath]);
    const file = fileURLToPath(new URL(program, import.meta.url));
    const child = fork(file, [this.chain.url, this.chain.contract, BARE], { execPath: enter, execArgv: prefix });
    this.#children.push(child);
    return child;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) child.kill("SIGKILL");
    for (const tap of [this.ours, this.theirs]) tap[Symbol.dispose]();
    await this.node[Symbol.asyncDispose]();
    await this.#lab[Symbol.asyncDispose]();
  }
}

async function fillBare(host: Host, peers: number): Promise<void> {
  await host.run(["wireguard-go", BARE]);
  for (let from = 1; from <= peers; from += 500) {
    const indices = Array.from({ length: Math.min(500, peers - from + 1) }, (_, i) => from + i);
    // The node's own token is the first.
    await host.run(["wg", "set", BARE, ...indices.flatMap((index) => adding(keyOf(index), index + 1))]);
  }
}

/** Resolves when every peer of the block is on the tap's device, or gone. @returns when each was, after the block was visible */
export async function arrived(tap: Tap, { deeds, visibleMs }: Mined, kind: Kind): Promise<number[]> {
  const times = kind === "grant" ? tap.set : tap.removed;
  const isThere = (key: string) => (times.get(key) ?? 0) > visibleMs;
  await until(`a ${kind} to reach the device`, 30_000, () => deeds.every(({ key }) => isThere(key)), 5);
  return deeds.map(({ key }) => (times.get(key) ?? 0) - visibleMs);
}

/** Does these deeds on the bare device. @returns how long it took until each was done there */
export async function bare(limit: ChildProcess, tap: Tap, mined: Mined, deeds: Deeds): Promise<number[]> {
  limit.send(deeds);
  const [startedMs] = (await once(limit, "message")) as [number];
  const last = (key: string) => Math.max(tap.set.get(key) ?? 0, tap.removed.get(key) ?? 0);
  return mined.deeds.map(({ key }) => last(key) - startedMs);
}
