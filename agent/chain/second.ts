/**
 * Second readings: of doubtful blocks, and of all blocks that become final. They run beside the polls, so that an upstream
 * that is slow to confirm the past never delays the present, and are told by the first poll after they are done.
 */
import type { AccessEvent, Advance, BlockRef } from "../model.ts";
import { dueAt } from "./doubts.ts";
import { decodeLogs } from "./events.ts";
import { type FinalBlock, finalBlock, isDue } from "./finality.ts";
import type { Walk } from "./follower.ts";
import { headersOf, type Target } from "./heads.ts";
import { parallel } from "./parallel.ts";
import type { RawLog } from "./questions.ts";
import { rangeAsker, readRanges } from "./ranges.ts";
import { another, hasWitness, logsOfBlock } from "./tip.ts";

/** What was read again; without `to` no block becomes final by it. */
interface Reading {
  readonly to: BlockRef | undefined;
  readonly events: readonly AccessEvent[];
}

/** One reading at work or done, at most one of each kind. */
export interface Second {
  doubts: { done?: Reading | "failed" } | undefined;
  final: { done?: Reading | "failed" } | undefined;
}

/** Begins what is due at this head. */
export function begin(walk: Walk, target: Target): void {
  const { second, finality, doubts } = walk.follower;
  const due = dueAt(target.head.number, doubts);
  if (second.doubts === undefined && due.singly.length + due.together.length > 0) {
    walk.follower.doubts = due.rest;
    second.doubts = running(doubtful(walk, target, due.singly, due.together));
  }
  if (second.final === undefined && isDue(finality, target.head)) second.final = running(finalNow(walk, target));
}

/** Tells what is done. */
export function* told(walk: Walk): Generator<Advance> {
  const { second, finality } = walk.follower;
  const [doubts, final] = [second.doubts?.done, second.final?.done];
  if (doubts !== undefined) second.doubts = undefined;
  if (final !== undefined) second.final = undefined;
  if (doubts !== undefined && doubts !== "failed") yield* fitting(walk, doubts);
  // Asked again with the next block, not sixteen later.
  if (final === "failed") finality.askedAt = undefined;
  else if (final !== undefined) yield* fitting(walk, final);
}

/** Unfinal blocks up to the final one, at once: there is history to be read above them. */
export async function* finalised(walk: Walk, target: Target, final: FinalBlock): AsyncGenerator<Advance> {
  const reading = await readAgain(walk, target, final);
  if (reading !== undefined) yield* fitting(walk, reading);
}

function running(work: Promise<Reading | undefined>): { done?: Reading | "failed" } {
  const slot: { done?: Reading | "failed" } = {};
  work.then(
    (reading) => {
      slot.done = reading ?? "failed";
    },
    () => {
      slot.done = "failed";
    },
  );
  return slot;
}

/** The chain may have been reorganised since: what does not fit our blocks any more is let go. */
function* fitting({ trail, follower, options }: Walk, { to, events }: Reading): Generator<Advance> {
  const hashes = new Map(trail.unfinal.map(({ number, hash }) => [number, hash]));
  const isOurs = (number: number, hash: string) => number > trail.final.number && (hashes.get(number) ?? hash) === hash;
  const end = to !== undefined && hashes.get(to.number) === to.hash ? to : trail.final;
  const fresh = events.filter(
    ({ at, blockHash }) => isOurs(at.block, blockHash) && (hashes.has(at.block) || at.block <= end.number),
  );
  const missed = fresh.filter((event) => !isKnown(event));
  if (missed.length > 0) {
    follower.figures.divergences += missed.length;
    const [first, last] = [missed[0], missed.at(-1)];
    options.onNotice?.({
      ...{ kind: "missed-logs", count: missed.length },
      ...{ fromBlock: first?.at.block ?? 0, toBlock: last?.at.block ?? 0 },
    });
  }
  if (missed.length > 0 || end !== trail.final) yield { kind: "finalise", to: end, missed };

  function isKnown(event: AccessEvent): boolean {
    return follower.told.get(event.at.block)?.has(event.at.logIndex) === true || options.knows?.(event) === true;
  }
}

async function doubtful(
  { rpc, contract, options, follower }: Walk,
  { upstream }: Target,
  singly: readonly BlockRef[],
  together: readonly BlockRef[],
): Promise<Reading> {
  const { signal } = options;
  const logs: RawLog[] = [];
  const choice = another(rpc, upstream, signal);
  const some = await parallel(singly, 4, (block) => logsOfBlock(rpc, contract, block, choice, follower.habits));
  logs.push(...some.flatMap(({ value }) => value));
  const [first, last] = [together.at(0), together.at(-1)];
  if (first !== undefined && last !== undefined) {
    const ask = rangeAsker(rpc, contract, upstream, signal, true);
    for await (const piece of readRanges(first.number, last.number, ask, follower.reach)) logs.push(...piece.logs);
  }
  follower.figures.rereads += singly.length + together.length;
  return { to: undefined, events: decodeLogs(logs) };
}

async function finalNow(walk: Walk, target: Target): Promise<Reading | undefined> {
  const { rpc, follower, options } = walk;
  const final = await finalBlock(rpc, target.head, follower.finality, options.signal);
  return final === undefined ? NOTHING : readAgain(walk, target, final);
}

const NOTHING: Reading = { to: undefined, events: [] };

/**
 * Of the blocks up to the final one; by another upstream's word where there is one, otherwise or if that does not fit by
 * that of the upstream we follow. Undefined where neither fits.
 */
async function readAgain(walk: Walk, { upstream }: Target, final: FinalBlock): Promise<Reading | undefined> {
  const { rpc, contract, options, follower, trail } = walk;
  const { signal } = options;
  const to = trail.unfinal.findLast(({ number }) => number <= final.number);
  if (to === undefined) return NOTHING;
  const isOurs =
    to.number === final.number
      ? final.hash === undefined || final.hash === to.hash
      : await headersOf(rpc, upstream, signal).holds(to);
  if (!isOurs) {
    options.onNotice?.({ kind: "conflict", block: to.number, upstream });
    follower.figures.divergences++;
    return undefined;
  }
  const hashes = new Map(trail.unfinal.map(({ number, hash }) => [number, hash]));
  for (const isWitness of hasWitness(rpc, upstream) ? [true, false] : [false]) {
    const ask = rangeAsker(rpc, contract, upstream, signal, isWitness);
    const events: AccessEvent[] = [];
    try {
      const pieces = readRanges(trail.final.number + 1, to.number, ask, follower.reach);
      for await (const { logs } of pieces) events.push(...decodeLogs(logs));
    } catch {
      signal.throwIfAborted();
      continue;
    }
    follower.figures.rereads += to.number - trail.final.number;
    const isFitting = events.every(({ at, blockHash }) => (hashes.get(at.block) ?? blockHash) === blockHash);
    if (isFitting) return { to, events };
  }
  return undefined;
}
