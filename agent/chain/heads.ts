/**
 * Which head to follow. One upstream may lag, freeze, fork, mix chains or make them up: what takes us back, or fits
 * nothing that we hold, is held against a second upstream where there is one.
 */
import { AgentError } from "../errors.ts";
import { type Block, type BlockRef, type Trail, ZERO_HASH } from "../model.ts";
import { blockByNumber, headOf } from "./questions.ts";
import { hasStalled, rivals } from "./rivals.ts";
import { type Headers, type Route, routeTo } from "./route.ts";
import type { Choice, Rpc, UpstreamStatus } from "./rpc.ts";
import { type FollowOptions, tipOf } from "./walk.ts";

/** One upstream's head, and how it is reached from what we hold. */
export interface Look {
  readonly head: Block;
  readonly upstream: string;
  readonly route: Route | { readonly kind: "failed"; readonly error: unknown };
}
export interface Target extends Look {
  readonly route: Extract<Route, { kind: "onward" }>;
}

/** What is remembered between polls. */
export interface Heads {
  /** The upstream that told the tip. */
  tipFrom: string | undefined;
  /** The last head that is our tip or leads on from it. */
  head: Block | undefined;
  /** Polls in a row that brought a shorter fork, and that brought what only a second upstream's word speaks against. */
  shorter: number;
  refuted: number;
  /** Polls in a row in which most upstreams were on another chain than ours, by what they told last. */
  outvoted: number;
}

type Asking = Pick<FollowOptions, "signal" | "wallMs">;

/** A fork that an upstream denies is followed once it is this much longer than what that upstream has. */
const OUTGROWN = 3;
/** A fork below our height is a lagging upstream's, until it was told this often in a row (a chain that was set back). */
const SHORTER_POLLS = 3;
/** What one upstream says is refuted by another's word only so long, if that one has nothing new to say meanwhile. */
const REFUTED_POLLS = 30;
/** What was told last may be some seconds old: so often in a row, before most upstreams are asked whether they are elsewhere. */
const OUTVOTED_POLLS = 5;

/**
 * The head to go to, or undefined where there is nothing new.
 * @param unread the upstream whose head could not be reached just now: another one's is wanted
 * @throws AgentError chain.fork-below-finality, where no upstream knows a chain that fits | chain.before-start
 */
export async function newHead(
  rpc: Rpc,
  trail: Trail,
  heads: Heads,
  asking: Asking,
  unread?: string,
): Promise<Target | undefined> {
  const { signal } = asking;
  const tip = tipOf(trail);
  const majority = unread === undefined ? await ofMost(rpc, trail, heads, asking) : undefined;
  if (majority !== undefined) return followed(heads, majority);
  const first = await firstLook(rpc, trail, heads, unread, signal);
  if (first.route.kind === "same") heads.head = first.head;
  const witness = witnessOf(rpc, first, tip, heads, unread);
  const second = witness === undefined ? undefined : await glance(rpc, trail, witness, signal);
  const mute = second === undefined ? witness : undefined;
  const chosen = await unlessOutnumbered(rpc, trail, preferred(first, second, tip), { first, second, mute }, asking);
  const isRefuted = first.route.kind === "failed" && second !== undefined && second.route.kind !== "failed";
  heads.refuted = isRefuted && chosen === undefined ? heads.refuted + 1 : 0;
  if (isRefuted || (second !== undefined && chosen === second)) rpc.suspect(first.upstream);
  else if (second?.route.kind === "failed" && first.route.kind !== "failed") rpc.suspect(second.upstream);
  if (chosen === undefined) {
    const isBelieved = !isRefuted || (heads.refuted > REFUTED_POLLS && hasOutgrown(first, second));
    if (first.route.kind === "failed" && isBelieved) {
      // Whoever has none of what was final may serve another chain by now.
      if (fitsNothing(first.route.error)) rpc.doubt(first.upstream);
      throw first.route.error;
    }
    heads.shorter = 0;
    const isBefore = [first, second].every((seen) => seen === undefined || isBeforeStart(seen, trail));
    if (isBefore && unread === undefined) throw beforeStart(first, trail);
    return undefined;
  }
  heads.shorter = chosen.head.number < tip.number ? heads.shorter + 1 : 0;
  if (heads.shorter > 0 && heads.shorter < SHORTER_POLLS) return undefined;
  return followed(heads, chosen);
}

/** Nothing was read yet, and the first block to read is not there. */
function isBeforeStart({ head }: Look, { final, unfinal }: Trail): boolean {
  return final.hash === ZERO_HASH && unfinal.length === 0 && head.number <= final.number;
}

function beforeStart({ head, upstream }: Look, { final }: Trail): AgentError {
  return new AgentError({ code: "chain.before-start", startBlock: final.number + 1, head: head.number, upstream });
}

function followed(heads: Heads, target: Target): Target {
  heads.shorter = 0;
  heads.tipFrom = target.upstream;
  heads.head = target.head;
  return target;
}

// --- of three upstreams or more, what most of them have is the chain ----------------------------------------------------

/** The chain that most have in place of ours, as they say once more. */
async function ofMost(rpc: Rpc, trail: Trail, heads: Heads, { signal, wallMs }: Asking): Promise<Target | undefined> {
  const tip = tipOf(trail);
  const others = rivals(rpc, trail);
  heads.outvoted = areMost(others.length, rpc, wallMs()) ? heads.outvoted + 1 : 0;
  if (heads.outvoted < OUTVOTED_POLLS) return undefined;
  heads.outvoted = 0;
  const isFork = (seen: Look): seen is Target =>
    isTarget(seen) && !isForward(seen, tip) && !hasStalled(seen.head, heads.head?.timestamp, wallMs());
  const forks: Target[] = [];
  let open = others.length;
  const enough = new AbortController();
  const until = AbortSignal.any([signal, enough.signal]);
  // Whoever is slow may be the one whose voice is wanting, and is waited for only then.
  const hear = async (name: string) => {
    const seen = await glance(rpc, trail, name, until, PATIENCE_MS).catch(() => undefined);
    if (seen !== undefined && isFork(seen)) forks.push(seen);
    else open--;
    if (areMost(forks.length, rpc, wallMs()) || !areMost(open, rpc, wallMs())) enough.abort();
  };
  await Promise.all(others.map(hear));
  signal.throwIfAborted();
  const longest = forks.toSorted((a, b) => b.head.number - a.head.number)[0];
  const root = longest?.route.run[0];
  const hasRoot = ({ upstream }: Look) => root && headersOf(rpc, upstream, signal).holds(root);
  const backing = await Promise.allSettled(forks.map(hasRoot));
  signal.throwIfAborted();
  const count = backing.filter((one) => one.status === "fulfilled" && one.value).length;
  return areMost(count, rpc, wallMs()) ? longest : undefined;
}

/** A fork is not followed for its length alone where most, asked anew, are on our chain. */
async function unlessOutnumbered(
  rpc: Rpc,
  trail: Trail,
  wanted: Target | undefined,
  { first, second, mute }: { first: Look; second: Look | undefined; mute: string | undefined },
  { signal, wallMs }: Asking,
): Promise<Target | undefined> {
  const tip = tipOf(trail);
  if (wanted === undefined || isForward(wanted, tip)) return wanted;
  // Whoever is behind may yet come to what the fork denies; whoever has stalled has no vote.
  const isOurs = (seen: Look) =>
    seen.route.kind !== "failed" &&
    (!isTarget(seen) || isForward(seen, tip)) &&
    !hasStalled(seen.head, wanted.head.timestamp, wallMs());
  const denier = [first, second].find((seen) => seen !== wanted);
  if (denier !== undefined && !isOurs(denier)) return wanted;
  // Whoever does not answer in a moment is no voice for the fork.
  const asked = [first.upstream, second?.upstream, mute];
  const left = rpc.upstreams().filter(({ name, healthy }) => healthy && !asked.includes(name));
  const rest = await Promise.all(left.map(({ name }) => glance(rpc, trail, name, signal)));
  const silent = rest.filter((seen) => seen === undefined).length + (mute === undefined ? 0 : 1);
  const ours = [denier, ...rest].filter((seen) => seen !== undefined && isOurs(seen)).length;
  if (!areMost(silent + ours, rpc, wallMs())) return wanted;
  return denier !== undefined && isTarget(denier) ? denier : undefined;
}

/** Of those who have a vote; of two, one is no majority. */
function areMost(count: number, rpc: Rpc, wallMs: number): boolean {
  const healthy = rpc.upstreams().filter((upstream) => upstream.healthy);
  const newest = Math.max(...healthy.map(({ headTimestamp = 0 }) => headTimestamp));
  const isStalled = ({ headTimestamp: timestamp }: UpstreamStatus) =>
    timestamp !== undefined && hasStalled({ timestamp }, newest, wallMs);
  return count > 1 && 2 * count > healthy.filter((upstream) => !isStalled(upstream)).length;
}

const fitsNothing = (error: unknown) => error instanceof AgentError && error.fault.code === "chain.fork-below-finality";

/** Pure: which of two looks to follow, if any; `first` alone where there is no second witness. */
export function preferred(first: Look, second: Look | undefined, tip: BlockRef): Target | undefined {
  const [one, other] = [first, second].map((seen) => (seen && isTarget(seen) ? seen : undefined));
  if (one !== undefined && isForward(one, tip)) return one;
  if (other !== undefined && isForward(other, tip)) {
    return one !== undefined && hasOutgrown(one, other) ? one : other;
  }
  if (one !== undefined && other !== undefined) return other.head.number > one.head.number ? other : one;
  // Of a fork and of an upstream that still has what the fork denies, the fork must be the longer one.
  const [fork, denier] = one !== undefined ? [one, second] : [other, first];
  if (fork === undefined) return undefined;
  const denies = denier !== undefined && denier.route.kind !== "failed" && denier.head.number > fork.route.from.number;
  return denies && !hasOutgrown(fork, denier) ? undefined : fork;
}

function hasOutgrown(fork: Look, denier: Look): boolean {
  return fork.head.number >= denier.head.number + OUTGROWN;
}

function isTarget(seen: Look): seen is Target {
  return seen.route.kind === "onward";
}

/** Reached without taking back anything. */
function isForward(seen: Look, tip: BlockRef): boolean {
  return isTarget(seen) && seen.route.from.number === tip.number;
}

/** Whom to ask besides, if anybody. The upstream that told our tip knows best whether it still stands. */
function witnessOf(
  rpc: Rpc,
  first: Look,
  tip: BlockRef,
  { tipFrom }: Heads,
  unread: string | undefined,
): string | undefined {
  if (isForward(first, tip)) return undefined;
  // Whose head cannot be reached only has a say where something is to be taken back.
  const isNothingNew = first.route.kind === "same" || first.route.kind === "behind";
  const silent = isNothingNew ? unread : undefined;
  const others = rpc.upstreams().filter(({ name, healthy }) => healthy && name !== first.upstream && name !== silent);
  // A head that does not move may be a frozen upstream's.
  if (first.route.kind === "same") return others.find(({ headBlock = 0 }) => headBlock > tip.number)?.name;
  const swiftest = others.toSorted((a, b) => (a.latencyMs || GLANCE_MS) - (b.latencyMs || GLANCE_MS))[0];
  return (others.find(({ name }) => name === tipFrom) ?? swiftest)?.name;
}

/** Of whoever is best, and where it takes its time though another one is known to be swift, of that one. */
async function firstLook(
  rpc: Rpc,
  trail: Trail,
  { tipFrom }: Heads,
  unread: string | undefined,
  signal: AbortSignal,
): Promise<Look> {
  if (unread !== undefined) return look(rpc, trail, { not: unread }, signal);
  const isSwift = ({ name, healthy, latencyMs }: UpstreamStatus) =>
    name !== tipFrom && healthy && latencyMs > 0 && latencyMs < GLANCE_MS / 4;
  if (tipFrom === undefined || !rpc.upstreams().some(isSwift)) return look(rpc, trail, {}, signal);
  const haste = AbortSignal.timeout(GLANCE_MS);
  return look(rpc, trail, {}, AbortSignal.any([signal, haste])).catch((error: unknown) => {
    signal.throwIfAborted();
    if (!haste.aborted) throw error;
    rpc.suspect(tipFrom);
    return look(rpc, trail, { not: tipFrom }, signal);
  });
}

/** Undefined where it does not show in a moment where it is. @throws the signal's reason */
async function glance(
  rpc: Rpc,
  trail: Trail,
  only: string,
  signal: AbortSignal,
  ms = GLANCE_MS,
): Promise<Look | undefined> {
  const haste = AbortSignal.any([signal, AbortSignal.timeout(ms)]);
  const seen = await look(rpc, trail, { only }, haste).catch(() => undefined);
  signal.throwIfAborted();
  return seen;
}

/** Far more than an upstream takes that is well, for a dozen questions. */
const GLANCE_MS = 4_000;
/** Beside whom we may be on a chain that nobody else has. */
const PATIENCE_MS = 20_000;

/** @throws what asking for the head threw; trouble on the way to it is part of the answer */
async function look(rpc: Rpc, trail: Trail, choice: Choice, signal: AbortSignal): Promise<Look> {
  const { value: head, upstream } = await rpc.ask(headOf("latest"), { ...choice, signal });
  try {
    return { head, upstream, route: await routeTo(head, trail, headersOf(rpc, upstream, signal)) };
  } catch (error) {
    signal.throwIfAborted();
    return { head, upstream, route: { kind: "failed", error } };
  }
}

/** Headers as one upstream has them; where it fails others may help, and links tell whether theirs fit. */
export function headersOf(rpc: Rpc, upstream: string, signal: AbortSignal): Headers {
  return {
    async at(number) {
      const question = blockByNumber(number);
      const { value } = await rpc.ask(question, { only: upstream, signal }).catch(() => {
        signal.throwIfAborted();
        return rpc.ask(question, { signal });
      });
      return value;
    },
    async holds(ref) {
      const { value } = await rpc.ask(blockByNumber(ref.number), { only: upstream, signal });
      return value.hash === ref.hash;
    },
  };
}
