import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { gate } from "./gate.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Enters `count` times, each leaving at once, and tells the milliseconds that it took. */
async function timed(door: ReturnType<typeof gate>, count: number): Promise<number> {
  const startedAt = performance.now();
  let isDone = false;
  const all = (async () => {
    for (let i = 0; i < count; i++) (await door.enter(undefined))();
    isDone = true;
  })();
  while (!isDone) await vi.advanceTimersToNextTimerAsync();
  await all;
  return performance.now() - startedAt;
}

/** Complains `times` times, each as one complaint; `hasAnswered`: with an answer in between. */
async function complain(door: ReturnType<typeof gate>, times: number, { hasAnswered }: { hasAnswered: boolean }) {
  for (let i = 0; i < times; i++) {
    door.narrow();
    if (hasAnswered) door.widen();
    await vi.advanceTimersByTimeAsync(260);
  }
}

/** Requests a second, once the bucket is empty. */
async function rateOf(door: ReturnType<typeof gate>): Promise<number> {
  await timed(door, 1_000);
  return 100_000 / (await timed(door, 100));
}

describe("the gate of an upstream", () => {
  it("lets in as many as there are slots, in order of arrival", async () => {
    const door = gate({ slots: 2, perSecond: 1_000 });
    const entered: number[] = [];
    const enter = async (i: number) => {
      const leave = await door.enter(undefined);
      entered.push(i);
      return leave;
    };
    const all = [0, 1, 2, 3].map(enter);
    const leave = await all[0];
    await all[1];
    expect([entered, door.inFlight()]).toEqual([[0, 1], 2]);
    leave?.();
    await all[2];
    expect(entered).toEqual([0, 1, 2]);
  });

  it("empties its bucket at once and then keeps to its rate", async () => {
    const door = gate({ slots: 1, perSecond: 100 });
    expect(await timed(door, 100)).toBe(0);
    expect(await timed(door, 100)).toBeCloseTo(1_000, -2);
  });

  it("halves its rate when it is told to, once for what is said together", async () => {
    const door = gate({ slots: 1, perSecond: 100 });
    door.narrow();
    door.widen();
    door.narrow();
    expect(await rateOf(door)).toBeCloseTo(50, -1);
  });

  it("narrows no further while nothing is answered", async () => {
    const door = gate({ slots: 1, perSecond: 100 });
    await complain(door, 3, { hasAnswered: false });
    expect(await rateOf(door)).toBeCloseTo(50, -1);
  });

  it("lets a few through, however often it is told to narrow", async () => {
    const door = gate({ slots: 1, perSecond: 100 });
    await complain(door, 50, { hasAnswered: true });
    expect(await rateOf(door)).toBeCloseTo(4, 0);
  });

  it("widens with every answer, also from where that is a hundredth of little", async () => {
    const door = gate({ slots: 1, perSecond: 100 });
    await complain(door, 50, { hasAnswered: true });
    for (let i = 0; i < 50; i++) door.widen();
    expect(await rateOf(door)).toBeGreaterThan(15);
    for (let i = 0; i < 200; i++) door.widen();
    expect(await rateOf(door)).toBeCloseTo(100, -1);
  });

  it("turns away all who wait and none who are in", async () => {
    const door = gate({ slots: 1, perSecond: 1_000 });
    const leave = await door.enter(undefined);
    const waiting = [door.enter(undefined), door.enter(undefined)];
    const why = new Error("down");
    door.turnAway(why);
    for (const one of waiting) await expect(one).rejects.toBe(why);
    leave();
    expect(door.inFlight()).toBe(0);
    (await door.enter(undefined))();
  });

  it("lets those go who no longer want to wait", async () => {
    const door = gate({ slots: 1, perSecond: 1_000 });
    const leave = await door.enter(undefined);
    const stop = new AbortController();
    const gone = door.enter(stop.signal);
    const next = door.enter(undefined);
    stop.abort(new Error("enough"));
    await expect(gone).rejects.toThrow("enough");
    leave();
    (await next)();
    expect(door.inFlight()).toBe(0);
  });
});
