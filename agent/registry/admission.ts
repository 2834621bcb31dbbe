/** Who gets a peer: DESIGN section 6, rule by rule. The two caps weigh tokens against one another and are the roster's. */
import {
  comparePositions,
  type Endpoint,
  type Position,
  type PublicKey,
  parseEndpoint,
  parsePublicKey,
  type Refusal,
  type Role,
  type Token,
  type TokenId,
} from "../model.ts";
import { type AddressPlan, addressRefusal } from "./addresses.ts";
import { claimants, named, otherClaimant, type Registry } from "./registry.ts";

export interface Rules {
  /** This node's own name and key. */
  readonly nodeId: string;
  readonly ownKey: PublicKey;
  /** How many blocks must hold an addition before it acts; 1 is the block that includes it. */
  readonly confirmations: number;
  /** 0 is no limit. */
  readonly maxTokensPerOwner: number;
  readonly maxPeers: number;
  readonly addresses: AddressPlan;
  /** `GATEWAYS` and `PEER_ENDPOINTS`, for tokens of which the chain has never told a role or an endpoint. */
  readonly gateways: ReadonlySet<string>;
  readonly peerEndpoints: ReadonlyMap<string, Endpoint>;
}

/** What is judged, by which rules, as of which head. */
export interface Moment {
  readonly registry: Registry;
  readonly rules: Rules;
  readonly head: number;
  readonly self: TokenId | undefined;
  /** For each key of several tokens, the one that gets the peer; filled as it is asked. */
  readonly winners: Map<string, TokenId | undefined>;
  /** For each name in the settings, its earliest token; filled as it is asked. */
  readonly firsts: Map<string, TokenId | undefined>;
}

export type Judgement =
  | { readonly kind: "key"; readonly key: PublicKey }
  | { readonly kind: "refused"; readonly code: Refusal };

/** Every rule but the caps, in the order of `REFUSALS`; this node's own token is not asked. */
export function judged(moment: Moment, token: Token): Judgement {
  const { rules } = moment;
  if (!token.active) return refused("inactive");
  if (!isConfirmed(moment, token.grantedAt) || !isConfirmed(moment, token.claim?.at)) {
    return refused("grant.unconfirmed");
  }
  if (token.unreadSince !== undefined) return refused("key.unread");
  const parsed = parsePublicKey(token.claim?.key ?? "");
  if (parsed.kind === "refused") return parsed;
  if (parsed.key === rules.ownKey) return refused("key.own");
  if (isClaimed(moment, token)) return refused("key.claimed");
  const code = addressRefusal(rules.addresses, token.id);
  return code === undefined ? parsed : refused(code);
}

/** What this node's own token is: the earliest active one of its name that holds its key, however that claim stands. */
export type Self =
  | { readonly kind: "found"; readonly token: Token }
  | { readonly kind: "no-token" }
  | { readonly kind: "key-mismatch"; readonly token: Token };

export function self(registry: Registry, nodeId: string, ownKey: PublicKey): Self {
  const ours = named(registry, nodeId);
  const token = ours.find(({ claim }) => claim?.key === ownKey);
  if (token !== undefined) return { kind: "found", token };
  return ours[0] === undefined ? { kind: "no-token" } : { kind: "key-mismatch", token: ours[0] };
}

/** What the token is to others. What the chain says wins over settings, and acts once it is confirmed. */
export function duty(moment: Moment, token: Token): { role: Role; endpoint: Endpoint | undefined } {
  const { gateways, peerEndpoints } = moment.rules;
  if (token.roleAt !== undefined || token.endpointAt !== undefined) {
    const role = isConfirmed(moment, token.roleAt) ? token.role : "member";
    const isDialable = role !== "member" && isConfirmed(moment, token.endpointAt);
    return { role, endpoint: isDialable ? parseEndpoint(token.endpoint) : undefined };
  }
  const isNamed = gateways.has(token.nodeId) || peerEndpoints.has(token.nodeId);
  if (!isNamed || first(moment, token.nodeId) !== token.id) {
    return { role: "member", endpoint: undefined };
  }
  return { role: gateways.has(token.nodeId) ? "gateway" : "node", endpoint: peerEndpoints.get(token.nodeId) };
}

/** The head at which the next of the token's additions is confirmed; undefined where all of them are. */
export function nextConfirmation(moment: Moment, token: Token): number | undefined {
  let first: number | undefined;
  for (const at of additions(token)) {
    if (at !== undefined && !isConfirmed(moment, at)) first = Math.min(first ?? at.block, at.block);
  }
  return first === undefined ? undefined : first + moment.rules.confirmations - 1;
}

/** The positions that `GRANT_CONFIRMATIONS` counts from. */
export function additions({ grantedAt, claim, roleAt, endpointAt }: Token): (Position | undefined)[] {
  return [grantedAt, claim?.at, roleAt, endpointAt];
}

function isConfirmed({ head, rules }: Moment, at: Position | undefined): boolean {
  return at === undefined || at.block <= head - rules.confirmations + 1;
}

/** Lost to another owner for good, or the owner themselves has set the key again on another of their tokens. */
function isClaimed(moment: Moment, { id, claim }: Token): boolean {
  if (claim === undefined || claim.lost) return true;
  return otherClaimant(moment.registry.maps, claim.key, id) !== undefined && winner(moment, claim.key) !== id;
}

// A claim that is not yet confirmed, or may be off, does not take the peer from the token that has it.
function winner(moment: Moment, key: string): TokenId | undefined {
  if (moment.winners.has(key)) return moment.winners.get(key);
  const isReady = ({ grantedAt, claim, unreadSince }: Token) =>
    isConfirmed(moment, grantedAt) && isConfirmed(moment, claim?.at) && unreadSince === undefined;
  const won = claimants(moment.registry, key).filter(isReady).sort(byClaim).at(-1)?.id;
  moment.winners.set(key, won);
  return won;
}

function first({ registry, firsts }: Moment, nodeId: string): TokenId | undefined {
  const found = firsts.get(nodeId) ?? named(registry, nodeId)[0]?.id;
  firsts.set(nodeId, found);
  return found;
}

/** By the claims' positions; several tokens can have made theirs with one announcement. */
export function byClaim(a: Token, b: Token): number {
  const order = a.claim === undefined || b.claim === undefined ? 0 : comparePositions(a.claim.at, b.claim.at);
  return order || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
}

function refused(code: Refusal): Judgement {
  return { kind: "refused", code };
}
