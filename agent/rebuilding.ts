/** A history that is read again from its start: a ledger of its own, which takes the other one's place when it is whole. */
import type { Agent } from "./agent.ts";
import { newFollower, origin, tipOf } from "./chain/follower.ts";
import type { Token, TokenId } from "./model.ts";
import { emptyLedger, type Ledger, trail } from "./registry/ledger.ts";
import { recordedIds, token } from "./registry/registry.ts";
import { mistrust } from "./unvouched.ts";

/** The history is read again; the device, the disk and whoever asks keep the ledger until that has been done. */
export function startOver(agent: Agent): void {
  agent.isRebuildAsked = false;
  const { habits, figures } = agent.follower;
  agent.follower = { ...newFollower(habits.hasBlooms), figures };
  agent.rebuilding = emptyLedger(origin(agent.settings.startBlock));
  agent.isInHistory = true;
}

/** What the chain is read into. */
export const followed = ({ ledger, rebuilding }: Agent): Ledger => rebuilding ?? ledger;

/** By a history that was read again to its end. @returns the ids whose peer is another one now: what it no longer says goes */
export function replaceLedger(agent: Agent): ReadonlySet<TokenId> {
  const { rebuilding: ledger, roster } = agent;
  if (ledger === undefined) return new Set();
  const [before, after] = [agent.ledger.registry, ledger.registry];
  const others = recordedIds(after).filter((id) => !isAlike(token(before, id), token(after, id)));
  agent.ledger = ledger;
  mistrust(agent, [...others, ...agent.unvouched.keys()], { isReread: true });
  agent.rebuilding = undefined;
  return roster.rebuild(ledger.registry, tipOf(trail(ledger)).number);
}

/** Told alike before, and vouched for then. */
function isAlike(a: Token | undefined, b: Token | undefined): boolean {
  const isSame = a?.active === b?.active && a?.owner === b?.owner && a?.claim?.key === b?.claim?.key;
  return isSame && a?.claim?.lost === b?.claim?.lost && a?.role === b?.role && a?.endpoint === b?.endpoint;
}
