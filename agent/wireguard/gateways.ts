/**
 * Which gateway carries the overlay: the one with the lowest token id, unless its handshake says that it is gone. Pure;
 * called after every reading of the device, with what the call before it returned.
 */
import type { PublicKey, TokenId } from "../model.ts";

/** WireGuard's Reject-After-Time, whitepaper section 6.1: no packet passes on an older handshake. */
export const STALE_AFTER_MS = 180_000;
/** How long a gateway that failed must have been back before it carries the overlay again. */
export const RETURN_AFTER_MS = 600_000;

export interface Gateway {
  readonly tokenId: TokenId;
  readonly key: PublicKey;
}

export interface Succession {
  readonly primary: TokenId | undefined;
  /** When the primary became it; it has the stale time from then on to shake hands for the first time. */
  readonly seatedAt: number;
  readonly standings: ReadonlyMap<TokenId, Standing>;
}

interface Standing {
  /** Since when its handshakes have been fresh without a gap. */
  readonly freshSince: number | undefined;
  /** It was primary and went stale: it comes back only after RETURN_AFTER_MS. */
  readonly hasFailed: boolean;
}

/** The start; `carrier` is whoever carries the overlay on a device that already runs, so that a restart moves nothing. */
export function succession(carrier: TokenId | undefined, nowMs: number): Succession {
  return { primary: carrier, seatedAt: nowMs, standings: new Map() };
}

/**
 * @param gateways those that this node has as peers, in any order
 * @param handshakeAt wall time in ms of a peer's latest handshake, 0 for never
 */
export function succeed(
  before: Succession,
  gateways: readonly Gateway[],
  handshakeAt: (key: PublicKey) => number,
  nowMs: number,
): Succession {
  const ranked = gateways.toSorted((a, b) => (a.tokenId < b.tokenId ? -1 : 1));
  const isFresh = ({ key }: Gateway) => handshakeAt(key) > 0 && nowMs - handshakeAt(key) < STALE_AFTER_MS;
  const standings = new Map<TokenId, Standing>();
  for (const gateway of ranked) {
    const { freshSince, hasFailed = false } = before.standings.get(gateway.tokenId) ?? {};
    standings.set(gateway.tokenId, { freshSince: isFresh(gateway) ? (freshSince ?? nowMs) : undefined, hasFailed });
  }

  const current = ranked.find(({ tokenId }) => tokenId === before.primary);
  const stay: Succession = { ...before, standings };
  const seat = (gateway: Gateway | undefined): Succession => {
    const standing = gateway && standings.get(gateway.tokenId);
    if (gateway && standing) standings.set(gateway.tokenId, { ...standing, hasFailed: false });
    return { primary: gateway?.tokenId, seatedAt: nowMs, standings };
  };

  if (current === undefined) return seat(ranked.find(isFresh) ?? ranked[0]);
  const isAwaited = handshakeAt(current.key) === 0 && nowMs - before.seatedAt < STALE_AFTER_MS;
  if (isFresh(current) || isAwaited) {
    const better = ranked.find((gateway) => gateway.tokenId < current.tokenId && mayReturn(gateway, standings, nowMs));
    return better === undefined ? stay : seat(better);
  }
  const next = ranked.find((gateway) => gateway !== current && isFresh(gateway));
  // With nobody better there is nothing to move to, and a move would only be noise on the device.
  if (next === undefined) return stay;
  standings.set(current.tokenId, { freshSince: undefined, hasFailed: true });
  return seat(next);
}

function mayReturn({ tokenId }: Gateway, standings: ReadonlyMap<TokenId, Standing>, nowMs: number): boolean {
  const { freshSince, hasFailed } = standings.get(tokenId) ?? { freshSince: undefined, hasFailed: false };
  return freshSince !== undefined && (!hasFailed || nowMs - freshSince >= RETURN_AFTER_MS);
}
