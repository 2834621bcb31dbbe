/**
 * Second readings: of doubtful blocks, and of all blocks that become final. They run beside the polls, so that an upstream
 * that is slow to confirm the past never delays the present, and are told by the first poll after they are done.
 */
import type { AccessEvent, Advance, BlockRef } from "../model.ts";
import { byNumber, logsOfBlock } from "./block-logs.ts";
import { afterReading, type Doubt, doubtAnew, dueNow } from "./doubts.ts";
import { inOrder } from "./events.ts";
import { type FinalBlock, finalBlock, isDue } from "./finality.ts";
import type { RawLog } from "./log-list.ts";
import { headersOf, type Target } from "./look.ts";
import { parallel } from "./parallel.ts";
import { blockByNumber, headOf } from "./questions.ts";
import type { AskRange } from "./ranges.ts";
import { AT_ONCE, byTwo, inRange, isTold, type Reading } from "./reading.ts";
import { Moved } from "./route.ts";
import type { Choice } from "./rpc.ts";
import { hasWitness } from "./tip.ts";
import { conflict, tipOf, type Walk } from "./walk.ts";

/** At work while `done` is absent. */
interface Running {
  done?: Reading | "failed";
}

/** At most one reading of each kind. */
export interface Second {
  /** With what it is to settle; by whom it asks. */
  readonly doubts: Map<string, { readonly running: Running; readonly doubts: readonly Doubt[] }>;
  final: Running | undefined;
}

/** At a start: what was left out before may be left out still. */
export function doubtAll({ rpc, follower, trail }: Walk): void {
  follower.isNew = false;
  if (rpc.upstreams().length > 1) follower.doubts = trail.unfinal.map(doubtAnew);
}

/** A head, and what is final below it where that is known already. */
export interface Reached extends Target {
  readonly final?: FinalBlock | undefined;
}

/** Begins what is due; `target` is absent where the head is an old one. */
export function begin(walk: Walk, target: Reached | undefined): void {
  const { follower, options, trail } = walk;
  const { second, finality } = follower;
  const due = dueNow(follower.doubts, tipOf(trail).number, options.now());
  for (const [whom, doubts] of Map.groupBy(due, toBeAsked)) {
    if (second.doubts.has(whom)) continue;
    const taken = new Set(doubts);
    follower.doubts = follower.doubts.filter((doubt) => !taken.has(doubt));
    second.doubts.set(whom, { doubts, running: run(doubtful(walk, doubts)) });
  }
  if (target === undefined || second.final !== undefined) return;
  const { final } = target;
  // What is final was asked on the way to the head, where that was far.
  if (final !== undefined) second.final = run(readAgain(walk, target, final));
  else if (isDue(finality, target.head)) second.final = run(finalNow(walk, target));
}

/** What one upstream told is read by another, and what more there is to doubt by both. */
const toBeAsked = ({ from, kind }: Doubt) =>
  `${kind === "unseconded" ? "others than" : "all and"} ${from ?? "anybody"}`;

/** Tells what is done. */
export function* told(walk: Walk): Generator<Advance> {
  const { doubts: readings, final } = walk.follower.second;
  for (const [whom, { doubts, running }] of [...readings]) {
    const settled = running.done;
    if (settled === undefined) continue;
    readings.delete(whom);
    if (settled !== "failed") yield* fitting(walk, settled);
    keep(walk, doubts, settled);
  }
  if (final?.done !== undefined) {
    walk.follower.second.final = undefined;
    if (final.done !== "failed") yield* fitting(walk, final.done);
    // Asked again with the next block, not sixteen later.
    else walk.follower.finality.askedAt = undefined;
  }
}

/** Puts back what is still in doubt. */
function keep(walk: Walk, doubts: readonly Doubt[], settled: Reading | "failed"): void {
  const { follower } = walk;
  const left = doubts.filter(({ block }) => isHeld(walk, block)).map((doubt) => leftOf(walk, doubt, settled));
  follower.doubts = [...follower.doubts, ...left.filter((doubt) => doubt !== undefined)];
}

function leftOf({ rpc, options, trail, follower }: Walk, doubt: Doubt, settled: Reading | "failed"): Doubt | undefined {
  const nowMs = options.now();
  if (settled === "failed") return { ...doubt, readAtMs: nowMs };
  const isBeyond = doubt.block.number > (settled.secondedTo ?? -1);
  // Another upstream has not come so far yet. What else there is to doubt need not be read again with every block.
  if (isBeyond && (doubt.kind === "unseconded" || hasWitness(rpc, doubt.from ?? ""))) {
    return { ...doubt, due: Number.POSITIVE_INFINITY, readAtMs: nowMs - SOON_MS };
  }
  const told = follower.told.get(doubt.block.number);
  const isFound = told !== undefined && doubt.unread.every((index) => told.has(index));
  const left = afterReading(doubt, tipOf(trail).number, nowMs, isFound);
  if (left !== undefined || !isBeyond || rpc.upstreams().length < 2) return left;
  // Whoever is down may have what the one that told the block leaves out.
  return { ...doubt, kind: "unseconded", due: Number.POSITIVE_INFINITY, readAtMs: nowMs };
}

/** What of the pause between two readings is left out where another upstream has not come so far. */
const SOON_MS = 2_000;

/** Unfinal blocks up to the final one, at once: there is history to be read above them. */
export async function* finalised(walk: Walk, target: Target, final: FinalBlock): AsyncGenerator<Advance> {
  const reading = await readAgain(walk, target, final);
  if (reading !== undefined) yield* fitting(walk, reading);
}

function run(work: Promise<Reading | undefined>): Running {
  const running: Running = {};
  work.then(
    (reading) => {
      running.done = reading ?? "failed";
    },
    () => {
      running.done = "failed";
    },
  );
  return running;
}

function isHeld({ trail }: Walk, { number, hash }: BlockRef): boolean {
  return trail.unfinal.some((held) => held.number === number && held.hash === hash);
}

/** The chain may have been reorganised since: what does not fit our blocks any more is let go. */
function* fitting(walk: Walk, { to, events, below }: Reading): Generator<Advance> {
  const { trail, follower, options } = walk;
  const hashes = new Map(trail.unfinal.map(({ number, hash }) => [number, hash]));
  const end = to !== undefined && hashes.get(to.number) === to.hash ? to : trail.final;
  const top = below !== undefined && hashes.get(below.number) === below.hash ? below : end;
  const isOurs = ({ at: { block }, blockHash }: AccessEvent) => {
    // Of a block that was passed over while catching up there is no hash.
    const isBetween = block > trail.final.number && block <= top.number && !hashes.has(block);
    return isBetween || hashes.get(block) === blockHash;
  };
  const missed = inOrder(events.filter((event) => isOurs(event) && !isTold(walk, event)));
  const [first, last] = [missed[0], missed.at(-1)];
  if (first !== undefined && last !== undefined) {
    follower.figures.divergences++;
    const where = { fromBlock: first.at.block, toBlock: last.at.block };
    options.onNotice?.({ kind: "missed-logs", count: missed.length, ...where });
  }
  if (missed.length > 0 || end !== trail.final) yield { kind: "finalise", to: end, missed };
}

/** So few blocks are read one by one, pinned by hash; more of them by one range, and checked. */
const SINGLY = 4;

/** Of doubts about what one upstream told, all alike. */
async function doubtful(walk: Walk, doubts: readonly Doubt[]): Promise<Reading | undefined> {
  const { rpc, follower } = walk;
  const all = doubts.map(({ block }) => block);
  const names = rpc.upstreams().map(({ name }) => name);
  const from = doubts[0]?.from;
  const upstream = from ?? follower.heads.tipFrom ?? "";
  // Who told of them has nothing to add: one question to another upstream, for all of them. Where it may have been anybody,
  // each is left out once.
  const isSeconded = doubts.every(({ kind }) => kind === "unseconded");
  const tellers = from === undefined ? names : [from];
  const witnesses = tellers.every((name) => hasWitness(rpc, name)) ? tellers.map((not) => ({ not })) : [];
  const seconded = new Map<string, number>();
  const reading = await byTwo(walk, upstream, isSeconded ? witnesses : undefined, async (choice, ask) => {
    const { not } = choice;
    // Another upstream is often some blocks behind: it reads as far as it has come, and the rest a little later.
    const reach = not === undefined ? Number.POSITIVE_INFINITY : await reachOf(walk, choice);
    const blocks = all.filter(({ number }) => number <= reach);
    const askOther: AskRange = (from, to, other = not) => ask(from, to, other);
    const logs = await (isSeconded ? inOne(walk, blocks, askOther) : logsOf(walk, blocks, upstream, choice, ask));
    const ours = isSeconded ? await oursOf(walk, blocks, logs, choice) : logs;
    if (not !== undefined) seconded.set(not, blocks.at(-1)?.number ?? -1);
    return ours;
  });
  const secondedTo = Math.min(...tellers.map((name) => seconded.get(name) ?? -1));
  return reading && { ...reading, secondedTo, below: isSeconded ? all.at(-1) : undefined };
}

/** What is told of blocks that we passed over counts where whoever tells it has the block of ours above them. */
async function oursOf(
  { rpc, options, trail }: Walk,
  blocks: readonly BlockRef[],
  logs: readonly RawLog[],
  choice: Choice,
): Promise<readonly RawLog[]> {
  const numbers = new Set(trail.unfinal.map(({ number }) => number));
  const isKnown = ({ blockNumber }: RawLog) => numbers.has(blockNumber);
  const last = blocks.at(-1);
  if (last === undefined || logs.every(isKnown)) return logs;
  const { value } = await rpc.ask(blockByNumber(last.number), { ...choice, signal: options.signal });
  return value.hash === last.hash ? logs : logs.filter(isKnown);
}

async function logsOf(walk: Walk, blocks: readonly BlockRef[], upstream: string, choice: Choice, ask: AskRange) {
  if (blocks.length > SINGLY) return inOne(walk, blocks, ask);
  const { rpc, contract, options, follower } = walk;
  follower.figures.rereads += blocks.length;
  const asking = { ...choice, signal: options.signal };
  // A lone upstream has told what it finds by hash: it may find more by number.
  const isAlone = !hasWitness(rpc, upstream);
  const found = await parallel(blocks, AT_ONCE, (block) =>
    isAlone ? byNumber(rpc, contract, block, asking) : logsOfBlock(rpc, contract, block, asking, follower.habits),
  );
  return found.flatMap(({ value }) => value);
}

async function inOne(walk: Walk, blocks: readonly BlockRef[], ask: AskRange): Promise<readonly RawLog[]> {
  const [first, last] = [blocks.at(0), blocks.at(-1)];
  return first === undefined || last === undefined ? [] : inRange(walk, first.number, last.number, ask);
}

/** How far another upstream has come. */
async function reachOf({ rpc, options: { signal } }: Walk, choice: Choice): Promise<number> {
  return (await rpc.ask(headOf("latest"), { ...choice, signal })).value.number;
}

async function finalNow(walk: Walk, target: Target): Promise<Reading | undefined> {
  const final = await finalBlock(walk, target);
  return final === undefined ? NOTHING : readAgain(walk, target, final);
}

const NOTHING: Reading = { to: undefined, events: [] };

/** Of the blocks up to the final one; undefined where no upstream's word fits them. */
async function readAgain(walk: Walk, { upstream }: Target, final: FinalBlock): Promise<Reading | undefined> {
  const { rpc, options, trail } = walk;
  const to = trail.unfinal.findLast(({ number }) => number <= final.number);
  if (to === undefined) return NOTHING;
  const { number, hash } = final;
  const headers = headersOf(rpc, upstream, options.signal);
  // Where ours has a gap, whoever told us of the block below it must have both.
  const isOurs =
    to.number === number
      ? (hash ?? to.hash) === to.hash
      : (await headers.holds(to)) && (hash === undefined || (await headers.holds({ number, hash })));
  if (!isOurs) {
    conflict(walk, to.number, upstream);
    return undefined;
  }
  const hashes = new Map(trail.unfinal.map(({ number, hash }) => [number, hash]));
  const reading = await byTwo(walk, upstream, undefined, async (_, ask) => {
    const logs = await inRange(walk, trail.final.number + 1, to.number, ask);
    const isFitting = logs.every(({ blockNumber, blockHash }) => (hashes.get(blockNumber) ?? blockHash) === blockHash);
    if (!isFitting) throw new Moved("logs of other blocks");
    return logs;
  });
  return reading && { ...reading, to };
}
