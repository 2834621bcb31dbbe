/** This process's resident memory, in megabytes of 2^20 bytes; proc(5), `/proc/pid/status`. */
import { readFileSync, writeFileSync } from "node:fs";

export function residentMb(): number {
  return statusMb("VmRSS");
}

/** The most since the start, or since `forgetPeak`. `maxRSS` of getrusage(2) would begin with the parent's. */
export function peakMb(): number {
  return statusMb("VmHWM");
}

export function forgetPeak(): void {
  writeFileSync("/proc/self/clear_refs", "5");
}

function statusMb(field: "VmRSS" | "VmHWM"): number {
  const [, kib] = new RegExp(`^${field}:\\s+([0-9]+) kB$`, "m").exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return Number(kib) / 1024;
}
