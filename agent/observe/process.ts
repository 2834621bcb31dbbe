/** The agent's own process as Prometheus series: how busy, how big, how late its event loop. */
import { readdirSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { Counter, Gauge, type Registry } from "prom-client";

const RESOLUTION_MS = 20;
/** Lag is the worst of the present and the last window, so that no scrape hides it from another. */
const WINDOW_MS = 60_000;

export function processSeries(registry: Registry): { show: () => void; close: () => void } {
  const registers = [registry];
  const gauge = (name: string, help: string) => new Gauge({ name: `dstack_vpn_${name}`, help, registers });
  const cpu = new Counter({ name: "dstack_vpn_process_cpu_seconds_total", help: "CPU time of the agent.", registers });
  const resident = gauge("process_resident_memory_bytes", "Resident memory of the agent.");
  const heap = gauge("process_heap_used_bytes", "JavaScript heap in use.");
  const files = gauge("process_open_fds", "Open file descriptors.");
  const started = gauge("process_start_time_seconds", "When the process started.");
  const lagP99 = gauge("event_loop_lag_p99_seconds", "How late the event loop ran, 99 % of the last minute or two.");
  const lagMax = gauge("event_loop_lag_max_seconds", "How late the event loop ran at worst in the last minute or two.");
  started.set(Date.now() / 1000 - process.uptime());
  const lag = watchEventLoop();
  return {
    show() {
      const { user, system } = process.cpuUsage();
      cpu.reset();
      cpu.inc((user + system) / 1e6);
      const { rss, heapUsed } = process.memoryUsage();
      resident.set(rss);
      heap.set(heapUsed);
      files.set(openFiles());
      const { p99Ms, maxMs } = lag.worst();
      lagP99.set(p99Ms / 1000);
      lagMax.set(maxMs / 1000);
    },
    close: lag.close,
  };
}

function watchEventLoop() {
  const start = () => {
    const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
    histogram.enable();
    return histogram;
  };
  let present = start();
  let last: typeof present | undefined;
  let since = performance.now();
  // The histogram holds the whole interval between two timers, of which the resolution is no lag.
  const late = (ns: number | undefined) => Math.max(0, (ns ?? 0) / 1e6 - RESOLUTION_MS);
  return {
    worst() {
      const p99Ms = Math.max(late(present.percentile(99)), late(last?.percentile(99)));
      const maxMs = Math.max(late(present.max), late(last?.max));
      if (performance.now() - since > WINDOW_MS) {
        present.disable();
        [last, present, since] = [present, start(), performance.now()];
      }
      return { p99Ms, maxMs };
    },
    close: () => present.disable(),
  };
}

function openFiles(): number {
  try {
    return readdirSync("/proc/self/fd").length;
  } catch {
    return Number.NaN; // not Linux
  }
}
