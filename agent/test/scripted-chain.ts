/**
 * A chain in memory that speaks JSON-RPC: deterministic, cheap enough for 100,000 blocks or logs, reorganised at will.
 * Served over HTTP and WebSocket by `rpc-proxy.ts`; what happens on the contract is `scripted-contract.ts`.
 */
import { createHash } from "node:crypto";
import { keccak256 } from "ethers";

/** What a JSON-RPC server answers, without the envelope. */
export type Outcome =
  | { readonly result: unknown }
  | { readonly error: { readonly code: number; readonly message: string; readonly data?: unknown } };
export type Backend = (method: string, params: readonly unknown[]) => Promise<Outcome> | Outcome;

export interface ScriptedLog {
  readonly address: string;
  readonly topics: readonly string[];
  readonly data: string;
}

interface Placed extends ScriptedLog {
  readonly block: number;
  readonly index: number;
  readonly transaction: number;
}

/** What lives at an address: asked for code and calls, told of reorgs. */
export interface Account {
  readonly address: string;
  readonly deployedAt: number;
  /** The return data, or undefined for a revert. */
  call(data: string, block: number): string | undefined;
  /** Blocks above `block` never happened. */
  rewind(block: number): void;
}

export interface ChainOptions {
  readonly chainId?: number;
  /** Chains with another seed have other hashes from genesis on. */
  readonly seed?: string;
  readonly bloom?: "none" | "zero" | "exact" | "full";
  /** How far `finalized` and `safe` are behind the head. */
  readonly finalizedDepth?: number;
  /** State older than this many blocks is refused, as by a node that is no archive. */
  readonly stateDepth?: number;
}

const EMPTY_TRIE = `0x${"0".repeat(64)}`;
const EMPTY_BLOOM = `0x${"0".repeat(512)}`;

export class ScriptedChain {
  readonly options: Required<ChainOptions>;
  /** Unix seconds by block number; what a mined block gets is the present unless it is set. */
  readonly #timestamps: number[] = [];
  /** Ascending by block. */
  #logs: Placed[] = [];
  /** Which branch the blocks from `from` on belong to. */
  #branches: { from: number; id: number }[] = [{ from: 0, id: 0 }];
  #branchCount = 1;
  #transactions = 0;
  readonly #hashes = new Map<number, string>();
  /** By the block's hash, of blocks with logs: made once, as a chain does. */
  readonly #blooms = new Map<string, string>();
  readonly #accounts = new Map<string, Account>();

  constructor(options: ChainOptions = {}) {
    this.options = {
      ...{ chainId: 31_337, seed: "chain", bloom: "exact", finalizedDepth: 64, stateDepth: Number.POSITIVE_INFINITY },
      ...options,
    };
    this.#timestamps.push(0);
    this.#timestamps[0] = seconds();
  }

  get head(): number {
    return this.#timestamps.length - 1;
  }

  add(account: Account): void {
    this.#accounts.set(account.address.toLowerCase(), account);
  }

  /** Mines `count` blocks; `logs` go into the last one, each inner list in a transaction of its own. */
  mine(count = 1, logs: readonly (readonly ScriptedLog[])[] = [], timestamp = seconds()): number {
    for (let i = 0; i < count; i++) this.#timestamps.push(timestamp);
    let index = 0;
    for (const transaction of logs) {
      this.#transactions++;
      for (const log of transaction) {
        this.#logs.push({ ...log, block: this.head, index: index++, transaction: this.#transactions });
      }
    }
    return this.head;
  }

  /** Drops the last `depth` blocks with their logs and state and mines as many (or `grown`) others, empty. */
  reorg(depth: number, grown = depth): void {
    const shared = this.head - depth;
    this.#timestamps.length = shared + 1;
    this.#logs = this.#logs.slice(0, this.#firstLogOf(shared + 1));
    this.#branches = this.#branches.filter(({ from }) => from <= shared);
    this.#branches.push({ from: shared + 1, id: this.#branchCount++ });
    for (const number of this.#hashes.keys()) if (number > shared) this.#hashes.delete(number);
    for (const account of this.#accounts.values()) account.rewind(shared);
    if (grown > 0) this.mine(grown);
  }

  /** The last eight bytes are the number, so that a hash finds its block without an index. */
  hashOf(number: number): string {
    let hash = this.#hashes.get(number);
    if (hash === undefined) {
      const branch = this.#branches.findLast(({ from }) => from <= number)?.id;
      const digest = createHash("sha256").update(`${this.options.seed}/${branch}/${number}`).digest("hex");
      hash = `0x${digest.slice(0, 48)}${number.toString(16).padStart(16, "0")}`;
      this.#hashes.set(number, hash);
    }
    return hash;
  }

  readonly answer: Backend = (method, params) => {
    try {
      return { result: this.#result(method, params) };
    } catch (error) {
      if (error instanceof Refused) return { error: error.reply };
      throw error;
    }
  };

  #result(method: string, params: readonly unknown[]): unknown {
    switch (method) {
      case "eth_chainId":
        return hex(this.options.chainId);
      case "net_version":
        return String(this.options.chainId);
      case "eth_blockNumber":
        return hex(this.head);
      case "eth_getBlockByNumber":
        return this.#block(this.#numbered(params[0]));
      case "eth_getBlockByHash":
        return this.#block(this.#hashed(params[0]));
      case "eth_getLogs":
        return this.#logsIn(params[0] as Filter);
      case "eth_getCode":
        return this.#accountAt(params[0], this.#stateAt(params[1])) === undefined ? "0x" : "0x6001";
      case "eth_call": {
        const { to, data = "0x" } = params[0] as { to: string; data?: string };
        const block = this.#stateAt(params[1]);
        const account = this.#accountAt(to, block);
        if (account === undefined) return "0x";
        const returned = account.call(data, block);
        if (returned === undefined) throw new Refused(3, "execution reverted", "0x");
        return returned;
      }
      default:
        throw new Refused(-32601, `the method ${method} does not exist/is not available`);
    }
  }

  #numbered(tag: unknown): number | undefined {
    if (tag === "latest" || tag === "pending") return this.head;
    if (tag === "earliest") return 0;
    if (tag === "finalized" || tag === "safe") return Math.max(0, this.head - this.options.finalizedDepth);
    const number = Number(tag);
    return number <= this.head ? number : undefined;
  }

  #hashed(hash: unknown): number | undefined {
    const number = Number.parseInt(String(hash).slice(-16), 16);
    return number <= this.head && this.hashOf(number) === hash ? number : undefined;
  }

  #stateAt(at: unknown): number {
    const hash = typeof at === "object" && at !== null ? (at as { blockHash: string }).blockHash : undefined;
    const number = hash === undefined ? this.#numbered(at ?? "latest") : this.#hashed(hash);
    if (number === undefined) throw new Refused(-32000, "header not found");
    if (this.head - number > this.options.stateDepth) {
      throw new Refused(-32000, "missing trie node: state is not available");
    }
    return number;
  }

  #accountAt(address: unknown, block: number): Account | undefined {
    const account = this.#accounts.get(String(address).toLowerCase());
    return account !== undefined && account.deployedAt <= block ? account : undefined;
  }

  #block(number: number | undefined): Record<string, unknown> | null {
    if (number === undefined) return null;
    return {
      number: hex(number),
      hash: this.hashOf(number),
      parentHash: number === 0 ? EMPTY_TRIE : this.hashOf(number - 1),
      timestamp: hex(this.#timestamps[number] ?? 0),
      transactions: [],
      uncles: [],
      gasUsed: "0x0",
      gasLimit: "0x1c9c380",
      ...this.#bloom(number),
    };
  }

  #bloom(number: number): { logsBloom?: string } {
    const { bloom } = this.options;
    if (bloom === "none") return {};
    if (bloom !== "exact") return { logsBloom: `0x${(bloom === "full" ? "f" : "0").repeat(512)}` };
    const hash = this.hashOf(number);
    const logsBloom = this.#blooms.get(hash) ?? this.#bloomOf(number);
    if (logsBloom !== EMPTY_BLOOM) this.#blooms.set(hash, logsBloom);
    return { logsBloom };
  }

  #bloomOf(number: number): string {
    const bits = Buffer.alloc(256);
    for (let i = this.#firstLogOf(number); this.#logs[i]?.block === number; i++) {
      const log = this.#logs[i] as Placed;
      for (const item of [log.address, ...log.topics]) {
        const digest = Buffer.from(keccak256(item).slice(2), "hex");
        for (const at of [0, 2, 4]) {
          const bit = digest.readUInt16BE(at) & 2047;
          const byte = 255 - (bit >> 3);
          bits[byte] = (bits[byte] ?? 0) | (1 << (bit & 7));
        }
      }
    }
    return `0x${bits.toString("hex")}`;
  }

  #logsIn({ address, topics, fromBlock, toBlock, blockHash }: Filter): unknown[] {
    let from = this.#numbered(fromBlock ?? "latest") ?? this.head + 1;
    let to = Math.min(this.head, this.#numbered(toBlock ?? "latest") ?? this.head);
    if (blockHash !== undefined) {
      const number = this.#hashed(blockHash);
      if (number === undefined) throw new Refused(-32000, "unknown block");
      from = to = number;
    }
    const addresses = listOf(address);
    const firsts = listOf(topics?.[0]);
    const found: unknown[] = [];
    for (let i = this.#firstLogOf(from); i < this.#logs.length; i++) {
      const log = this.#logs[i] as Placed;
      if (log.block > to) break;
      const isWanted =
        (addresses.length === 0 || addresses.includes(log.address)) &&
        (firsts.length === 0 || firsts.includes(log.topics[0] ?? ""));
      if (isWanted) found.push(this.#logJson(log));
    }
    return found;
  }

  #logJson({ address, topics, data, block, index, transaction }: Placed): unknown {
    return {
      ...{ address, topics, data, blockNumber: hex(block), blockHash: this.hashOf(block) },
      transactionHash: `0x${transaction.toString(16).padStart(64, "7")}`,
      ...{ transactionIndex: "0x0", logIndex: hex(index), removed: false },
    };
  }

  #firstLogOf(block: number): number {
    let [low, high] = [0, this.#logs.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#logs[middle]?.block ?? 0) < block) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

interface Filter {
  readonly address?: string | readonly string[];
  readonly topics?: readonly (string | readonly string[] | null)[];
  readonly fromBlock?: string;
  readonly toBlock?: string;
  readonly blockHash?: string;
}

class Refused extends Error {
  readonly reply: { readonly code: number; readonly message: string; readonly data?: unknown };
  constructor(code: number, message: string, data?: unknown) {
    super(message);
    this.reply = data === undefined ? { code, message } : { code, message, data };
  }
}

const seconds = () => Math.floor(Date.now() / 1_000);
const hex = (number: number) => `0x${number.toString(16)}`;
const listOf = (value: string | readonly string[] | null | undefined): readonly string[] =>
  typeof value === "string" ? [value.toLowerCase()] : (value ?? []).map((item) => item.toLowerCase());
