/** What is read again, by two upstreams where there are two, and how much of it is believed. */
import type { AccessEvent, Block, BlockRef } from "../model.ts";
import { denies, usesBlooms } from "./bloom.ts";
import { decodeLogs, subjectOf } from "./events.ts";
import type { RawLog } from "./log-list.ts";
import { headersOf } from "./look.ts";
import { parallel } from "./parallel.ts";
import { blockByNumber } from "./questions.ts";
import { type AskRange, rangeAsker, readRanges } from "./ranges.ts";
import type { Choice } from "./rpc.ts";
import { hasWitness } from "./tip.ts";
import type { Walk } from "./walk.ts";

/** Without `to` no block becomes final by it. */
export interface Reading {
  readonly to: BlockRef | undefined;
  readonly events: readonly AccessEvent[];
  /** Up to where another upstream than the one that we follow has read. */
  readonly secondedTo?: number;
  /** What was read below it is ours, though we passed its block over. */
  readonly below?: BlockRef | undefined;
}

/**
 * By the upstream that we follow and by another one where there is one, unless told by whom: whichever left something out,
 * the other may not have. Undefined where both fail.
 */
export async function byTwo(
  walk: Walk,
  upstream: string,
  by: readonly Choice[] | undefined,
  read: (choice: Choice, ask: AskRange) => Promise<readonly RawLog[]>,
): Promise<Reading | undefined> {
  const { rpc, contract, options } = walk;
  const { signal } = options;
  const choices = by ?? (hasWitness(rpc, upstream) ? [{ not: upstream }, { only: upstream }] : [{}]);
  const readings = await Promise.allSettled(
    choices.map((choice) => read(choice, rangeAsker(rpc, contract, choice.not ?? upstream, signal, "not" in choice))),
  );
  signal.throwIfAborted();
  const done = readings.filter((reading) => reading.status === "fulfilled").map(({ value }) => value);
  return done.length === 0 ? undefined : { to: undefined, events: decodeLogs(await credible(walk, upstream, done)) };
}

export const AT_ONCE = 8;

/**
 * Whoever leaves nothing out may make something up: a new log that the bloom rules out needs two who tell of it. Whoever
 * leaves a log out may tell a bloom without it: where another upstream can be asked, both must rule it out.
 */
async function credible(walk: Walk, upstream: string, readings: readonly (readonly RawLog[])[]) {
  const { habits } = walk.follower;
  const logs = readings.flat();
  const missed = decodeLogs(logs).filter((event) => !isTold(walk, event));
  const numbers = new Set(missed.map(({ at }) => at.block));
  const blocks = (await parallel([...numbers], AT_ONCE, (number) => asTold(walk, upstream, number))).flat();
  habits.hasBlooms ||= blocks.some(usesBlooms);
  const byHash = Map.groupBy(blocks, ({ hash }) => hash);
  const told = readings.map((reading) => new Set(reading.map(contentOf)));
  return logs.filter((log) => {
    const isDenied = byHash.get(log.blockHash)?.every((block) => denies(block, [log], habits.hasBlooms)) === true;
    return !isDenied || told.filter((all) => all.has(contentOf(log))).length > 1;
  });
}

const contentOf = ({ blockHash, logIndex, topics, data }: RawLog) => [blockHash, logIndex, ...topics, data].join();

/** The header by the upstream that we follow, and by another one where there is one that answers. */
async function asTold({ rpc, options: { signal } }: Walk, upstream: string, number: number): Promise<readonly Block[]> {
  const first = await headersOf(rpc, upstream, signal).at(number);
  if (!hasWitness(rpc, upstream)) return [first];
  const other = await rpc.ask(blockByNumber(number), { not: upstream, signal }).catch(() => undefined);
  signal.throwIfAborted();
  return other === undefined ? [first] : [first, other.value];
}

export async function inRange(walk: Walk, from: number, to: number, ask: AskRange): Promise<readonly RawLog[]> {
  const found: RawLog[] = [];
  for await (const { logs } of readRanges(from, to, ask, walk.follower.reach)) found.push(...logs);
  walk.follower.figures.rereads += to - from + 1;
  return found;
}

export function isTold({ follower, options }: Walk, event: AccessEvent): boolean {
  return (
    follower.told.get(event.at.block)?.get(event.at.logIndex) === subjectOf(event) || options.knows?.(event) === true
  );
}
