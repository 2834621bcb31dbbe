import { describe, expect, it } from "vitest";
import { createQuantiles } from "./quantiles.ts";

describe("quantiles", () => {
  it.each([
    ["nothing yet", 4, [], undefined, undefined, undefined],
    ["one value is every quantile", 4, [7], 7, 7, 7],
    ["the nearest rank, never a mean", 10, [4, 1, 3, 2], 2, 4, 4],
    ["only the last of them", 3, [100, 1, 2, 3], 2, 3, 3],
  ])("%s", (_title, size, values, p50, p99, max) => {
    const quantiles = createQuantiles(size);
    for (const value of values) quantiles.add(value);
    expect([quantiles.at(0.5), quantiles.at(0.99), quantiles.max()]).toEqual([p50, p99, max]);
  });

  it("sees what is added after it was asked", () => {
    const quantiles = createQuantiles(8);
    quantiles.add(1);
    expect(quantiles.max()).toBe(1);
    quantiles.add(9);
    expect(quantiles.max()).toBe(9);
  });
});
