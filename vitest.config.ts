import { defineConfig } from "vitest/config";
import { whyNoDocker } from "./agent/test/docker.ts";
import { labPool, whyNoLab } from "./agent/test/lab/pool.ts";

const ENDS = "**/*.e2e.test.ts";
const CONTAINERS = "agent/test/containers.e2e.test.ts";
const noLab = whyNoLab();
const isSkipped = noLab !== "" && process.env["CI"] !== "true";
if (isSkipped) console.warn(`\nRING 4 (END TO END) IS SKIPPED: ${noLab}.`);
const noDocker = whyNoDocker();
const isUncontained = noDocker !== "" && process.env["CI"] !== "true";
if (isUncontained) console.warn(`\nRING 5 (CONTAINERS) IS SKIPPED: ${noDocker}.`);

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "rings 0-3",
          include: ["agent/**/*.test.ts", "bench/**/*.test.ts", "contracts/**/*.test.ts", "monitoring/**/*.test.ts"],
          exclude: [ENDS, "node_modules"],
          maxWorkers: "100%",
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: "ring 4",
          include: isSkipped ? [] : [`agent/test/${ENDS}`, `bench/${ENDS}`],
          exclude: [CONTAINERS],
          pool: labPool,
          // Every file has namespaces of its own, but there are two cores and one clock.
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 60_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: "ring 5",
          include: isUncontained ? [] : [CONTAINERS],
          // The engine is beside the tests; testcontainers takes a machine with a /.dockerenv for a container in it.
          env: { TESTCONTAINERS_RYUK_DISABLED: "true", TESTCONTAINERS_HOST_OVERRIDE: "127.0.0.1" },
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
