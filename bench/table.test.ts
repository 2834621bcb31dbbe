import { expect, test } from "vitest";
import { figure, ratio } from "./figure.ts";
import { change, table } from "./table.ts";

const last = (value: number) => new Map([["fill", { value, unit: "ms" as const }]]);
const fill = (value: number) => figure({ name: "fill", value, unit: "ms", goal: 100 });

test.each([
  [100, 120, "+20 %"],
  [100, 80, "-20 %"],
  [100, 100.9, "same"],
  [0, 7, "was 0 ms"],
  [0, 0, "same"],
  [7, 0, "-100 %"],
])("from %s to %s the change is shown as %s", (before, now, text) => {
  expect(change(fill(now), last(before))).toBe(text);
});

test("a figure that the last table did not have, or had in another unit, is new", () => {
  expect(change(fill(1), new Map())).toBe("new");
  expect(change(figure({ name: "fill", value: 1, unit: "×" }), last(1))).toBe("new");
});

test("the table names what was missed, with its baseline in the same row", () => {
  const baseline = { name: "wg setconf", value: 90, unit: "ms" } as const;
  const rows = [
    fill(99),
    figure({ name: "pass", value: 101, unit: "ms", goal: 100, baseline }),
    figure({ name: "set", value: 3, unit: "ms" }),
  ];
  const lines = table(rows, last(99)).split("\n");
  expect(lines[1]).toMatch(/^fill +99 ms +<= 100 ms +met +same$/);
  expect(lines[2]).toMatch(/^pass +101 ms +<= 100 ms +MISSED +wg setconf 90 ms +new$/);
  expect(lines.slice(-3)).toEqual(["3 figures, 1 of 2 goals met; missed:", "  pass", ""]);
});

test("a ratio shows both of its sides, and what is said of several rows is said once, below", () => {
  const theirs = { name: "wg setconf", value: 100, unit: "ms" } as const;
  const rows = ["a", "b", "c"].map((name) =>
    ratio({ name, ours: 130, theirs, ...(name === "b" ? {} : { note: "in turns" }) }),
  );
  const [, a, b, c, , note] = table(rows, new Map()).split("\n");
  expect(a).toMatch(/^a \[1\] +1.3 × +130 ms : wg setconf 100 ms +new$/);
  expect([b?.slice(0, 6), c?.slice(0, 6), note]).toEqual(["b     ", "c [1] ", "[1] in turns"]);
});
