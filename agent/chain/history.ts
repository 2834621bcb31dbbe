/** Final blocks: read once by range, and once more when unfinal ones become final. */
import { type AccessEvent, type Advance, type BlockRef, ZERO_HASH } from "../model.ts";
import { decodeLogs } from "./events.ts";
import type { FinalBlock } from "./finality.ts";
import type { Walk } from "./follower.ts";
import { headersOf, type Target } from "./heads.ts";
import { rangeAsker, readRanges } from "./ranges.ts";
import { Moved } from "./route.ts";

/** Batches are what a restart need not read again; each costs one question for its last block. */
const BATCH_EVENTS = 10_000;
const BATCH_MS = 10_000;

/** From the tip, which must be final, up to the final block. */
export async function* history(walk: Walk, { upstream }: Target, final: FinalBlock): AsyncGenerator<Advance> {
  const { rpc, contract, options, follower, trail } = walk;
  if (trail.unfinal.length > 0) return;
  const headers = headersOf(rpc, upstream, options.signal);
  const ask = rangeAsker(rpc, contract, upstream, options.signal);
  let events: AccessEvent[] = [];
  let since = options.now();
  for await (const piece of readRanges(trail.final.number + 1, final.number, ask, follower.reach)) {
    events = events.concat(decodeLogs(piece.logs));
    follower.figures.cursorBlock = piece.to;
    const isLast = piece.to === final.number;
    if (!isLast && events.length < BATCH_EVENTS && options.now() - since < BATCH_MS) continue;
    const { number, hash } = isLast && final.hash !== undefined ? final : await headers.at(piece.to);
    const to = { number, hash: hash ?? ZERO_HASH };
    if (events.some(({ at, blockHash }) => at.block === number && blockHash !== hash)) {
      throw new Moved("logs of a final block have another hash");
    }
    yield { kind: "history", to, events };
    events = [];
    since = options.now();
  }
}

/** Unfinal blocks up to the final one, once they were read again; nothing where that cannot be done now. */
export async function* finalised(walk: Walk, target: Target, final: FinalBlock): AsyncGenerator<Advance> {
  const { trail, rpc, follower, options } = walk;
  const to = trail.unfinal.findLast(({ number }) => number <= final.number);
  if (to === undefined) return;
  const isOurs =
    to.number === final.number
      ? final.hash === undefined || final.hash === to.hash
      : await headersOf(rpc, target.upstream, options.signal).holds(to);
  const missed = isOurs ? await missedUpTo(walk, target, to) : undefined;
  options.signal.throwIfAborted();
  if (missed === undefined) {
    // Asked again with the next block, not sixteen later.
    follower.finality.askedAt = undefined;
    conflict(walk, to.number, target.upstream);
    return;
  }
  yield { kind: "finalise", to, missed };
}

/** By another upstream's word first, then by that of the one we follow; undefined where neither fits our blocks. */
async function missedUpTo(walk: Walk, { upstream }: Target, to: BlockRef): Promise<AccessEvent[] | undefined> {
  const { rpc, contract, options, follower, trail } = walk;
  const hashes = new Map(trail.unfinal.map(({ number, hash }) => [number, hash]));
  const from = trail.final.number + 1;
  for (const isWitness of rpc.upstreams().length > 1 ? [true, false] : [false]) {
    const ask = rangeAsker(rpc, contract, upstream, options.signal, isWitness);
    const events: AccessEvent[] = [];
    try {
      for await (const { logs } of readRanges(from, to.number, ask, follower.reach)) events.push(...decodeLogs(logs));
    } catch {
      continue;
    }
    follower.figures.rereads += to.number - from + 1;
    const isFitting = events.every(({ at, blockHash }) => (hashes.get(at.block) ?? blockHash) === blockHash);
    if (isFitting) return missedIn(walk, events);
  }
  return undefined;
}

/** Those of `events` that were not told before; how many of them should have been is counted. */
export function missedIn({ follower, options }: Walk, events: readonly AccessEvent[]): AccessEvent[] {
  const { told, readSince = 0, figures } = follower;
  const missed = events.filter(({ at }) => told.get(at.block)?.has(at.logIndex) !== true);
  const late = missed.filter(({ at }) => at.block > readSince).map(({ at }) => at.block);
  const [fromBlock, toBlock] = [late.at(0), late.at(-1)];
  if (fromBlock !== undefined && toBlock !== undefined) {
    figures.divergences += late.length;
    options.onNotice?.({ kind: "missed-logs", count: late.length, fromBlock, toBlock });
  }
  return missed;
}

function conflict({ follower, options }: Walk, block: number, upstream: string): void {
  follower.figures.divergences++;
  options.onNotice?.({ kind: "conflict", block, upstream });
}
