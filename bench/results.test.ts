import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { figure } from "./figure.ts";
import { type Kept, merged, parseResults, readResults, writeResults } from "./results.ts";

const machine = { cpu: "a", cores: 2, kernel: "6", node: "v24" };
const row = (name: string, value: number): Kept => {
  return { ...figure({ name, value, unit: "ms" }), at: "2026-01-02T03:04:05.000Z", commit: "abc" };
};
const last = { machine, figures: [row("fill", 1), row("pass", 2)] };

test("a run of some benchmarks leaves the rows alone that it did not measure", () => {
  expect(merged(last, [row("pass", 3), row("start", 4)], machine, false).figures).toEqual([
    ...[row("fill", 1), row("pass", 3), row("start", 4)],
  ]);
});

test("a whole run is the whole table", () => {
  expect(merged(last, [row("pass", 3)], machine, true).figures).toEqual([row("pass", 3)]);
});

test("what was written is read again, in a checkout that has no last table too", () => {
  inDirectory((path) => {
    const kept = join(dirname(path), "results", "latest.json");
    writeResults(kept, last);
    expect(readResults(kept)).toEqual(last);
  });
});

test.each(["", "{", "null", "[]", '{"figures": 5}', '{"figures": null}', "\0\0"])(
  "a last table that is damaged (%j) is as good as none",
  (text) => {
    inDirectory((path) => {
      writeFileSync(path, text);
      expect(readResults(path)).toEqual({ machine: undefined, figures: [] });
    });
  },
);

test("a row that is none is left out of the last table, and the others stay", () => {
  const figures = [row("fill", 1), null, 7, { name: "pass" }, { name: "x", value: "1", unit: "ms" }];
  expect(parseResults(JSON.stringify({ machine: "?", figures }))).toEqual({
    ...{ machine: undefined, figures: [row("fill", 1)] },
  });
});

function inDirectory(test: (path: string) => void): void {
  const directory = mkdtempSync(join(tmpdir(), "results-"));
  try {
    expect(readResults(join(directory, "latest.json")).figures).toEqual([]);
    test(join(directory, "latest.json"));
  } finally {
    rmSync(directory, { recursive: true });
  }
}
