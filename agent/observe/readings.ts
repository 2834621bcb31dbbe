/** What one reading of the device says in figures: the only walk over all peers that observation makes. Pure. */

/** How recent a handshake must be for a peer to count as connected: WireGuard's Reject-After-Time, whitepaper section 6.1. */
export const CONNECTED_WITHIN_MS = 180_000;
/** Seconds. Handshakes renew every two minutes while there is traffic. */
export const HANDSHAKE_AGE_BUCKETS = [30, 60, 120, 180, 600, 3_600, 86_400] as const;

export interface PeerReading {
  /** Wall time in ms; 0 or undefined for never. */
  readonly latestHandshakeAt?: number | undefined;
  readonly rxBytes: number;
  readonly txBytes: number;
}

/** Peers by the age of their latest handshake; peers that never had one are in no bucket and not in `count`. */
export interface HandshakeAges {
  /** Not cumulative, one per bound of HANDSHAKE_AGE_BUCKETS. */
  readonly buckets: readonly number[];
  readonly sumSeconds: number;
  readonly count: number;
}

export interface Readings {
  readonly connected: number;
  /** Since the agent started to read, over all peers there were: never falls when a peer is removed. */
  readonly rxBytes: number;
  readonly txBytes: number;
  readonly handshakeAges: HandshakeAges;
}

export const NO_READINGS: Readings = {
  connected: 0,
  rxBytes: 0,
  txBytes: 0,
  handshakeAges: { buckets: HANDSHAKE_AGE_BUCKETS.map(() => 0), sumSeconds: 0, count: 0 },
};

/** `before` are the figures and peers of the reading before this one; peers are told apart by their map keys. */
export function read<Key>(
  before: { readonly readings: Readings; readonly peers: ReadonlyMap<Key, PeerReading> },
  peers: ReadonlyMap<Key, PeerReading>,
  nowMs: number,
): Readings {
  let { rxBytes, txBytes } = before.readings;
  let [connected, sumSeconds, count] = [0, 0, 0];
  const buckets = HANDSHAKE_AGE_BUCKETS.map(() => 0);
  for (const [key, peer] of peers) {
    const last = before.peers.get(key);
    rxBytes += grown(last?.rxBytes, peer.rxBytes);
    txBytes += grown(last?.txBytes, peer.txBytes);
    if (!peer.latestHandshakeAt) continue;
    // A clock that was set back makes handshakes of the future: they are new, not negative.
    const ageMs = Math.max(0, nowMs - peer.latestHandshakeAt);
    if (ageMs < CONNECTED_WITHIN_MS) connected++;
    count++;
    sumSeconds += ageMs / 1000;
    const index = HANDSHAKE_AGE_BUCKETS.findIndex((bound) => ageMs <= bound * 1000);
    if (index >= 0) buckets[index] = (buckets[index] ?? 0) + 1;
  }
  return { connected, rxBytes, txBytes, handshakeAges: { buckets, sumSeconds, count } };
}

/** A peer that was removed and added again counts from zero. */
function grown(before: number | undefined, now: number): number {
  return before !== undefined && now >= before ? now - before : now;
}
