/** The contract's own state of tokens, as far as an upstream can tell it. */
import type { Agent } from "./agent.ts";
import { readTokens } from "./chain/audit.ts";
import type { Reading } from "./chain/calls.ts";
import { type Place, sharedBlock } from "./chain/rivals.ts";
import type { BlockRef, TokenId, TokenState } from "./model.ts";
import { trail, type Unfinal } from "./registry/ledger.ts";

export type States = ReadonlyMap<TokenId, TokenState>;

/**
 * After `block`; a token that is absent was not told of. Whoever has none of the tokens that were asked about, nor this
 * node's own, refuses calls and tells no state: nobody is gone for that.
 */
export async function readStates(
  { rpc, roster: { self }, settings: { contract } }: Agent,
  ids: readonly TokenId[],
  block: BlockRef,
  signal: AbortSignal,
  reading: Reading = {},
): Promise<States> {
  const read = (some: readonly TokenId[]) => readTokens(rpc, contract, some, block, signal, reading);
  const states = await read(ids);
  if (states.size === 0 || self.kind !== "found" || [...states.values()].some(isPresent)) return states;
  const { id } = self.token;
  const own = states.get(id) ?? (await read([id])).get(id);
  return own !== undefined && isPresent(own) ? states : new Map();
}

/** The newest unfinal block that we share with an upstream which does not have our newest, with the registry after it. */
export async function shared(
  { rpc, ledger }: Agent,
  name: string,
  { kind }: Place,
  signal: AbortSignal,
): Promise<Unfinal | undefined> {
  if (kind === "level") return undefined;
  const block = await sharedBlock(rpc, name, trail(ledger), signal);
  return ledger.unfinal.find((one) => one.block.hash === block?.hash);
}

const isPresent = ({ kind }: TokenState) => kind === "present";
