/** A real chain for the story: anvil with the real contract, several transactions a block, and its own word on who has access. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { Interface } from "ethers";
import { type ContractName, readArtifact } from "../../contracts/artifact.ts";
import type { Backend, Outcome } from "./scripted-chain.ts";

/** `plain` has `PublicKeyUpdated` alone, of the owner's latest token. */
export type Deed =
  | { readonly kind: "grant"; readonly to: string; readonly name: string; readonly key: string }
  | { readonly kind: "revoke"; readonly id: bigint }
  | { readonly kind: "transfer"; readonly id: bigint; readonly from: string; readonly to: string }
  | { readonly kind: "key"; readonly id: bigint; readonly owner: string; readonly key: string }
  | { readonly kind: "role"; readonly id: bigint; readonly role: number };

/** What the contract says of a token; `key` only where its present owner has set it. */
export interface Access {
  readonly owner: string;
  readonly isActive: boolean;
  readonly key: string;
}

type Ask = readonly [method: string, params: readonly unknown[]];
type Log = { readonly topics: readonly string[]; readonly data: string; readonly blockNumber: string };

/** Blocks below the head that no reorg of the story reaches. */
const SETTLED = 64;

export class StoryAnvil implements AsyncDisposable {
  readonly contract: string;
  readonly holders: readonly string[];
  readonly #anvil: ChildProcess;
  readonly #url: string;
  readonly #isPlain: boolean;
  readonly #abi: Interface;
  readonly #owner: string;
  /** Tokens that were inactive when they were last read, with the head since when: no contract of ours revives one. */
  readonly #gone = new Map<bigint, number>();
  readonly #logs = new Map<number, Log[]>();
  #highest = 0n;

  private constructor(
    anvil: ChildProcess,
    url: string,
    abi: Interface,
    isPlain: boolean,
    accounts: readonly string[],
    contract: string,
  ) {
    this.#anvil = anvil;
    this.#url = url;
    this.#abi = abi;
    this.#isPlain = isPlain;
    [this.#owner = "", ...this.holders] = accounts;
    this.contract = contract;
  }

  /** Two of them have the same genesis block, and the contract at the same address. */
  static async start(name: ContractName): Promise<StoryAnvil> {
    const flags = ["--port", "0", "--no-mining", "--order", "fifo", "--timestamp", "1700000000"];
    const anvil = spawn("anvil", flags, { stdio: ["ignore", "pipe", "ignore"] });
    // Also where the story ends before it can say so.
    const kill = () => anvil.kill("SIGKILL");
    process.once("exit", kill);
    anvil.once("exit", () => process.off("exit", kill));
    let url = "";
    for await (const line of createInterface({ input: anvil.stdout })) {
      url = `http://${/Listening on (\S+)/.exec(line)?.[1]}`;
      if (!url.endsWith("undefined")) break;
    }
    anvil.stdout.resume();
    const { abi, bytecode } = readArtifact(name);
    const nft = new Interface(JSON.stringify(abi));
    const [accounts] = (await batch(url, [["eth_accounts", []]])) as [string[]];
    const deployment = { from: accounts[0], data: bytecode + nft.encodeDeploy([]).slice(2), gas: "0x800000" };
    const [hash] = await batch(url, [["eth_sendTransaction", [deployment]]]);
    // Nothing of the story reaches down to the contract's own block.
    await batch(url, [["anvil_mine", ["0x50"]]]);
    const [receipt] = await batch(url, [["eth_getTransactionReceipt", [hash]]]);
    const { contractAddress } = receipt as { contractAddress: string };
    return new StoryAnvil(anvil, url, nft, name === "PlainAccessNFT", accounts, contractAddress.toLowerCase());
  }

  /** For a proxy to stand before. */
  readonly backend: Backend = async (method, params) => {
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
    const response = await fetch(this.#url, { method: "POST", headers: { "content-type": "application/json" }, body });
    const { result, error } = (await response.json()) as { result?: unknown; error?: never };
    return error === undefined ? { result } : { error };
  };

  /** All of them in one block. @returns those that did not revert */
  async block(deeds: readonly Deed[]): Promise<Deed[]> {
    const hashes = await this.#ask(deeds.map((deed): Ask => ["eth_sendTransaction", [this.#transaction(deed)]]));
    await this.mine(1);
    const receipts = await this.#ask(hashes.map((hash): Ask => ["eth_getTransactionReceipt", [hash]]));
    return deeds.filter((_, i) => (receipts[i] as { status?: string } | null)?.status === "0x1");
  }

  async mine(blocks: number): Promise<void> {
    await this.#ask([["anvil_mine", [`0x${blocks.toString(16)}`]]]);
  }

  /** The newest blocks are replaced by empty ones; the height stays. */
  async reorg(depth: number): Promise<void> {
    await this.#ask([["anvil_reorg", [depth, []]]]);
  }

  /** Every token, as of the newest block: those long gone are read again only where `isWhole`. */
  async read({ isWhole = false } = {}): Promise<Map<bigint, Access>> {
    const [number] = await this.#ask([["eth_blockNumber", []]]);
    const head = Number(number);
    const isAsked = (id: bigint) => isWhole || head - (this.#gone.get(id) ?? head) < SETTLED;
    const found = new Map<bigint, Access>();
    const setters = this.#isPlain ? await this.#setters(head) : undefined;
    for (let id = 1n; ; ) {
      const ids: bigint[] = [];
      for (; ids.length < 100 && id <= this.#highest + 30n; id++) if (isAsked(id)) ids.push(id);
      if (ids.length === 0) break;
      const states = await this.#states(ids);
      for (const [id, state] of states) {
        const key = setters === undefined || setters.has(`${id} ${state.owner} ${state.key}`) ? state.key : "";
        found.set(id, { ...state, key });
        if (id > this.#highest) this.#highest = id;
      }
      for (const id of ids) {
        if (states.get(id)?.isActive !== false) this.#gone.delete(id);
        else if (!this.#gone.has(id)) this.#gone.set(id, head);
      }
    }
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#anvil.kill("SIGKILL");
    if (this.#anvil.exitCode === null && this.#anvil.signalCode === null) await once(this.#anvil, "exit");
  }

  async #states(ids: readonly bigint[]): Promise<Map<bigint, Access>> {
    const call = (method: string, id: bigint): Ask => {
      return ["eth_call", [{ to: this.contract, data: this.#abi.encodeFunctionData(method, [id]) }, "latest"]];
    };
    const answers = await this.#ask(ids.flatMap((id) => [call("ownerOf", id), call("getNodeAccess", id)]));
    const states = new Map<bigint, Access>();
    for (const [i, id] of ids.entries()) {
      const [owner, access] = [answers[2 * i], answers[2 * i + 1]];
      if (typeof owner !== "string" || typeof access !== "string") continue;
      const [, key, , isActive] = this.#abi.decodeFunctionResult("getNodeAccess", access);
      states.set(id, { owner: `0x${owner.slice(-40)}`, key, isActive });
    }
    return states;
  }

  /**
   * A plain contract goes on showing a seller's key. `id owner key` for each key that was set while that owner had the
   * token: by the grant, or by an announcement after the last transfer.
   */
  async #setters(head: number): Promise<Set<string>> {
    const from = Math.max(0, head - SETTLED);
    const filter = { address: this.contract, fromBlock: `0x${from.toString(16)}`, toBlock: "latest" };
    const [logs] = (await this.#ask([["eth_getLogs", [filter]]])) as [Log[]];
    for (let number = from; number <= head; number++) this.#logs.delete(number);
    for (const [number, found] of Map.groupBy(logs, ({ blockNumber }) => Number(blockNumber))) {
      this.#logs.set(number, found);
    }
    const owners = new Map<bigint, string>();
    const set = new Map<bigint, Set<string>>();
    const setBy = (id: bigint, owner: string, key: string) => set.get(id)?.add(`${id} ${owner} ${key}`);
    for (const [, found] of [...this.#logs].sort(([a], [b]) => a - b)) {
      for (const event of found.flatMap((log) => this.#abi.parseLog(log) ?? [])) {
        const [first, second, third] = event.args.map((value) =>
          typeof value === "string" ? value.toLowerCase() : value,
        );
        if (event.name === "Transfer" && first !== second) {
          owners.set(third, second);
          set.set(third, new Set());
        }
        if (event.name === "NodeAccessGranted") setBy(first, third, event.args[3]);
        if (event.name !== "PublicKeyUpdated") continue;
        for (const [id, owner] of owners) if (owner === first) setBy(id, owner, event.args[1]);
      }
    }
    return new Set([...set.values()].flatMap((keys) => [...keys]));
  }

  #transaction(deed: Deed): object {
    const by = (from: string, method: string, ...args: readonly unknown[]) => {
      return { from, to: this.contract, gas: "0x100000", data: this.#abi.encodeFunctionData(method, args) };
    };
    switch (deed.kind) {
      case "grant":
        return by(this.#owner, "mintNodeAccess", deed.to, deed.name, deed.key, "");
      case "revoke":
        return by(this.#owner, "revokeNodeAccess", deed.id);
      case "transfer":
        return by(deed.from, "transferFrom", deed.from, deed.to, deed.id);
      case "key":
        return by(deed.owner, "updatePublicKey", ...(this.#isPlain ? [deed.key] : [deed.id, deed.key]));
      case "role":
        return by(this.#owner, "setRole", deed.id, deed.role);
    }
  }

  #ask(calls: readonly Ask[]): Promise<unknown[]> {
    return batch(this.#url, calls);
  }
}

/** Asked all at once, and answered in the order of the questions; undefined where the answer is an error. */
async function batch(url: string, calls: readonly Ask[]): Promise<unknown[]> {
  if (calls.length === 0) return [];
  const body = JSON.stringify(calls.map(([method, params], id) => ({ jsonrpc: "2.0", id, method, params })));
  const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body });
  const replies = (await response.json()) as ({ id: number } & Outcome)[];
  return replies.sort((a, b) => a.id - b.id).map((reply) => ("result" in reply ? reply.result : undefined));
}
