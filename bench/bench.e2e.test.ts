import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { start, until } from "../agent/test/lab/command.ts";
import { BENCHMARKS } from "./benchmarks.ts";
import type { Figure } from "./figure.ts";

const SCRIPT = fileURLToPath(new URL("../scripts/bench.sh", import.meta.url));
const LAST = new URL("results/latest.json", import.meta.url);
const directory = mkdtempSync(join(tmpdir(), "bench-test-"));
const env = { ...process.env, TMPDIR: directory };
afterAll(() => rmSync(directory, { recursive: true }));

test("a quick part of the benchmarks prints its table, writes it as JSON and leaves the last table alone", async () => {
  const json = join(directory, "figures.json");
  const before = existsSync(LAST) ? readFileSync(LAST, "utf8") : undefined;
  const bench = start([SCRIPT, "--quick", "--only", "limits", "--json", json], { env });
  expect(await bench.exited, bench.output).toMatchObject({ code: 0 });

  const { figures }: { figures: Figure[] } = JSON.parse(readFileSync(json, "utf8"));
  expect(figures.length).toBeGreaterThan(3);
  for (const figure of figures) {
    expect(Object.keys(figure)).toEqual(expect.arrayContaining(["name", "value", "unit", "goal", "met", "baseline"]));
    expect(figure.value).toBeGreaterThan(0);
    expect(bench.output).toContain(figure.name);
  }
  expect(existsSync(LAST) ? readFileSync(LAST, "utf8") : undefined).toBe(before);
  expect(readdirSync(directory)).toEqual(["figures.json"]);
}, 300_000);

test.each([
  [["--only", "nonsense"], `no benchmark is called "nonsense": ${BENCHMARKS[0]?.name}`],
  [["--quik"], "Unknown option '--quik'"],
  [["--json", "/nowhere/figures.json"], "it cannot be written (ENOENT)"],
  [["--json", "/run/figures.json"], "the benchmarks have a /run of their own"],
])("asked for %j it says what is wrong and measures nothing", async (words, complaint) => {
  const bench = start([SCRIPT, ...words], { env });
  expect(await bench.exited).toMatchObject({ code: 64 });
  expect(bench.output).toContain(complaint);
});

test.each(["SIGTERM", "SIGKILL"] as const)(
  "after %s nothing of it is still running",
  async (signal) => {
    const bench = start([SCRIPT, "--only", "memory"], { env });
    await until("an agent of it to run", 60_000, () => ours().length > 0, 100);
    await bench.end(signal);
    await until("all of it to end", 10_000, () => ours().length === 0, 100);
    if (signal === "SIGTERM") expect(readdirSync(directory).filter((name) => name !== "figures.json")).toEqual([]);
  },
  120_000,
);

/** Processes that were started from the run's scratch directory. */
function ours(): string[] {
  return readdirSync("/proc").filter((pid) => {
    try {
      return /^[0-9]+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(`${directory}/bench.`);
    } catch {
      return false;
    }
  });
}
