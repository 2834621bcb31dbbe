/** What a full pass does about a device that differs from what was applied to it. */
import { exclusively, tell } from "./access.ts";
import type { Agent } from "./agent.ts";
import { isHeldBack } from "./deriving.ts";
import { AgentError } from "./errors.ts";
import { type Cidr, type Peer, type PublicKey, parseTokenId, prefixOf, type TokenId } from "./model.ts";
import { token } from "./registry/registry.ts";
import { inSlices } from "./slices.ts";
import { apply } from "./wireguard/apply.ts";
import type { DeviceState } from "./wireguard/dump.ts";
import { type Change, repair } from "./wireguard/plan.ts";

/**
 * Makes the device what was applied, in slices as an initial fill needs them, and reads it again to be sure.
 * @returns the device as it was read last
 * @throws AgentError of what failed last, or device.unverified; what was mended stays
 */
export async function mend(agent: Agent, found: DeviceState, signal: AbortSignal): Promise<DeviceState> {
  const changes = await differences(agent, found);
  if (changes.length === 0) return found;
  agent.isVerified = false;
  const done: Change[] = [];
  const outcome = await inSlices(changes, (slice) => exclusively(agent, () => mendSlice(agent, slice, done, signal)));
  // A new device, as after a reboot or in a new container, was changed by nobody: it is filled.
  const isNew = agent.lastRead.steadyMs === undefined && found.peers.size === 0;
  const say = isNew ? tell : tellDrift;
  if (done.length > 0) say(agent, done);
  if (outcome.kind !== "applied") throw outcome.error;
  if (signal.aborted) return found;
  const after = await agent.device.read(agent.running);
  const left = await differences(agent, after);
  if (left.length > 0) throw new AgentError({ code: "device.unverified", differences: left.length });
  return { ...after, peers: remembering(after.peers, agent.lastRead.peers) };
}

/** A peer whose session went with its interface is as alive as it was, until it has had the time to shake hands again. */
function remembering(peers: DeviceState["peers"], before: DeviceState["peers"]): DeviceState["peers"] {
  const remembered = new Map(peers);
  for (const [key, peer] of peers) {
    const { latestHandshakeAt = 0 } = before.get(key) ?? {};
    if (peer.latestHandshakeAt < latestHandshakeAt) remembered.set(key, { ...peer, latestHandshakeAt });
  }
  return remembered;
}

async function mendSlice(agent: Agent, slice: readonly Change[], done: Change[], signal: AbortSignal) {
  // Events had their turns since this was planned, and know better.
  const changes = signal.aborted ? [] : slice.filter((change) => !agent.changedMeanwhile?.has(keyOf(change)));
  if (changes.length === 0) return { kind: "applied" } as const;
  const startedMs = agent.now().steadyMs;
  const outcome = await apply(agent.device, changes);
  agent.metrics.applied(outcome.kind, agent.now().steadyMs - startedMs);
  if (outcome.kind === "applied") done.push(...changes);
  else {
    agent.rollbacks++;
    agent.journal.add("rollback", { changes: changes.length, code: outcome.error.fault.code });
  }
  return outcome;
}

/** Peers are there that nobody may judge before the chain has been read: the pass after that decides. */
export function hasUnjudged(agent: Agent, { peers }: DeviceState): boolean {
  if (agent.isTooStale || (agent.isCaughtUp && agent.isTrusted)) return false;
  for (const key of peers.keys()) if (!agent.running.has(key)) return true;
  return false;
}

/** Between the device and what was last applied; what changed while it was read, or is just being changed, is not compared. */
function differences(agent: Agent, found: DeviceState): Promise<Change[]> {
  return exclusively(agent, async () => differing(agent, found));
}

function differing(agent: Agent, found: DeviceState): Change[] {
  const serves = agent.inherited.size > 0 && !agent.isTooStale;
  const inherited = serves ? [...agent.inherited].filter(([, peer]) => !isOut(agent, peer)) : [];
  const wanted = serves ? new Map([...inherited, ...agent.running]) : agent.running;
  const all = repair(found.peers, wanted, {
    asked: { get: (key) => (agent.unasked.has(key) ? undefined : wanted.get(key)) },
    lastSeen: agent.lastRead.peers,
    keepsUnknown: !agent.isTooStale && !agent.isTrusted,
    nowMs: agent.now().wallMs,
  });
  const isOurs = (change: Change) =>
    change.kind === "set" || change.before === undefined || !isLater(agent, change.before);
  return all.filter((change) => !agent.changedMeanwhile?.has(keyOf(change)) && isOurs(change));
}

/**
 * Whether a peer that was applied by nobody may have been given access after our database was last saved: it has the
 * address of a token that is not in there, or had another key. Its session stays until we have caught up, and then for as
 * long as its token waits to be given this very peer; an address that the database gives to somebody goes there.
 */
function isLater(agent: Agent, { key, allowedIps }: Peer): boolean {
  if (agent.isTooStale) return false;
  const ids = allowedIps.filter((cidr) => !agent.overlay.includes(cidr)).map((cidr) => tokenAt(agent.overlay, cidr));
  const isSo = (id: TokenId) => isAwaited(agent, id, key) || (!agent.isCaughtUp && mayHaveGained(agent, id, key));
  // Beside tokens' addresses and the overlay nobody was ever given anything.
  return ids.length > 0 && ids.every((id) => id !== undefined && isSo(id));
}

/** Whether the ledger, as far as it goes, speaks against a peer that the last good file has. */
function isOut(agent: Agent, { key, allowedIps }: Peer): boolean {
  const ids = allowedIps.flatMap((cidr) => tokenAt(agent.overlay, cidr) ?? []);
  return ids.some((id) => !isAwaited(agent, id, key) && !mayHaveGained(agent, id, key));
}

function isAwaited(agent: Agent, id: TokenId, key: PublicKey): boolean {
  return agent.waiting.has(id) && agent.roster.admitted(id)?.key === key && !isHeldBack(agent, key);
}

function mayHaveGained(agent: Agent, id: TokenId, key: PublicKey): boolean {
  const known = token(agent.ledger.registry, id);
  if (known === undefined) return true;
  const isUndecided = known.claim?.key !== key || agent.touched.has(id);
  return known.active && isUndecided && !known.formerKeys.includes(key);
}

/** Whose address it is, if there is such a token: within each prefix of the overlay a token's id is its number. */
function tokenAt(overlay: readonly Cidr[], cidr: Cidr): TokenId | undefined {
  const { base, bits, width } = prefixOf(cidr);
  const within = overlay.map(prefixOf).find((prefix) => {
    const shift = BigInt(width - prefix.bits);
    return prefix.width === width && bits === width && prefix.base >> shift === base >> shift;
  });
  return within && parseTokenId(base - within.base);
}

const keyOf = (change: Change) => (change.kind === "remove" ? change.key : change.peer.key);

function tellDrift(agent: Agent, changes: readonly Change[]): void {
  const drifts = Map.groupBy(changes, (change) =>
    change.kind === "remove" ? "unknown" : change.before === undefined ? "missing" : "changed",
  );
  for (const [drift, all] of drifts) agent.metrics.repaired(drift, all.length);
  const fields = Object.fromEntries([...drifts].map(([drift, all]) => [drift, all.length]));
  agent.journal.add("drift-repair", fields);
  agent.log.warn(fields, "device.drift-repaired");
}
