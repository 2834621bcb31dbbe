import { getEventListeners } from "node:events";
import { describe, expect, it } from "vitest";
import { Nudge } from "./nudge.ts";

describe("a sleep", () => {
  it("ends with a nudge, also with one that came before it", async () => {
    const nudge = new Nudge();
    const { signal } = new AbortController();
    const asleep = nudge.sleep(60_000, signal);
    nudge.nudge();
    await asleep;
    nudge.nudge();
    await nudge.sleep(60_000, signal);
  });

  it("is not put off by a nudge that is due later than an earlier one", async () => {
    const nudge = new Nudge();
    nudge.nudge(1);
    nudge.nudge(60_000);
    await nudge.sleep(60_000, new AbortController().signal);
  });

  it("does not take a later nudge along with an earlier one", async () => {
    const nudge = new Nudge();
    const { signal } = new AbortController();
    nudge.nudge(50);
    nudge.nudge();
    const startedMs = performance.now();
    await nudge.sleep(60_000, signal);
    await nudge.sleep(60_000, signal);
    expect(performance.now() - startedMs).toBeGreaterThan(40);
    let isAwake = false;
    const stop = new AbortController();
    const last = nudge.sleep(60_000, stop.signal).then(() => {
      isAwake = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(isAwake).toBe(false);
    stop.abort();
    await last;
  });

  it("ends with the signal, and leaves nothing behind on it", async () => {
    const nudge = new Nudge();
    const stop = new AbortController();
    for (let i = 0; i < 3; i++) await nudge.sleep(0, stop.signal);
    expect(getEventListeners(stop.signal, "abort")).toEqual([]);
    const asleep = nudge.sleep(60_000, stop.signal);
    stop.abort();
    await asleep;
    await nudge.sleep(60_000, stop.signal);
  });
});
