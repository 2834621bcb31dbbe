/** Removals in doubt, held against the contract's own state until it proves them. */
import { isDeepStrictEqual } from "node:util";
import { settle } from "./access.ts";
import type { Agent } from "./agent.ts";
import { attempt, patiently, stateBlock } from "./auditing.ts";
import { untilEnough } from "./chain/parallel.ts";
import { type Place, placeOf } from "./chain/rivals.ts";
import type { UpstreamStatus } from "./chain/rpc.ts";
import { type Doubt, type Held, takesAway } from "./doubts.ts";
import type { BlockRef, TokenId, TokenState } from "./model.ts";
import { trail } from "./registry/ledger.ts";
import { claimants } from "./registry/registry.ts";
import { readStates, type States, shared } from "./states.ts";
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
  const ids = due.map(([id]) => id);
  const asked = [...new Set([...ids, ...ids.flatMap((id) => heirsOf(agent, id))])];
  const readings = await readingsOf(agent, ids, asked, at, signal);
  // Whoever told may speak for itself only where nobody else has another chain.
  const isContested = readings.some(({ place }) => place?.kind === "elsewhere");
  const denied = new Set<TokenId>();
  for (const [id, doubt] of due) {
    const words = readings.filter(({ states }) => states.has(id));
    const proofs = words.filter(({ states }) => isProven(agent, id, states));
    const isOther = ({ name }: Reading) => doubt.from !== undefined && name !== doubt.from;
    const isEnough = proofs.some(isOther) || (proofs.length > 0 && isOverdue(agent, doubt) && !isContested);
    // It may be the second upstream that made it up: where one tells otherwise, two must agree.
    if (proofs.length > 1 || (proofs.length === words.length && isEnough)) agent.witnessed.add(id);
    if (words.length > proofs.length) denied.add(id);
  }
  // Whoever was denied waits anew. That somebody has not come so far yet is no denial.
  const sinceMs = agent.now().steadyMs;
  const again = ([id, doubt]: [TokenId, Doubt]): [TokenId, Doubt] => [
    id,
    denied.has(id) ? { ...doubt, sinceMs } : doubt,
  ];
  agent.doubtful = new Map([...agent.doubtful].map(again));
  await settle(agent, ids);
}

/** What each upstream says; once two have proven all of them, whoever is slow is not waited for. */
async function readingsOf(
  agent: Agent,
  ids: readonly TokenId[],
  asked: readonly TokenId[],
  at: BlockRef,
  signal: AbortSignal,
): Promise<readonly Reading[]> {
  const read = ({ name }: UpstreamStatus, until: AbortSignal) => readingOf(agent, name, asked, at, until);
  const areProvenTwice = (readings: readonly Reading[]) =>
    ids.every((id) => readings.filter(({ states }) => isProven(agent, id, states)).length > 1);
  return untilEnough(witnesses(agent), read, areProvenTwice, signal);
}

interface Reading {
  readonly name: string;
  readonly states: States;
  readonly place: Place | undefined;
}

/**
 * What one upstream says after `at`, and where it does not have that, after the newest block that we share, about whom that
 * has taken away: made-up blocks on top of the true ones, anew all the time, hold no revoke up.
 */
async function readingOf(
  agent: Agent,
  name: string,
  ids: readonly TokenId[],
  at: BlockRef,
  signal: AbortSignal,
): Promise<Reading> {
  const { rpc, ledger, placed } = agent;
  const [told, place] = await Promise.all([
    patiently(agent, ids, at, name, signal, TRIES),
    placeOf(rpc, name, trail(ledger), agent.follower.heads.tipFrom, signal).catch(() => undefined),
  ]);
  const last = place && (await shared(agent, name, place, signal).catch(() => undefined));
  if (last === undefined) return { name, states: told, place };
  const left = ids.filter((id) => !told.has(id) && takesAway(last.registry, id, placed.get(id)));
  const more = await readStates(agent, left, last.block, signal, { only: name });
  return { name, states: new Map([...told, ...more]), place };
}

/** One that is a block behind has it a second later. */
const TRIES = 2;

/** At once where another than the one that told can be asked; after a while, in which that one may have got well, whoever answers. */
function dueForWitness(agent: Agent): [TokenId, Doubt][] {
  return [...agent.doubtful].filter(([, doubt]) => isOverdue(agent, doubt) || hasOtherUpstream(agent, doubt));
}

function isOverdue({ now }: Agent, { sinceMs }: Doubt): boolean {
  return sinceMs <= now().steadyMs - WITNESS_MS;
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
