/** A node that lacks nothing, for the tests of observation to take things away from. */
import type { Snapshot } from "../observe/health.ts";
import { NO_READINGS } from "../observe/readings.ts";

type Parts = {
  [Part in keyof Snapshot]?: Snapshot[Part] extends readonly unknown[] | string | number
    ? Snapshot[Part]
    : Partial<Snapshot[Part]>;
};

export const NOW = { wallMs: Date.UTC(2026, 0, 2, 3, 4, 5), steadyMs: 1_000_000 } as const;
export const PUBLIC_KEY = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

export function snapshot(parts: Parts = {}): Snapshot {
  return {
    nodeId: parts.nodeId ?? "node-a",
    version: parts.version ?? "0.1.0",
    startedSteadyMs: parts.startedSteadyMs ?? NOW.steadyMs - 600_000,
    faults: parts.faults ?? [],
    chain: {
      pollIntervalMs: 1_000,
      headAgeLimitSeconds: 45,
      caughtUp: true,
      headBlock: 120,
      headAt: NOW.wallMs - 2_000,
      headSeenSteadyMs: NOW.steadyMs - 400,
      cursorBlock: 120,
      followedSteadyMs: NOW.steadyMs - 400,
      finalizedBlock: 60,
      upstreams: [
        { name: "rpc.example", healthy: true, latencyMs: 12, headBlock: 120, inFlight: 0, errors: { timeout: 0 } },
      ],
      reorgs: 0,
      reorgDepth: 0,
      invalidLogs: 0,
      auditRepairs: 0,
      divergences: 0,
      ...parts.chain,
    },
    registry: { tokens: 3, admitted: 2, quarantined: {}, selfTokenId: "1", ...parts.registry },
    wireguard: {
      interface: "wg0",
      publicKey: PUBLIC_KEY,
      listenPort: 51_820,
      addresses: ["10.213.0.1/32", "fd00::1/128"],
      verified: true,
      pending: 0,
      peers: 2,
      readAt: NOW.wallMs - 5_000,
      readSteadyMs: NOW.steadyMs - 5_000,
      readEveryMs: 30_000,
      ...NO_READINGS,
      listPeers: () => [],
      ...parts.wireguard,
    },
    config: {
      generation: 7,
      lastAppliedAt: NOW.wallMs - 60_000,
      lastBackupAt: NOW.wallMs - 59_000,
      rollbacks: 0,
      ...parts.config,
    },
  };
}
