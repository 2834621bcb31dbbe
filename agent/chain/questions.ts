/** Pure: every question that we ask a chain, each with its deadline and the shape that its answer must have. */
import { type Address, type Block, type Hash, parseAddress, parseHash } from "../model.ts";
import { Malformed, RpcError } from "./reply.ts";
import type { Question } from "./rpc.ts";

export type Tag = "latest" | "safe" | "finalized";
/** The state after this block; by hash where a reorg must not change the answer under us. */
export type At = Tag | { readonly number: number } | { readonly hash: Hash };

export type LogFilter = {
  readonly address: Address;
  /** Any of these first topics; all logs of the address without it. */
  readonly topics?: readonly Hash[];
} & ({ readonly fromBlock: number; readonly toBlock: number } | { readonly blockHash: Hash });

/** One log as an upstream tells it: shapes checked, order and content not. */
export interface RawLog {
  readonly address: Address;
  /** At most four. */
  readonly topics: readonly Hash[];
  /** `0x` and an even number of hex digits, in lower or upper case. */
  readonly data: string;
  readonly blockNumber: number;
  readonly blockHash: Hash;
  readonly transactionHash: Hash;
  readonly logIndex: number;
}

const STATE_MS = 3_000;
const LOGS_MS = 10_000;
/** Blocks carry the hashes of all their transactions: 25,000 of them fit. Logs and calls may be larger. */
const STATE_BYTES = 2 * 1024 * 1024;
const STATE = { deadlineMs: STATE_MS, maxBytes: STATE_BYTES };

/** @throws RpcError absent, where the chain has no such block yet */
export function headOf(tag: Tag): Question<Block> {
  const question = { method: "eth_getBlockByNumber", params: [tag, false], ...STATE, parse: block };
  return tag === "latest" ? { ...question, head: ({ number }) => number } : question;
}

/** @throws RpcError absent, where the upstream has no such block */
export function blockByNumber(number: number): Question<Block> {
  const parse = (result: unknown) => {
    const found = block(result);
    if (found.number !== number) throw new Malformed("the block has another number than the one asked for");
    return found;
  };
  return { method: "eth_getBlockByNumber", params: [quantity(number), false], ...STATE, parse };
}

/** @throws RpcError absent, where the upstream has no such block */
export function blockByHash(hash: Hash): Question<Block> {
  const parse = (result: unknown) => {
    const found = block(result);
    if (found.hash !== hash) throw new Malformed("the block has another hash than the one asked for");
    return found;
  };
  return { method: "eth_getBlockByHash", params: [hash, false], ...STATE, parse };
}

/** Logs of other addresses are dropped: an upstream that ignores the filter adds nothing to what we asked. */
export function logs(filter: LogFilter): Question<readonly RawLog[]> {
  const where =
    "blockHash" in filter
      ? { blockHash: filter.blockHash }
      : { fromBlock: quantity(filter.fromBlock), toBlock: quantity(filter.toBlock) };
  const topics = filter.topics === undefined ? {} : { topics: [filter.topics] };
  return {
    method: "eth_getLogs",
    params: [{ address: filter.address, ...topics, ...where }],
    deadlineMs: LOGS_MS,
    parse: (result) => logsIn(filter, result),
  };
}

export function chainId(): Question<number> {
  const parse = (result: unknown) => natural(result, "the chain id");
  return { method: "eth_chainId", params: [], ...STATE, parse };
}

/** The contract's code as hex, `0x` where there is none. */
export function code(address: Address, at: At): Question<string> {
  const parse = (result: unknown) => hex(result, "the code");
  return { method: "eth_getCode", params: [address, blockParameter(at)], ...STATE, parse };
}

/** What the call returns, as lower-case hex. @throws RpcError reverted, where the contract refuses */
export function call(to: Address, data: string, at: At): Question<string> {
  const parse = (result: unknown) => hex(result, "the call's result");
  return { method: "eth_call", params: [{ to, data }, blockParameter(at)], deadlineMs: STATE_MS, parse };
}

export function subscribeNewHeads(): Question<string> {
  const parse = (result: unknown) => {
    if (typeof result !== "string" || result.length > 128) throw new Malformed("the subscription id is no short text");
    return result;
  };
  return { method: "eth_subscribe", params: ["newHeads"], ...STATE, parse };
}

/** EIP-1898 for hashes: a number names another block after a reorg, a hash never does. */
function blockParameter(at: At): unknown {
  if (typeof at === "string") return at;
  return "hash" in at ? { blockHash: at.hash } : quantity(at.number);
}

function quantity(number: number): string {
  return `0x${number.toString(16)}`;
}

function block(result: unknown): Block {
  if (result === null) throw new RpcError("absent", 0);
  const fields = record(result, "the block");
  const found = {
    number: natural(fields["number"], "the block's number"),
    hash: hash(fields["hash"], "the block's hash"),
    parentHash: hash(fields["parentHash"], "the block's parent hash"),
    timestamp: natural(fields["timestamp"], "the block's timestamp"),
  };
  const bloom = fields["logsBloom"];
  if (bloom === undefined || bloom === null) return found;
  if (typeof bloom !== "string" || !/^0x[0-9a-fA-F]{512}$/.test(bloom)) {
    throw new Malformed("the block's bloom is no 256 bytes of hex");
  }
  return { ...found, logsBloom: bloom.toLowerCase() };
}

function logsIn(filter: LogFilter, result: unknown): readonly RawLog[] {
  if (!Array.isArray(result)) throw new Malformed("the logs are no list");
  const found: RawLog[] = [];
  const rawLog = logReader();
  for (const item of result as readonly unknown[]) {
    const log = rawLog(item);
    if (log.address !== filter.address) continue;
    const isInside =
      "blockHash" in filter
        ? log.blockHash === filter.blockHash
        : log.blockNumber >= filter.fromBlock && log.blockNumber <= filter.toBlock;
    if (!isInside) throw new Malformed("a log lies outside the blocks asked for");
    found.push(log);
  }
  return found;
}

/** Of the logs of one list. */
function logReader(): (item: unknown) => RawLog {
  const [addressOf, eventOf] = [unrepeated(address), unrepeated(hash)];
  const [blockHashOf, transactionOf] = [unrepeated(hash), unrepeated(hash)];
  const topicOf = (topic: unknown, i: number) => (i === 0 ? eventOf : hash)(topic, "a log's topic");
  return (item) => {
    const fields = record(item, "a log");
    // A removed log is news of a reorg, for subscriptions; in a list of what is canonical it contradicts itself.
    if (fields["removed"] === true) throw new Malformed("a log is marked as removed");
    const topics = fields["topics"];
    if (!Array.isArray(topics) || topics.length > 4) throw new Malformed("a log's topics are no list of at most four");
    return {
      address: addressOf(fields["address"], "a log's address"),
      topics: topics.map(topicOf),
      data: evenHex(fields["data"], "a log's data"),
      blockNumber: natural(fields["blockNumber"], "a log's block number"),
      blockHash: blockHashOf(fields["blockHash"], "a log's block hash"),
      transactionHash: transactionOf(fields["transactionHash"], "a log's transaction hash"),
      logIndex: natural(fields["logIndex"], "a log's index"),
    };
  };
}

type Reading<T> = (value: unknown, what: string) => T;

/** Neighbours in a list share most of their texts: one that equals the last is neither checked nor kept again. */
function unrepeated<T>(read: Reading<T>): Reading<T> {
  let last: { readonly value: unknown; readonly read: T } | undefined;
  return (value, what) => {
    if (last === undefined || last.value !== value) last = { value, read: read(value, what) };
    return last.read;
  };
}

function record(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Malformed(`${what} is no object`);
  return value as Readonly<Record<string, unknown>>;
}

/** Leading zeros are let pass: some clients write them, and nothing depends on their absence. */
function natural(value: unknown, what: string): number {
  const number = typeof value === "string" && /^0x[0-9a-fA-F]{1,16}$/.test(value) ? Number(value) : Number.NaN;
  if (!Number.isSafeInteger(number)) throw new Malformed(`${what} is no hex quantity below 2^53`);
  return number;
}

function hash(value: unknown, what: string): Hash {
  const parsed = typeof value === "string" ? parseHash(value) : undefined;
  if (parsed === undefined) throw new Malformed(`${what} is no 32 bytes of hex`);
  return parsed;
}

function address(value: unknown, what: string): Address {
  const parsed = typeof value === "string" ? parseAddress(value) : undefined;
  if (parsed === undefined) throw new Malformed(`${what} is no 20 bytes of hex`);
  return parsed;
}

function evenHex(value: unknown, what: string): string {
  if (typeof value !== "string" || value.length % 2 !== 0 || !/^0x[0-9a-fA-F]*$/.test(value)) {
    throw new Malformed(`${what} is no hex of whole bytes`);
  }
  return value;
}

function hex(value: unknown, what: string): string {
  return evenHex(value, what).toLowerCase();
}
