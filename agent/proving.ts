/** Removals in doubt, held against the contract's own state until it proves them. */
import { isDeepStrictEqual } from "node:util";
import { settle } from "./access.ts";
import type { Agent } from "./agent.ts";
import { attempt, patiently, type States, stateBlock } from "./auditing.ts";
import { placeOf } from "./chain/rivals.ts";
import type { Doubt, Held } from "./doubts.ts";
import type { TokenId, TokenState } from "./model.ts";
import { trail } from "./registry/ledger.ts";
import { claimants } from "./registry/registry.ts";
import { witnesses } from "./unvouched.ts";

/**
 * Beyond the limit of mass removal, the contract's state decides: by two upstreams, or by another than the one that told
 * where nobody tells otherwise; where nobody else can be asked, five seconds later by the same.
 */
export async function witnessRemovals(agent: Agent, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await agent.doubt.sleep(agent.doubtful.size === 0 ? 60_000 : 500, signal);
    const due = dueForWitness(agent);
    if (due.length > 0) await attempt(agent, signal, () => askWitnesses(agent, due, signal));
  }
}

/** Whoever is not proven to be gone stays, and is asked about again; no answer proves nothing. */
async function askWitnesses(agent: Agent, due: readonly [TokenId, Doubt][], signal: AbortSignal): Promise<void> {
  const at = await stateBlock(agent, signal);
  // Whoever told may speak for itself only where nobody else has another chain.
  const isContested = await isDenied(agent, signal);
  const ids = due.map(([id]) => id);
  const asked = [...new Set([...ids, ...ids.flatMap((id) => heirsOf(agent, id))])];
  const readings = await Promise.all(
    witnesses(agent).map(async ({ name }) => ({ name, states: await patiently(agent, asked, at, name, signal) })),
  );
  const told = new Set<TokenId>();
  for (const [id, doubt] of due) {
    const words = readings.filter(({ states }) => states.has(id));
    const proofs = words.filter(({ states }) => isProven(agent, id, states));
    const isOther = ({ name }: { name: string }) => doubt.from !== undefined && name !== doubt.from;
    const isEnough = proofs.some(isOther) || (proofs.length > 0 && isOverdue(agent, doubt) && !isContested);
    // It may be the second upstream that made it up: where one tells otherwise, two must agree.
    if (proofs.length > 1 || (proofs.length === words.length && isEnough)) agent.witnessed.add(id);
    if (words.length > 0) told.add(id);
  }
  const sinceMs = agent.now().steadyMs;
  const again = ([id, doubt]: [TokenId, Doubt]): [TokenId, Doubt] => [id, told.has(id) ? { ...doubt, sinceMs } : doubt];
  agent.doubtful = new Map([...agent.doubtful].map(again));
  await settle(agent, ids);
}

/** At once where another than the one that told can be asked; after a while, in which that one may have got well, whoever answers. */
function dueForWitness(agent: Agent): [TokenId, Doubt][] {
  return [...agent.doubtful].filter(([, doubt]) => isOverdue(agent, doubt) || hasOtherUpstream(agent, doubt));
}

function isOverdue({ now }: Agent, { sinceMs }: Doubt): boolean {
  return sinceMs <= now().steadyMs - WITNESS_MS;
}

/** Of all that answer, one has another block in place of one of ours. */
async function isDenied(agent: Agent, signal: AbortSignal): Promise<boolean> {
  const held = trail(agent.ledger);
  const asked = witnesses(agent).map(({ name }) =>
    placeOf(agent.rpc, name, held, agent.follower.heads.tipFrom, signal),
  );
  const places = await Promise.allSettled(asked);
  signal.throwIfAborted();
  return places.some((place) => place.status === "fulfilled" && place.value.kind === "elsewhere");
}

/** One that is down is no witness, and a removal that is due does not wait for it to come back. */
function hasOtherUpstream({ rpc }: Agent, { from }: Doubt): boolean {
  return from !== undefined && rpc.upstreams().some(({ name, healthy }) => healthy && name !== from);
}

const WITNESS_MS = 5_000;

function isProven(agent: Agent, id: TokenId, states: States): boolean {
  const before = agent.placed.get(id);
  const state = states.get(id);
  if (state === undefined) return false;
  if (before === undefined || refutes(state, before)) return true;
  return heirsOf(agent, id).some((heir) => isDeepStrictEqual(holding(states.get(heir)), holding(state)));
}

/** Whether a token of that state may not have the peer that was placed for it. */
export function refutes(state: TokenState, before: Held): boolean {
  return state.kind === "missing" || !state.active || state.owner !== before.owner || state.key !== before.key;
}

/** Its owner's tokens that have the key after it. */
function heirsOf(agent: Agent, id: TokenId): TokenId[] {
  const key = agent.placed.get(id)?.key;
  if (key === undefined || agent.roster.verdict(id) !== "key.claimed") return [];
  return claimants(agent.ledger.registry, key).flatMap((heir) => (heir.id === id ? [] : [heir.id]));
}

const holding = (state: TokenState | undefined) =>
  state?.kind === "present" ? { owner: state.owner, key: state.key, active: state.active } : undefined;
