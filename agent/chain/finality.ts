/** How far the chain is final: the `finalized` tag where upstreams know it, a depth where they do not. */
import { AgentError } from "../errors.ts";
import type { Block, Hash } from "../model.ts";
import type { Target } from "./look.ts";
import { blockByNumber, headOf } from "./questions.ts";
import { type Answer, type Rpc, RpcError } from "./rpc.ts";
import { hasWitness } from "./tip.ts";
import type { FollowOptions, Walk } from "./walk.ts";

/** What is remembered of it between polls. */
export interface Finality {
  /** The head when it was last asked. */
  askedAt: number | undefined;
  /** No upstream knows the tag: blocks this deep count as final. */
  isByDepth: boolean;
  refusedAt: number;
}

/** The hash is absent where only the depth says so. */
export interface FinalBlock {
  readonly number: number;
  readonly hash: Hash | undefined;
}

export const FINAL_DEPTH = 64;
const EVERY_BLOCKS = 16;
/** A chain this long has more that is final than its genesis. */
const OLD = 1_024;
/** How far apart two answers about one head may be. */
const NEAR_BLOCKS = 3;
/** How soon a refused tag is tried again: providers change, and a refusal may have been an outage. */
const RETRY_BLOCKS = 256;

export function newFinality(): Finality {
  return { askedAt: undefined, isByDepth: false, refusedAt: 0 };
}

export function isDue(finality: Finality, head: Block): boolean {
  return finality.askedAt === undefined || head.number >= finality.askedAt + EVERY_BLOCKS;
}

/** The newest final block of the chain that `upstream` tells; undefined where there is none yet, or upstreams disagree. */
export async function finalBlock(
  { rpc, options, follower: { finality } }: Walk,
  { head, upstream }: Target,
): Promise<FinalBlock | undefined> {
  finality.askedAt = head.number;
  const claim = (await byTag(rpc, head, finality, options.signal)) ?? byDepth(head);
  return claim && witnessed(rpc, claim, head, upstream, options);
}

function byDepth(head: Block): FinalBlock | undefined {
  const number = head.number - FINAL_DEPTH;
  return number >= 0 ? { number, hash: undefined } : undefined;
}

/** Undefined where the tag says nothing. */
async function byTag(rpc: Rpc, head: Block, finality: Finality, signal: AbortSignal): Promise<FinalBlock | undefined> {
  if (finality.isByDepth && head.number < finality.refusedAt + RETRY_BLOCKS) return undefined;
  const claim = await tagged(rpc, signal);
  finality.isByDepth = claim === undefined || isMeaningless(claim.value, head);
  if (finality.isByDepth) finality.refusedAt = head.number;
  // Told by an upstream that is far ahead of our head's: the depth is as good for now.
  const isUsable = claim !== undefined && !finality.isByDepth && claim.value.number <= head.number;
  return isUsable ? agreed(rpc, claim, head, signal) : undefined;
}

/**
 * Some clients take any tag for `latest`, told by a cache or a server a little behind or ahead, and some for the genesis. A
 * chain that is final at once loses nothing by a depth.
 */
function isMeaningless(claim: Block, head: Block): boolean {
  const isLatest = claim.number > 0 && Math.abs(claim.number - head.number) <= NEAR_BLOCKS;
  return isLatest || (claim.number === 0 && head.number > OLD);
}

/** Undefined where no upstream knows the tag, in whatever way it says so. */
async function tagged(rpc: Rpc, signal: AbortSignal): Promise<Answer<Block> | undefined> {
  for (const isLastTry of [false, true]) {
    try {
      return await rpc.ask(headOf("finalized"), { signal });
    } catch (error) {
      signal.throwIfAborted();
      // A refusal is an answer; anything else may be an accident, and some refuse by status, silence or nonsense.
      if (error instanceof RpcError || isLastTry) return undefined;
      if (!(error instanceof AgentError)) throw error;
    }
  }
  return undefined;
}

/** A claim above the usual depth is believed as far as another upstream makes it too; one that knows no tag makes none. */
async function agreed(
  rpc: Rpc,
  { value: claim, upstream }: Answer<Block>,
  head: Block,
  signal: AbortSignal,
): Promise<FinalBlock | undefined> {
  const deep = byDepth(head);
  const isShallow = claim.number > (deep?.number ?? -1);
  if (!isShallow || !hasWitness(rpc, upstream)) return claim;
  const other = await rpc.ask(headOf("finalized"), { not: upstream, signal }).catch(() => undefined);
  signal.throwIfAborted();
  if (other === undefined || isMeaningless(other.value, head)) return deep;
  if (other.value.number >= claim.number) return claim;
  return deep !== undefined && deep.number > other.value.number ? deep : other.value;
}

/**
 * What is final can never be undone, so one upstream alone cannot declare it where others can be asked: one of them must
 * have the very block. Where all that answer end below it, no more is final than their own depth says, unless they lag too
 * far to be witnesses.
 */
async function witnessed(
  rpc: Rpc,
  claim: FinalBlock,
  head: Block,
  upstream: string,
  { signal, wallMs }: FollowOptions,
): Promise<FinalBlock | undefined> {
  const others = rpc.upstreams().filter(({ name, healthy }) => healthy && name !== upstream);
  if (others.length === 0) return claim;
  const hash = claim.hash ?? (await rpc.ask(blockByNumber(claim.number), { only: upstream, signal })).value.hash;
  const at = async (number: number, only: string) =>
    (await rpc.ask(blockByNumber(number), { only, signal })).value.hash;
  const words = await Promise.all(
    others.map(async ({ name }) => {
      try {
        return (await at(claim.number, name)) === hash ? "has it" : "has another";
      } catch (error) {
        signal.throwIfAborted();
        return error instanceof RpcError && error.kind === "absent" ? name : "fails";
      }
    }),
  );
  if (words.includes("has it")) return { number: claim.number, hash };
  const lower = others.find(({ name }) => words.includes(name));
  // Whoever only fails is asked again: a moment's failure must not make a chain final that is no one else's.
  if (lower === undefined) return undefined;
  try {
    const { value: last } = await rpc.ask(headOf("latest"), { only: lower.name, signal });
    // Our own clock bounds the head's: whoever makes up a head makes up its time.
    const lagSeconds = Math.min(head.timestamp, wallMs() / 1000) - last.timestamp;
    if (lagSeconds > LAGGING_SECONDS) return words.includes("has another") ? undefined : { number: claim.number, hash };
    const number = Math.min(byDepth(last)?.number ?? -1, claim.number);
    return number < 0 ? undefined : { number, hash: await at(number, lower.name) };
  } catch {
    signal.throwIfAborted();
    return undefined;
  }
}

/** An upstream whose head is older than this reads a history of its own. */
const LAGGING_SECONDS = 600;
