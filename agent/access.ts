/**
 * From the registry to the device, hot: derive the peers of the tokens that changed, plan, apply, remember.
 * Nothing here reads the device, and nothing costs more when there are more peers.
 */
import { type Agent, place, report } from "./agent.ts";
import type { Admitted, Endpoint, Peer, PublicKey, TokenId } from "./model.ts";
import { token } from "./registry/registry.ts";
import { apply, type Outcome } from "./wireguard/apply.ts";
import { desired } from "./wireguard/desired.ts";
import { type Change, plan } from "./wireguard/plan.ts";
import { sortOut, withinWindow } from "./witness.ts";

/**
 * Brings the peers of `ids`, and of those that wait, to what the registry says. `seenMs` is when the block that
 * changed them became visible (steady time). Never throws: what failed waits for the next pass.
 */
export async function settle(agent: Agent, ids: Iterable<TokenId>, seenMs?: number): Promise<void> {
  const news = new Set(ids);
  for (const id of news) agent.waiting.add(id);
  // What failed before must not take along what is new.
  if (agent.failures > 0 && news.size > 0) await exclusively(agent, () => settleWaiting(agent, seenMs, news));
  if (agent.waiting.size === 0 || agent.now().steadyMs < agent.retryAtMs) return;
  await exclusively(agent, () => settleWaiting(agent, seenMs));
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

/** Of those that wait `only` these, where it is given. Only within `exclusively`. */
export async function settleWaiting(agent: Agent, seenMs?: number, only?: ReadonlySet<TokenId>): Promise<Outcome> {
  // Taken at once: whoever asks while the device is busy waits for the next turn.
  const asked = only === undefined ? agent.waiting : agent.waiting.intersection(only);
  agent.waiting = agent.waiting.difference(asked);
  const derived = derive(agent, asked);
  const changes = plan(agent.running, derived.wanted);
  const outcome = changes.length === 0 ? APPLIED : await carryOut(agent, changes, seenMs);
  for (const id of outcome.kind === "applied" ? derived.left : asked) agent.waiting.add(id);
  if (outcome.kind === "failed") return outcome;
  for (const change of changes) if (change.kind === "remove") removed(agent, change.key);
  forget(agent, changes, derived.weight);
  if (outcome.kind === "rolled-back") return outcome;

  for (const change of changes) if (change.kind === "set") agent.changedMeanwhile?.add(change.peer.key);
  for (const [key, peer] of derived.wanted) if (peer !== undefined) agent.running.set(key, peer);
  for (const id of derived.lost) unplace(agent, id);
  for (const [id, key] of derived.placed) place(agent, id, key);
  if ([...derived.doubtful.keys()].some((id) => !agent.doubtful.has(id))) agent.doubt.nudge();
  agent.doubtful = new Map([...[...agent.doubtful].filter(([id]) => !asked.has(id)), ...derived.doubtful]);
  if (only === undefined) agent.failures = agent.retryAtMs = 0;
  return outcome;
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
}

/** What a removal leaves behind: connections that the host's firewall still lets through, and its weight as one of many. */
function forget(agent: Agent, changes: readonly Change[], weight: number): void {
  const removals = changes.filter((change) => change.kind === "remove");
  if (removals.length === 0) return;
  const nowMs = agent.now().steadyMs;
  agent.removals = [...withinWindow(agent.removals, nowMs), ...Array<number>(weight).fill(nowMs)];
  void agent.device.forget(removals.flatMap(({ before }) => before?.allowedIps ?? []));
}

/** What the waiting tokens want of the device, as far as it may be done now. */
interface Derived {
  /** By key; undefined takes the peer away. */
  readonly wanted: Map<PublicKey, Peer | undefined>;
  readonly lost: readonly TokenId[];
  readonly placed: Map<TokenId, PublicKey>;
  /** Additions that are not allowed yet, and the doubtful. */
  readonly left: Set<TokenId>;
  /** Removals that wait for a witness. */
  readonly doubtful: Map<TokenId, number>;
  /** How many of the removals count as one of many: not those that are our own choice. */
  readonly weight: number;
}

function derive(agent: Agent, asked: ReadonlySet<TokenId>): Derived {
  const now = new Map([...asked].map((id) => [id, peerOf(agent, id)]));
  const losing = [...now].filter(([id, { peer }]) => isLosing(agent, id, peer)).map(([id]) => id);
  const byLogs = losing.filter((id) => isLogsWord(agent, id));
  const nowMs = agent.now().steadyMs;
  const doubtful = new Map(unproven(agent, byLogs).map((id) => [id, agent.doubtful.get(id) ?? nowMs]));
  const lost = losing.filter((id) => !doubtful.has(id));
  const [wanted, placed, left] = [new Map<PublicKey, Peer | undefined>(), new Map(), new Set(doubtful.keys())];
  for (const id of lost) {
    const key = agent.placed.get(id)?.key;
    // By now the peer may be another token's, which set the same key while this one waited for its witness.
    if (key !== undefined && agent.holders.get(key) === id) wanted.set(key, undefined);
  }
  // Additions after removals: a key that moves between two tokens of its owner is set anew, never taken away.
  for (const [id, { peer, isHeldBack }] of now) {
    if (isHeldBack) left.add(id);
    if (peer === undefined || doubtful.has(id)) continue;
    if (mayAdd(agent)) {
      wanted.set(peer.key, peer);
      placed.set(id, peer.key);
    } else left.add(id);
  }
  return { wanted, lost, placed, left, doubtful, weight: byLogs.length - doubtful.size };
}

function isLosing(agent: Agent, id: TokenId, peer: Peer | undefined): boolean {
  const before = agent.placed.get(id);
  return before !== undefined && before.key !== peer?.key;
}

/** The peer of an admitted token, unless something of ours holds it back for now. */
function peerOf(agent: Agent, id: TokenId): { peer?: Peer; isHeldBack: boolean } {
  const admitted = agent.roster.admitted(id);
  noteNode(agent, id, admitted);
  const peer = admitted && desired(admitted, agent.topology);
  if (peer === undefined) return { isHeldBack: false };
  return isHeldBack(agent, peer.key) ? { isHeldBack: true } : { peer, isHeldBack: false };
}

/** By the operator's own choice. */
export function isHeldBack({ isTooStale, held }: Agent, key: PublicKey): boolean {
  return isTooStale || (held !== undefined && !held.keys.has(key));
}

/** Nodes and gateways are few, and the topology and the firewall ask for all of them. */
export function noteNode(agent: Agent, id: TokenId, admitted: Admitted | undefined): void {
  const before = agent.nodes.get(id);
  const now = admitted !== undefined && isNode(admitted) ? admitted : undefined;
  if (now !== undefined) agent.nodes.set(id, now);
  else agent.nodes.delete(id);
  const isSame =
    now?.key === before?.key && now?.role === before?.role && isSameEndpoint(now?.endpoint, before?.endpoint);
  if (!isSame) agent.tend.nudge();
}

const isNode = ({ role, endpoint }: Admitted) => role !== "member" || endpoint !== undefined;
const isSameEndpoint = (a: Endpoint | undefined, b: Endpoint | undefined) => a?.host === b?.host && a?.port === b?.port;

/** Whatever adds waits until we know all that the chain says, and who we are; whatever removes does not. */
export function mayAdd(agent: Agent): boolean {
  return agent.isSettled && agent.roster.self.kind === "found" && !agent.faults.has("chain.fork-below-finality");
}

/** Of the tokens that lose their peer by what logs say, those that must be proven by the contract's state first. */
function unproven(agent: Agent, byLogs: readonly TokenId[]): TokenId[] {
  if (agent.isTooStale) return [];
  const candidates = byLogs.filter((id) => !agent.witnessed.has(id));
  return sortOut(candidates, agent.removals, agent.running.size, agent.now().steadyMs).doubtful;
}

/** Inactive, another owner's, or with another key: what a lying upstream can make us believe, and a state read refutes. */
function isLogsWord(agent: Agent, id: TokenId): boolean {
  const now = token(agent.ledger.registry, id);
  const before = agent.placed.get(id);
  return !now?.active || now.owner !== before?.owner || now.claim?.key !== before.key;
}

async function carryOut(agent: Agent, changes: readonly Change[], seenMs: number | undefined): Promise<Outcome> {
  const startedMs = agent.now().steadyMs;
  const outcome = await apply(agent.device, changes);
  const endedMs = agent.now().steadyMs;
  agent.metrics.applied(outcome.kind, endedMs - startedMs);
  if (outcome.kind === "applied") {
    if (seenMs !== undefined) agent.metrics.reachedDevice(endedMs - seenMs);
    tell(agent, changes);
    agent.isUnwritten = true;
    agent.lastAppliedAt = agent.now().wallMs;
    agent.tend.nudge(verifyAfterMs(agent));
    return outcome;
  }
  report(agent, outcome.error);
  agent.failures++;
  const pauseMs = backoffMs(agent.failures);
  agent.retryAtMs = endedMs + pauseMs;
  agent.rollbacks++;
  agent.journal.add("rollback", { changes: changes.length, code: outcome.error.fault.code });
  agent.tend.nudge(pauseMs);
  return outcome;
}

/** How long the device is left alone after so many failures in a row. */
export function backoffMs(failures: number): number {
  return Math.min(10_000, 250 * 2 ** failures);
}

/** Soon, and never more than one part in a hundred of the time. */
function verifyAfterMs({ lastRead }: Agent): number {
  return Math.max(1_000, 100 * lastRead.tookMs);
}

function tell(agent: Agent, changes: readonly Change[]): void {
  const removed = changes.filter(({ kind }) => kind === "remove").length;
  const added = changes.filter((change) => change.kind === "set" && change.before === undefined).length;
  const fields = { added, removed, changed: changes.length - added - removed };
  agent.journal.add("apply", fields);
  agent.log.info(fields, "device.applied");
}
