/**
 * Pure: the logs of a reply, read straight from its bytes. A history is a hundred thousand of them: scanned, parsed and
 * checked one after the other they cost more time, and memory for whatever else a reply may hold. Here nothing becomes a
 * value but logs.
 */
import { type Address, AFTER_LOGS, type Hash } from "../model.ts";
import * as json from "./json-cursor.ts";
import { JsonCursor, type Last, namesOf } from "./json-cursor.ts";
import { Malformed } from "./reply.ts";

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

/** The list in a reply to `eth_getLogs`. */
export class LogList {
  readonly #logs: readonly RawLog[];
  readonly #problem: Malformed | undefined;

  constructor(logs: readonly RawLog[], problem?: Malformed) {
    this.#logs = logs;
    this.#problem = problem;
  }

  /** Told here, once it is known whose reply it is. @throws Malformed where it holds anything but whole logs */
  read(): readonly RawLog[] {
    if (this.#problem !== undefined) throw this.#problem;
    return this.#logs;
  }
}

/** Undefined where the result is no list, or an error is told: that is for a parser to read. */
export function readLogs(bytes: Buffer): { jsonrpc: "2.0"; id: number; result: LogList } | undefined {
  const cursor = new JsonCursor(bytes);
  let isMarked = false;
  let id: number | undefined;
  let result: LogList | undefined;
  if (!cursor.takes(json.OPEN_BRACE)) return undefined;
  do {
    const member = cursor.member(OF_A_REPLY);
    if (member === "id") id = cursor.natural();
    else if (member === "result" && cursor.isNext(LIST)) result = listAt(cursor);
    else if (member === undefined || member === "result" || (member === "error" && !cursor.isNext(NULL)))
      return undefined;
    else {
      isMarked ||= member === "jsonrpc" && cursor.isNext(VERSION);
      cursor.pass();
    }
  } while (cursor.takes(json.COMMA));
  const isWhole = cursor.takes(json.CLOSE_BRACE) && cursor.isAtEnd();
  return isWhole && isMarked && id !== undefined && result !== undefined ? { jsonrpc: "2.0", id, result } : undefined;
}

function listAt(cursor: JsonCursor): LogList {
  const start = cursor.at;
  try {
    return new LogList(logsAt(cursor));
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    cursor.at = start;
    cursor.pass();
    return new LogList([], error);
  }
}

const OF_A_REPLY = namesOf(["jsonrpc", "id", "result", "error"]);
const OF_A_LOG = namesOf(
  // biome-ignore format: one line reads best
  ["address", "topics", "data", "blockNumber", "blockHash", "transactionHash", "logIndex", "removed"],
);
const LIST = Buffer.from("[");
const VERSION = Buffer.from('"2.0"');
const NULL = Buffer.from("null");
const TRUE = Buffer.from("true");

function logsAt(cursor: JsonCursor): RawLog[] {
  const logs: RawLog[] = [];
  cursor.takes(json.OPEN_BRACKET);
  if (cursor.takes(json.CLOSE_BRACKET)) return logs;
  const lasts = { address: last(), event: last(), blockHash: last(), transactionHash: last() };
  do {
    const log = logAt(cursor, lasts);
    if (log !== undefined) logs.push(log);
  } while (cursor.takes(json.COMMA));
  if (!cursor.takes(json.CLOSE_BRACKET)) throw new Malformed("the list of logs has no end");
  return logs;
}

type Lasts = Readonly<Record<"address" | "event" | "blockHash" | "transactionHash", Last>>;
const last = (): Last => ({ at: -1, text: "" });

/** Undefined for one that a reorg has taken. */
function logAt(cursor: JsonCursor, lasts: Lasts): RawLog | undefined {
  let address: string | undefined;
  let topics: Hash[] | undefined;
  let data: string | undefined;
  let blockNumber: number | undefined;
  let blockHash: string | undefined;
  let transactionHash: string | undefined;
  let logIndex: number | undefined;
  let isRemoved = false;
  if (!cursor.takes(json.OPEN_BRACE)) throw new Malformed("a log is no object");
  do {
    switch (cursor.member(OF_A_LOG)) {
      case "address":
        address = must(cursor.hex(20, lasts.address), ADDRESS);
        break;
      case "topics":
        topics = topicsAt(cursor, lasts.event);
        break;
      case "data":
        data = must(cursor.anyHex(), DATA);
        break;
      case "blockNumber":
        blockNumber = must(cursor.quantity(), BLOCK_NUMBER);
        break;
      case "blockHash":
        blockHash = must(cursor.hex(32, lasts.blockHash), BLOCK_HASH);
        break;
      case "transactionHash":
        transactionHash = must(cursor.hex(32, lasts.transactionHash), TRANSACTION_HASH);
        break;
      case "logIndex":
        logIndex = must(indexIn(cursor), LOG_INDEX);
        break;
      case "removed":
        // News of a reorg, for subscriptions; in a list of what is canonical it is nothing, and the others are not.
        isRemoved = cursor.isNext(TRUE);
        cursor.pass();
        break;
      case "":
        cursor.pass();
        break;
      case undefined:
        throw new Malformed("a log is no object");
    }
  } while (cursor.takes(json.COMMA));
  if (!cursor.takes(json.CLOSE_BRACE)) throw new Malformed("a log has no end");
  if (isRemoved) return undefined;
  return {
    address: must(address, ADDRESS) as Address,
    topics: must(topics, TOPICS),
    data: must(data, DATA),
    blockNumber: must(blockNumber, BLOCK_NUMBER),
    blockHash: must(blockHash, BLOCK_HASH) as Hash,
    transactionHash: must(transactionHash, TRANSACTION_HASH) as Hash,
    logIndex: must(logIndex, LOG_INDEX),
  };
}

function topicsAt(cursor: JsonCursor, event: Last): Hash[] {
  const topics: Hash[] = [];
  if (!cursor.takes(json.OPEN_BRACKET)) throw new Malformed(TOPICS);
  if (cursor.takes(json.CLOSE_BRACKET)) return topics;
  do topics.push(must(cursor.hex(32, topics.length === 0 ? event : undefined), TOPIC) as Hash);
  while (topics.length < 4 && cursor.takes(json.COMMA));
  if (!cursor.takes(json.CLOSE_BRACKET)) throw new Malformed(TOPICS);
  return topics;
}

/** Below the one that stands behind all logs. */
function indexIn(cursor: JsonCursor): number | undefined {
  const index = cursor.quantity();
  return index !== undefined && index < AFTER_LOGS ? index : undefined;
}

function must<T>(value: T | undefined, problem: string): T {
  if (value === undefined) throw new Malformed(problem);
  return value;
}

const ADDRESS = "a log's address is no 20 bytes of hex";
const TOPICS = "a log's topics are no list of at most four";
const TOPIC = "a log's topic is no 32 bytes of hex";
const DATA = "a log's data is no hex of whole bytes";
const BLOCK_NUMBER = "a log's block number is no hex quantity below 2^53";
const BLOCK_HASH = "a log's block hash is no 32 bytes of hex";
const TRANSACTION_HASH = "a log's transaction hash is no 32 bytes of hex";
const LOG_INDEX = "a log's index is no hex quantity below 2^31";
