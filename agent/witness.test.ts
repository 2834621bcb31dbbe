import { describe, expect, test } from "vitest";
import { beyondLimit, WINDOW_MS } from "./witness.ts";

describe("mass removal", () => {
  const ids = (n: number) => Array.from({ length: n }, (_, i) => i);
  test.each([
    ["five of a handful go at once", 5, 0, 5, 0],
    ["the sixth of a handful waits for a witness", 6, 0, 6, 1],
    ["a fifth of a thousand goes at once", 200, 0, 1000, 0],
    ["what is beyond a fifth waits", 201, 0, 1000, 1],
    ["earlier removals count against the limit", 3, 4, 6, 2],
    ["a slow drain does not lower its own limit", 10, 190, 810, 0],
    ["nobody to remove, nobody held", 0, 100, 10, 0],
  ])("%s", (_title, candidates, recent, peers, beyond) => {
    const found = beyondLimit(ids(candidates), Array<number>(recent).fill(1_000_000), peers, 1_000_001);
    expect(found).toEqual(ids(candidates).slice(candidates - beyond));
  });

  test("removals older than ten minutes are forgotten", () => {
    const now = 2 * WINDOW_MS;
    expect(beyondLimit(ids(5), [now - WINDOW_MS, now - WINDOW_MS - 1], 5, now)).toEqual([]);
  });
});
