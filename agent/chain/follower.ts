/**
 * Following the chain (DESIGN section 5): one call is one poll, and yields every step from the trail to the head. Up to
 * the final block logs are read by range; above it block by block, linked by hash. All of a poll's steps belong together:
 * between a `rewind` and the last `extend` the ledger is on no head of any chain.
 */
import { AgentError } from "../errors.ts";
import { type AccessEvent, type Address, type Advance, type BlockRef, type Trail, ZERO_HASH } from "../model.ts";
import type { Doubt } from "./doubts.ts";
import { isInvalid, TOPICS } from "./events.ts";
import { type Finality, finalBlock, newFinality } from "./finality.ts";
import { type Heads, newHead, type Target } from "./heads.ts";
import { history } from "./history.ts";
import { headOf } from "./questions.ts";
import { newReach, type Reach } from "./ranges.ts";
import { Moved, RUN } from "./route.ts";
import type { Rpc } from "./rpc.ts";
import { begin, finalised, type Second, told } from "./second.ts";
import { firstBlock } from "./start.ts";
import type { Contract, Habits } from "./tip.ts";
import { extended } from "./unfinal.ts";

export interface FollowOptions {
  readonly contract: Address;
  /** The first block of interest; absent: found by bisecting. */
  readonly startBlock: number | undefined;
  readonly signal: AbortSignal;
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
  /** Whether an event of an unfinal block was told before a restart. */
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

/** What following remembers between polls; nothing of it is needed after a restart. */
export interface Follower {
  readonly figures: Figures;
  readonly reach: Reach;
  readonly finality: Finality;
  readonly heads: Heads;
  readonly habits: Habits;
  doubts: readonly Doubt[];
  /** The log indices told of each unfinal block that had any. */
  readonly told: Map<number, Set<number>>;
  readonly second: Second;
}

/** One poll at work; `trail` moves with every step that is told. */
export interface Walk {
  readonly rpc: Rpc;
  readonly contract: Contract;
  readonly options: FollowOptions;
  readonly follower: Follower;
  trail: Trail;
}

export function newFollower(): Follower {
  return {
    figures: {
      ...{ headBlock: undefined, headTimestamp: undefined, cursorBlock: undefined, finalizedBlock: undefined },
      ...{ reorgs: 0, deepestReorg: 0, invalidLogs: 0, divergences: 0, rereads: 0, usesDepthFallback: false },
    },
    reach: newReach(),
    finality: newFinality(),
    heads: { tipFrom: undefined, shorter: 0 },
    habits: { refusals: new Map(), hasBlooms: false },
    doubts: [],
    told: new Map(),
    second: { doubts: undefined, final: undefined },
  };
}

/** Where an empty ledger stands: on a placeholder below the first block of interest. */
export function origin(startBlock: number | undefined): BlockRef {
  return { number: (startBlock ?? 0) - 1, hash: ZERO_HASH };
}

const TRIES = 3;

/**
 * @throws AgentError chain.fork-below-finality | chain.no-contract | chain.no-start-block, and what no upstream could
 *   answer (chain.request-failed, chain.reply-refused, RpcError); what was yielded until then stands
 */
export async function* follow(
  rpc: Rpc,
  trail: Trail,
  options: FollowOptions,
  follower: Follower,
): AsyncGenerator<Advance> {
  const contract = { address: options.contract, topics: TOPICS };
  const walk: Walk = { rpc, contract, options, follower, trail };
  for (let tries = 1; ; tries++) {
    try {
      for await (const step of poll(walk)) {
        take(walk, step);
        yield step;
      }
      return;
    } catch (error) {
      options.signal.throwIfAborted();
      if (!(error instanceof Moved)) throw error;
      if (tries === TRIES) throw contradiction(walk, error);
    }
  }
}

async function* poll(walk: Walk): AsyncGenerator<Advance> {
  const { rpc, options, follower } = walk;
  const { signal, now } = options;
  yield* begun(walk);
  let target = await newHead(rpc, walk.trail, follower.heads, signal);
  if (target !== undefined && isFar(walk.trail, target)) {
    seen(walk, target);
    const startedAt = now();
    yield* settled(walk, target);
    const isOld = now() - startedAt > STALE_MS;
    target = isOld ? await newHead(rpc, walk.trail, follower.heads, signal) : since(target, walk.trail);
  }
  if (target !== undefined) {
    seen(walk, target);
    yield* extended(walk, target);
  }
  yield* told(walk);
  sayDepth(walk);
  if (target !== undefined) begin(walk, target);
}

/** Whether blocks may have become final that we have not seen at all. */
function isFar({ unfinal }: Trail, { head, route }: Target): boolean {
  return unfinal.length === 0 || head.number - route.from.number > RUN;
}

/** Reads all that is final by now. */
async function* settled(walk: Walk, target: Target): AsyncGenerator<Advance> {
  const final = await finalBlock(walk.rpc, target.head, walk.follower.finality, walk.options.signal);
  sayDepth(walk);
  if (final === undefined || final.number <= target.route.from.number) return;
  yield* rewound(walk, target);
  yield* finalised(walk, target, final);
  yield* history(walk, target, final);
}

/** A head this old is asked for anew before it is walked to. */
const STALE_MS = 2_000;

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

/** Finds the contract's first block where no setting names it, and tells it as history without events. */
async function* begun({ rpc, trail, options: { contract, startBlock, signal } }: Walk): AsyncGenerator<Advance> {
  if (startBlock !== undefined || trail.final.number >= 0 || trail.unfinal.length > 0) return;
  const { value: head } = await rpc.ask(headOf("latest"), { signal });
  const first = await firstBlock(rpc, contract, head.number, signal);
  if (first > 0) yield { kind: "history", to: origin(first), events: [] };
}

/** The same target, after history has moved the tip. */
function since(target: Target, trail: Trail): Target | undefined {
  const tip = tipOf(trail);
  if (target.route.from.number >= tip.number || trail.unfinal.length > 0) return target;
  return target.head.number > tip.number ? { ...target, route: { ...target.route, from: tip } } : undefined;
}

/** Steps back to where the head's chain leaves ours. */
export function* rewound(walk: Walk, { route }: Target): Generator<Advance> {
  if (tipOf(walk.trail).number > route.from.number) yield { kind: "rewind", to: route.from };
}

function seen({ follower: { figures } }: Walk, { head }: Target): void {
  figures.headBlock = head.number;
  figures.headTimestamp = head.timestamp;
}

function sayDepth({ follower: { figures, finality }, options }: Walk): void {
  if (finality.isByDepth && !figures.usesDepthFallback) options.onNotice?.({ kind: "finality-by-depth", depth: 64 });
  figures.usesDepthFallback = finality.isByDepth;
}

/** Moves the trail, the figures and what was told along with a step. */
function take(walk: Walk, step: Advance): void {
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
  const events = step.kind === "finalise" ? step.missed : step.events;
  figures.invalidLogs += events.filter(isInvalid).length;
  if (step.kind !== "history") for (const { at } of events) indices(follower, at.block).add(at.logIndex);
  forget(follower, ({ number }) => number <= walk.trail.final.number);
}

function indices({ told }: Follower, block: number): Set<number> {
  const known = told.get(block) ?? new Set();
  told.set(block, known);
  return known;
}

function forget(follower: Follower, isGone: (block: { readonly number: number }) => boolean): void {
  for (const number of follower.told.keys()) if (isGone({ number })) follower.told.delete(number);
  follower.doubts = follower.doubts.filter(({ block }) => !isGone(block));
}

function contradiction({ rpc, follower }: Walk, cause: Moved): AgentError {
  const upstream = follower.heads.tipFrom ?? "none";
  rpc.suspect(upstream);
  const fault = {
    code: "chain.reply-refused",
    method: "eth_getBlockByNumber",
    upstream,
    problem: cause.message,
  } as const;
  return new AgentError(fault, { cause });
}
