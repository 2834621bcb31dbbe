/**
 * The registry held against the contract's own state: a rolling sample, and everything now and then. What differs enters
 * the ledger like an event, so that reorgs and refolds stay right, or lies above its blocks until they have come so far.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { settle } from "./access.ts";
import type { Agent } from "./agent.ts";
import { record, settleJudged, take } from "./bridge.ts";
import { compare, probeIds, sample } from "./chain/audit.ts";
import { tipOf } from "./chain/follower.ts";
import { headersOf } from "./chain/look.ts";
import { headOf } from "./chain/questions.ts";
import { RpcError } from "./chain/rpc.ts";
import { AgentError } from "./errors.ts";
import { forget, lasting } from "./missing.ts";
import type { BlockRef, Observed, TokenId, TokenState } from "./model.ts";
import { type Advanced, foresee, observe, trail } from "./registry/ledger.ts";
import { type Registry, recordedIds, token } from "./registry/registry.ts";
import { readStates, type States } from "./states.ts";
import { disputed, witnesses } from "./unvouched.ts";

/** Every `SYNC_INTERVAL`, until the signal aborts. A failure proves nothing and is tried again in its turn. */
export async function auditRolling(agent: Agent, signal: AbortSignal): Promise<void> {
  for (let turn = 0; !signal.aborted; ) {
    await agent.audit.sleep(agent.settings.syncIntervalMs, signal);
    if (signal.aborted) return;
    // After a restart onto a fork, or where no logs are told, nothing but the state takes anybody away.
    const isUnread = agent.isInHistory && !agent.isCaughtUp;
    if (isUnread && !isForked(agent)) continue;
    const ids = [...sample(recordedIds(agent.ledger.registry), turn), ...disputed(agent)];
    await attempt(agent, signal, () => audit(agent, ids, signal));
    turn++;
  }
}

export interface Audit {
  readonly repairs: number;
  /** The contract has answered for every token that was asked about, as of a final block where it is to be added. */
  readonly isWhole: boolean;
  /** So many it has whom logs have revoked, or whose key they have taken: whether those were true shows when they are read again. */
  readonly withheld: number;
}

/** Every token there is, and those whose grant was left out: their mint may have been told all the same. */
export async function auditAll(agent: Agent, signal: AbortSignal): Promise<Audit> {
  const ids = recordedIds(agent.ledger.registry);
  let [repairs, isWhole, withheld] = [0, true, 0];
  for (let from = 0; from === 0 || from < ids.length; from += PIECE) {
    const piece = await audit(agent, ids.slice(from, from + PIECE), signal);
    repairs += piece.repairs;
    isWhole &&= piece.isWhole;
    withheld += piece.withheld;
  }
  // Behind grants that were left out there may be more; an upstream that makes them up comes to its end, too.
  let last = repairs;
  for (let round = 0; last > 0 && round < ROUNDS; round++) {
    last = (await audit(agent, [], signal)).repairs;
    repairs += last;
  }
  return { repairs, isWhole, withheld };
}

/** So many tokens have their state in memory at once. */
const PIECE = 1_000;
const ROUNDS = 64;

/** These tokens, and the ids that come next: what every upstream's logs omit shows here. */
async function audit(agent: Agent, known: readonly TokenId[], signal: AbortSignal): Promise<Audit> {
  const { ledger } = agent;
  const isKnown = (id: TokenId) => token(ledger.registry, id) !== undefined;
  const ids = [...new Set([...known, ...probeIds(isKnown)])];
  const tip = tipOf(trail(ledger));
  // Additions are for the history to tell that is read again; it may never come to its end, and removals do not wait for it.
  const isReread = agent.isRebuilding || agent.isRebuildAsked;
  const isFrozen = isForked(agent) || isReread;
  const at = await stateBlock(agent, signal);
  const states = await readStates(agent, ids, at, signal, { isPatient: true });
  const missing = isFrozen ? [] : differences(ledger.registry, states, tip, true);
  forget(agent, states, missing);
  const { additions, withheld, unread } = await finalAdditions(agent, missing, states, at, signal);
  if (withheld > 0 && agent.rpc.upstreams().length === 1) readAgain(agent, withheld);
  const fewer = (read: States) => differences(ledger.registry, read, at, false);
  // What the tip takes away stands behind what is final, and would take away the very key that is added there.
  const added = new Map(additions.map(({ tokenId, state }) => [tokenId, state]));
  const gone = fewer(states).filter(({ tokenId }) => !isDeepStrictEqual(added.get(tokenId), states.get(tokenId)));
  const removals = await seconded(agent, gone, at, fewer, signal);
  const removed = at.hash === tip.hash ? repair(agent, removals, signal) : removeAhead(agent, removals, tip, signal);
  const repairs = removed + repair(agent, additions, signal);
  if (agent.isWhole) await settleJudged(agent);
  // Everybody else waits for the head that a reorg leads to; whoever is gone by the state does not.
  else if (removed > 0) await settle(agent, agent.roster.less(removals));
  const beyond = [...states].filter(([id, state]) => hasLost(agent, id, state));
  return {
    repairs,
    isWhole: states.size === ids.length && unread === 0 && !isReread,
    withheld: withheld + beyond.length,
  };
}

/**
 * An only upstream's state has whom its own logs have revoked: either it is old, or they were made up, and the history tells
 * which when it is read again. Less often each time, for the state may stay old.
 */
function readAgain(agent: Agent, tokens: number): void {
  const { atMs, pauseMs } = agent.reread;
  const nowMs = agent.now().steadyMs;
  if (nowMs - atMs < pauseMs) return;
  const isLongAgo = nowMs - atMs > 2 * MAX_REREAD_MS;
  agent.reread = { atMs: nowMs, pauseMs: isLongAgo ? REREAD_MS : Math.min(2 * pauseMs, MAX_REREAD_MS) };
  agent.log.warn({ tokens }, "audit.contradicted");
  agent.isRebuildAsked = true;
  agent.poll.nudge();
}

const REREAD_MS = 10_000;
const MAX_REREAD_MS = 3_600_000;

/**
 * The contract shows a key that the token has lost by the logs, to another owner or with one: a state read does not bring it
 * back, for plain contracts go on showing it. Whether those logs were true shows when they are read again.
 */
function hasLost({ ledger }: Agent, id: TokenId, state: TokenState): boolean {
  if (state.kind === "missing" || !state.active || state.key === "") return false;
  const { claim, formerKeys = [] } = token(ledger.registry, id) ?? {};
  return claim?.key === state.key ? claim.lost : formerKeys.includes(state.key);
}

/** Any one upstream has a token that we have never heard of: among the ids that come next, or those that were left out. */
export async function isMissingAny(agent: Agent, signal: AbortSignal): Promise<boolean> {
  const ids = probeIds((id) => token(agent.ledger.registry, id) !== undefined);
  const at = await stateBlock(agent, signal);
  const readings = await Promise.all(
    witnesses(agent).map(({ name }) => readStates(agent, ids, at, signal, { only: name })),
  );
  return readings.some((states) => [...states.values()].some((state) => state.kind === "present" && state.active));
}

/**
 * One upstream that makes up a state must neither take anybody away nor admit anybody where there are others: of those
 * that two agree on, nobody else needs to be asked. Where there is one, the limit of mass removal holds as it does for logs.
 * @param repairsIn what a reading of `at` would have repaired
 */
async function seconded(
  agent: Agent,
  repairs: readonly Observed[],
  at: BlockRef,
  repairsIn: (states: States) => readonly Observed[],
  signal: AbortSignal,
): Promise<readonly Observed[]> {
  const healthy = agent.rpc.upstreams().filter((upstream) => upstream.healthy);
  if (repairs.length === 0 || healthy.length < 2) return repairs;
  const ids = repairs.map(({ tokenId }) => tokenId);
  const readings = await Promise.all(healthy.map(({ name }) => patiently(agent, ids, at, name, signal)));
  const told = readings.map((states) => new Map(repairsIn(states).map(({ tokenId, state }) => [tokenId, state])));
  const agreed = repairs.filter(
    ({ tokenId, state }) => told.filter((repaired) => isDeepStrictEqual(repaired.get(tokenId), state)).length >= 2,
  );
  for (const { tokenId } of agreed) agent.witnessed.add(tokenId);
  // Where nobody else can tell, it is as if there were one upstream.
  const isAlone = ({ tokenId }: Observed) => readings.filter((states) => states.has(tokenId)).length < 2;
  const alone = repairs.filter((one) => isRemoval(one) && !agreed.includes(one) && isAlone(one));
  return [...agreed, ...alone];
}

function isRemoval({ state }: Observed): boolean {
  return state.kind === "missing" || !state.active || state.key === "";
}

/** By one upstream, which may be a block or two behind: what it cannot tell yet it is asked again. */
export async function patiently(
  agent: Agent,
  ids: readonly TokenId[],
  at: BlockRef,
  name: string,
  signal: AbortSignal,
  most = TRIES,
): Promise<States> {
  const states = new Map<TokenId, TokenState>();
  for (let tries = 1; ; tries++) {
    const open = ids.filter((id) => !states.has(id));
    for (const [id, state] of await readStates(agent, open, at, signal, { only: name })) states.set(id, state);
    if (states.size === ids.length || tries === most || signal.aborted) return states;
    await sleep(PAUSE_MS, undefined, { signal });
  }
}

const TRIES = 4;
const PAUSE_MS = 1_000;

/** An addition must be final, whoever tells of it: a reorg must not take it back. `states` are those after `at`. */
async function finalAdditions(
  agent: Agent,
  missing: readonly Observed[],
  states: States,
  at: BlockRef,
  signal: AbortSignal,
): Promise<{ additions: readonly Observed[]; withheld: number; unread: number }> {
  const { final, settled } = agent.ledger;
  if (missing.length === 0 || final.number < 0) return { additions: [], withheld: 0, unread: 0 };
  const ids = missing.map(({ tokenId }) => tokenId);
  const more = (states: States) => differences(settled, states, final, true);
  const read = await readStates(agent, ids, final, signal);
  const untold = missing.filter((one) => !read.has(one.tokenId) && !isRemoval(one));
  const outlasting = await lasting(agent, untold, at, final, signal);
  const found = more(read);
  const isLasting = (id: TokenId) => outlasting.some(({ tokenId }) => tokenId === id);
  const seen = more(new Map([...states].filter(([id]) => isLasting(id))));
  const returning = (all: readonly Observed[]) => all.filter((one) => mayReturn(agent, one));
  const additions = [
    ...(await seconded(agent, returning(found), final, more, signal)),
    ...(await seconded(agent, returning(seen), at, more, signal)),
  ];
  const withheld = [...found, ...seen].filter((one) => !mayReturn(agent, one)).length;
  return { additions, withheld, unread: untold.length - outlasting.length };
}

/** What an only upstream's state may be too old to know: a token that its logs have revoked. What an audit took, it brings back. */
function mayReturn({ rpc, ledger, auditedOut }: Agent, { tokenId }: Observed): boolean {
  const known = token(ledger.settled, tokenId);
  const wasRevoked = known !== undefined && !known.active && known.grantedAt !== undefined;
  return !wasRevoked || auditedOut.has(tokenId) || rpc.upstreams().filter(({ healthy }) => healthy).length > 1;
}

/**
 * Our tip, and where nobody tells the logs that lead on from it, the newest head that does. Frozen by a fork below finality,
 * and while a history is read again for it, our own blocks are unknown to the chain: what it says now can still take away.
 */
export async function stateBlock(agent: Agent, signal: AbortSignal): Promise<BlockRef> {
  const tip = tipOf(trail(agent.ledger));
  const unfollowedMs = agent.now().steadyMs - (agent.followedMs ?? agent.startedMs);
  // A poll that is under way finds by itself what it is about to be told, and that is no repair.
  if (!isForked(agent) && unfollowedMs < UNFOLLOWED_MS) return tip;
  const { value: head, upstream } = await agent.rpc.ask(headOf("latest"), { signal });
  if (isForked(agent)) return head;
  if (head.number <= tip.number) return tip;
  return agent.isRebuilding || (await headersOf(agent.rpc, upstream, signal).holds(tip)) ? head : tip;
}

const UNFOLLOWED_MS = 5_000;

const isForked = ({ faults }: Agent) => faults.has("chain.fork-below-finality");

function differences(registry: Registry, states: States, block: BlockRef, mayAdd: boolean): Observed[] {
  return compare({ get: (id) => token(registry, id) }, states, block, mayAdd);
}

function repair(agent: Agent, repairs: readonly Observed[], signal: AbortSignal): number {
  if (repairs.length === 0 || signal.aborted) return 0;
  const observed = observe(agent.ledger, repairs);
  // A reorg has taken the block that was read: the next audit reads another one.
  if (observed.touched.size === 0) return 0;
  for (const { tokenId, state } of repairs) {
    if (state.kind === "missing" || !state.active) agent.auditedOut.add(tokenId);
    else agent.auditedOut.delete(tokenId);
  }
  return tellRepairs(agent, repairs, observed);
}

/** By the state after a block that our logs have not come to: until they have, nobody has a peer that it denies. */
function removeAhead(agent: Agent, removals: readonly Observed[], tip: BlockRef, signal: AbortSignal): number {
  // Where our blocks have moved on meanwhile, what was read was held against others: the next audit reads again.
  if (removals.length === 0 || signal.aborted || tipOf(trail(agent.ledger)).hash !== tip.hash) return 0;
  return tellRepairs(agent, removals, foresee(agent.ledger, removals));
}

function tellRepairs(agent: Agent, repairs: readonly Observed[], advanced: Advanced): number {
  take(agent, advanced);
  agent.auditRepairs += repairs.length;
  agent.log.warn({ repairs: repairs.length }, "audit.repaired");
  record(agent, repairs);
  return repairs.length;
}

export async function attempt(agent: Agent, signal: AbortSignal, work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof AgentError) && !(error instanceof RpcError)) throw error;
    agent.log.debug({ error }, "audit.failed");
  }
}
