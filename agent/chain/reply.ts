/** Pure: what a JSON-RPC reply may be, and in which ways it can be bad. */
import { Secret } from "../model.ts";

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
  /** Revert data in lower case, where it is well-formed and at most 64 KB. */
  readonly dataHex: string | undefined;
  constructor(kind: RefusalKind, code: number, said = "", dataHex?: string) {
    super(`${kind} (JSON-RPC error ${code})`);
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
