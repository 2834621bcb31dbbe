/**
 * Mass removal: one upstream that lies, or loses half its logs, must not be able to cut everybody off.
 * Beyond a limit each further removal waits until the contract's state itself says so (DESIGN section 5).
 */

/** When peers were removed, oldest first, in milliseconds. */
export type Removals = readonly number[];

export const WINDOW_MS = 10 * 60_000;

/** How many removals within the window need no witness: max(5, 20 %) of the peers there were. */
export function unwitnessedLimit(peers: number): number {
  return Math.max(5, Math.floor(peers / 5));
}

export function withinWindow(removals: Removals, nowMs: number): Removals {
  return removals.filter((at) => at > nowMs - WINDOW_MS);
}

/** Those of `candidates` that need a witness first, in their order. */
export function beyondLimit<T>(candidates: readonly T[], removals: Removals, peers: number, nowMs: number): T[] {
  const recent = withinWindow(removals, nowMs).length;
  // The peers that went within the window count as having been there: the limit must not shrink under a slow drain.
  return candidates.slice(Math.max(0, unwitnessedLimit(peers + recent) - recent));
}
