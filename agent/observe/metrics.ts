/** Figures that add up over time: fed by the bridge as things happen, read by /metrics and /stats. No series per peer. */
import { Counter, Histogram, Registry } from "prom-client";
import type { AccessEvent } from "../model.ts";
import { health, type Now, type Snapshot } from "./health.ts";
import { processSeries } from "./process.ts";
import { createQuantiles } from "./quantiles.ts";
import { handshakeAgeText, snapshotSeries } from "./series.ts";

export interface Metrics {
  /** A batch of changes, hot or full: made; failed and put back; or failed and not put back. */
  applied(outcome: ApplyOutcome, ms: number): void;
  /** From a block being visible at the RPC to `wg` having done what it says. */
  reachedDevice(ms: number): void;
  /** One commit of the store. */
  committed(ms: number): void;
  /** `wg0.conf`, a backup or the store could not be written. */
  writeFailed(): void;
  folded(kind: EventKind, count: number): void;
  /** Differences that a full pass found on the device. */
  repaired(drift: Drift, count: number): void;
  /** What Prometheus reads: everything of this moment. */
  render(snapshot: Snapshot, now: Now): Promise<string>;
  totals(): Totals;
  /** Stops watching the event loop. */
  close(): void;
}

export type ApplyOutcome = "applied" | "rolled-back" | "failed";
export type Drift = "missing" | "unknown" | "changed";
type EventKind = AccessEvent["kind"];

/** As /stats shows them: quantiles are of the last thousand, null before the first. `failed` includes `rolledBack`. */
export interface Totals {
  readonly applies: {
    readonly total: number;
    readonly failed: number;
    readonly rolledBack: number;
    readonly lastMs: number | null;
    readonly p50Ms: number | null;
    readonly p99Ms: number | null;
  };
  readonly eventToDevice: {
    readonly p50Ms: number | null;
    readonly p99Ms: number | null;
    readonly maxMs: number | null;
  };
}

export function createMetrics(): Metrics {
  const registry = new Registry();
  const seen = snapshotSeries(registry);
  const happened = overTime(registry);
  const itself = processSeries(registry);
  const [applyMs, eventMs] = [createQuantiles(1_000), createQuantiles(1_000)];
  const applies = { total: 0, failed: 0, rolledBack: 0, lastMs: null as number | null };
  return {
    applied(outcome, ms) {
      happened.apply.observe({ outcome }, ms / 1000);
      applyMs.add(ms);
      applies.total++;
      applies.lastMs = rounded(ms);
      if (outcome !== "applied") applies.failed++;
      if (outcome === "rolled-back") applies.rolledBack++;
    },
    reachedDevice(ms) {
      happened.eventToDevice.observe(ms / 1000);
      eventMs.add(ms);
    },
    committed: (ms) => happened.commit.observe(ms / 1000),
    writeFailed: () => happened.writeFailures.inc(),
    folded: (kind, count) => happened.events.inc({ kind }, count),
    repaired: (drift, count) => happened.repairs.inc({ drift }, count),
    async render(snapshot, now) {
      const moment = { ...snapshot, now, health: health(snapshot, now) };
      for (const show of seen) show(moment);
      itself.show();
      return `${await registry.metrics()}${handshakeAgeText(snapshot.wireguard.handshakeAges)}`;
    },
    totals: () => ({
      applies: { ...applies, p50Ms: rounded(applyMs.at(0.5)), p99Ms: rounded(applyMs.at(0.99)) },
      eventToDevice: {
        p50Ms: rounded(eventMs.at(0.5)),
        p99Ms: rounded(eventMs.at(0.99)),
        maxMs: rounded(eventMs.max()),
      },
    }),
    close: itself.close,
  };
}

const rounded = (ms: number | undefined) => (ms === undefined ? null : Math.round(ms * 100) / 100);

/** What is counted as it happens. */
function overTime(registry: Registry) {
  const registers = [registry];
  const happened = {
    apply: new Histogram({
      name: "dstack_vpn_apply_duration_seconds",
      help: "Time that a batch of changes took on the device.",
      labelNames: ["outcome"],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      registers,
    }),
    eventToDevice: new Histogram({
      name: "dstack_vpn_event_to_device_seconds",
      help: "From a block being visible to the device doing what it says.",
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
      registers,
    }),
    commit: new Histogram({
      name: "dstack_vpn_store_commit_duration_seconds",
      help: "Time that a commit of the store took.",
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5],
      registers,
    }),
    writeFailures: new Counter({
      name: "dstack_vpn_file_write_failures_total",
      help: "Writes of a file or the store that failed.",
      registers,
    }),
    events: new Counter({
      name: "dstack_vpn_chain_events_total",
      help: "Facts of the contract that were folded, by kind.",
      labelNames: ["kind"],
      registers,
    }),
    repairs: new Counter({
      name: "dstack_vpn_drift_repairs_total",
      help: "Differences that a full pass found on the device, by kind.",
      labelNames: ["drift"],
      registers,
    }),
  };
  // A series that is there from the start lets `rate` see its first step.
  for (const outcome of ["applied", "rolled-back", "failed"] as const) happened.apply.zero({ outcome });
  for (const drift of ["missing", "unknown", "changed"] as const) happened.repairs.inc({ drift }, 0);
  for (const kind of Object.keys(EVENT_KINDS)) happened.events.inc({ kind }, 0);
  return happened;
}

const EVENT_KINDS: Readonly<Record<EventKind, true>> = {
  grant: true,
  revoke: true,
  transfer: true,
  "key-update": true,
  "owner-key-update": true,
  role: true,
  endpoint: true,
  "key-read": true,
  observed: true,
  invalid: true,
};
