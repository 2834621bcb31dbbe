/**
 * From the registry to the device, hot: derive the peers of the tokens that changed, plan, apply, remember.
 * Nothing here reads the device, and nothing costs more when there are more peers.
 */
import { type Agent, place } from "./agent.ts";
import { derive, mayAdd } from "./deriving.ts";
import { decide } from "./doubts.ts";
import type { AgentError } from "./errors.ts";
import { report } from "./faults.ts";
import type { PublicKey, TokenId } from "./model.ts";
import { claimants } from "./registry/registry.ts";
import { inSlices, SLICE } from "./slices.ts";
import { apply, type Outcome } from "./wireguard/apply.ts";
import { type Change, plan } from "./wireguard/plan.ts";

/**
 * Brings the peers of `ids` to what the registry says, and of those that wait where they may be tried again. `seenMs` is
 * when the block that changed them became visible (steady time). Never throws: what failed waits for the next pass, and
 * so does a crowd that only gains a peer, so that whoever follows the chain is free to see the next revoke.
 */
export async function settle(agent: Agent, ids: Iterable<TokenId>, seenMs?: number): Promise<void> {
  const news = new Set(ids);
  for (const id of news) agent.waiting.add(id);
  // What waits must not hold up what is new, nor take it along.
  await sweep(agent, urgent(agent, news), seenMs);
  const isDue = agent.failures > 0 ? agent.now().steadyMs >= agent.retryAtMs : agent.triedUnder !== leave(agent);
  if (!isDue || agent.waiting.size === 0) return;
  if (agent.waiting.size <= SLICE) await settleWaiting(agent);
  else leaveToTend(agent);
}

/** All who have a peer that may have to go, first; of those who may gain one, no more than the device does at once. */
function urgent(agent: Agent, news: ReadonlySet<TokenId>): readonly TokenId[] {
  if (news.size <= SLICE) return [...news];
  const order = removalsFirst(agent, news);
  const gaining = order.findIndex((id) => !agent.placed.has(id));
  if (gaining >= 0 && !mayAdd(agent)) return order.slice(0, gaining);
  if (gaining < 0 || gaining + SLICE >= order.length) return order;
  leaveToTend(agent);
  return order.slice(0, gaining + SLICE);
}

function leaveToTend(agent: Agent): void {
  if (!mayAdd(agent)) return;
  agent.hasCrowd = true;
  agent.isVerified = false;
  agent.tend.nudge();
}

/** Everybody who waits, whatever for. */
export async function settleWaiting(agent: Agent): Promise<Outcome> {
  agent.triedUnder = leave(agent);
  agent.hasCrowd = false;
  const outcome = await sweep(agent, removalsFirst(agent, agent.waiting));
  if (outcome.kind === "applied") agent.failures = agent.retryAtMs = 0;
  return outcome;
}

/** One change of the device at a time, in the order asked. */
export function exclusively<T>(agent: Agent, work: () => Promise<T>): Promise<T> {
  const turn = agent.turn.then(work);
  agent.turn = turn.then(
    () => undefined,
    () => undefined,
  );
  return turn;
}

/** In slices with a turn of their own each, so that a revoke never waits for a device to be filled. */
async function sweep(agent: Agent, ids: readonly TokenId[], seenMs?: number): Promise<Outcome> {
  const done: Change[] = [];
  const outcome = await inSlices(ids, (slice) => exclusively(agent, () => settleSlice(agent, slice, done)));
  if (done.length > 0) {
    if (seenMs !== undefined) agent.metrics.reachedDevice(agent.now().steadyMs - seenMs);
    tell(agent, done);
  }
  if (outcome.kind !== "applied") putOff(agent, outcome.error);
  return outcome;
}

/** Who has a peer that may have to go, before those who only gain one. */
function removalsFirst({ placed }: Agent, ids: ReadonlySet<TokenId>): TokenId[] {
  const { having = [], gaining = [] } = Object.groupBy(ids, (id) => (placed.has(id) ? "having" : "gaining"));
  return [...having, ...gaining];
}

/** One transaction, for those of the slice that still wait. Only within `exclusively`. */
async function settleSlice(agent: Agent, slice: readonly TokenId[], done: Change[]): Promise<Outcome> {
  const asked = withHeirs(agent, slice);
  // Taken at once: whoever asks while the device is busy waits for the next turn.
  for (const id of asked) agent.waiting.delete(id);
  const derived = derive(agent, asked);
  decide(agent, asked, derived);
  const changes = plan(agent.running, derived.wanted);
  const outcome = changes.length === 0 ? APPLIED : await carryOut(agent, changes);
  for (const id of outcome.kind === "applied" ? derived.left : asked) agent.waiting.add(id);
  if (outcome.kind === "failed") return outcome;
  for (const change of changes) if (change.kind === "remove") removed(agent, change.key);
  forget(agent, changes);
  if (outcome.kind === "rolled-back") return outcome;

  for (const change of changes) if (change.kind === "set") agent.changedMeanwhile?.add(change.peer.key);
  for (const [key, peer] of derived.wanted) if (peer !== undefined) agent.running.set(key, peer);
  for (const id of derived.lost) unplace(agent, id);
  for (const [id, key] of derived.placed) place(agent, id, key);
  done.push(...changes);
  return outcome;
}

/** With those who take over a key of theirs: a peer that changes hands is set anew, never taken away first. */
function withHeirs(agent: Agent, slice: readonly TokenId[]): ReadonlySet<TokenId> {
  const asked = new Set(slice.filter((id) => agent.waiting.has(id)));
  for (const id of asked) {
    const key = agent.placed.get(id)?.key;
    if (key === undefined) continue;
    for (const heir of claimants(agent.ledger.registry, key)) if (agent.waiting.has(heir.id)) asked.add(heir.id);
  }
  return asked;
}

const APPLIED: Outcome = { kind: "applied" };

/** Removals stand even where the rest was rolled back: a full pass that still took them for running would add them. */
function removed(agent: Agent, key: PublicKey): void {
  agent.changedMeanwhile?.add(key);
  agent.isUnwritten = true;
  agent.running.delete(key);
  const id = agent.holders.get(key);
  agent.holders.delete(key);
  if (id !== undefined) unplace(agent, id);
}

function unplace(agent: Agent, id: TokenId): void {
  agent.placed.delete(id);
  agent.witnessed.delete(id);
  agent.decided.delete(id);
}

/** What a removal leaves behind: connections that the host's firewall still lets through. */
function forget(agent: Agent, changes: readonly Change[]): void {
  const removals = changes.filter((change) => change.kind === "remove");
  if (removals.length > 0) void agent.device.forget(removals.flatMap(({ before }) => before?.allowedIps ?? []));
}

/** What is allowed now: those who waited for more are tried again when it changes. */
const leave = (agent: Agent) => `${mayAdd(agent)} ${agent.isTooStale} ${agent.held?.generation}`;

async function carryOut(agent: Agent, changes: readonly Change[]): Promise<Outcome> {
  const startedMs = agent.now().steadyMs;
  const outcome = await apply(agent.device, changes);
  agent.metrics.applied(outcome.kind, agent.now().steadyMs - startedMs);
  if (outcome.kind === "applied") {
    agent.isUnwritten = true;
    agent.lastAppliedAt = agent.now().wallMs;
    agent.tend.nudge(verifyAfterMs(agent));
    return outcome;
  }
  agent.rollbacks++;
  agent.journal.add("rollback", { changes: changes.length, code: outcome.error.fault.code });
  return outcome;
}

/** What failed is tried again, later each time. */
function putOff(agent: Agent, error: AgentError): void {
  report(agent, error);
  agent.failures++;
  const pauseMs = backoffMs(agent.failures);
  agent.retryAtMs = agent.now().steadyMs + pauseMs;
  agent.tend.nudge(pauseMs);
}

/** How long the device is left alone after so many failures in a row. */
export function backoffMs(failures: number): number {
  return Math.min(10_000, 250 * 2 ** failures);
}

/** Soon, and never more than one part in a hundred of the time. */
function verifyAfterMs({ lastRead }: Agent): number {
  return Math.max(1_000, 100 * lastRead.tookMs);
}

/** What was done to the device because of what the chain says. */
export function tell(agent: Agent, changes: readonly Change[]): void {
  const removed = changes.filter(({ kind }) => kind === "remove").length;
  const added = changes.filter((change) => change.kind === "set" && change.before === undefined).length;
  const fields = { added, removed, changed: changes.length - added - removed };
  agent.journal.add("apply", fields);
  agent.log.info(fields, "device.applied");
}
