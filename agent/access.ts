/**
 * From the registry to the device, hot: derive the peers of the tokens that changed, plan, apply, remember.
 * Nothing here reads the device, and nothing costs more when there are more peers.
 */
import { type Agent, place, report } from "./agent.ts";
import type { Admitted, Endpoint, Peer, PublicKey, TokenId } from "./model.ts";
import { token } from "./registry/registry.ts";
import { apply } from "./wireguard/apply.ts";
import { desired } from "./wireguard/desired.ts";
import { type Change, plan } from "./wireguard/plan.ts";
import { sortOut, withinWindow } from "./witness.ts";

/**
 * Brings the peers of `ids`, and of those that wait, to what the registry says. `seenMs` is when the block that
 * changed them became visible (steady time). Never throws: what failed waits for the next pass.
 */
export function settle(agent: Agent, ids: Iterable<TokenId>, seenMs?: number): Promise<void> {
  let isNew = false;
  for (const id of ids) {
    isNew = true;
    agent.waiting.add(id);
  }
  const isDue = isNew || agent.now().steadyMs >= agent.retryAtMs;
  if (agent.waiting.size === 0 || !isDue) return Promise.resolve();
  return exclusively(agent, () => settleWaiting(agent, seenMs));
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

/** Only within `exclusively`. */
export async function settleWaiting(agent: Agent, seenMs?: number): Promise<void> {
  // Taken at once: whoever asks while the device is busy waits for the next turn.
  const asked = agent.waiting;
  agent.waiting = new Set();
  const { wanted, placed, left, doubtful } = derive(agent, asked);
  const changes = plan(agent.running, wanted);
  const isDone = changes.length === 0 || (await carryOut(agent, changes, seenMs));
  for (const id of isDone ? left : asked) agent.waiting.add(id);
  if (!isDone) return;
  for (const [key, peer] of wanted) {
    agent.changedMeanwhile?.add(key);
    if (peer === undefined) agent.running.delete(key);
    else agent.running.set(key, peer);
  }
  for (const [id, key] of placed) {
    if (key !== undefined) place(agent, id, key);
    else {
      agent.placed.delete(id);
      agent.witnessed.delete(id);
    }
  }
  if ([...doubtful.keys()].some((id) => !agent.doubtful.has(id))) agent.doubt.nudge();
  agent.doubtful = doubtful;
  forget(agent, changes);
}

/** What a removal leaves behind: connections that the host's firewall still lets through, and its weight as one of many. */
function forget(agent: Agent, changes: readonly Change[]): void {
  const removed = changes.filter((change) => change.kind === "remove");
  if (removed.length === 0) return;
  const nowMs = agent.now().steadyMs;
  agent.removals = [...withinWindow(agent.removals, nowMs), ...removed.map(() => nowMs)];
  void agent.device.forget(removed.flatMap(({ before }) => before?.allowedIps ?? []));
}

/** What the waiting tokens want of the device, as far as it may be done now. */
interface Derived {
  /** By key; undefined takes the peer away. */
  readonly wanted: Map<PublicKey, Peer | undefined>;
  readonly placed: Map<TokenId, PublicKey | undefined>;
  /** Additions that are not allowed yet, and the doubtful. */
  readonly left: Set<TokenId>;
  /** Removals that wait for a witness. */
  readonly doubtful: Map<TokenId, number>;
}

function derive(agent: Agent, asked: ReadonlySet<TokenId>): Derived {
  const now = new Map([...asked].map((id) => [id, peerOf(agent, id)]));
  const going = [...now].filter(([id, { peer }]) => agent.placed.get(id)?.key !== peer?.key).map(([id]) => id);
  const losing = going.filter((id) => agent.placed.has(id));
  const nowMs = agent.now().steadyMs;
  const doubtful = new Map(unproven(agent, losing).map((id) => [id, agent.doubtful.get(id) ?? nowMs]));
  const derived: Derived = { wanted: new Map(), placed: new Map(), left: new Set(doubtful.keys()), doubtful };
  for (const id of losing) {
    const before = agent.placed.get(id);
    if (before === undefined || doubtful.has(id)) continue;
    derived.wanted.set(before.key, undefined);
    derived.placed.set(id, undefined);
  }
  // Additions after removals: a key that moves between two tokens of its owner is set anew, never taken away.
  for (const [id, { peer, isHeldBack }] of now) {
    if (isHeldBack) derived.left.add(id);
    if (peer === undefined || doubtful.has(id)) continue;
    if (mayAdd(agent)) {
      derived.wanted.set(peer.key, peer);
      derived.placed.set(id, peer.key);
    } else derived.left.add(id);
  }
  return derived;
}

/** The peer of an admitted token, unless something of ours holds it back for now. */
function peerOf(agent: Agent, id: TokenId): { peer?: Peer; isHeldBack: boolean } {
  const admitted = agent.roster.admitted(id);
  noteNode(agent, id, admitted);
  const peer = admitted && desired(admitted, agent.topology);
  if (peer === undefined) return { isHeldBack: false };
  const isHeldBack = agent.isTooStale || (agent.held !== undefined && !agent.held.keys.has(peer.key));
  return isHeldBack ? { isHeldBack } : { peer, isHeldBack };
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
function unproven(agent: Agent, losing: readonly TokenId[]): TokenId[] {
  const byLogs = losing.filter((id) => !agent.witnessed.has(id) && isLogsWord(agent, id));
  return sortOut(byLogs, agent.removals, agent.running.size, agent.now().steadyMs).doubtful;
}

/** Inactive, another owner's, or with another key: what a lying upstream can make us believe, and a state read refutes. */
function isLogsWord(agent: Agent, id: TokenId): boolean {
  const now = token(agent.ledger.registry, id);
  const before = agent.placed.get(id);
  return !now?.active || now.owner !== before?.owner || now.claim?.key !== before.key;
}

/** True when `wg` has done it all. */
async function carryOut(agent: Agent, changes: readonly Change[], seenMs: number | undefined): Promise<boolean> {
  const startedMs = agent.now().steadyMs;
  const outcome = await apply(agent.device, changes);
  const endedMs = agent.now().steadyMs;
  agent.metrics.applied(outcome.kind, endedMs - startedMs);
  if (outcome.kind === "applied") {
    if (seenMs !== undefined) agent.metrics.reachedDevice(endedMs - seenMs);
    tell(agent, changes);
    agent.isUnwritten = true;
    agent.failures = 0;
    agent.lastAppliedAt = agent.now().wallMs;
    agent.tend.nudge(verifyAfterMs(agent));
    return true;
  }
  report(agent, outcome.error);
  agent.failures++;
  agent.retryAtMs = endedMs + Math.min(10_000, 250 * 2 ** agent.failures);
  agent.rollbacks++;
  agent.journal.add("rollback", { changes: changes.length, code: outcome.error.fault.code });
  agent.tend.nudge();
  return false;
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
