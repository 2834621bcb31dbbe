/** What one poll works on, what following remembers between polls, and how both move with every step that is told. */
import {
  type AccessEvent,
  type Address,
  type Advance,
  type BlockRef,
  eventsIn,
  type Trail,
  ZERO_HASH,
} from "../model.ts";
import type { Contract, Habits } from "./block-logs.ts";
import type { Doubt } from "./doubts.ts";
import { isInvalid, subjectOf } from "./events.ts";
import { type Finality, newFinality } from "./finality.ts";
import type { Heads } from "./heads.ts";
import { newReach, type Reach } from "./reach.ts";
import type { Rpc } from "./rpc.ts";
import type { Second } from "./second.ts";
import type { Search } from "./start.ts";

export interface FollowOptions {
  readonly contract: Address;
  /** The first block of interest; absent: found by bisecting. */
  readonly startBlock: number | undefined;
  readonly signal: AbortSignal;
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
  /** Milliseconds since the epoch. */
  readonly wallMs: () => number;
  /** Whether an event of an unfinal block was told, before a restart too; as unreadable is told only where it is so again. */
  readonly knows?: (event: AccessEvent) => boolean;
  readonly onNotice?: (notice: Notice) => void;
}

/** What an operator should hear of, each once. */
export type Notice =
  | { readonly kind: "finality-by-depth"; readonly depth: number }
  | { readonly kind: "missed-logs"; readonly count: number; readonly fromBlock: number; readonly toBlock: number }
  | { readonly kind: "conflict"; readonly block: number; readonly upstream: string };

/** For observation; every number is of this process. */
export interface Figures {
  headBlock: number | undefined;
  /** Seconds since the epoch, as the head says. */
  headTimestamp: number | undefined;
  /** Logs are read up to here. */
  cursorBlock: number | undefined;
  finalizedBlock: number | undefined;
  reorgs: number;
  /** Blocks dropped by the deepest one. */
  deepestReorg: number;
  invalidLogs: number;
  /** Logs that only a second reading showed, and upstreams that contradicted one another. */
  divergences: number;
  /** Blocks whose logs were read again. */
  rereads: number;
  usesDepthFallback: boolean;
}

/** What following remembers between polls; after a restart only whether the chain has blooms is worth knowing. */
export interface Follower {
  /** Has not polled yet. */
  isNew: boolean;
  readonly figures: Figures;
  readonly reach: Reach;
  readonly finality: Finality;
  readonly heads: Heads;
  readonly habits: Habits;
  doubts: readonly Doubt[];
  /** The log indices told of each unfinal block that had any, but for what could not be read: another upstream may have it whole. */
  readonly told: Map<number, Map<number, string>>;
  readonly second: Second;
  readonly search: Search;
  /** The last poll was late, and no other upstream had more to tell: this one takes its time. */
  isPatient: boolean;
  /** The block of the last conflict that was told. */
  conflictAt: number | undefined;
}

/** One poll at work; `trail` moves with every step that is told. */
export interface Walk {
  readonly rpc: Rpc;
  readonly contract: Contract;
  readonly options: FollowOptions;
  readonly follower: Follower;
  trail: Trail;
}

/** `hasBlooms`: the chain is known to fill them. */
export function newFollower(hasBlooms = false): Follower {
  return {
    isNew: true,
    figures: {
      ...{ headBlock: undefined, headTimestamp: undefined, cursorBlock: undefined, finalizedBlock: undefined },
      ...{ reorgs: 0, deepestReorg: 0, invalidLogs: 0, divergences: 0, rereads: 0, usesDepthFallback: false },
    },
    reach: newReach(),
    finality: newFinality(),
    heads: { tipFrom: undefined, head: undefined, shorter: 0, refuted: 0, outvoted: 0 },
    habits: { refusals: new Map(), limits: new Map(), hasBlooms },
    doubts: [],
    told: new Map(),
    second: { doubts: new Map(), final: undefined },
    search: { refusals: 0 },
    isPatient: false,
    conflictAt: undefined,
  };
}

/** Where an empty ledger stands: on a placeholder below the first block of interest. */
export function origin(startBlock: number | undefined): BlockRef {
  return { number: (startBlock ?? 0) - 1, hash: ZERO_HASH };
}

export function tipOf(trail: Trail): BlockRef {
  return trail.unfinal.at(-1) ?? trail.final;
}

/** Pure: where a trail is after a step. */
export function stepped(trail: Trail, step: Advance): Trail {
  switch (step.kind) {
    case "history":
      return { final: step.to, unfinal: [] };
    case "extend":
      return { ...trail, unfinal: [...trail.unfinal, { number: step.block.number, hash: step.block.hash }] };
    case "rewind":
      return { ...trail, unfinal: trail.unfinal.filter(({ number }) => number <= step.to.number) };
    case "finalise":
      return { final: step.to, unfinal: trail.unfinal.filter(({ number }) => number > step.to.number) };
  }
}

/** Moves the trail, the figures and what was told along with a step. */
export function take(walk: Walk, step: Advance): void {
  const { follower, trail } = walk;
  const { figures } = follower;
  const dropped = tipOf(trail).number;
  walk.trail = stepped(trail, step);
  const tip = tipOf(walk.trail);
  figures.cursorBlock = tip.number;
  if (walk.trail.final.hash !== ZERO_HASH) figures.finalizedBlock = walk.trail.final.number;
  if (step.kind === "rewind") {
    figures.reorgs++;
    figures.deepestReorg = Math.max(figures.deepestReorg, dropped - tip.number);
    forget(follower, ({ number }) => number > tip.number);
    return;
  }
  const events = eventsIn(step);
  figures.invalidLogs += events.filter(isInvalid).length;
  if (step.kind !== "history")
    for (const event of events)
      if (!isInvalid(event)) indices(follower, event.at.block).set(event.at.logIndex, subjectOf(event));
  forget(follower, ({ number }) => number <= walk.trail.final.number);
}

function indices({ told }: Follower, block: number): Map<number, string> {
  const known = told.get(block) ?? new Map<number, string>();
  told.set(block, known);
  return known;
}

function forget(follower: Follower, isGone: (block: { readonly number: number }) => boolean): void {
  for (const known of [follower.told, follower.habits.limits]) {
    for (const number of known.keys()) if (isGone({ number })) known.delete(number);
  }
  follower.doubts = follower.doubts.filter(({ block }) => !isGone(block));
}

/** Upstreams, or two answers of one, that cannot both be true. */
export function conflict({ follower, options }: Walk, block: number, upstream: string): void {
  if (follower.conflictAt === block) return;
  follower.conflictAt = block;
  follower.figures.divergences++;
  options.onNotice?.({ kind: "conflict", block, upstream });
}
