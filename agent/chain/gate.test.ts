import { describe, expect, it } from "vitest";
import { gate } from "./gate.ts";

/** Enters `count` times, leaves at once, and tells how long that took. */
async function timed(door: ReturnType<typeof gate>, count: number): Promise<number> {
  const startedAt = performance.now();
  for (let i = 0; i < count; i++) (await door.enter(undefined))();
  return performance.now() - startedAt;
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
    await timed(door, 100);
    expect(await timed(door, 20)).toBeGreaterThan(150);
  });

  it("narrows when it is told to, once for what is said together", async () => {
    const door = gate({ slots: 1, perSecond: 100 });
    door.narrow();
    door.narrow();
    await timed(door, 1);
    // 50 a second now; 25 would take 400 ms.
    const took = await timed(door, 10);
    expect(took).toBeGreaterThan(150);
    expect(took).toBeLessThan(350);
  });

  it("narrows no further while nothing is answered", async () => {
    const door = gate({ slots: 1, perSecond: 100 });
    for (let i = 0; i < 3; i++) {
      door.narrow();
      await new Promise((resolve) => setTimeout(resolve, 260));
    }
    await timed(door, 13);
    // 50 a second; at an eighth of the rate it would take 800 ms.
    expect(await timed(door, 10)).toBeLessThan(450);
  });

  it("widens with every answer", async () => {
    const door = gate({ slots: 1, perSecond: 1_000 });
    for (let i = 0; i < 3; i++) {
      door.narrow();
      door.widen();
      await new Promise((resolve) => setTimeout(resolve, 260));
    }
    for (let i = 0; i < 300; i++) door.widen();
    await timed(door, 130);
    // At an eighth of its rate it would take twice as long.
    expect(await timed(door, 50)).toBeLessThan(300);
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
