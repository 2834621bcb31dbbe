/**
 * Pure: how many blocks to ask for at once. Providers cap blocks, results, bytes or time, at numbers that they choose and
 * word as they like; what they bear is found by trying.
 */

/** What was learned, kept between polls. */
export interface Reach {
  size: number;
  /** The smallest range that is known to fail. */
  ceiling: number;
  /** The size is not being changed: it was found, or what is larger is left alone for a while. */
  isSettled: boolean;
  /** Answers since then, and how many it takes until a larger range is tried again. */
  answers: number;
  patience: number;
  /** Where a larger one is being tried: the size that worked before. */
  good: number | undefined;
  /** What is being tried is whether anything has changed, not what the cap is. */
  isProbe: boolean;
  /** The most logs that each upstream has ever sent: it does not cut at fewer. */
  readonly most: Map<string, number>;
  /** Numbers of logs that turned out not to be all. */
  readonly cuts: Set<number>;
}

/** The most blocks that hosted providers commonly allow: a larger range is tried late, for nodes without a cap. */
const COMMON_CAP = 10_000;
const LARGEST = 1_000_000;
/** So few that a crowded stretch is noticed before a provider has put together a reply of a hundred megabytes. */
const FIRST = 100;
const PATIENCE = 24;

export function newReach(): Reach {
  return {
    ...{ size: FIRST, ceiling: Number.POSITIVE_INFINITY, good: undefined, isProbe: false },
    ...{ isSettled: false, answers: 0, patience: PATIENCE },
    ...{ most: new Map(), cuts: new Set() },
  };
}

/** Some 2 MB: as much as is parsed without holding up the event loop. */
export const MANY_LOGS = 2_500;

/** Less, at a number of the kind that providers choose, but not less than what worked before something larger was tried. */
export function shrink(reach: Reach, failed: number, by = 2): void {
  if (failed > reach.size) return;
  const { good = 1, isProbe } = reach;
  const isKnownGood = good < failed;
  reach.ceiling = isKnownGood ? Math.min(reach.ceiling, failed) : failed;
  reach.isProbe = false;
  if (isProbe && isKnownGood) {
    settle(reach, good);
    return;
  }
  reach.size = Math.max(1, roundBelow(failed / by), isKnownGood ? good : 1);
  if (reach.size !== good) reach.good = undefined;
  reach.isSettled = false;
}

/** `remaining`: blocks still to read; looking for the exact cap costs failures, and pays on a long way only. */
export function grow(reach: Reach, logs: number, remaining: number): void {
  const { size } = reach;
  if (logs > MANY_LOGS && size > 1) {
    settle(reach, Math.floor((size * MANY_LOGS) / logs));
    return;
  }
  if (reach.isSettled && ++reach.answers < reach.patience) return;
  reach.isProbe = reach.isSettled;
  if (reach.isProbe) {
    // The cap may have been an outage's, or that of a crowded stretch of blocks.
    reach.ceiling = Number.POSITIVE_INFINITY;
    reach.patience = Math.min(reach.patience * 2, 1_024);
  }
  const wanted = reach.isProbe ? 2 * size : largerThan(reach, remaining);
  const larger = Math.floor(Math.min(wanted, LARGEST, (size * MANY_LOGS) / Math.max(1, logs)));
  reach.isSettled = larger < 1.2 * size;
  reach.answers = 0;
  if (reach.isSettled) return;
  reach.good = size;
  reach.size = larger;
}

function largerThan({ size, ceiling }: Reach, remaining: number): number {
  if (ceiling === Number.POSITIVE_INFINITY && size <= COMMON_CAP) return COMMON_CAP;
  const round = roundAbove(size);
  if (round < ceiling) return round;
  return remaining > 30 * size ? (size + ceiling) / 2 : size;
}

export function settle(reach: Reach, size: number): void {
  reach.size = Math.max(1, size);
  reach.good = undefined;
  reach.isSettled = true;
  reach.answers = 0;
}

/** 1, 2, 5, 10, 20, 50 … */
function roundBelow(limit: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, limit)));
  return [5, 2, 1].map((digit) => digit * power).find((round) => round <= limit) ?? 1;
}

function roundAbove(size: number): number {
  const power = 10 ** Math.floor(Math.log10(size));
  return [2, 5, 10].map((digit) => digit * power).find((round) => round > size) ?? 10 * power;
}
