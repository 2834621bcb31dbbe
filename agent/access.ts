/**
 * From the registry to the device, hot: derive the peers of the tokens that changed, plan, apply, remember.
 * Nothing here reads the device, and nothing costs more when there are more peers.
 */
import { type Agent, place, report } from "./agent.ts";
import { type Doubt, decide, isLogsWord, unproven } from "./doubts.ts";
import type { AgentError } from "./errors.ts";
import type { Admitted, Endpoint, Peer, PublicKey, TokenId } from "./model.ts";
import { claimants } from "./registry/registry.ts";
import { inSlices, SLICE } from "./slices.ts";
import { asVouched, mayBelieve } from "./unvouched.ts";
import { apply, type Outcome } from "./wireguard/apply.ts";
import { desired } from "./wireguard/desired.ts";
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

/** What the waiting tokens want of the device, as far as it may be done now. */
interface Derived {
  /** By key; undefined takes the peer away. */
  readonly wanted: Map<PublicKey, Peer | undefined>;
  readonly lost: readonly TokenId[];
  readonly placed: Map<TokenId, PublicKey>;
  /** Additions that are not allowed yet, and the doubtful. */
  readonly left: Set<TokenId>;
  /** Removals that wait for a witness. */
  readonly doubtful: Map<TokenId, Doubt>;
  /** Who loses a peer by what logs say, and counts as one of many: not whom our own choice removes. */
  readonly byLogs: readonly TokenId[];
}

function derive(agent: Agent, asked: ReadonlySet<TokenId>): Derived {
  const now = new Map([...asked].map((id) => [id, peerOf(agent, id)]));
  const losing = [...now].filter(([id, { peer }]) => isLosing(agent, id, peer)).map(([id]) => id);
  const kept = new Set(losing.filter((id) => awaitsHeir(agent, id)));
  const gone = losing.filter((id) => !kept.has(id));
  const byLogs = gone.filter((id) => isLogsWord(agent, id));
  const doubt = { sinceMs: agent.now().steadyMs, from: agent.follower.heads.tipFrom };
  const doubtful = new Map(unproven(agent, byLogs).map((id) => [id, agent.doubtful.get(id) ?? doubt]));
  const lost = gone.filter((id) => !doubtful.has(id));
  const [wanted, placed] = [new Map<PublicKey, Peer | undefined>(), new Map()];
  const left = new Set([...doubtful.keys(), ...kept]);
  const isInDoubt = (id: TokenId) => (asked.has(id) ? doubtful : agent.doubtful).has(id);
  for (const id of lost) {
    const key = agent.placed.get(id)?.key;
    // By now the peer may be another token's, which set the same key while this one waited for its witness.
    if (key !== undefined && agent.holders.get(key) === id) wanted.set(key, undefined);
  }
  // Additions after removals: a key that moves between two tokens of its owner is set anew, never taken away.
  for (const [id, { peer, isHeldBack }] of now) {
    if (isHeldBack) left.add(id);
    if (doubtful.has(id)) {
      const rest = withoutOverlay(agent, id);
      if (rest !== undefined) wanted.set(rest.key, rest);
      continue;
    }
    if (peer === undefined) continue;
    const isPlaced = agent.placed.get(id)?.key === peer.key;
    const holder = agent.holders.get(peer.key);
    if (holder !== undefined && holder !== id && isInDoubt(holder)) {
      left.add(id);
      continue;
    }
    if (isPlaced ? mayAdd(agent) : mayJoin(agent, id)) {
      wanted.set(peer.key, peer);
      placed.set(id, peer.key);
      continue;
    }
    left.add(id);
    const present = agent.isSettled ? agent.running.get(peer.key) : undefined;
    // The overlay going to another gateway adds nobody: addresses follow from the id, and the rest stays as it is.
    if (present !== undefined && isPlaced) {
      wanted.set(peer.key, { ...present, allowedIps: peer.allowedIps });
    }
  }
  return { wanted, lost, placed, left, doubtful, byLogs };
}

/** Its owner's later token has the key now, and may not have the peer yet: it stays with this one until then. */
function awaitsHeir(agent: Agent, id: TokenId): boolean {
  const key = agent.placed.get(id)?.key;
  if (key === undefined || agent.roster.verdict(id) !== "key.claimed") return false;
  const heirs = claimants(agent.ledger.registry, key).filter((heir) => agent.roster.verdict(heir.id) === "admitted");
  return heirs.some((heir) => heir.id !== id && !mayJoin(agent, heir.id));
}

/** Whether the token may get a peer that it does not have. */
export function mayJoin(agent: Agent, id: TokenId): boolean {
  return mayAdd(agent) && mayBelieve(agent, id);
}

/** A gateway in doubt stays a peer, but what another one carries now is not given back to it by every full pass. */
function withoutOverlay({ placed, holders, running, topology }: Agent, id: TokenId): Peer | undefined {
  const key = placed.get(id)?.key;
  const peer = key && running.get(key);
  if (peer === undefined || holders.get(peer.key) !== id) return undefined;
  if (topology.primary === undefined || topology.primary === id) return undefined;
  const allowedIps = peer.allowedIps.filter((cidr) => !topology.overlay.includes(cidr));
  return allowedIps.length === peer.allowedIps.length ? undefined : { ...peer, allowedIps };
}

function isLosing(agent: Agent, id: TokenId, peer: Peer | undefined): boolean {
  const before = agent.placed.get(id);
  return before !== undefined && before.key !== peer?.key;
}

/** The peer of an admitted token, unless something of ours, or another upstream's fork, holds it back for now. */
function peerOf(agent: Agent, id: TokenId): { peer?: Peer; isHeldBack: boolean } {
  const claimed = agent.roster.admitted(id);
  const admitted = claimed && asVouched(agent, claimed);
  noteNode(agent, id, admitted);
  const peer = admitted && desired(admitted, agent.topology);
  if (peer === undefined) return { isHeldBack: false };
  const isDenied = agent.unvouched.get(id)?.deniedBy !== undefined;
  return isDenied || isHeldBack(agent, peer.key) ? { isHeldBack: true } : { peer, isHeldBack: false };
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
