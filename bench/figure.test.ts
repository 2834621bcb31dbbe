import { expect, test } from "vitest";
import { figure, median, quantile, quantity, ratio } from "./figure.ts";

test.each([
  [49.9, true],
  [50, true],
  [50.1, false],
])("a goal of at most 50 is met up to 50: %s", (value, met) => {
  expect(figure({ name: "pause", value, unit: "ms", goal: 50 }).met).toBe(met);
});

test("a figure without a goal is neither met nor missed, and says so in JSON", () => {
  const row = figure({ name: "one change", value: 2.5, unit: "ms" });
  expect(JSON.parse(JSON.stringify(row))).toEqual({
    ...{ name: "one change", value: 2.5, unit: "ms", goal: null, met: null, baseline: null },
  });
});

test("a ratio is held against its goal unrounded, and shows both sides", () => {
  const theirs = { name: "wg setconf", value: 1000, unit: "ms" } as const;
  const row = ratio({ name: "fill", ours: 1304, theirs, goal: 1.3 });
  expect(row).toMatchObject({ value: 1.304, unit: "×", met: false, baseline: theirs, ours: 1304 });
});

test.each([Number.NaN, Number.POSITIVE_INFINITY])("%s is no measurement", (value) => {
  expect(() => figure({ name: "fill", value, unit: "s" })).toThrow("fill was measured as");
});

test("a quantile is a value that was measured", () => {
  const values = [5, 1, 4, 2, 3, 100];
  expect([quantile(values, 0), median(values), quantile(values, 0.99)]).toEqual([1, 3, 100]);
  expect(() => median([])).toThrow("nothing was measured");
});

test.each([
  [0, "0 ms"],
  [0.00042, "0.0004 ms"],
  [1.307, "1.31 ms"],
  [15.55, "15.6 ms"],
  [1310.4, "1,310 ms"],
])("%s ms is shown with three digits at most as %s", (value, text) => {
  expect(quantity(value, "ms")).toBe(text);
});
