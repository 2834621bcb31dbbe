/** Removals in doubt, held against the contract's own state until it proves them. */
import { isDeepStrictEqual } from "node:util";
import { settle } from "./access.ts";
import type { Agent } from "./agent.ts";
import { attempt, type States, stateBlock } from "./auditing.ts";
import { type Reading, readTokens } from "./chain/audit.ts";
import { placeOf } from "./chain/rivals.ts";
import type { Doubt, Held } from "./doubts.ts";
import type { TokenId, TokenState } from "./model.ts";
import { trail } from "./registry/ledger.ts";
import { claimants } from "./registry/registry.ts";
import { witnesses } from "./unvouched.ts";

/**
 * Beyond the limit of mass removal, the contract's state decides: of another upstream where there is one, otherwise
 * five seconds later of the same.
 */
export async function witnessRemovals(agent: Agent, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await agent.doubt.sleep(agent.doubtful.size === 0 ? 60_000 : 500, signal);
    for (const [not, ids] of dueForWitness(agent)) {
      if (!signal.aborted) await attempt(agent, signal, () => askWitness(agent, ids, not, signal));
    }
  }
}

/** Whoever is not proven to be gone stays, and is asked about again; no answer proves nothing. */
async function askWitness(agent: Agent, ids: readonly TokenId[], not: string | undefined, signal: AbortSignal) {
  // Whoever told may speak for itself only where nobody else has another chain.
  if (not === undefined && (await isDenied(agent, signal))) return;
  const at = await stateBlock(agent, signal);
  const reading: Reading = not === undefined ? {} : { not };
  const asked = new Set([...ids, ...ids.flatMap((id) => heirsOf(agent, id))]);
  const states = await readTokens(agent.rpc, agent.settings.contract, [...asked], at, signal, reading);
  for (const id of ids) if (isProven(agent, id, states)) agent.witnessed.add(id);
  const sinceMs = agent.now().steadyMs;
  const again = ([id, doubt]: [TokenId, Doubt]): [TokenId, Doubt] => [
    id,
    states.has(id) ? { ...doubt, sinceMs } : doubt,
  ];
  agent.doubtful = new Map([...agent.doubtful].map(again));
  await settle(agent, ids);
}

/**
 * By the upstream that is no witness: at once of another than the one that told; after a while, in which that one may
 * have got well, of whichever answers.
 */
function dueForWitness(agent: Agent): ReadonlyMap<string | undefined, TokenId[]> {
  const overdueMs = agent.now().steadyMs - WITNESS_MS;
  const due = [...agent.doubtful].filter(([, doubt]) => doubt.sinceMs <= overdueMs || hasOtherUpstream(agent, doubt));
  const byTeller = Map.groupBy(due, ([, { sinceMs, from }]) => (sinceMs <= overdueMs ? undefined : from));
  return new Map([...byTeller].map(([not, all]) => [not, all.map(([id]) => id)]));
}

/** Of all that answer, one has another block in place of one of ours. */
async function isDenied(agent: Agent, signal: AbortSignal): Promise<boolean> {
  const held = trail(agent.ledger);
  const asked = witnesses(agent).map(({ name }) => placeOf(agent.rpc, name, held, signal));
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
