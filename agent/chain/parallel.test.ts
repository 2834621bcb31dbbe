import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { parallel, untilEnough } from "./parallel.ts";

describe("parallel", () => {
  it("maps in order, with no more than so many at work", async () => {
    let [atWork, most] = [0, 0];
    const doubled = await parallel([5, 1, 3, 2, 4], 2, async (item) => {
      most = Math.max(most, ++atWork);
      await sleep(item);
      atWork--;
      return 2 * item;
    });
    expect(doubled).toEqual([10, 2, 6, 4, 8]);
    expect(most).toBe(2);
  });

  it("begins nothing more after a failure", async () => {
    const begun: number[] = [];
    const work = async (item: number) => {
      begun.push(item);
      await sleep(1);
      throw new Error(`no ${item}`);
    };
    await expect(parallel([1, 2, 3, 4], 2, work)).rejects.toThrow("no 1");
    expect(begun).toEqual([1, 2]);
  });
});

describe("what several say", () => {
  const { signal } = new AbortController();
  /** Each answers after so many milliseconds, and `0` fails. */
  const say = async (ms: number, until: AbortSignal) => {
    if (ms === 0) throw new Error("says nothing");
    await sleep(ms, undefined, { signal: until });
    return ms;
  };

  it("is heard from all of them where that is not enough", async () => {
    expect(await untilEnough([20, 1, 10], say, () => false, signal)).toEqual([1, 10, 20]);
  });

  it("is waited for no longer than needed", async () => {
    expect(await untilEnough([60_000, 1, 10], say, (heard) => heard.length === 2, signal)).toEqual([1, 10]);
  });

  it("is not what one said who went on after it was enough", async () => {
    const deaf = (ms: number) => say(ms, signal);
    expect(await untilEnough([10, 1], deaf, (heard) => heard.length > 0, signal)).toEqual([1]);
  });

  it("fails where one fails before it is enough", async () => {
    await expect(untilEnough([0, 1], say, () => false, signal)).rejects.toThrow("says nothing");
  });

  it("fails with the signal's reason", async () => {
    const stopped = AbortSignal.timeout(5);
    await expect(untilEnough([60_000], say, () => false, stopped)).rejects.toMatchObject({ name: "TimeoutError" });
  });
});
