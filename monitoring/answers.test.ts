import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createJournal } from "../agent/observe/journal.ts";
import { createMetrics } from "../agent/observe/metrics.ts";
import { healthView, statsView, wireguardView } from "../agent/observe/views.ts";
import { NOW, PUBLIC_KEY, snapshot } from "../agent/test/snapshot.ts";
import { readDevice, readEvents, readHealth, readNodes, readStats } from "./answers.js";

describe("the list of nodes", () => {
  it.each<[title: string, json: unknown, names: string[]]>([
    ["may be names", { nodes: ["node-a", "node-b"] }, ["node-a", "node-b"]],
    ["may be bare", ["node-a"], ["node-a"]],
    ["may say more of each", [{ name: "node-a", api: "/api/node-a" }], ["node-a"]],
    ["loses what cannot be a path of ours", ["../x", "//evil.example", "A", "a/b", "", "x".repeat(64), 7, null], []],
    ["has each node once", ["a", "a"], ["a"]],
    ["is empty where there is none", "<html>", []],
  ])("%s", (_, json, names) => {
    expect(readNodes(json)).toEqual(names);
  });
});

/** As it comes over the wire. */
const sent = (body: unknown): unknown => JSON.parse(JSON.stringify(body));

describe("what an agent answers", () => {
  it("is read field by field: its health", () => {
    const degraded = snapshot({ faults: [{ code: "config.held", generation: 3 }] });
    expect(readHealth(sent(healthView(degraded, NOW).body))).toMatchObject({
      ...{ status: "degraded", isReady: true, nodeId: "node-a", version: "0.1.0", uptimeSeconds: 600 },
      reasons: [{ code: "config.held" }],
      parts: { chain: "healthy", registry: "healthy", wireguard: "healthy", config: "degraded" },
      ...{ headBlock: 120, finalizedBlock: 60, lagBlocks: 0, headAgeSeconds: 2, interface: "wg0", listenPort: 51_820 },
      upstreams: [{ name: "rpc.example", isHealthy: true, latencyMs: 12, headBlock: 120, errors: 0 }],
      ...{ generation: 7, lastAppliedAt: NOW.wallMs - 60_000, lastBackupAt: NOW.wallMs - 59_000, rollbacks: 0 },
    });
  });

  it("is read field by field: its stats", () => {
    const metrics = createMetrics();
    metrics.applied("failed", 6);
    metrics.reachedDevice(12);
    const busy = snapshot({ registry: { quarantined: { "key.weak": 2, inactive: 5 } } });
    expect(readStats(sent(statsView(busy, metrics.totals(), NOW)))).toEqual({
      ...{ tokens: 3, admitted: 2, quarantined: { "key.weak": 2 }, configured: 2, connected: 0 },
      ...{ applies: 1, failedApplies: 1, applyP50Ms: 6, applyP99Ms: 6 },
      ...{ latencyP50Ms: 12, latencyP99Ms: 12, latencyMaxMs: 12, reorgs: 0, invalidLogs: 0, auditRepairs: 0 },
    });
    metrics.close();
  });

  it("is read field by field: its device, whose peers are for administrators", () => {
    const device = readDevice(sent(wireguardView(snapshot({ wireguard: { rxBytes: 5, txBytes: 6 } }))));
    expect(device).toMatchObject({ publicKey: PUBLIC_KEY, rxBytes: 5, txBytes: 6, asOf: NOW.wallMs - 5_000 });
    expect([device.peers, device.isPublic]).toEqual([undefined, true]);
    expect([readDevice({ peers: [] }).isPublic, readDevice(undefined).isPublic]).toEqual([false, false]);
  });

  it("is read field by field: its journal", () => {
    const journal = createJournal({ now: () => NOW.wallMs });
    journal.add("grant", { tokenId: "7", nodeId: "</script>", block: 12 });
    expect(readEvents(sent(journal.after(0)))).toEqual({
      events: [
        {
          id: 1,
          at: "2026-01-02T03:04:05.000Z",
          kind: "grant",
          fields: { tokenId: "7", nodeId: "</script>", block: "12" },
        },
      ],
      next: 1,
    });
  });

  it("goes on where an agent can be asked to go on, and nowhere else", () => {
    const nexts = [0, 7, 1.5, -1, 1e15, Number.NaN, "7", null].map((next) => readEvents({ next }).next);
    expect(nexts).toEqual([0, 7, ...Array(6).fill(undefined)]);
  });

  it("is not ready, and counts nobody, unless it says so", () => {
    expect(readHealth({ status: "healthy", ready: "yes" })).toMatchObject({ isReady: false, headBlock: null });
    const stats = readStats({ quarantined: { "key.weak": 0, "key.own": "many" }, tokens: "9" });
    expect([stats.quarantined, stats.tokens]).toEqual([{}, null]);
    for (const broken of [undefined, {}, { quarantined: [] }, { quarantined: "none" }])
      expect(readStats(broken).quarantined).toBeUndefined();
    expect(readHealth({ error: { code: "node-unreachable" } })).toBeUndefined();
  });

  it("may be anything at all, and nothing breaks", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (json) => {
        for (const read of [readHealth, readStats, readDevice, readEvents, readNodes])
          expect(() => read(json)).not.toThrow();
        for (const read of [readHealth, readStats, readDevice]) {
          expect(() => read({ status: "healthy", components: json, peers: json, applies: json })).not.toThrow();
        }
      }),
    );
  });
});
