/** Blocks above finality, each told with its logs. */
import type { Advance, Block } from "../model.ts";
import { emptiness } from "./bloom.ts";
import { doubtOf, SETTLED_DEPTH } from "./doubts.ts";
import { decodeLogs, isInvalid } from "./events.ts";
import type { RawLog } from "./log-list.ts";
import { headersOf, type Target } from "./look.ts";
import { parallel } from "./parallel.ts";
import { rangeAsker, readRanges } from "./ranges.ts";
import { Moved } from "./route.ts";
import { isDamaged, logsAtTip, objectionTo } from "./tip.ts";
import { tipOf, type Walk } from "./walk.ts";

/** So few new blocks are asked for one by one, pinned by hash; more of them by range, and checked. */
const PINNED = 4;
const AT_ONCE = 8;
/** Far below the head, headers of blocks without events are read this sparsely. */
const EVERY = 32;

type Extend = Extract<Advance, { kind: "extend" }>;

/** Back to the last block in common, if need be, and on to the head. @throws the signal's reason when it aborts */
export async function* extended(walk: Walk, target: Target, signal: AbortSignal): AsyncGenerator<Advance> {
  const { from } = target.route;
  const isPinned = target.head.number - from.number <= PINNED;
  const steps = isPinned ? pinned(walk, target, signal) : byRange(walk, target, signal);
  if (tipOf(walk.trail).number === from.number) {
    for await (const step of steps) yield doubted(walk, target, step, isPinned);
    return;
  }
  // What replaces the dropped blocks is read before they are dropped: an upstream that fails in between costs nothing.
  const whole: Extend[] = [];
  for await (const step of steps) whole.push(step);
  yield { kind: "rewind", to: from };
  for (const step of whole) yield doubted(walk, target, step, isPinned);
}

/** `isFresh`: read as soon as it was announced. */
function doubted(walk: Walk, { head, upstream: from }: Target, step: Extend, isFresh: boolean): Extend {
  const { rpc, follower, contract, options } = walk;
  const { block, events } = step;
  const unread = events.filter(isInvalid).map(({ at }) => at.logIndex);
  const word = events.length > 0 ? undefined : emptiness(block, contract.address, contract.topics);
  const isDeep = block.number <= head.number - SETTLED_DEPTH;
  const how = { from, isFresh, isDeep, hasWitness: rpc.upstreams().length > 1 };
  const doubt = doubtOf({ number: block.number, hash: block.hash }, word, how, options.now(), unread);
  if (doubt !== undefined) follower.doubts = [...follower.doubts, doubt];
  return step;
}

async function* pinned(walk: Walk, { upstream, route }: Target, signal: AbortSignal): AsyncGenerator<Extend> {
  const { rpc, contract, follower } = walk;
  const blocks = route.run.filter(({ number }) => number > route.from.number);
  const found = await parallel(blocks, AT_ONCE, (block) =>
    logsAtTip(rpc, contract, block, upstream, follower.habits, signal),
  );
  for (const [i, block] of blocks.entries()) yield extend(block, found[i] ?? []);
}

async function* byRange(walk: Walk, { head, upstream, route }: Target, signal: AbortSignal): AsyncGenerator<Extend> {
  const { rpc, contract, follower } = walk;
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
    for (const block of far) yield extend(block, checked(block, logs.get(block.number) ?? []));
    for (const block of route.run.filter(({ number }) => isIn(number))) {
      const found = checked(block, logs.get(block.number) ?? []);
      const isBelieved = objectionTo(block, found, contract, follower.habits) === undefined && !isDamaged(found);
      const settled = isBelieved ? found : await logsAtTip(rpc, contract, block, upstream, follower.habits, signal);
      yield extend(block, settled);
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

function extend(block: Block, logs: readonly RawLog[]): Extend {
  return { kind: "extend", block, events: decodeLogs(logs) };
}
