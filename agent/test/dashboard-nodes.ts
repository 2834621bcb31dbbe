/** Nodes for the page to look at that need no WireGuard: the agent's own HTTP room over figures that are set by hand. */
import { Secret } from "../model.ts";
import type { PeerView, Snapshot } from "../observe/health.ts";
import { createJournal, type Journal } from "../observe/journal.ts";
import { createMetrics, type Metrics } from "../observe/metrics.ts";
import { serve } from "../observe/server.ts";
import { snapshot } from "./snapshot.ts";

export interface DrawnNode {
  readonly name: string;
  /** host:port */
  readonly at: string;
  readonly metrics: Metrics;
  journal(): Journal;
  /** Loses its journal, as with its disk. */
  forget(): void;
  /** What it tells from now on; what is not named stays a healthy node's. */
  draw(parts: Parameters<typeof snapshot>[0]): void;
  close(): Promise<void>;
}

export async function drawNode(name: string, adminToken?: string): Promise<DrawnNode> {
  let journal = createJournal({ now: Date.now });
  const metrics = createMetrics();
  let drawn: Parameters<typeof snapshot>[0] = {};
  const now = (): Snapshot => {
    const [wallMs, steadyMs] = [Date.now(), performance.now()];
    return snapshot({
      nodeId: name,
      startedSteadyMs: steadyMs - 86_400_000,
      ...drawn,
      chain: { headAt: wallMs - 1_600, headSeenSteadyMs: steadyMs, followedSteadyMs: steadyMs, ...drawn?.chain },
      wireguard: { readAt: wallMs - (wallMs % 5_000), readSteadyMs: steadyMs - 2_000, ...drawn?.wireguard },
      config: { lastAppliedAt: wallMs - 200_000, lastBackupAt: wallMs - 199_000, ...drawn?.config },
    });
  };
  const refused = async () => ({});
  const { port, close } = await serve({
    ...{ host: "127.0.0.1", port: 0, allowedHosts: [], corsOrigins: [], settings: {} },
    adminToken: adminToken === undefined ? undefined : new Secret(adminToken),
    ...{ snapshot: now, metrics, isOverlayAddress: () => false },
    journal: { after: (id) => journal.after(id) },
    actions: { resync: refused, rollback: refused },
  });
  return {
    ...{ name, at: `127.0.0.1:${port}`, metrics },
    journal: () => journal,
    forget() {
      journal = createJournal({ now: Date.now });
    },
    draw(parts) {
      drawn = parts;
    },
    async close() {
      metrics.close();
      await close();
    },
  };
}

export function peer(tokenId: number, parts: Partial<PeerView> = {}): PeerView {
  return {
    tokenId: String(tokenId),
    nodeId: `member-${tokenId}`,
    publicKey: Buffer.alloc(32, tokenId % 256).toString("base64"),
    endpoint: `198.51.100.${tokenId % 256}:51820`,
    allowedIps: [`10.213.0.${tokenId % 256}/32`, `fd00:1::${tokenId.toString(16)}/128`],
    latestHandshakeAt: new Date(Date.now() - tokenId * 1_000).toISOString(),
    rxBytes: tokenId * 1_234_567,
    txBytes: tokenId * 7_654_321,
    ...parts,
  };
}
