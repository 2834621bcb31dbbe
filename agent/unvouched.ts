/**
 * Nobody is let in by one upstream's word where there are several: a log can be altered where no bloom shows it, and a whole
 * head made up. Whom a step has touched waits here until somebody vouches for it; removals wait for nobody.
 */
import type { Agent, Parts } from "./agent.ts";
import type { UpstreamStatus } from "./chain/rpc.ts";
import { rowsIn } from "./doubts.ts";
import { parseTokenId, type TokenId } from "./model.ts";
import { token } from "./registry/registry.ts";

export interface Unvouched {
  /** Since when nobody has vouched for it (steady time). */
  readonly sinceMs: number;
  /** An upstream tells otherwise: time alone does not let it in. */
  readonly isDisputed: boolean;
}

/** A first history longer than this is not asked about token by token: its fold is the audit's to judge. */
const MANY = 400;

/** What was said of these tokens is one upstream's word until somebody vouches for it. */
export function mistrust(agent: Agent, ids: Iterable<TokenId>): void {
  if (agent.rpc.upstreams().length < 2) return;
  const unvouched = { sinceMs: agent.now().steadyMs, isDisputed: false };
  const { unvouched: all, isSettled } = agent;
  for (const id of ids) if (isSettled || all.size < MANY || all.has(id)) all.set(id, unvouched);
}

/** Whether nobody need vouch for the token any more. At a start nobody knows yet who is left. */
export function mayBelieve(agent: Agent, id: TokenId): boolean {
  const unvouched = agent.unvouched.get(id);
  return unvouched === undefined || (agent.headSeenMs !== undefined && isAlone(agent, unvouched));
}

/**
 * Where fewer than two upstreams are left, whoever is left is believed: a node with one upstream works. A dispute is not
 * settled by one that is silent for a moment: there only the settings count.
 */
export function isAlone(agent: Pick<Agent, "rpc">, { isDisputed }: Unvouched): boolean {
  return (isDisputed ? agent.rpc.upstreams() : witnesses(agent)).length < 2;
}

/** The upstreams whose word counts. One that is behind may yet come to a block of ours and have another one there. */
export function witnesses({ rpc }: Pick<Agent, "rpc">): UpstreamStatus[] {
  return rpc.upstreams().filter(({ healthy }) => healthy);
}

/** Somebody waits who has not been asked about in vain, and has come no later than `untilMs`. */
export function isPressing({ unvouched }: Pick<Agent, "unvouched">, untilMs = Number.POSITIVE_INFINITY): boolean {
  return [...unvouched.values()].some(({ isDisputed, sinceMs }) => !isDisputed && sinceMs <= untilMs);
}

/** Tokens of which two upstreams tell differently. */
export function disputed({ unvouched }: Pick<Agent, "unvouched">): TokenId[] {
  return [...unvouched].filter(([, { isDisputed }]) => isDisputed).map(([id]) => id);
}

/**
 * What the database has to learn together with the ledger, in which their grants are: a restart lets nobody in. Whoever
 * has the peer that the registry says was let in before.
 */
export function unvouchedNote({ unvouched, placed, ledger, store }: Agent): Record<string, string> {
  const isOut = (id: TokenId) => placed.get(id)?.key !== token(ledger.registry, id)?.claim?.key;
  const rows = [...unvouched].flatMap(([id, { isDisputed }]) => (isOut(id) ? [[String(id), isDisputed]] : []));
  const text = rows.length === 0 ? "" : JSON.stringify(rows);
  return text === (store.note(NOTE) ?? "") ? {} : { [NOTE]: text };
}

/** As the agent before us left it. */
export function unvouchedBefore({ store, now }: Pick<Parts, "store" | "now">): Map<TokenId, Unvouched> {
  const sinceMs = now().steadyMs;
  const entries = rowsIn(store.note(NOTE)).flatMap(([text, isDisputed]): [TokenId, Unvouched][] => {
    const id = parseTokenId(String(text));
    return id === undefined ? [] : [[id, { sinceMs, isDisputed: isDisputed === true }]];
  });
  return new Map(entries);
}

const NOTE = "unvouched";
