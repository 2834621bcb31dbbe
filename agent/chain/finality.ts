/** How far the chain is final: the `finalized` tag where upstreams know it, a depth where they do not. */
import { AgentError } from "../errors.ts";
import type { Block, Hash } from "../model.ts";
import { blockByNumber, headOf } from "./questions.ts";
import { type Answer, type Rpc, RpcError } from "./rpc.ts";
import { hasWitness } from "./tip.ts";

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
/** How soon a refused tag is tried again: providers change, and a refusal may have been an outage. */
const RETRY_BLOCKS = 256;

export function newFinality(): Finality {
  return { askedAt: undefined, isByDepth: false, refusedAt: 0 };
}

export function isDue(finality: Finality, head: Block): boolean {
  return finality.askedAt === undefined || head.number >= finality.askedAt + EVERY_BLOCKS;
}

/** The newest final block; undefined where there is none yet, or upstreams disagree. */
export async function finalBlock(
  rpc: Rpc,
  head: Block,
  finality: Finality,
  signal: AbortSignal,
): Promise<FinalBlock | undefined> {
  finality.askedAt = head.number;
  const deep = { number: head.number - FINAL_DEPTH, hash: undefined };
  const byDepth = deep.number >= 0 ? deep : undefined;
  if (finality.isByDepth && head.number < finality.refusedAt + RETRY_BLOCKS) return byDepth;
  const claim = await tagged(rpc, signal);
  finality.isByDepth = claim === undefined || isMeaningless(claim.value, head);
  if (claim === undefined || finality.isByDepth) {
    finality.refusedAt = head.number;
    return byDepth;
  }
  // Told by an upstream that is far ahead of our head's: a later poll learns it.
  if (claim.value.number > head.number) return undefined;
  return witnessed(rpc, claim, deep, signal);
}

/** Some clients take any tag for `latest`, and some for the genesis. A chain that is final at once loses nothing by a depth. */
function isMeaningless(claim: Block, head: Block): boolean {
  const isLatest = head.number > 0 && claim.number >= head.number && claim.number <= head.number + 3;
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

/**
 * What is final can never be undone, so one upstream alone cannot declare it where another can be asked. A claim above
 * the usual depth is believed as far as both make it; a deeper one needs both to have the block.
 */
async function witnessed(
  rpc: Rpc,
  { value: claim, upstream }: Answer<Block>,
  deep: FinalBlock,
  signal: AbortSignal,
): Promise<FinalBlock | undefined> {
  if (!hasWitness(rpc, upstream)) return claim;
  const isShallow = claim.number > deep.number;
  const question = isShallow ? headOf("finalized") : blockByNumber(claim.number);
  const witness = await rpc.ask(question, { not: upstream, signal }).catch(() => undefined);
  if (witness === undefined) return claim;
  if (!isShallow) return witness.value.hash === claim.hash ? claim : undefined;
  if (witness.value.number >= claim.number) return claim;
  return witness.value.number >= deep.number ? witness.value : deep.number >= 0 ? deep : undefined;
}
