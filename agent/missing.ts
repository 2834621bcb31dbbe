/**
 * What the state has and our logs left out, where nobody keeps the state of final blocks: many nodes have that of the last 128,
 * and a chain may be final after 600. Seen after a block that is final by now, and still so at the newest, it is final, too.
 */
import { isDeepStrictEqual } from "node:util";
import type { Agent } from "./agent.ts";
import { blockByNumber } from "./chain/questions.ts";
import type { BlockRef, Hash, Observed, TokenId, TokenState } from "./model.ts";

/** The first block after which a token was seen in this state. */
export interface Sighting {
  readonly block: BlockRef;
  readonly state: TokenState;
}

/** Remembers what is missing after `at`. @returns what was so after a block that is not above `final` */
export async function lasting(
  { rpc, sightings }: Agent,
  missing: readonly Observed[],
  at: BlockRef,
  final: BlockRef,
  signal: AbortSignal,
): Promise<readonly Observed[]> {
  const due = new Map<Observed, BlockRef>();
  for (const one of missing) {
    const { block, state } = sightings.get(one.tokenId) ?? {};
    const isSeenAgain = block !== undefined && isDeepStrictEqual(state, one.state);
    if (!isSeenAgain) sightings.set(one.tokenId, { block: at, state: one.state });
    else if (block.number <= final.number) due.set(one, block);
  }
  const hashes = new Map<number, Hash | undefined>();
  for (const { number } of due.values()) {
    if (hashes.has(number)) continue;
    // Removals are found by the same audit, and do not wait for this.
    const told = await rpc.ask(blockByNumber(number), { signal }).catch(() => undefined);
    signal.throwIfAborted();
    hashes.set(number, told?.value.hash);
  }
  for (const [{ tokenId, state }, { number, hash }] of due) {
    const now = hashes.get(number);
    // A reorg has taken the block: it is seen anew.
    if (now !== undefined && now !== hash) sightings.set(tokenId, { block: at, state });
  }
  return [...due].filter(([, { number, hash }]) => hashes.get(number) === hash).map(([one]) => one);
}

/** Of all that was asked about, only what is missing still is. */
export function forget(
  { sightings }: Agent,
  asked: ReadonlyMap<TokenId, TokenState>,
  missing: readonly Observed[],
): void {
  for (const id of new Set(asked.keys()).difference(new Set(missing.map(({ tokenId }) => tokenId))))
    sightings.delete(id);
}
