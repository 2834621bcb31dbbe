import { describe, expect, it } from "vitest";
import { added, columns, EMPTY, FULL_MS, type History, KEPT_MS } from "./history.js";

const START = Date.UTC(2026, 0, 1);
const SECOND = 1_000;

/** One sample every `everyMs`, of the values that `valuesAt` gives. */
function recorded(forMs: number, everyMs: number, valuesAt: (at: number) => (number | null)[], from = EMPTY): History {
  let history = from;
  for (let at = 0; at <= forMs; at += everyMs) {
    history = added(history, { at: START + at, values: valuesAt(at) }, ["mean", "max"]);
  }
  return history;
}

describe("a history", () => {
  it("keeps every sample of the last hour", () => {
    const history = recorded(FULL_MS, 5 * SECOND, (at) => [at, at]);
    expect(history.minutes).toEqual([]);
    expect(history.recent).toHaveLength(721);
  });

  it("keeps one a minute of what is older: its mean, or its worst", () => {
    const history = recorded(2 * FULL_MS, 20 * SECOND, (at) => [at / SECOND, at / SECOND]);
    expect(history.minutes[0]).toEqual({ at: START, values: [20, 40] });
    expect(history.minutes).toHaveLength(60);
    expect(history.recent[0]?.at).toBe(START + FULL_MS);
  });

  it("keeps a day, whatever the pace", () => {
    const history = recorded(KEPT_MS + FULL_MS, 30 * SECOND, () => [1, 1]);
    expect(history.minutes[0]?.at).toBe(START + FULL_MS);
    expect(history.minutes.length + history.recent.length).toBeLessThan(1_600);
  });

  it("does not take what is unknown for 0", () => {
    const history = recorded(FULL_MS + 120 * SECOND, 20 * SECOND, (at) => [at % (60 * SECOND) === 0 ? 9 : null, null]);
    expect(history.minutes[0]?.values).toEqual([9, null]);
  });

  it("keeps the later of two samples of one moment, and all that was before", () => {
    const before = recorded(2 * SECOND, SECOND, () => [1, 1]);
    const history = added(before, { at: START + 2 * SECOND, values: [2, 2] }, ["mean", "max"]);
    expect(columns(history, 0, 2)[1]).toEqual([1, 1, 2]);
  });

  it("starts anew when the clock is set back", () => {
    const history = added(
      recorded(60 * SECOND, SECOND, () => [1, 1]),
      { at: START, values: [2, 2] },
      ["mean", "max"],
    );
    expect(columns(history, 0, 2)).toEqual([[START / 1000], [2], [2]]);
  });
});

describe("what is drawn", () => {
  it("is a column of seconds and one of each value, from then on", () => {
    const history = recorded(20 * SECOND, 10 * SECOND, (at) => [at, null]);
    const from = START / 1000;
    expect(columns(history, START + 10 * SECOND, 2)).toEqual([
      [from + 10, from + 20],
      [10_000, 20_000],
      [null, null],
    ]);
  });

  it("has a gap where the page slept", () => {
    const before = recorded(0, SECOND, () => [1, 1]);
    const history = added(before, { at: START + 600 * SECOND, values: [3, 3] }, ["mean", "max"]);
    expect(columns(history, 0, 2)[1]).toEqual([1, null, 3]);
  });

  it("has no gap at the slowest pace, nor between minutes", () => {
    const history = recorded(2 * FULL_MS, 30 * SECOND, () => [1, 1]);
    expect(columns(history, 0, 2)[1]).not.toContain(null);
  });

  it("is nothing where nothing was kept", () => {
    expect(columns(EMPTY, 0, 2)).toEqual([[], [], []]);
  });
});
