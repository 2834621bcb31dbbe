/** Makes vitest run each end-to-end file inside the lab's namespaces, by starting its worker through `enter.sh`. */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { ForksPoolWorker, type PoolOptions } from "vitest/node";

const ENTER = fileURLToPath(new URL("enter.sh", import.meta.url));

class LabWorker extends ForksPoolWorker {
  override start(): Promise<void> {
    // child_process.fork reads execPath before start() first awaits anything.
    const node = process.execPath;
    process.execPath = ENTER;
    try {
      return super.start();
    } finally {
      process.execPath = node;
    }
  }
}

/** Why ring 4 cannot run on this machine; empty where it can. */
export function whyNoLab(): string {
  return execFileSync(ENTER, ["--why-not"], { encoding: "utf8" }).trim();
}

export const labPool = { name: "lab", createPoolWorker: (options: PoolOptions) => new LabWorker(options) };
