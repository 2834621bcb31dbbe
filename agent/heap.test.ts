import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";

const HEAP = fileURLToPath(new URL("heap.ts", import.meta.url));

/** What survives a while, as a registry does that is being read; then how far the young generation has grown. */
const BURST = `
  const kept = [];
  for (let i = 0; i < 400_000; i++) kept[i % 100_000] = { name: "member-" + i, ids: [i, i + 1] };
  const space = require("node:v8").getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space");
  console.log(space.space_size, kept.length);
`;

async function youngBytes(...before: readonly string[]): Promise<number> {
  // The same on a machine with little memory, where V8 would not grow it anyway.
  const words = ["--max-semi-space-size=32", "--input-type=commonjs", "-e", `${before.join("")}${BURST}`];
  const { stdout } = await promisify(execFile)(process.execPath, words);
  return Number(stdout.split(" ")[0]);
}

it("keeps the young generation small over a burst that would let it grow", async () => {
  const [ours, without] = [await youngBytes(`require(${JSON.stringify(HEAP)});`), await youngBytes()];
  expect(ours).toBeLessThan(without / 3);
});

it("is what the agent imports before anything else", () => {
  const [first] = /^import .*$/m.exec(readFileSync(new URL("main.ts", import.meta.url), "utf8")) ?? [];
  expect(first).toContain('"./heap.ts"');
});
