/** Makes vitest run each end-to-end file inside the lab's namespaces, by starting its worker through `enter.sh`. */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { ForksPoolWorker, type PoolOptions } from "vitest/node";

const ENTER = fileURLToPath(new URL("enter.sh", import.meta.url));

class LabWorker extends ForksPoolWorker {
  override start(): Promise<void> {
    const node = process.execPath;
    const restore = () =>
      Object.defineProperty(process, "execPath", { value: node, configurable: true, writable: true });
    // child_process.fork reads it once, before start() first awaits anything. What vitest forks next is its watchdog,
    // which has to stay outside: it knows processes by their pids there.
    const get = () => {
      restore();
      return ENTER;
    };
    Object.defineProperty(process, "execPath", { get, configurable: true });
    try {
      return super.start();
    } finally {
      restore();
    }
  }
}

/** Why ring 4 cannot run on this machine; empty where it can. */
export function whyNoLab(): string {
  return execFileSync(ENTER, ["--why-not"], { encoding: "utf8" }).trim();
}

export const labPool = { name: "lab", createPoolWorker: (options: PoolOptions) => new LabWorker(options) };
