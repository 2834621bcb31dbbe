import { spawnSync } from "node:child_process";
import { afterEach, describe, expect, it } from "vitest";
import { NOW, snapshot } from "../test/snapshot.ts";
import type { Snapshot } from "./health.ts";
import { createMetrics, type Metrics } from "./metrics.ts";

let open: Metrics[] = [];
afterEach(() => {
  for (const metrics of open) metrics.close();
  open = [];
});
const fresh = () => {
  const metrics = createMetrics();
  open.push(metrics);
  return metrics;
};
const series = (text: string) =>
  new Map(
    text
      .split("\n")
      .filter(isSample)
      .map((line) => splitAt(line, line.lastIndexOf(" "))),
  );
const isSample = (line: string) => line !== "" && !line.startsWith("#");
const splitAt = (line: string, at: number) => [line.slice(0, at), Number(line.slice(at + 1))] as const;
const scraped = async (world: Snapshot, metrics = fresh()) => series(await metrics.render(world, NOW));

describe("metrics", () => {
  it.each([
    ["dstack_vpn_ready", {}, 1],
    ["dstack_vpn_ready", { registry: { selfTokenId: undefined } }, 0],
    ['dstack_vpn_health_status{status="healthy"}', {}, 1],
    ['dstack_vpn_health_status{status="degraded"}', { faults: [{ code: "address.no-ipv6" }] }, 1],
    ['dstack_vpn_fault_active{code="address.no-ipv6"}', { faults: [{ code: "address.no-ipv6" }] }, 1],
    ['dstack_vpn_fault_active{code="address.no-ipv6"}', {}, 0],
    ['dstack_vpn_upstream_latency_seconds{upstream="rpc.example"}', {}, 0.012],
    ["dstack_vpn_chain_lag_blocks", { chain: { cursorBlock: 100 } }, 20],
    ["dstack_vpn_chain_head_age_seconds", {}, 2],
    ["dstack_vpn_chain_head_block", { chain: { headBlock: undefined } }, undefined],
    ["dstack_vpn_chain_lag_blocks", { chain: { headBlock: undefined } }, undefined],
    ['dstack_vpn_tokens_quarantined{reason="key.weak"}', { registry: { quarantined: { "key.weak": 3 } } }, 3],
    ['dstack_vpn_tokens_quarantined{reason="inactive"}', { registry: { quarantined: { inactive: 3 } } }, undefined],
    ["dstack_vpn_rx_bytes_total", { wireguard: { rxBytes: 9_007_199_254_740_000 } }, 9_007_199_254_740_000],
    ["dstack_vpn_last_backup_timestamp_seconds", { config: { lastBackupAt: 1_500 } }, 1.5],
    ["dstack_vpn_last_backup_timestamp_seconds", { config: { lastBackupAt: undefined } }, undefined],
  ] as const)("shows %s of %j as %d", async (name, parts, value) => {
    expect((await scraped(snapshot(parts as Parameters<typeof snapshot>[0]))).get(name)).toBe(value);
  });

  it("shows this moment, not the sum of all scrapes", async () => {
    const metrics = fresh();
    await metrics.render(snapshot({ chain: { reorgs: 2 } }), NOW);
    const seen = await scraped(snapshot({ chain: { reorgs: 3 } }), metrics);
    expect(seen.get("dstack_vpn_chain_reorgs_total")).toBe(3);
    expect(seen.get('dstack_vpn_upstream_errors_total{upstream="rpc.example",kind="timeout"}')).toBe(0);
  });

  it("forgets an upstream that is no longer there", async () => {
    const metrics = fresh();
    await metrics.render(snapshot(), NOW);
    const seen = await scraped(snapshot({ chain: { upstreams: [] } }), metrics);
    expect([...seen.keys()].filter((name) => name.includes("rpc.example"))).toEqual([]);
  });

  it("draws handshake ages as a cumulative histogram of the last reading", async () => {
    const handshakeAges = { buckets: [2, 1, 0, 4, 0, 0, 0], sumSeconds: 700, count: 9 };
    const seen = await scraped(snapshot({ wireguard: { handshakeAges } }));
    const name = "dstack_vpn_peer_handshake_age_seconds";
    const upTo = (bound: string) => seen.get(`${name}_bucket{le="${bound}"}`);
    expect(["30", "60", "120", "180", "86400", "+Inf"].map(upTo)).toEqual([2, 3, 3, 7, 7, 9]);
    expect([seen.get(`${name}_sum`), seen.get(`${name}_count`)]).toEqual([700, 9]);
  });

  it("counts what happens, and sums it up for /stats", async () => {
    const metrics = fresh();
    expect(metrics.totals().applies).toEqual({
      total: 0,
      failed: 0,
      rolledBack: 0,
      lastMs: null,
      p50Ms: null,
      p99Ms: null,
    });
    for (const ms of [4, 2, 6]) metrics.applied("applied", ms);
    metrics.applied("rolled-back", 50.126);
    metrics.applied("failed", 8);
    for (const ms of [10, 30, 20]) metrics.reachedDevice(ms);
    metrics.folded("grant", 5);
    metrics.repaired("missing", 2);
    metrics.committed(3);
    metrics.writeFailed();
    expect(metrics.totals()).toEqual({
      applies: { total: 5, failed: 2, rolledBack: 1, lastMs: 8, p50Ms: 6, p99Ms: 50.13 },
      eventToDevice: { p50Ms: 20, p99Ms: 30, maxMs: 30 },
    });
    const seen = await scraped(snapshot(), metrics);
    const get = (name: string) => seen.get(`dstack_vpn_${name}`);
    expect(get('apply_duration_seconds_count{outcome="applied"}')).toBe(3);
    expect(get('event_to_device_seconds_bucket{le="0.025"}')).toBe(2);
    expect(get('chain_events_total{kind="grant"}')).toBe(5);
    expect(get('chain_events_total{kind="revoke"}')).toBe(0);
    expect(get('drift_repairs_total{drift="missing"}')).toBe(2);
    expect(get("store_commit_duration_seconds_count")).toBe(1);
    expect(get("file_write_failures_total")).toBe(1);
  });

  it("has as many series at 60,000 peers as at two, under our own prefix", async () => {
    const two = await scraped(snapshot());
    const many = snapshot({
      registry: { tokens: 70_000, admitted: 60_000, quarantined: { "key.weak": 10_000 } },
      wireguard: {
        peers: 60_000,
        listPeers: () => {
          throw new Error("a scrape walks over no peers");
        },
      },
    });
    expect([...(await scraped(many)).keys()]).toEqual([...two.keys()]);
    expect(two.size).toBeLessThan(300);
    expect([...two.keys()].filter((name) => !name.startsWith("dstack_vpn_"))).toEqual([]);
  });

  it("is told of an event loop that was late", async () => {
    const metrics = fresh();
    const turn = () => new Promise((resolve) => setTimeout(resolve, 60));
    await turn();
    const end = performance.now() + 200;
    while (performance.now() < end);
    await turn();
    const seen = await scraped(snapshot(), metrics);
    expect(seen.get("dstack_vpn_event_loop_lag_max_seconds")).toBeGreaterThan(0.1);
  });

  const promtool = spawnSync("promtool", ["--version"]);
  it.skipIf(promtool.error !== undefined && process.env["CI"] !== "true")("satisfies promtool", async () => {
    const input = await fresh().render(snapshot(), NOW);
    const { status, stderr, stdout } = spawnSync("promtool", ["check", "metrics"], { input, encoding: "utf8" });
    expect([status, stderr, stdout]).toEqual([0, "", ""]);
  });
});
