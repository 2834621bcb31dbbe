/** What the waiting tokens want of the device, as far as it may be done now. */
import type { Agent } from "./agent.ts";
import { type Doubt, isLogsWord, unproven } from "./doubts.ts";
import type { Admitted, Endpoint, Peer, PublicKey, TokenId } from "./model.ts";
import { claimants } from "./registry/registry.ts";
import type { Verdict } from "./registry/roster.ts";
import { asVouched, mayBelieve } from "./unvouched.ts";
import { desired } from "./wireguard/desired.ts";

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

export function derive(agent: Agent, asked: ReadonlySet<TokenId>): Derived {
  const now = new Map([...asked].map((id) => [id, peerOf(agent, id)]));
  const losing = [...now].filter(([id, { peer }]) => isLosing(agent, id, peer)).map(([id]) => id);
  const kept = new Set(losing.filter((id) => awaitsHeir(agent, id) || awaitsSuccessor(agent, id)));
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
    const present = agent.isInHistory ? undefined : agent.running.get(peer.key);
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
  if (key === undefined || agent.roster.verdict(id) !== "key.claimed" || agent.unvouched.get(id)?.isDenied)
    return false;
  const heirs = claimants(agent.ledger.registry, key).filter((heir) => agent.roster.verdict(heir.id) === "admitted");
  return heirs.some((heir) => heir.id !== id && !mayJoin(agent, heir.id));
}

/** An earlier token has taken its place under a cap, and may not have a peer yet: it stays in until that one comes. */
function awaitsSuccessor(agent: Agent, id: TokenId): boolean {
  const { roster, unvouched, placed } = agent;
  if (!CAPS.has(roster.verdict(id)) || unvouched.get(id)?.isDenied) return false;
  return [...unvouched.keys()].some((other) => roster.verdict(other) === "admitted" && !placed.has(other));
}

const CAPS: ReadonlySet<Verdict> = new Set<Verdict>(["cap.owner", "cap.total"]);

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
  const isDenied = agent.unvouched.get(id)?.isDenied === true;
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
