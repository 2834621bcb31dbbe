/** Pure: unfinal blocks whose logs are read again before they are final, and when (DESIGN section 5). */
import type { BlockRef } from "../model.ts";
import type { Emptiness } from "./bloom.ts";

export interface Doubt {
  readonly block: BlockRef;
  /**
   * No readable logs though there are some; no logs and a bloom that says nothing; logs, which may not be all; or only
   * that it is one upstream's word where there are more: no logs and a bloom that says so, or a block that is deep.
   */
  readonly kind: "unlikely" | "unknown" | "partial" | "unseconded";
  /** The upstream that told the block; a restart forgets it. */
  readonly from: string | undefined;
  /** The head from which on it is read again. */
  readonly due: number;
  /** Infinite where time alone is no reason to read it again. */
  readonly readAtMs: number;
  /** Indices of logs that did not decode. */
  readonly unread: readonly number[];
}

/** An upstream indexes logs later than it announces the block, mostly by one block. */
const OVERLAP = 1;
/** How deep a block is when its logs should long be there. */
export const SETTLED_DEPTH = 10;
/** Blocks that nothing speaks against are read again together. */
const TOGETHER = 10;
/** A chain may stand still, and its upstream find the missing logs all the same. */
const AGAIN_MS = 4_000;

/** How a block was read. */
export interface Telling {
  readonly from: string;
  /** As soon as it was announced. */
  readonly isFresh: boolean;
  /** It was so deep by then that all its logs should have been there. */
  readonly isDeep: boolean;
  /** Another upstream can be asked. */
  readonly hasWitness: boolean;
}

/** What there is to doubt about a block just read. `emptiness` is absent where it had logs. */
export function doubtOf(
  block: BlockRef,
  emptiness: Emptiness | undefined,
  { from, isFresh, isDeep, hasWitness }: Telling,
  nowMs: number,
  unread: readonly number[] = [],
): Doubt | undefined {
  const isUnseconded = isDeep || emptiness === "sure";
  if (isUnseconded && !hasWitness) return undefined;
  const kind = isUnseconded ? "unseconded" : unread.length > 0 ? "unlikely" : (emptiness ?? "partial");
  const wait = kind === "partial" || isDeep || !isFresh ? SETTLED_DEPTH : OVERLAP;
  return { block, kind, from, due: block.number + wait, readAtMs: nowMs, unread };
}

/** What there is to doubt about a block that was read before a restart, which forgets whatever there was. */
export function doubtAnew(block: BlockRef): Doubt {
  const [due, readAtMs] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  return { block, kind: "unseconded", from: undefined, due, readAtMs, unread: [] };
}

/** Those to be read again now, lowest first. */
export function dueNow(doubts: readonly Doubt[], head: number, nowMs: number): readonly Doubt[] {
  const due = doubts.filter((doubt) => doubt.due <= head);
  const patient = due.filter((doubt) => doubt.kind !== "unlikely" && !isEarly(doubt));
  const overdue = doubts.filter((doubt) => nowMs - doubt.readAtMs >= AGAIN_MS);
  const pressing = new Set([...due.filter((doubt) => !patient.includes(doubt)), ...overdue]);
  if (pressing.size === 0 && patient.length < TOGETHER) return [];
  return [...pressing.union(new Set(patient))].sort((a, b) => a.block.number - b.block.number);
}

/** What is left of a doubt after one more reading; `isFound`: the block turned out to have logs. */
export function afterReading(doubt: Doubt, head: number, nowMs: number, isFound: boolean): Doubt | undefined {
  const settledAt = doubt.block.number + SETTLED_DEPTH;
  if (doubt.kind === "unseconded") return undefined;
  if (isFound && doubt.kind !== "partial") return undefined;
  // Beside logs that are there few are missing: once more is enough before the block is deep.
  const readAtMs = doubt.kind === "partial" ? Number.POSITIVE_INFINITY : nowMs;
  if (head < settledAt) return { ...doubt, due: settledAt, readAtMs };
  return doubt.kind === "unlikely" ? { ...doubt, due: Number.POSITIVE_INFINITY, readAtMs: nowMs } : undefined;
}

function isEarly({ block, due }: Doubt): boolean {
  return due < block.number + SETTLED_DEPTH;
}
