/** The registry: every token of the contract as of one block, and the ways to look it up. A persistent value. */
import { type Address, comparePositions, type Position, type Token, type TokenId } from "../model.ts";
import { Version } from "./versions.ts";

export type Registry = Version<Maps, Change>;

export const emptyRegistry = (): Registry => new Version(emptyMaps(), apply);

export function token(registry: Registry, id: TokenId): Token | undefined {
  return registry.maps.records.get(id);
}

/** How many tokens were ever granted; a record that only a transfer or a role has made is not yet one of them. */
export function size(registry: Registry): number {
  return registry.maps.granted;
}

/** Every token that was ever granted, active or not. */
export function tokens(registry: Registry): Token[] {
  return [...registry.maps.records.values()].filter((token) => token.grantedAt !== undefined);
}

/** The id of every record, also of one that no grant has made a token yet. */
export function recordedIds(registry: Registry): TokenId[] {
  return [...registry.maps.records.keys()];
}

/** The active tokens whose claim to this key stands: all of one owner, since a claim against a standing one is lost. */
export function claimants(registry: Registry, key: string): Token[] {
  return on(registry.maps, "byKey", key);
}

/** The active tokens of this owner. */
export function ownedBy(registry: Registry, owner: Address): Token[] {
  return [...on(registry.maps, "settled", owner), ...on(registry.maps, "waiting", owner)];
}

/** The active tokens of this name, the earliest first; contracts other than ours can have several. */
export function named(registry: Registry, nodeId: string): Token[] {
  return on(registry.maps, "byName", nodeId).sort((a, b) => {
    const order = comparePositions(a.grantedAt ?? NEVER, b.grantedAt ?? NEVER);
    return order || (a.id < b.id ? -1 : 1);
  });
}

/** The active tokens that wait for a `key-read`. */
export function unreadIds(registry: Registry): TokenId[] {
  return [...registry.maps.waiting.values()].flatMap((shelf) => (typeof shelf === "bigint" ? shelf : [...shelf]));
}

export interface Difference {
  /** False where the two have nothing in common: then this is all of the later one. */
  readonly isPartial: boolean;
  readonly records: ReadonlyMap<TokenId, Token | undefined>;
  readonly announcements: readonly Announcement[];
}

export interface Announcement {
  readonly owner: Address;
  readonly key: string;
  /** Undefined where it is settled. */
  readonly at: Position | undefined;
}

/** What `after` has otherwise than `before`, as `after` has it; its cost follows what changed. */
export function difference(before: Registry | undefined, after: Registry): Difference {
  if (before === after) return { isPartial: true, records: new Map(), announcements: [] };
  const changes = before?.changesTo(after);
  const { records, announced } = after.maps;
  if (changes === undefined) {
    const announcements = [...announced].flatMap(([owner, keys]) => [...keys].map(([key, at]) => ({ owner, key, at })));
    return { isPartial: false, records: new Map(records), announcements };
  }
  const changed = new Map<TokenId, Token | undefined>();
  const spoken = new Map<string, Announcement>();
  for (const change of changes) {
    if (change.kind === "record") changed.set(change.id, records.get(change.id));
    else {
      const { owner, key } = change;
      spoken.set(`${owner} ${key}`, { owner, key, at: announced.get(owner)?.get(key) });
    }
  }
  return { isPartial: true, records: changed, announcements: [...spoken.values()] };
}

/** A registry of these records and announcements, as `difference` once told them. */
export function restored(tokens: Iterable<Token>, announcements: Iterable<Announcement>): Registry {
  return emptyRegistry().written((_, make) => {
    for (const token of tokens) make({ kind: "record", id: token.id, token });
    for (const announcement of announcements) make({ kind: "announcement", ...announcement });
  });
}

/** What a registry is made of; only the fold writes, and only through a `Change`. */
export interface Maps {
  readonly records: Map<TokenId, Token>;
  granted: number;
  /** Keys that an owner announced without naming a token, while one of their tokens waits for its `key-read`. */
  readonly announced: Map<Address, Map<string, Position>>;
  // These follow from the records of active tokens: by the key of a standing claim, by name, and by owner, apart for
  // the tokens that wait for a `key-read` and those that do not.
  readonly byKey: Shelves;
  readonly byName: Shelves;
  readonly settled: Shelves;
  readonly waiting: Shelves;
}
/** A shelf of one is the id itself; most are. */
type Shelves = Map<string, TokenId | Set<TokenId>>;

export type Change =
  | { readonly kind: "record"; readonly id: TokenId; readonly token: Token | undefined }
  | ({ readonly kind: "announcement" } & Announcement);

export function on(maps: Maps, shelves: "byKey" | "byName" | "settled" | "waiting", text: string): Token[] {
  const shelf = maps[shelves].get(text);
  if (shelf === undefined) return [];
  const found: Token[] = [];
  for (const id of typeof shelf === "bigint" ? [shelf] : shelf) {
    const token = maps.records.get(id);
    if (token !== undefined) found.push(token);
  }
  return found;
}

/** One claimant of the key other than this token, of the one owner that all of them have. */
export function otherClaimant(maps: Maps, key: string, id: TokenId): Token | undefined {
  const shelf = maps.byKey.get(key);
  if (shelf === undefined || shelf === id) return undefined;
  if (typeof shelf === "bigint") return maps.records.get(shelf);
  for (const other of shelf) if (other !== id) return maps.records.get(other);
  return undefined;
}

function emptyMaps(): Maps {
  return {
    records: new Map(),
    granted: 0,
    announced: new Map(),
    byKey: new Map(),
    byName: new Map(),
    settled: new Map(),
    waiting: new Map(),
  };
}

function apply(maps: Maps, change: Change): Change {
  if (change.kind === "record") return recorded(maps, change.id, change.token);
  const { owner, key, at } = change;
  const keys = maps.announced.get(owner) ?? new Map<string, Position>();
  const before = keys.get(key);
  if (at === undefined) keys.delete(key);
  else keys.set(key, at);
  if (keys.size === 0) maps.announced.delete(owner);
  else maps.announced.set(owner, keys);
  return { kind: "announcement", owner, key, at: before };
}

function recorded(maps: Maps, id: TokenId, token: Token | undefined): Change {
  const before = maps.records.get(id);
  if (token === undefined) maps.records.delete(id);
  else maps.records.set(id, token);
  maps.granted += (token?.grantedAt === undefined ? 0 : 1) - (before?.grantedAt === undefined ? 0 : 1);
  move(maps.byKey, before && standingKey(before), token && standingKey(token), id);
  move(maps.byName, before && activeName(before), token && activeName(token), id);
  move(maps.settled, before && settledOwner(before), token && settledOwner(token), id);
  move(maps.waiting, before && waitingOwner(before), token && waitingOwner(token), id);
  return { kind: "record", id, token: before };
}

const standingKey = ({ active, claim }: Token) => (active && claim?.lost === false ? claim.key : undefined);
const activeName = ({ active, nodeId }: Token) => (active ? nodeId : undefined);
const settledOwner = ({ active, owner, unreadSince }: Token) =>
  active && unreadSince === undefined ? owner : undefined;
const waitingOwner = ({ active, owner, unreadSince }: Token) =>
  active && unreadSince !== undefined ? owner : undefined;

function move(shelves: Shelves, from: string | undefined, to: string | undefined, id: TokenId): void {
  if (from === to) return;
  if (from !== undefined) {
    const shelf = shelves.get(from);
    if (typeof shelf === "object" && shelf.size > 1) shelf.delete(id);
    else shelves.delete(from);
  }
  if (to !== undefined) {
    const shelf = shelves.get(to);
    if (shelf === undefined) shelves.set(to, id);
    else if (typeof shelf === "object") shelf.add(id);
    else shelves.set(to, new Set([shelf, id]));
  }
}

const NEVER: Position = { block: Number.POSITIVE_INFINITY, logIndex: 0 };
