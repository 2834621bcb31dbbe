/** The bodies of the answers, field by field as DESIGN section 9 lists them; nothing gets in that is not named here. Pure. */
import { health, type Now, type PeerView, type Snapshot } from "./health.ts";
import type { Totals } from "./metrics.ts";
import { lagBlocks } from "./series.ts";

export function readyView(snapshot: Snapshot, now: Now) {
  const { ready, reasons } = health(snapshot, now);
  return { isReady: ready, body: { status: ready ? "ready" : "not-ready", reasons } };
}

export function healthView(snapshot: Snapshot, now: Now) {
  const { status, ready, reasons, components } = health(snapshot, now);
  const { chain, registry, wireguard, config } = snapshot;
  return {
    isHealthy: status !== "unhealthy",
    body: {
      status,
      ready,
      nodeId: snapshot.nodeId,
      version: snapshot.version,
      uptimeSeconds: uptimeSeconds(snapshot, now),
      reasons,
      components: {
        chain: {
          status: components.chain,
          headBlock: orNull(chain.headBlock),
          cursorBlock: orNull(chain.cursorBlock),
          finalizedBlock: orNull(chain.finalizedBlock),
          lagBlocks: orNull(lagBlocks(chain)),
          headAgeSeconds: ageSeconds(chain.headAt, now.wallMs),
          headSeenAgeSeconds: ageSeconds(chain.headSeenSteadyMs, now.steadyMs),
          upstreams: chain.upstreams.map(({ name, healthy, latencyMs, headBlock, errors }) => ({
            ...{ name, healthy, latencyMs: Math.round(latencyMs), headBlock: orNull(headBlock), errors },
          })),
        },
        registry: {
          status: components.registry,
          tokens: registry.tokens,
          admitted: registry.admitted,
          quarantined: sum(Object.values(quarantined(registry))),
          selfTokenId: orNull(registry.selfTokenId),
        },
        wireguard: {
          status: components.wireguard,
          interface: wireguard.interface,
          listenPort: wireguard.listenPort,
          peers: wireguard.peers,
          connected: wireguard.connected,
          verified: wireguard.verified,
          pending: wireguard.pending,
        },
        config: {
          status: components.config,
          generation: config.generation,
          lastAppliedAt: iso(config.lastAppliedAt),
          lastBackupAt: iso(config.lastBackupAt),
          rollbacks: config.rollbacks,
        },
      },
    },
  };
}

export function statsView(snapshot: Snapshot, totals: Totals, now: Now) {
  const { chain, registry, wireguard } = snapshot;
  return {
    uptimeSeconds: uptimeSeconds(snapshot, now),
    tokens: registry.tokens,
    admitted: registry.admitted,
    quarantined: quarantined(registry),
    peers: { configured: wireguard.peers, connected: wireguard.connected },
    traffic: { rxBytes: wireguard.rxBytes, txBytes: wireguard.txBytes },
    applies: totals.applies,
    eventToDevice: totals.eventToDevice,
    chain: { reorgs: chain.reorgs, invalidLogs: chain.invalidLogs, auditRepairs: chain.auditRepairs },
  };
}

/** The device as everybody may see it: its peers are counted, not named. */
export function wireguardView({ wireguard }: Snapshot) {
  return { ...deviceOf(wireguard), peers: { configured: wireguard.peers, connected: wireguard.connected } };
}

const SLICE = 500;

/** The device as its administrator may see it, as pieces of JSON that are each made in a turn of their own. */
export function* wireguardPieces({ wireguard }: Snapshot): Generator<string> {
  yield `${JSON.stringify(deviceOf(wireguard)).slice(0, -1)},"peers":[`;
  let slice: string[] = [];
  let isFirst = true;
  for (const peer of wireguard.listPeers()) {
    slice.push(JSON.stringify(peerOf(peer)));
    if (slice.length < SLICE) continue;
    yield `${isFirst ? "" : ","}${slice.join(",")}`;
    [slice, isFirst] = [[], false];
  }
  yield `${isFirst || slice.length === 0 ? "" : ","}${slice.join(",")}]}`;
}

function deviceOf({
  interface: name,
  publicKey,
  listenPort,
  addresses,
  rxBytes,
  txBytes,
  readAt,
}: Snapshot["wireguard"]) {
  return { interface: name, publicKey, listenPort, addresses, rxBytes, txBytes, asOf: iso(readAt) };
}

function peerOf({ tokenId, nodeId, publicKey, endpoint, allowedIps, latestHandshakeAt, rxBytes, txBytes }: PeerView) {
  return { tokenId, nodeId, publicKey, endpoint, allowedIps, latestHandshakeAt, rxBytes, txBytes };
}

/** Only what there is of it; a token that is merely inactive is not quarantined. */
function quarantined({ quarantined: { inactive: _, ...active } }: Snapshot["registry"]): Record<string, number> {
  return Object.fromEntries(Object.entries(active).filter(([, count]) => count > 0));
}

const orNull = <T>(value: T | undefined) => value ?? null;
const iso = (at: number | undefined) => (at === undefined ? null : new Date(at).toISOString());
const ageSeconds = (at: number | undefined, now: number) =>
  at === undefined ? null : Math.max(0, Math.round((now - at) / 100) / 10);
const uptimeSeconds = ({ startedSteadyMs }: Snapshot, { steadyMs }: Now) =>
  Math.floor((steadyMs - startedSteadyMs) / 1000);
const sum = (numbers: readonly number[]) => numbers.reduce((total, each) => total + each, 0);
