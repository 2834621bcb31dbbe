import { defineConfig } from "vitest/config";
import { labPool } from "./agent/test/lab/pool.ts";

const ENDS = "**/*.e2e.test.ts";

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "rings 0-3",
          include: ["agent/**/*.test.ts", "contracts/**/*.test.ts", "monitoring/**/*.test.ts"],
          exclude: [ENDS, "node_modules"],
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: "ring 4",
          include: [`agent/test/${ENDS}`],
          pool: labPool,
          // Every file has namespaces of its own, but there are two cores and one clock.
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 60_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
