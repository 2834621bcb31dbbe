/** What the last pass left behind, as observation reads it: figures that are there already, never a walk over peers. */
import type { Agent } from "./agent.ts";
import type { UpstreamStatus } from "./chain/rpc.ts";
import type { PeerView, Snapshot } from "./observe/health.ts";
import { size, token } from "./registry/registry.ts";
import { intervalMs } from "./tend.ts";
import { disputed } from "./unvouched.ts";
import { unwitnessedLimit } from "./witness.ts";

export function snapshot(agent: Agent): Snapshot {
  const { settings, roster, follower, lastRead } = agent;
  const { self } = roster;
  const { figures } = follower;
  const { admitted, quarantined } = roster.counts;
  return {
    nodeId: settings.nodeId,
    version: agent.version,
    startedSteadyMs: agent.startedMs,
    faults: faults(agent),
    chain: {
      pollIntervalMs: settings.pollIntervalMs,
      headAgeLimitSeconds: settings.network === "devnet" ? undefined : HEAD_AGE_LIMIT_SECONDS,
      caughtUp: agent.isCaughtUp,
      headBlock: figures.headBlock,
      headAt: figures.headTimestamp === undefined ? undefined : figures.headTimestamp * 1000,
      headSeenSteadyMs: agent.headSeenMs,
      cursorBlock: figures.cursorBlock,
      followedSteadyMs: agent.followedMs,
      finalizedBlock: figures.finalizedBlock,
      upstreams: agent.rpc.upstreams().map((one) => ({ ...one, healthy: one.healthy && !isLate(agent, one) })),
      reorgs: figures.reorgs,
      reorgDepth: figures.deepestReorg,
      invalidLogs: figures.invalidLogs,
      auditRepairs: agent.auditRepairs,
      divergences: figures.divergences,
    },
    registry: {
      tokens: size(agent.ledger.registry),
      admitted,
      quarantined,
      selfTokenId: self.kind === "found" ? String(self.token.id) : undefined,
    },
    wireguard: {
      interface: settings.interfaceName,
      publicKey: agent.privateKey.publicKey,
      listenPort: lastRead.listenPort,
      addresses: agent.ownAddresses,
      verified: agent.isVerified,
      pending: agent.waiting.size,
      peers: agent.running.size,
      readAt: lastRead.atMs,
      readSteadyMs: lastRead.steadyMs,
      readEveryMs: intervalMs(agent),
      ...lastRead.readings,
      listPeers: () => listPeers(agent),
    },
    config: {
      generation: agent.generation,
      lastAppliedAt: agent.lastAppliedAt,
      lastBackupAt: agent.lastBackupAt,
      rollbacks: agent.rollbacks,
    },
  };
}

/** DESIGN section 5: three of Base's slowest stretches of blocks, and then some. */
const HEAD_AGE_LIMIT_SECONDS = 45;

/** It answers, and its head is old beside the one that is followed: of no use to anybody who prefers it. */
function isLate({ follower }: Agent, { headTimestamp }: UpstreamStatus): boolean {
  return headTimestamp !== undefined && (follower.figures.headTimestamp ?? 0) - headTimestamp > LATE_SECONDS;
}

const LATE_SECONDS = 15;

function faults(agent: Agent): Snapshot["faults"] {
  const { self } = agent.roster;
  const present = [...agent.faults.values(), ...agent.lacks];
  if (self.kind === "key-mismatch" && agent.isCaughtUp) {
    const publicKey = agent.privateKey.publicKey;
    const tokenId = String(self.token.id);
    present.push({ code: "self.key-mismatch", nodeId: agent.settings.nodeId, tokenId, publicKey });
  }
  if (agent.doubtful.size > 0) {
    const limit = unwitnessedLimit(agent.running.size + agent.removals.length);
    present.push({ code: "chain.mass-removal-held", removals: agent.removals.length + agent.doubtful.size, limit });
  }
  const tokens = disputed(agent).length;
  if (tokens > 0) present.push({ code: "chain.grant-disputed", tokens });
  if (agent.held !== undefined) present.push({ code: "config.held", generation: agent.held.generation });
  return present;
}

function* listPeers(agent: Agent): Generator<PeerView> {
  for (const [id, { key }] of agent.placed) {
    const peer = agent.running.get(key);
    if (peer === undefined) continue;
    const read = agent.lastRead.peers.get(key);
    const handshakeAt = read?.latestHandshakeAt ?? 0;
    yield {
      tokenId: String(id),
      nodeId: token(agent.ledger.registry, id)?.nodeId ?? "",
      publicKey: key,
      endpoint: read?.endpoint ?? peer.endpoint ?? null,
      allowedIps: peer.allowedIps,
      latestHandshakeAt: handshakeAt === 0 ? null : new Date(handshakeAt).toISOString(),
      rxBytes: read?.rxBytes ?? 0,
      txBytes: read?.txBytes ?? 0,
    };
  }
}
