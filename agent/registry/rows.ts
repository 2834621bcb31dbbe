/** How tokens and events are written down, and read again as strictly as if a stranger had written them. */
import {
  type AccessEvent,
  type Address,
  type Claim,
  type Hash,
  type Position,
  parseAddress,
  parseHash,
  parseTokenId,
  ROLES,
  type Role,
  type Token,
  type TokenId,
  type TokenState,
} from "../model.ts";
import type { Announcement } from "./registry.ts";

/** In the order of `TOKEN_COLUMNS`. */
export type TokenRow = readonly (string | number | null)[];

export const TOKEN_COLUMNS = [
  "id TEXT PRIMARY KEY",
  "node_id TEXT NOT NULL",
  "owner TEXT NOT NULL",
  "active INTEGER NOT NULL",
  "granted_at TEXT",
  "key TEXT",
  "key_at TEXT",
  "key_lost INTEGER",
  "transferred_at TEXT",
  "former_keys TEXT NOT NULL",
  "unread_since TEXT",
  "role INTEGER NOT NULL",
  "role_at TEXT",
  "endpoint TEXT NOT NULL",
  "endpoint_at TEXT",
] as const;

export function tokenRow(token: Token): TokenRow {
  const { claim, formerKeys } = token;
  return [
    String(token.id),
    token.nodeId,
    token.owner,
    token.active ? 1 : 0,
    positionText(token.grantedAt),
    claim?.key ?? null,
    positionText(claim?.at),
    claim === undefined ? null : claim.lost ? 1 : 0,
    positionText(token.transferredAt),
    formerKeys.length === 0 ? "[]" : JSON.stringify(formerKeys),
    positionText(token.unreadSince),
    ROLES.indexOf(token.role),
    positionText(token.roleAt),
    token.endpoint,
    positionText(token.endpointAt),
  ];
}

/** @throws Unreadable */
export function tokenOf(row: Readonly<Record<string, unknown>>): Token {
  const active = truth(row["active"]);
  const grantedAt = maybePosition(row["granted_at"]);
  const unreadSince = maybePosition(row["unread_since"]);
  if (active && grantedAt === undefined) throw new Unreadable("a token is active and was never granted");
  if (!active && unreadSince !== undefined) throw new Unreadable("a token waits for a read and is not active");
  return {
    id: tokenId(row["id"]),
    nodeId: text(row["node_id"]),
    owner: address(row["owner"]),
    active,
    grantedAt,
    claim: claimOf(row, grantedAt),
    transferredAt: maybePosition(row["transferred_at"]),
    formerKeys: row["former_keys"] === "[]" ? NO_KEYS : list(json(row["former_keys"])).map(text),
    unreadSince,
    role: role(row["role"]),
    roleAt: maybePosition(row["role_at"]),
    endpoint: text(row["endpoint"]),
    endpointAt: maybePosition(row["endpoint_at"]),
  };
}

export function eventsText(events: readonly AccessEvent[]): string {
  return JSON.stringify(events, (_, value) => (typeof value === "bigint" ? String(value) : value));
}

/** @throws Unreadable */
export function eventsOf(written: unknown): AccessEvent[] {
  return list(json(written)).map((item) => eventOf(fields(item)));
}

/** @throws Unreadable */
export function announcementOf(row: Readonly<Record<string, unknown>>): Announcement {
  return { owner: address(row["owner"]), key: text(row["key"]), at: position(row["at"]) };
}

export function positionText(at: Position | undefined): string | null {
  return at === undefined ? null : `${at.block}:${at.logIndex}`;
}

/** @throws Unreadable */
export function position(written: unknown): Position {
  const match = /^([0-9]{1,15}):([0-9]{1,10})$/.exec(text(written));
  if (match === null) throw new Unreadable("a position");
  return { block: Number(match[1]), logIndex: Number(match[2]) };
}

/** What was written is not what we write. The message never repeats it. */
export class Unreadable extends Error {
  override readonly name = "Unreadable";
  constructor(what: string) {
    super(`unreadable: ${what}`);
  }
}

export function text(value: unknown): string {
  if (typeof value !== "string") throw new Unreadable("a text");
  return value;
}

export function whole(value: unknown): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) throw new Unreadable("a number");
  return value;
}

/** −1 is the block below the first one. */
export function decimal(value: unknown): number {
  const digits = text(value);
  if (!/^(-1|[0-9]{1,15})$/.test(digits)) throw new Unreadable("a number");
  return Number(digits);
}

export function address(value: unknown): Address {
  const parsed = parseAddress(text(value));
  if (parsed === undefined || parsed !== value) throw new Unreadable("an address");
  return parsed;
}

export function hash(value: unknown): Hash {
  const parsed = parseHash(text(value));
  if (parsed === undefined || parsed !== value) throw new Unreadable("a hash");
  return parsed;
}

function tokenId(value: unknown): TokenId {
  const parsed = parseTokenId(text(value));
  if (parsed === undefined) throw new Unreadable("a token id");
  return parsed;
}

// Most keys come with the grant: one position for both, sixty thousand times.
function claimOf(row: Readonly<Record<string, unknown>>, grantedAt: Position | undefined): Claim | undefined {
  const { key, key_at, key_lost, granted_at } = row;
  if (key === null && key_at === null && key_lost === null) return undefined;
  const at = key_at === granted_at && grantedAt !== undefined ? grantedAt : position(key_at);
  return { key: text(key), at, lost: truth(key_lost) };
}

function maybePosition(value: unknown): Position | undefined {
  return value === null ? undefined : position(value);
}

function role(value: unknown): Role {
  const parsed = ROLES[whole(value)];
  if (parsed === undefined) throw new Unreadable("a role");
  return parsed;
}

function truth(value: unknown): boolean {
  if (value !== 0 && value !== 1) throw new Unreadable("a truth value");
  return value === 1;
}

type Fields = Readonly<Record<string, unknown>>;

function eventOf(event: Fields): AccessEvent {
  const { block, logIndex } = fields(event["at"]);
  const where = {
    at: { block: whole(block), logIndex: whole(logIndex) },
    blockHash: hash(event["blockHash"]),
    transaction: hash(event["transaction"]),
  };
  const { kind } = event;
  switch (kind) {
    case "grant":
      return {
        ...where,
        kind,
        ...ofToken(event),
        nodeId: text(event["nodeId"]),
        owner: address(event["owner"]),
        key: text(event["key"]),
      };
    case "revoke":
      return { ...where, kind, ...ofToken(event) };
    case "transfer":
      return { ...where, kind, ...ofToken(event), from: address(event["from"]), to: address(event["to"]) };
    case "key-update":
    case "key-read":
      return { ...where, kind, ...ofToken(event), key: text(event["key"]) };
    case "owner-key-update":
      return { ...where, kind, owner: address(event["owner"]), key: text(event["key"]) };
    case "role":
      return { ...where, kind, ...ofToken(event), role: role(ROLES.indexOf(event["role"] as Role)) };
    case "endpoint":
      return { ...where, kind, ...ofToken(event), endpoint: text(event["endpoint"]) };
    case "observed":
      return { ...where, kind, ...ofToken(event), state: stateOf(fields(event["state"])) };
    case "invalid":
      return { ...where, kind, reason: text(event["reason"]) };
    default:
      throw new Unreadable("an event of a kind that there is not");
  }
}

function ofToken(event: Fields): { tokenId: TokenId } {
  return { tokenId: tokenId(event["tokenId"]) };
}

function stateOf(state: Fields): TokenState {
  if (state["kind"] === "missing") return { kind: "missing" };
  const { kind, active } = state;
  if (kind !== "present" || typeof active !== "boolean") throw new Unreadable("a token's state");
  return { kind, nodeId: text(state["nodeId"]), owner: address(state["owner"]), key: text(state["key"]), active };
}

function json(written: unknown): unknown {
  try {
    return JSON.parse(text(written));
  } catch {
    throw new Unreadable("JSON");
  }
}

function list(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new Unreadable("a list");
  return value;
}

function fields(value: unknown): Fields {
  if (typeof value !== "object" || value === null) throw new Unreadable("an object");
  return value as Fields;
}

const NO_KEYS: readonly string[] = [];
