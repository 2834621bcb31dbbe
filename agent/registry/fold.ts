/** What each event means for the registry: DESIGN section 4, "How events are folded". Pure; no event needs an inverse. */
import {
  type AccessEvent,
  type Address,
  type Claim,
  comparePositions,
  type Position,
  type Token,
  type TokenId,
  type TokenState,
  ZERO_ADDRESS,
} from "../model.ts";
import { type Maps, on, otherClaimant, type Registry } from "./registry.ts";

export interface Folded {
  readonly registry: Registry;
  /** The tokens whose record is another one now. */
  readonly touched: ReadonlySet<TokenId>;
}

export function fold(registry: Registry, event: AccessEvent): Folded {
  return foldAll(registry, [event]);
}

/** The same as folding one after the other, and cheaper. */
export function foldAll(registry: Registry, events: readonly AccessEvent[]): Folded {
  const touched = new Set<TokenId>();
  if (events.length === 0) return { registry, touched };
  const folded = registry.written((maps, make) => {
    const keep = (known: Token | undefined, token: Token | undefined) => {
      if (token === undefined || token === known) return;
      const { owner } = known ?? token;
      make({ kind: "record", id: token.id, token });
      touched.add(token.id);
      // Nobody is left who could be meant by what this owner announced.
      if (maps.announced.has(owner) && !maps.waiting.has(owner)) {
        for (const key of [...keysAnnounced(maps, owner).keys()]) {
          make({ kind: "announcement", owner, key, at: undefined });
        }
      }
    };
    for (const [i, event] of events.entries()) {
      if (event.kind === "invalid") continue;
      if (event.kind !== "owner-key-update") {
        const known = maps.records.get(event.tokenId);
        if (known === undefined && isSaidAgain(event, events[i + 1])) continue;
        const next = outcome(maps, known, event);
        // What was announced is read later, and was theirs since: whoever set the key in between has lost it.
        if (event.kind === "key-read") for (const late of laterClaimants(maps, next)) keep(late, lost(late));
        keep(known, next);
        continue;
      }
      const { owner, key, at } = event;
      for (const known of meantBy(maps, event)) keep(known, { ...known, unreadSince: at });
      if (maps.waiting.has(owner)) make({ kind: "announcement", owner, key, at });
    }
  });
  return { registry: folded, touched };
}

/** A mint's Transfer right before the grant that names the same owner: most of a history is such pairs. */
function isSaidAgain(event: AccessEvent, next: AccessEvent | undefined): boolean {
  if (event.kind !== "transfer" || next?.kind !== "grant") return false;
  return event.from === ZERO_ADDRESS && event.tokenId === next.tokenId && event.to === next.owner;
}

type OfOneToken = Exclude<AccessEvent, { kind: "owner-key-update" | "invalid" }>;

/** The token's record after the event; undefined where the event makes none of an unknown token. */
function outcome(maps: Maps, known: Token | undefined, event: OfOneToken): Token | undefined {
  const { at } = event;
  const before = known ?? unknown(event.tokenId);
  switch (event.kind) {
    case "grant":
      return granted(maps, before, event, at);
    case "revoke":
      return known && deactivated(known);
    case "transfer":
      return event.to === before.owner ? known : handedOver(maps, before, event.to, at);
    case "key-update":
      return { ...before, claim: claimed(maps, before, before.owner, event.key, at), unreadSince: undefined };
    case "key-read":
      return known && settled(maps, known, event.key);
    case "role":
      return { ...before, role: event.role, roleAt: at };
    case "endpoint":
      return { ...before, endpoint: event.endpoint, endpointAt: at };
    case "observed":
      return observed(maps, known, event.tokenId, event.state, at);
  }
}

type Grant = Extract<AccessEvent, { kind: "grant" }>;

function granted(maps: Maps, before: Token, grant: Grant, at: Position): Token {
  // A known owner is right even before the grant: a transfer inside the mint is logged ahead of it. The key that the
  // grant carries is then the first owner's, and a contract that keeps it must not lend it to the next one.
  const owner = before.owner === ZERO_ADDRESS ? grant.owner : before.owner;
  const isTheirs = owner === grant.owner;
  return {
    ...before,
    nodeId: grant.nodeId,
    owner,
    active: true,
    grantedAt: before.active ? before.grantedAt : at,
    claim: isTheirs ? claimed(maps, before, owner, grant.key, at) : undefined,
    formerKeys: isTheirs ? before.formerKeys : former(before.formerKeys, [grant.key]),
    unreadSince: undefined,
  };
}

/** The claim stays on the record of an inactive token, so that a transfer later still knows it for a former key. */
function deactivated(before: Token): Token {
  return before.active ? { ...before, active: false, unreadSince: undefined } : before;
}

function handedOver(maps: Maps, before: Token, to: Address, at: Position): Token {
  // The first owner is no new owner: a mint's Transfer may come before its grant or after it.
  if (before.owner === ZERO_ADDRESS) return { ...before, owner: to };
  return {
    ...before,
    owner: to,
    active: before.active && to !== ZERO_ADDRESS,
    claim: undefined,
    formerKeys: former(before.formerKeys, keysOf(maps, before)),
    unreadSince: undefined,
    endpoint: "",
    transferredAt: at,
  };
}

/**
 * The owner named a key and no token: each of their tokens may be meant. The old keys go off at once, and a read of the
 * contract settles which token it was. A token whose standing claim is to this very key has it either way.
 */
function meantBy(maps: Maps, { owner, key }: Extract<AccessEvent, { kind: "owner-key-update" }>): Token[] {
  return on(maps, "settled", owner).filter(({ claim }) => claim === undefined || claim.lost || claim.key !== key);
}

function settled(maps: Maps, before: Token, key: string): Token {
  const { owner, claim, unreadSince } = before;
  if (unreadSince === undefined) return before;
  const at = keysAnnounced(maps, owner).get(key);
  if (at !== undefined && comparePositions(at, unreadSince) >= 0) {
    return { ...before, claim: claimed(maps, before, owner, key, at), unreadSince: undefined };
  }
  return { ...before, claim: claim?.key === key ? claim : undefined, unreadSince: undefined };
}

function observed(
  maps: Maps,
  known: Token | undefined,
  id: TokenId,
  state: TokenState,
  at: Position,
): Token | undefined {
  const isGone = state.kind === "missing" || !state.active || state.owner === ZERO_ADDRESS;
  if (isGone) return known && deactivated(known);
  const before = known ?? unknown(id);
  const held = before.owner === state.owner ? before : handedOver(maps, before, state.owner, at);
  const seen = {
    ...held,
    nodeId: state.nodeId,
    active: true,
    grantedAt: held.active ? held.grantedAt : at,
    claim: claimSeen(maps, held, state.key, at),
    unreadSince: undefined,
  };
  const isSame =
    seen.claim === before.claim &&
    seen.owner === before.owner &&
    seen.nodeId === before.nodeId &&
    before.active &&
    before.unreadSince === undefined;
  return isSame ? known : seen;
}

function claimSeen(maps: Maps, held: Token, key: string, at: Position): Claim | undefined {
  if (held.active && (held.claim?.key ?? "") === key) return held.claim;
  // Contracts that keep the seller's key after a transfer go on showing it.
  return held.formerKeys.includes(key) ? undefined : claimed(maps, held, held.owner, key, at);
}

/** The claim that the token's owner makes by setting `key` now, judged once and for good. */
function claimed(maps: Maps, before: Token, owner: Address, key: string, at: Position): Claim | undefined {
  if (key === "") return undefined;
  const other = otherClaimant(maps, key, before.id);
  const isEarlier = other !== undefined && on(maps, "byKey", key).every((rival) => isLater(rival, at));
  if (other !== undefined && other.owner !== owner && !isEarlier) return { key, at, lost: true };
  // Said again, it is the same claim: no peer waits for confirmations anew because its key was repeated.
  const { active, claim } = before;
  const isRepeated = active && claim?.key === key && !claim.lost;
  return isRepeated && (other === undefined || isLatest(maps, before.id, claim)) ? claim : { key, at, lost: false };
}

function isLatest(maps: Maps, id: TokenId, { key, at }: Claim): boolean {
  for (const other of on(maps, "byKey", key)) {
    if (other.id !== id && other.claim !== undefined && comparePositions(other.claim.at, at) > 0) return false;
  }
  return true;
}

/** Every key that the contract may still show for the token when its present owner lets go of it, the newest last. */
function keysOf(maps: Maps, { owner, claim, unreadSince }: Token): string[] {
  const keys = claim === undefined ? [] : [claim.key];
  if (unreadSince === undefined) return keys;
  // Going back to another version of the registry, the map has them in another order.
  const announced = [...keysAnnounced(maps, owner)].filter(([, at]) => comparePositions(at, unreadSince) >= 0);
  return [...keys, ...announced.sort(([, a], [, b]) => comparePositions(a, b)).map(([key]) => key)];
}

/** Other owners' tokens whose standing claim to this token's key is later than its own. */
function laterClaimants(maps: Maps, token: Token | undefined): Token[] {
  const { owner, claim } = token ?? {};
  if (claim === undefined || claim.lost) return [];
  return on(maps, "byKey", claim.key).filter((rival) => rival.owner !== owner && isLater(rival, claim.at));
}

const isLater = ({ claim }: Token, at: Position) => claim !== undefined && comparePositions(at, claim.at) < 0;

const lost = (token: Token): Token => ({ ...token, claim: token.claim && { ...token.claim, lost: true } });

function keysAnnounced(maps: Maps, owner: Address): ReadonlyMap<string, Position> {
  return maps.announced.get(owner) ?? NO_ANNOUNCEMENTS;
}

/** How many keys of owners before the last one are remembered; a contract shows the newest that was ever set. */
const KEPT_FORMER_KEYS = 32;

function former(earlier: readonly string[], keys: readonly string[]): readonly string[] {
  const added = keys.filter((key) => key !== "");
  return added.length === 0 ? earlier : [...new Set([...earlier.slice(-KEPT_FORMER_KEYS), ...added])];
}

function unknown(id: TokenId): Token {
  return {
    id,
    nodeId: "",
    owner: ZERO_ADDRESS,
    active: false,
    grantedAt: undefined,
    claim: undefined,
    transferredAt: undefined,
    formerKeys: NO_KEYS,
    unreadSince: undefined,
    role: "member",
    roleAt: undefined,
    endpoint: "",
    endpointAt: undefined,
  };
}

const NO_ANNOUNCEMENTS: ReadonlyMap<string, Position> = new Map();
const NO_KEYS: readonly string[] = [];
