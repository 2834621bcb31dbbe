/** The way from the blocks that we hold to a new head: found by number, believed by hash. */
import { AgentError } from "../errors.ts";
import { type Block, type BlockRef, type Trail, ZERO_HASH } from "../model.ts";
import { parallel } from "./parallel.ts";

/** Headers of the chain that the head belongs to. */
export interface Headers {
  /** @throws where there is no such block */
  at(number: number): Promise<Block>;
  /** Whether that chain has this very block. */
  holds(ref: BlockRef): Promise<boolean>;
}

export type Route =
  /** The head that we have. */
  | { readonly kind: "same" }
  /** A block that we have, or one below all of them: whoever says so lags. */
  | { readonly kind: "behind" }
  /** `from` is the last block in common, the tip unless the chain was reorganised; `run` ends with the head. */
  | { readonly kind: "onward"; readonly from: BlockRef; readonly run: readonly Block[] };

/** How far below the head every header is read; ranges and every 32nd header do below that. */
export const RUN = 64;
const AT_ONCE = 8;

/** The headers that were read do not belong together: the chain moved meanwhile, or an upstream mixes chains. */
export class Moved extends Error {
  override readonly name = "Moved";
}

/**
 * @throws Moved where the headers do not link
 * @throws AgentError chain.fork-below-finality
 */
export async function routeTo(head: Block, trail: Trail, headers: Headers): Promise<Route> {
  const held = [trail.final, ...trail.unfinal];
  const tip = held.at(-1) ?? trail.final;
  if (head.hash === tip.hash && head.number === tip.number) return { kind: "same" };
  const twin = held.findLast(({ number }) => number <= head.number);
  if (twin === undefined || isBlock(head, twin)) return { kind: "behind" };

  const ahead = Math.max(tip.number + 1, head.number - RUN + 1);
  const run = await runTo(head, Math.min(ahead, head.number), headers);
  const isReached = ahead === tip.number + 1 && head.number > tip.number;
  if (isReached ? links(run[0], tip) : head.number > tip.number && (await isShared(tip, headers))) {
    return { kind: "onward", from: tip, run };
  }
  const from = await lastInCommon(held, head, headers);
  const lowest = Math.max(from.number + 1, head.number - RUN + 1);
  const missing = await runTo(run[0] ?? head, lowest, headers);
  const whole = [...missing, ...run.slice(1)];
  if (lowest === from.number + 1 && !links(whole[0], from)) throw new Moved("the fork does not reach its root");
  return { kind: "onward", from, run: whole };
}

/** A placeholder below the first block of interest stands for whatever block has its number. */
export function isBlock(block: BlockRef, ref: BlockRef): boolean {
  return block.number === ref.number && (block.hash === ref.hash || ref.hash === ZERO_HASH);
}

function links(child: Block | undefined, parent: BlockRef): boolean {
  return child !== undefined && (child.parentHash === parent.hash || parent.hash === ZERO_HASH);
}

/** Whether the final block lies on the way, as far as the run shows it. */
export function passes(run: readonly Block[], final: BlockRef): boolean {
  const [at, next] = [final.number, final.number + 1].map((number) => run.find((block) => block.number === number));
  return (at === undefined || isBlock(at, final)) && (next === undefined || links(next, final));
}

/** The headers from `lowest` up to `top`, each the parent of the next. */
async function runTo(top: Block, lowest: number, headers: Headers): Promise<readonly Block[]> {
  const numbers = Array.from({ length: top.number - lowest }, (_, i) => lowest + i);
  const run = [...(await parallel(numbers, AT_ONCE, (number) => headers.at(number))), top];
  const isLinked = run.every((block, i) => i === 0 || links(block, run[i - 1] as Block));
  if (!isLinked) throw new Moved("the headers do not link");
  return run;
}

/** Blocks are shared up to some height and none above it: gallop down from the top, then halve. */
async function lastInCommon(held: readonly BlockRef[], head: Block, headers: Headers): Promise<BlockRef> {
  const below = held.filter(({ number }) => number < head.number);
  const parent = below.at(-1);
  if (parent !== undefined && links(head, parent)) return parent;
  let forked = parent?.number === head.number - 1 ? below.length - 1 : below.length;
  let shared = forked - 1;
  for (let step = 1; shared >= 0 && !(await isShared(below[shared], headers)); step *= 2) {
    forked = shared;
    shared = shared > 0 ? Math.max(0, shared - step) : -1;
  }
  const lowest = below[shared];
  if (lowest === undefined) throw forkBelow(held[0] ?? head);
  while (forked - shared > 1) {
    const middle = Math.floor((shared + forked) / 2);
    if (await isShared(below[middle], headers)) shared = middle;
    else forked = middle;
  }
  return below[shared] ?? lowest;
}

async function isShared(ref: BlockRef | undefined, headers: Headers): Promise<boolean> {
  return ref !== undefined && (ref.hash === ZERO_HASH || (await headers.holds(ref)));
}

function forkBelow({ number }: BlockRef): AgentError {
  return new AgentError({ code: "chain.fork-below-finality", block: number });
}
