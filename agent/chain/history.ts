/** Final blocks, read by range and told in batches. */
import type { AccessEvent, Advance, BlockRef } from "../model.ts";
import { decodeLogs } from "./events.ts";
import { headersOf, type Target } from "./look.ts";
import { blockByNumber } from "./questions.ts";
import { rangeAsker, readRanges } from "./ranges.ts";
import { Moved } from "./route.ts";
import { RpcError } from "./rpc.ts";
import { hasWitness } from "./tip.ts";
import type { Walk } from "./walk.ts";

/** Batches are what a restart need not read again; each costs one question for its last block, of each of two upstreams. */
const BATCH_LOGS = 5_000;
const BATCH_MS = 10_000;

/** From the tip, which must be final, up to the final block. */
export async function* history(walk: Walk, { upstream }: Target, final: BlockRef): AsyncGenerator<Advance> {
  const { rpc, contract, options, follower, trail } = walk;
  if (trail.unfinal.length > 0) return;
  const ask = rangeAsker(rpc, contract, upstream, options.signal);
  let events: AccessEvent[] = [];
  let count = 0;
  let since = options.now();
  for await (const piece of readRanges(trail.final.number + 1, final.number, ask, follower.reach)) {
    count += piece.logs.length;
    const isLast = piece.to === final.number;
    const isBatch = isLast || count >= BATCH_LOGS || options.now() - since >= BATCH_MS;
    // Asked before the logs are decoded, so that the answer is there when they are.
    const header = isBatch && !isLast ? endAt(walk, upstream, piece.to) : final;
    events = events.concat(decodeLogs(piece.logs));
    follower.figures.cursorBlock = piece.to;
    const end = isBatch ? await header : undefined;
    if (end === undefined) continue;
    const { number, hash } = end;
    if (events.some(({ at, blockHash }) => at.block === number && blockHash !== hash)) {
      throw new Moved("logs of a final block have another hash");
    }
    yield { kind: "history", to: { number, hash }, events };
    events = [];
    count = 0;
    since = options.now();
  }
}

/**
 * What is told as history is never undone, so where another upstream can be asked it must have the very block; undefined
 * where it has another one or fails: the batch goes on. Whoever has not come so far is no witness.
 */
async function endAt(
  { rpc, options: { signal } }: Walk,
  upstream: string,
  number: number,
): Promise<BlockRef | undefined> {
  const header = headersOf(rpc, upstream, signal).at(number);
  if (!hasWitness(rpc, upstream)) return header;
  const word = rpc.ask(blockByNumber(number), { not: upstream, signal }).then(
    ({ value }) => value.hash,
    (error: unknown) => (error instanceof RpcError && error.kind === "absent" ? "absent" : "fails"),
  );
  const end = await header;
  return [end.hash, "absent"].includes(await word) ? end : undefined;
}
