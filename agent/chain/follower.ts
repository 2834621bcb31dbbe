/**
 * Following the chain (DESIGN section 5): one call is one poll, and yields every step from the trail to the head. Up to
 * the final block logs are read by range; above it block by block, linked by hash. All of a poll's steps belong together:
 * between a `rewind` and the last `extend` the ledger is on no head of any chain.
 */
import { AgentError } from "../errors.ts";
import { type Advance, type Trail, ZERO_HASH } from "../model.ts";
import type { Habits } from "./block-logs.ts";
import { usesBlooms } from "./bloom.ts";
import { TOPICS } from "./events.ts";
import { type FinalBlock, finalBlock } from "./finality.ts";
import { newHead } from "./heads.ts";
import { history } from "./history.ts";
import { headersOf, type Target } from "./look.ts";
import { headOf } from "./questions.ts";
import { Moved, passes, RUN } from "./route.ts";
import { type Rpc, RpcError } from "./rpc.ts";
import { begin, doubtAll, finalised, type Reached, told } from "./second.ts";
import { firstBlock } from "./start.ts";
import { hasWitness } from "./tip.ts";
import { extended } from "./unfinal.ts";
import { conflict, type Follower, type FollowOptions, origin, take, tipOf, type Walk } from "./walk.ts";

export {
  type Figures,
  type Follower,
  type FollowOptions,
  type Notice,
  newFollower,
  origin,
  stepped,
  tipOf,
} from "./walk.ts";

const TRIES = 3;

/**
 * @throws AgentError chain.fork-below-finality | chain.no-contract | chain.no-start-block | chain.before-start, and what no
 *   upstream could answer (chain.request-failed, chain.reply-refused, RpcError); what was yielded until then stands
 */
export async function* follow(
  rpc: Rpc,
  trail: Trail,
  options: FollowOptions,
  follower: Follower,
): AsyncGenerator<Advance> {
  const contract = { address: options.contract, topics: TOPICS, limits: follower.habits.limits };
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
      if (tries === TRIES) throw refused(walk, error.message);
    }
  }
}

async function* poll(walk: Walk): AsyncGenerator<Advance> {
  if (walk.follower.isNew) doubtAll(walk);
  yield* begun(walk);
  const target = yield* onward(walk);
  yield* told(walk);
  sayDepth(walk);
  begin(walk, target);
}

/**
 * To the newest head, and where its upstream does not tell what leads there, to another one's: a made-up head must hold up
 * nobody. An only upstream's may be reached with the next poll.
 */
async function* onward(walk: Walk, unread?: string): AsyncGenerator<Advance, Reached | undefined> {
  const { rpc, options, trail, follower } = walk;
  const { tipFrom, head } = follower.heads;
  const target = await newHead(rpc, trail, follower.heads, options, unread);
  seen(walk);
  if (target === undefined || target.upstream === unread) return undefined;
  const hasOther = unread === undefined && hasWitness(rpc, target.upstream);
  const isHurried = hasOther && !follower.isPatient && isAnotherAhead(walk, target);
  if (hasOther) follower.isPatient = false;
  try {
    return yield* reached(walk, target, isHurried);
  } catch (error) {
    options.signal.throwIfAborted();
    if (!hasOther || !(isRefusal(error) || isLate(error))) throw error;
    if (walk.trail === trail) Object.assign(follower.heads, { tipFrom, head });
    follower.isPatient = isLate(error);
    const other = yield* onward(walk, target.upstream);
    if (other !== undefined) follower.isPatient = false;
    rpc.suspect(target.upstream);
    return other;
  }
}

/** By the heads that were told last. */
function isAnotherAhead({ rpc, trail }: Walk, { upstream }: Target): boolean {
  const tip = tipOf(trail).number;
  return rpc.upstreams().some(({ name, healthy, headBlock = -1 }) => healthy && name !== upstream && headBlock > tip);
}

const isRefusal = (error: unknown) => error instanceof RpcError || error instanceof AgentError;
const isLate = (error: unknown) => error instanceof DOMException && error.name === "TimeoutError";

async function* reached(walk: Walk, target: Target, isHurried: boolean): AsyncGenerator<Advance, Reached | undefined> {
  if (!isFar(walk.trail, target)) {
    yield* led(walk, target, isHurried);
    return target;
  }
  const final = yield* settled(walk, target);
  const left = since(target, walk.trail);
  if (left === undefined) return undefined;
  yield* led(walk, left, isHurried);
  return { ...left, final };
}

/** Told block by block, each as late as it may, a fork could hold up a revoke for minutes: another upstream is asked sooner. */
function led(walk: Walk, target: Target, isHurried: boolean): AsyncGenerator<Advance> {
  const { options, follower } = walk;
  const { signal } = options;
  const haste = isHurried ? AbortSignal.any([signal, AbortSignal.timeout(HASTE_MS)]) : signal;
  return extended(walk, withBlooms(target, follower.habits), haste);
}

const HASTE_MS = 4_000;

/** Whether blocks may have become final that we have not seen at all. */
function isFar({ unfinal }: Trail, { head, route }: Target): boolean {
  return unfinal.length === 0 || head.number - route.from.number > RUN;
}

const LONG = 1_024;
/** A day of a fast chain: who serves people already must see who is revoked, whatever upstreams say of what is final. */
const LONG_OUTAGE = 65_536;

/** Reads all that is final by now. @returns the final block where that is no further than we hold */
async function* settled(walk: Walk, target: Target): AsyncGenerator<Advance, FinalBlock | undefined> {
  const { rpc, options } = walk;
  const { upstream, route } = target;
  const final = await finalBlock(walk, target);
  sayDepth(walk);
  if (final !== undefined && final.number <= route.from.number) {
    mustBeNear(walk, target);
    return final;
  }
  // What is told as history stays: the chain that we are about to follow must have this very block.
  const held = final && (await headersOf(rpc, upstream, options.signal).at(final.number));
  const isHeld = held !== undefined && (final?.hash ?? held.hash) === held.hash && passes(route.run, held);
  if (!isHeld) {
    if (held !== undefined) conflict(walk, held.number, upstream);
    mustBeNear(walk, target);
    return undefined;
  }
  const { number, hash } = held;
  yield* rewound(walk, target);
  yield* finalised(walk, target, { number, hash });
  yield* history(walk, target, { number, hash });
  return undefined;
}

/** A short stretch can be followed as unfinal; a long one would never end, and may be made up. */
function mustBeNear(walk: Walk, { head, route }: Target): void {
  const limit = walk.trail.final.hash === ZERO_HASH ? LONG : LONG_OUTAGE;
  if (head.number - route.from.number > limit) throw refused(walk, "upstreams disagree about what is final");
}

/** Finds the contract's first block where no setting names it, and tells it as history without events. */
async function* begun({ rpc, trail, options, follower }: Walk): AsyncGenerator<Advance> {
  const { contract, startBlock, signal } = options;
  if (startBlock !== undefined || trail.final.number >= 0 || trail.unfinal.length > 0) return;
  const { value: head } = await rpc.ask(headOf("latest"), { signal });
  const first = await firstBlock(rpc, contract, head.number, follower.search, signal);
  if (first > 0) yield { kind: "history", to: origin(first), events: [] };
}

/** The same target, after history has moved the tip. */
function since(target: Target, trail: Trail): Target | undefined {
  const tip = tipOf(trail);
  if (target.route.from.number >= tip.number || trail.unfinal.length > 0) return target;
  return target.head.number > tip.number ? { ...target, route: { ...target.route, from: tip } } : undefined;
}

/** A blank bloom says that there is nothing only on a chain that is known to fill them; elsewhere it is as good as absent. */
function withBlooms(target: Target, habits: Habits): Target {
  const { route } = target;
  habits.hasBlooms ||= route.run.some(usesBlooms);
  if (habits.hasBlooms) return target;
  return { ...target, route: { ...route, run: route.run.map(({ logsBloom: _, ...block }) => block) } };
}

/** Steps back to where the head's chain leaves ours. */
function* rewound(walk: Walk, { route }: Target): Generator<Advance> {
  if (tipOf(walk.trail).number > route.from.number) yield { kind: "rewind", to: route.from };
}

function seen({ follower: { figures, heads } }: Walk): void {
  figures.headBlock = heads.head?.number;
  figures.headTimestamp = heads.head?.timestamp;
}

function sayDepth({ follower: { figures, finality }, options }: Walk): void {
  if (finality.isByDepth && !figures.usesDepthFallback) options.onNotice?.({ kind: "finality-by-depth", depth: 64 });
  figures.usesDepthFallback = finality.isByDepth;
}

function refused({ rpc, follower }: Walk, problem: string): AgentError {
  const upstream = follower.heads.tipFrom ?? "none";
  rpc.suspect(upstream);
  return new AgentError({ code: "chain.reply-refused", method: "eth_getBlockByNumber", upstream, problem });
}
