/** Pure: what a JSON-RPC reply may be, and in which ways it can be bad. */
import { Secret } from "../model.ts";
import { scan } from "./scan.ts";

/** Why an upstream could not be used; the closed set of its error counters. */
export const TROUBLES = [
  "timeout",
  "connect",
  "http-status",
  "rate-limit",
  "oversize",
  "malformed",
  "rpc-error",
  "inconsistent",
  "wrong-network",
] as const;
export type TroubleKind = (typeof TROUBLES)[number];

/** The upstream failed. `message` is in our own words: no byte of the URL or of the reply is in it. */
export class Trouble extends Error {
  override readonly name = "Trouble";
  readonly kind: TroubleKind;
  /** How long the upstream asks to be left alone. */
  readonly retryAfterMs: number | undefined;
  constructor(kind: TroubleKind, problem: string, retryAfterMs?: number) {
    super(problem);
    this.kind = kind;
    this.retryAfterMs = retryAfterMs;
  }
}

/**
 * What the upstream says instead of a result, in words that a caller can decide by:
 * - `reverted`: the call ran and the contract refused it (the only one that says something about the contract);
 * - `limited`: too many blocks, logs or bytes were asked for at once;
 * - `unsupported`: it knows no such method, tag or parameter;
 * - `absent`: it has no such block, or no longer the state of that block;
 * - `other`: anything else.
 */
export type RefusalKind = "reverted" | "limited" | "unsupported" | "absent" | "other";

/** A JSON-RPC error of an upstream that works, or a `null` where a block was asked for (`absent`). */
export class RpcError extends Error {
  override readonly name = "RpcError";
  readonly kind: RefusalKind;
  readonly code: number;
  /** The first 1,000 characters of the upstream's text, for decisions only: it may hold the key in our URL. */
  readonly said: Secret;
  /** Revert data in lower case, at most 64 KB of it. */
  readonly dataHex: string | undefined;
  /** Who said it of what; absent until the upstream has passed it on. */
  by: { readonly method: string; readonly upstream: string } | undefined;
  constructor(kind: RefusalKind, code: number, said = "", dataHex?: string) {
    super(`${kind === "other" ? "refused" : kind} (JSON-RPC error ${code})`);
    this.kind = kind;
    this.code = code;
    this.said = new Secret(said.slice(0, 1_000));
    this.dataHex = dataHex;
  }
}

/** Thrown by a question's parser. The message is in our own words; nothing of the reply may be in it. */
export class Malformed extends Error {
  override readonly name = "Malformed";
}

/** A question's own way to read its replies; undefined for one that has to be parsed. */
export type Read = (bytes: Buffer) => unknown;

/** @throws Trouble malformed */
export function parseReply(bytes: Buffer, read: Read | undefined): unknown {
  return read?.(bytes) ?? parseJson(bytes);
}

/** @throws Trouble malformed */
export function parseJson(bytes: Buffer): unknown {
  const refusal = scan(bytes);
  if (refusal !== undefined) throw new Trouble("malformed", refusal);
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch {
    // V8 quotes the text in its message; it must not travel on.
    throw new Trouble("malformed", "it is not JSON");
  }
}

/**
 * The result in a reply to the request `id`.
 * @throws RpcError an error object that is not about the upstream itself
 * @throws Trouble malformed, rate-limit
 */
export function resultOf(reply: unknown, id: number, method: string): unknown {
  if (!isRecord(reply)) throw new Trouble("malformed", "it is no JSON-RPC object");
  if (reply["jsonrpc"] !== "2.0") throw new Trouble("malformed", "it is not marked as JSON-RPC 2.0");
  const error = reply["error"] ?? undefined;
  const result = reply["result"];
  // A gateway that could not read or would not admit the request does not know its id.
  const isOurs = reply["id"] === id || (error !== undefined && (reply["id"] ?? null) === null);
  if (!isOurs) throw new Trouble("malformed", "it answers another request");
  if (error === undefined) {
    if (result === undefined) throw new Trouble("malformed", "it has neither result nor error");
    return result;
  }
  if (!isRecord(error)) throw new Trouble("malformed", "its error is no object");
  if ((result ?? null) !== null) throw new Trouble("malformed", "it has both result and error");
  throw refusal(method, error);
}

/** A reply whose HTTP status says failure counts only where it explains the failure. */
export function isErrorReply(reply: unknown): boolean {
  return isRecord(reply) && isRecord(reply["error"]);
}

/** More than we take of one reply. */
export function oversize(limitBytes: number): Trouble {
  return new Trouble("oversize", `over ${limitBytes} bytes`);
}

export function isOversize(problem: string): boolean {
  return /^over [0-9]+ bytes$/.test(problem);
}

/** Whether trouble was told by a status that blames the question and not the server. */
export function blamesQuestion(problem: string): boolean {
  return /^HTTP 4[0-9]{2}\b/.test(problem);
}

function refusal(method: string, error: Readonly<Record<string, unknown>>): RpcError | Trouble {
  const code = Number.isSafeInteger(error["code"]) ? (error["code"] as number) : 0;
  const said = typeof error["message"] === "string" ? error["message"].slice(0, 1_000) : "";
  const kind = kindOf(method, code, said, error["data"]);
  if (kind === "rate-limit") return new Trouble("rate-limit", `JSON-RPC error ${code}, too many requests`);
  return new RpcError(kind, code, said, kind === "reverted" ? revertData(error["data"]) : undefined);
}

// Clients and providers agree neither on codes nor on words. What is in doubt between too many requests and too wide a
// question (Infura says -32005 for both, Binance "limit exceeded") is taken as too many requests: that waits first.
const TOO_OFTEN = anyOf(
  /rate.?limit|too many requests|requests? (per|count|limit)|quota|credits|compute units|capacity|throughput|throttl/,
);
const TOO_WIDE = anyOf(
  /range|narrow|smaller|response (size|is too)|logs matched|limit your query/,
  /(more than|max(imum)?( of)?|up to|at most|limit(ed)?( of| to)?|exceed(s|ed|ing)?|too many|too large) (\S+ )?(results|logs|blocks|events|matches|response)/,
  /(results?|logs|blocks|query|response|payload|body|entity)( set)?( is| was)? too (many|large|big|wide|long)/,
  /timed? ?out|deadline exceeded|took too long/,
);
const NOT_THERE = anyOf(
  /header not found|header for hash not found|unknown block|beyond (the )?(current )?head|not (currently )?canonical/,
  /(block|finalized|safe|resource)( \S+)?( was| is)? (not found|not available|does not exist)|(cannot|could not|can't) (be found|find)/,
  /missing trie node|no state available|historical (state|rpc)|prun(ed|ing)|archive|ancient|proof window/,
  /older than the configured|state.{0,60}(not available|unavailable|missing)/,
);
const NOT_KNOWN = anyOf(
  /not (supported|implemented|allowed|whitelisted)|unsupported|invalid (argument|param|block)|unknown (method|tag)/,
);

function anyOf(...patterns: readonly RegExp[]): RegExp {
  return new RegExp(patterns.map(({ source }) => source).join("|"), "i");
}

function kindOf(method: string, code: number, said: string, data: unknown): RefusalKind | "rate-limit" {
  if (method === "eth_call" && isRevert(code, said, data)) return "reverted";
  if (code === -32601) return "unsupported";
  if (code === 429 || code === -32029 || TOO_OFTEN.test(said)) return "rate-limit";
  if (code === -39001 || NOT_THERE.test(said)) return "absent";
  if (method === "eth_getLogs" && TOO_WIDE.test(said)) return "limited";
  if (code === -32005 || code === -32007 || code === -32016) return "rate-limit";
  return code === -32602 || code === -32004 || NOT_KNOWN.test(said) ? "unsupported" : "other";
}

const REVERT = /\bexecution reverted\b|^(error: )?(vm exception while processing )?transaction:? revert(ed)?\b/i;

/**
 * What is taken for a revert says that a token is not there, and cuts its holder: codes alone do not. 3 is gRPC's for a bad
 * argument, too, and Nethermind has one code for whatever ends a call, with the reason beside it: "Reverted", or "OutOfGas".
 */
function isRevert(code: number, said: string, data: unknown): boolean {
  if (REVERT.test(said)) return true;
  if (code === 3) return revertData(data) !== undefined;
  return code === -32015 && typeof data === "string" && /^0x|revert/i.test(data);
}

/** geth puts the bytes in `data`, hardhat in `data.data`, Nethermind behind the word Reverted. */
function revertData(data: unknown): string | undefined {
  const text = isRecord(data) ? data["data"] : data;
  if (typeof text !== "string" || text.length > 131_072) return undefined;
  return /^(?:Reverted )?(0x(?:[0-9a-f]{2})*)$/i.exec(text)?.[1]?.toLowerCase();
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
