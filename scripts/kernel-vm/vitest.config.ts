/** Ring 6, inside the VM of kernel-vm.sh: the same lab as ring 4, on a kernel that has WireGuard. */
import { defineConfig } from "vitest/config";
import { labPool } from "../../agent/test/lab/pool.ts";

export default defineConfig({
  root: new URL("../..", import.meta.url).pathname,
  test: {
    name: "ring 6",
    include: ["agent/test/kernel-story.ts", "agent/test/device.e2e.test.ts"],
    pool: labPool,
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
