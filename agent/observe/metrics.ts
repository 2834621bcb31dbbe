/** Figures that add up over time: fed by the bridge as things happen, read by /metrics and /stats. */
import type { Now, Snapshot } from "./health.ts";

export type ApplyOutcome = "applied" | "rolled-back" | "failed";

export interface Metrics {
  /** A batch of changes went to the device (hot or full), or did not. */
  applied(outcome: ApplyOutcome, ms: number): void;
  /** From the block that said it becoming visible to us, to `wg` having done it. */
  reachedDevice(ms: number): void;
  /** One commit of the store. */
  committed(ms: number): void;
  /** `wg0.conf` or a backup could not be written. */
  fileWriteFailed(): void;
  /** Events of the contract folded, by kind. */
  folded(kind: string, count: number): void;
  /** Differences that a full pass found on the device and repaired. */
  repaired(kind: "missing" | "unknown" | "changed", count: number): void;
  /** The Prometheus text of this moment. */
  render(snapshot: Snapshot, now: Now): Promise<string>;
  totals(): Totals;
}
export interface Totals {
  readonly applies: {
    total: number;
    failed: number;
    rolledBack: number;
    lastMs: number | null;
    p50Ms: number | null;
    p99Ms: number | null;
  };
  readonly eventToDevice: { p50Ms: number | null; p99Ms: number | null; maxMs: number | null };
}
export function createMetrics(): Metrics {
  throw new Error("not yet");
}
