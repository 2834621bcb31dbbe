/** Blocks above finality, each told with its logs. */
import type { Advance, Block, BlockRef } from "../model.ts";
import { emptiness } from "./bloom.ts";
import { doubtOf } from "./doubts.ts";
import { decodeLogs } from "./events.ts";
import { rewound, tipOf, type Walk } from "./follower.ts";
import { headersOf, type Target } from "./heads.ts";
import { parallel } from "./parallel.ts";
import type { RawLog } from "./questions.ts";
import { rangeAsker, readRanges } from "./ranges.ts";
import { isBlock, Moved } from "./route.ts";
import { logsAtTip, objectionTo } from "./tip.ts";

/** So few new blocks are asked for one by one, pinned by hash; more of them by range, and checked. */
const PINNED = 16;
const AT_ONCE = 8;
/** Far below the head, headers of blocks without events are read this sparsely. */
const EVERY = 32;

type Extend = Extract<Advance, { kind: "extend" }>;

/** Back to the last block in common, if need be, and on to the head. */
export async function* extended(walk: Walk, target: Target): AsyncGenerator<Advance> {
  const { from, run } = target.route;
  const isPinned = target.head.number - from.number <= PINNED;
  const steps = isPinned ? pinned(walk, target) : byRange(walk, target);
  mustJoin(run, from);
  if (tipOf(walk.trail).number === from.number) {
    yield* steps;
    return;
  }
  // What replaces the dropped blocks is read before they are dropped: an upstream that fails in between costs nothing.
  const whole: Extend[] = [];
  for await (const step of steps) whole.push(step);
  yield* rewound(walk, target);
  yield* whole;
}

/** `from` may have become final since the headers were read. */
function mustJoin(run: readonly Block[], from: BlockRef): void {
  const twin = run.find(({ number }) => number === from.number);
  const next = run.find(({ number }) => number === from.number + 1);
  const isTorn = twin !== undefined && !isBlock(twin, from);
  const isUnlinked = next !== undefined && !isBlock({ number: from.number, hash: next.parentHash }, from);
  if (isTorn || isUnlinked) throw new Moved("the headers do not join what was final");
}

async function* pinned(walk: Walk, { upstream, route }: Target): AsyncGenerator<Extend> {
  const { rpc, contract, options, follower } = walk;
  const blocks = route.run.filter(({ number }) => number > route.from.number);
  const found = await parallel(blocks, AT_ONCE, (block) =>
    logsAtTip(rpc, contract, block, upstream, follower.habits, options.signal),
  );
  for (const [i, block] of blocks.entries()) yield extend(walk, block, found[i] ?? [], true);
}

async function* byRange(walk: Walk, { head, upstream, route }: Target): AsyncGenerator<Extend> {
  const { rpc, contract, options, follower } = walk;
  const { signal } = options;
  const headers = headersOf(rpc, upstream, signal);
  const ask = rangeAsker(rpc, contract, upstream, signal);
  const lowest = route.run[0]?.number ?? head.number;
  for await (const piece of readRanges(route.from.number + 1, head.number, ask, follower.reach)) {
    const logs = Map.groupBy(piece.logs, ({ blockNumber }) => blockNumber);
    const isIn = (number: number) => number >= piece.from && number <= piece.to;
    const sparse = numbersIn(piece.from, Math.min(piece.to, lowest - 1)).filter(
      (number) => logs.has(number) || number % EVERY === 0,
    );
    const far = await parallel(sparse, AT_ONCE, (number) => headers.at(number));
    for (const block of far) yield extend(walk, block, checked(block, logs.get(block.number) ?? []), false);
    for (const block of route.run.filter(({ number }) => isIn(number))) {
      const found = checked(block, logs.get(block.number) ?? []);
      const isBelieved = objectionTo(block, found, contract, follower.habits) === undefined;
      const settled = isBelieved ? found : await logsAtTip(rpc, contract, block, upstream, follower.habits, signal);
      yield extend(walk, block, settled, false);
    }
  }
}

function numbersIn(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => from + i);
}

function checked(block: Block, logs: readonly RawLog[]): readonly RawLog[] {
  if (logs.some(({ blockHash }) => blockHash !== block.hash)) throw new Moved("logs of another block");
  return logs;
}

function extend({ follower, contract }: Walk, block: Block, logs: readonly RawLog[], isFresh: boolean): Extend {
  const doubt = doubtOf(
    block,
    logs.length > 0 ? undefined : emptiness(block, contract.address, contract.topics),
    isFresh,
  );
  if (doubt !== undefined) follower.doubts = [...follower.doubts, doubt];
  return { kind: "extend", block, events: decodeLogs(logs) };
}
