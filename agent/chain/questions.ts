/** Pure: every question that we ask a chain, each with its deadline and the shape that its answer must have. */
import { type Address, type Block, type Hash, parseHash } from "../model.ts";
import { LogList, type RawLog, readLogs } from "./log-list.ts";
import { Malformed, RpcError } from "./reply.ts";
import type { Question } from "./rpc.ts";

export type Tag = "latest" | "finalized";
/** The state after this block; by hash where a reorg must not change the answer under us. */
export type At = Tag | { readonly number: number } | { readonly hash: Hash };

export type LogFilter = {
  readonly address: Address;
  /** Any of these first topics; all logs of the address without it. */
  readonly topics?: readonly Hash[];
} & ({ readonly fromBlock: number; readonly toBlock: number } | { readonly blockHash: Hash });

const STATE_MS = 3_000;
const LOGS_MS = 10_000;
/** Blocks carry the hashes of all their transactions: 25,000 of them fit. Logs and calls may be larger. */
const STATE_BYTES = 2 * 1024 * 1024;
const STATE = { deadlineMs: STATE_MS, maxBytes: STATE_BYTES };

/** @throws RpcError absent, where the chain has no such block yet */
export function headOf(tag: Tag): Question<Block> {
  const question = { method: "eth_getBlockByNumber", params: [tag, false], ...STATE, parse: block };
  return tag === "latest" ? { ...question, head: (found) => found } : question;
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
    read: readLogs,
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
  // A bloom can warn and never block: what is none is as good as absent.
  const isBloom = typeof bloom === "string" && /^0x[0-9a-fA-F]{512}$/.test(bloom);
  return isBloom ? { ...found, logsBloom: bloom.toLowerCase() } : found;
}

function logsIn(filter: LogFilter, result: unknown): readonly RawLog[] {
  if (!(result instanceof LogList)) throw new Malformed("the logs are no list");
  return result.read().filter((log) => {
    if (log.address !== filter.address) return false;
    const isInside =
      "blockHash" in filter
        ? log.blockHash === filter.blockHash
        : log.blockNumber >= filter.fromBlock && log.blockNumber <= filter.toBlock;
    if (!isInside) throw new Malformed("a log lies outside the blocks asked for");
    return true;
  });
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

function hex(value: unknown, what: string): string {
  if (typeof value !== "string" || value.length % 2 !== 0 || !/^0x[0-9a-fA-F]*$/.test(value)) {
    throw new Malformed(`${what} is no hex of whole bytes`);
  }
  return value.toLowerCase();
}
