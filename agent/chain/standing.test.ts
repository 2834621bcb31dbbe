import { describe, expect, it } from "vitest";
import { Trouble, type TroubleKind } from "./reply.ts";
import { blamed, cost, failed, NEWCOMER, recentFailures, type Standing, succeeded, toldHead } from "./standing.ts";

const at = (standing: Standing, kind: TroubleKind, time: number, random = 1, retryAfterMs?: number) =>
  failed(standing, new Trouble(kind, "", retryAfterMs), time, time, random);

/** An upstream that fails again and again, each time as soon as it may be asked. */
function failing(times: number, random = 1): { standing: Standing; waits: number[] } {
  const waits: number[] = [];
  let standing = NEWCOMER;
  let now = 1_000;
  for (let i = 0; i < times; i++) {
    standing = at(standing, "connect", now, random);
    waits.push(standing.notBefore - now);
    now = standing.notBefore;
  }
  return { standing, waits };
}

describe("the standing of an upstream", () => {
  it("backs off in doubling steps, never over four seconds", () => {
    expect(failing(10).waits).toEqual([50, 100, 200, 400, 800, 1_600, 3_200, 4_000, 4_000, 4_000]);
  });

  it("spreads the whole of each step by jitter", () => {
    expect(failing(3, 0).waits).toEqual([0, 0, 0]);
    expect(failing(3, 0.5).waits).toEqual([25, 50, 100]);
  });

  it("is asked at once again after one answer", () => {
    const { standing } = failing(6);
    expect(succeeded(standing)).toMatchObject({ streak: 0, notBefore: 0 });
  });

  it("counts what failed together as one failure in a row", () => {
    let standing = at(NEWCOMER, "connect", 1_000);
    for (let i = 0; i < 7; i++) standing = failed(standing, new Trouble("connect", ""), 990, 1_001, 1);
    expect(standing.streak).toBe(1);
    expect(standing.errors.connect).toBe(8);
  });

  it("waits as long as it is told to", () => {
    expect(at(NEWCOMER, "rate-limit", 1_000, 1, 3_000).notBefore).toBe(4_000);
    expect(at(NEWCOMER, "rate-limit", 1_000, 0).notBefore).toBeGreaterThan(1_000);
  });

  it("backs off as usual where it is told to wait for less", () => {
    const untold = at(NEWCOMER, "rate-limit", 1_000);
    for (const retryAfterMs of [0, 1]) expect(at(NEWCOMER, "rate-limit", 1_000, 1, retryAfterMs)).toEqual(untold);
  });

  it("never shortens a wait because another request failed sooner", () => {
    const told = at(NEWCOMER, "rate-limit", 1_000, 1, 3_000);
    expect(at(told, "connect", 1_010, 0).notBefore).toBe(4_000);
  });

  it("costs more after a failure than any latency or lag, and less again with time", () => {
    const slow = toldHead(NEWCOMER, 500, 5_000);
    const fast = at(toldHead(NEWCOMER, 5, 0), "malformed", 1_000);
    expect(cost(blamed(fast, "inconsistent", 3, 1_000), 1_000)).toBeGreaterThan(cost(slow, 1_000));
    expect(cost(fast, 1_000)).toBeGreaterThan(cost(toldHead(NEWCOMER, 500, 0), 1_000));
    expect(cost(fast, 61_000)).toBeLessThan(cost(toldHead(NEWCOMER, 500, 0), 61_000));
  });

  it("forgets half of its failures every ten seconds and never counts more than eight", () => {
    let standing = NEWCOMER;
    for (let i = 0; i < 50; i++) standing = at(standing, "timeout", 1_000 + i);
    expect(recentFailures(standing, 1_049)).toBeLessThanOrEqual(8);
    expect(recentFailures(standing, 11_049)).toBeCloseTo(recentFailures(standing, 1_049) / 2);
  });

  it("prefers the upstream that is not behind, a block or two aside", () => {
    const near = toldHead(NEWCOMER, 5, 2);
    const behind = toldHead(NEWCOMER, 5, 3);
    expect(cost(near, 0)).toBe(cost(toldHead(NEWCOMER, 5, 0), 0));
    expect(cost(behind, 0)).toBeGreaterThan(cost(toldHead(NEWCOMER, 200, 0), 0));
  });
});
