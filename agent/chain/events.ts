/**
 * Pure: raw logs → access events, by a strict decoder of our own (ethers decodes 8,000 logs a second; DESIGN section 5).
 * It is property-tested against ethers and differs from it on purpose where the ABI is not the last word: texts are
 * cut, a log with other topics than its event's is invalid and so is a role that the contract does not know, a revoke
 * never looks at its data, and a key that cannot be read still takes the old key away.
 */
import { isUtf8 } from "node:buffer";
import {
  type AccessEvent,
  type Address,
  comparePositions,
  type Hash,
  ROLES,
  type Said,
  type TokenId,
} from "../model.ts";
import type { RawLog } from "./log-list.ts";

/** keccak256 of each signature. `NodeAccessTransferred` only repeats a `Transfer`: not asked for. */
export const TOPIC = {
  grant: "0x9a71852b5ff3e6dcfff28eaeb177387d7be860dcf63f02bc0c74d796d373a22c" as Hash,
  revoke: "0xf77547477629bf8d4b78aaa6babeeb3306e56da1ca9b54caceabf24cbc922020" as Hash,
  transfer: "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef" as Hash,
  ownerKeyUpdate: "0xa850082d2fb101274de37494dc864e9277de33c04415c7ad9db57592c60511a5" as Hash,
  keyUpdate: "0x52774bdc15da43c3a40c833f83e6585be91c27c0d47416f4558aa6ea83798082" as Hash,
  role: "0x1cbbb1a1c6a9164bcf259631e977c1bd5291ec8f5b5d2841a59a37a799c9e669" as Hash,
  endpoint: "0x6f15a2ac3d3f0fda377d29e40db81b39b8d9fd8606e205401974b45fc86e3137" as Hash,
} as const;
/** What to ask the chain for. */
export const TOPICS: readonly Hash[] = Object.values(TOPIC);

/** The longest texts that go further, in UTF-16 units as `Token` counts them. */
export const LIMITS = { nodeId: 128, key: 64, endpoint: 280 } as const;

/** Stands for a text that is no UTF-8 or has no place in its log: as a key it is malformed, so it admits nobody. */
export const UNREADABLE = "\ufffd";

/**
 * In the chain's order, each log once. Logs of other events are passed over. A `PublicKeyUpdated` is left out where its
 * own transaction names the token with the same key.
 */
export function decodeLogs(raw: readonly RawLog[]): AccessEvent[] {
  const events: AccessEvent[] = [];
  for (const log of raw) {
    const said = decode(log);
    if (said === undefined) continue;
    const at = { block: log.blockNumber, logIndex: log.logIndex };
    events.push({ ...said, at, blockHash: log.blockHash, transaction: log.transactionHash });
  }
  return withoutCovered(inOrder(events));
}

/** Whether something in it could not be read; a key update then still counts as one (`UNREADABLE`). */
export function isInvalid(event: AccessEvent): boolean {
  if (event.kind === "key-update" || event.kind === "owner-key-update") return event.key === UNREADABLE;
  return event.kind === "invalid";
}

/** What happened to whom: what two readings of one place must agree on. Of texts the audit judges. */
export function subjectOf(event: AccessEvent): string {
  const { kind } = event;
  if (kind === "invalid") return kind;
  return `${kind} ${kind === "owner-key-update" ? event.owner : event.tokenId} ${kind === "transfer" ? event.to : ""}`;
}

function decode({ topics, data }: RawLog): Said | undefined {
  const [event, first = "", second = "", third = ""] = topics;
  switch (event) {
    case TOPIC.grant: {
      const owner = addressIn(second);
      const [nodeId, key] = [readable(textIn(data, 0, LIMITS.nodeId)), readable(textIn(data, 1, LIMITS.key))];
      if (topics.length !== 3 || owner === undefined) return invalid("a grant without its token and owner");
      if (nodeId === undefined || key === undefined) return invalid("a grant whose texts do not decode");
      return { kind: "grant", tokenId: idIn(first), nodeId, owner, key };
    }
    case TOPIC.revoke:
      if (topics.length !== 2) return invalid("a revoke without its token");
      return { kind: "revoke", tokenId: idIn(first) };
    case TOPIC.transfer: {
      const [from, to] = [addressIn(first), addressIn(second)];
      if (topics.length !== 4 || from === undefined || to === undefined) return invalid("a transfer of no token");
      return { kind: "transfer", tokenId: idIn(third), from, to };
    }
    case TOPIC.keyUpdate:
      if (topics.length !== 2) return invalid("a key update without its token");
      return { kind: "key-update", tokenId: idIn(first), key: textIn(data, 0, LIMITS.key) ?? UNREADABLE };
    case TOPIC.ownerKeyUpdate: {
      const owner = addressIn(first);
      if (topics.length !== 2 || owner === undefined) return invalid("a key update without its owner");
      return { kind: "owner-key-update", owner, key: textIn(data, 0, LIMITS.key) ?? UNREADABLE };
    }
    case TOPIC.role: {
      const role = ROLES[wordIn(data, 0) ?? -1];
      if (topics.length !== 2 || role === undefined) return invalid("a role update without a role that there is");
      return { kind: "role", tokenId: idIn(first), role };
    }
    case TOPIC.endpoint: {
      const endpoint = readable(textIn(data, 0, LIMITS.endpoint));
      if (topics.length !== 2 || endpoint === undefined) return invalid("an endpoint update that does not decode");
      return { kind: "endpoint", tokenId: idIn(first), endpoint };
    }
    default:
      return undefined;
  }
}

function readable(text: string | undefined): string | undefined {
  return text === UNREADABLE ? undefined : text;
}

function invalid(reason: string): Said {
  return { kind: "invalid", reason };
}

/** A topic's 32 bytes as a token id; every value is one. */
function idIn(topic: string): TokenId {
  return BigInt(topic) as TokenId;
}

const TWELVE_ZERO_BYTES = `0x${"0".repeat(24)}`;
export function addressIn(word: string): Address | undefined {
  return word.length === 66 && word.startsWith(TWELVE_ZERO_BYTES) ? (`0x${word.slice(26)}` as Address) : undefined;
}

// --- ABI: words of 32 bytes, each 64 digits of hex; https://docs.soliditylang.org/en/latest/abi-spec.html ----------

const ZERO_DIGITS = "0".repeat(56);

/** The number in the word at this byte offset of `data`; undefined where there is none or it is over 2^32 − 1, further than any text. */
export function numberAt(data: string, offset: number): number | undefined {
  const start = 2 + 2 * offset;
  if (start + 64 > data.length || !data.startsWith(ZERO_DIGITS, start)) return undefined;
  return Number.parseInt(data.slice(start + 56, start + 64), 16);
}

/** The number in word `index`. */
export function wordIn(data: string, index: number): number | undefined {
  return numberAt(data, 32 * index);
}

/**
 * The string whose offset is in word `index`, cut to `limit` UTF-16 units; `UNREADABLE` where its bytes are no UTF-8 (all
 * of them count, also those behind the cut). Undefined where offset or length leave the data. Padding is not looked at.
 */
export function textIn(data: string, index: number, limit: number): string | undefined {
  const offset = numberAt(data, 32 * index);
  const length = offset === undefined ? undefined : numberAt(data, offset);
  if (offset === undefined || length === undefined) return undefined;
  const start = 2 + 2 * (offset + 32);
  if (start + 2 * length > data.length) return undefined;
  const digits = data.slice(start, start + 2 * length);
  return asciiIn(digits, length, limit) ?? utf8In(digits, length, limit) ?? UNREADABLE;
}

const SCRATCH = Buffer.alloc(512);

/** Nearly every text is short and plain: a third of the time of the general way. */
function asciiIn(digits: string, length: number, limit: number): string | undefined {
  if (length > SCRATCH.length || SCRATCH.write(digits, "hex") !== length) return undefined;
  for (let i = 0; i < length; i++) if ((SCRATCH[i] ?? 0) > 0x7f) return undefined;
  return SCRATCH.toString("latin1", 0, Math.min(length, limit));
}

function utf8In(digits: string, length: number, limit: number): string | undefined {
  const bytes = Buffer.from(digits, "hex");
  return bytes.length === length && isUtf8(bytes) ? cut(bytes, limit) : undefined;
}

/** Decodes no more than the cut needs: a text may be megabytes long. */
function cut(bytes: Buffer, limit: number): string {
  // One UTF-16 unit takes at most three bytes; the next character's first bytes may dangle at the end.
  const text = bytes.toString("utf8", 0, 3 * limit + 3);
  if (text.length <= limit) return text;
  const last = text.charCodeAt(limit - 1);
  const splitsPair = last >= 0xd800 && last <= 0xdbff;
  return text.slice(0, splitsPair ? limit - 1 : limit);
}

// --- order -----------------------------------------------------------------------------------------------------------

/** By position, and of several in one place the first that could be read. */
export function inOrder(events: AccessEvent[]): AccessEvent[] {
  events.sort((a, b) => comparePositions(a.at, b.at) || Number(isInvalid(a)) - Number(isInvalid(b)));
  return events.filter((event, i) => {
    const before = events[i - 1];
    return before === undefined || comparePositions(before.at, event.at) !== 0;
  });
}

function withoutCovered(events: AccessEvent[]): AccessEvent[] {
  const named = new Set<string>();
  for (const event of events) if (event.kind === "key-update") named.add(event.transaction + event.key);
  if (named.size === 0) return events;
  return events.filter((event) => event.kind !== "owner-key-update" || !named.has(event.transaction + event.key));
}
