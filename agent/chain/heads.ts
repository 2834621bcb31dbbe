/**
 * Which head to follow. One upstream may lag, freeze, fork, mix chains or make them up: what takes us back, or fits
 * nothing that we hold, is held against a second upstream where there is one.
 */
import { AgentError } from "../errors.ts";
import { type Block, type BlockRef, type Trail, ZERO_HASH } from "../model.ts";
import { GLANCE_MS, glance, isForward, isTarget, type Look, look, type Target } from "./look.ts";
import { type Asking, ofMost, unlessOutnumbered } from "./majority.ts";
import type { Rpc, UpstreamStatus } from "./rpc.ts";
import { tipOf } from "./walk.ts";

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

/** A fork that an upstream denies is followed once it is this much longer than what that upstream has. */
const OUTGROWN = 3;
/** A fork below our height is a lagging upstream's, until it was told this often in a row (a chain that was set back). */
const SHORTER_POLLS = 3;
/** What one upstream says is refuted by another's word only so long, if that one has nothing new to say meanwhile. */
const REFUTED_POLLS = 30;

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
  // Of two, nobody else could speak against a fork for it.
  const ms = rpc.upstreams().length > 2 ? GLANCE_MS : 2 * GLANCE_MS;
  const second = witness === undefined ? undefined : await glance(rpc, trail, witness, signal, ms);
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
