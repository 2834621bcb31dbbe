/** Makes vitest run each end-to-end file inside the lab's namespaces, by starting its worker through `enter.sh`. */
import { existsSync } from "node:fs";
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

export const canEnterLab = process.getuid?.() === 0 && existsSync("/dev/net/tun");

export const labPool = {
  name: "lab",
  createPoolWorker: (options: PoolOptions) => (canEnterLab ? new LabWorker(options) : new ForksPoolWorker(options)),
};
