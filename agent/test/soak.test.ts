import { describe, expect, it } from "vitest";
import { type Life, report, type Soaked, slope } from "./soak-report.ts";

/** A sample every ten seconds; each is so many MB, and so many descriptors. */
function life(megabytes: readonly number[], descriptors: readonly number[] = [20], node = "node-a"): Life {
  const samples = megabytes.map((mb, i) => {
    return { atMs: i * 10_000, residentBytes: mb * 2 ** 20, descriptors: descriptors[i] ?? descriptors.at(-1) ?? 0 };
  });
  return { node, samples };
}

const GOOD: Soaked = {
  ...{ minutes: 1, seed: 7, events: "9 grants", faults: "3 of 100 calls", checkpoints: 2, divergence: 0 },
  ...{ pings: { sent: 100, lost: 0 }, lives: [life([100, 101])], unready: [] },
};

describe("the slope of memory", () => {
  const perHour = (lives: readonly Life[]) => ((slope(lives) ?? Number.NaN) * 3_600_000) / 2 ** 20;

  it("is that of a line through warm samples", () => {
    expect(perHour([life([0, 0, 0, 100, 101, 102, 103])])).toBeCloseTo(360);
  });

  it("is no gain where one process ends and a larger one begins", () => {
    expect(perHour([life([100, 100, 100, 100, 100]), life([300, 300, 300, 300, 300])])).toBe(0);
  });

  it("is unknown where nobody lived long enough", () => {
    expect(slope([life([1, 2, 3])])).toBeUndefined();
  });
});

describe("the report of a soak", () => {
  it("passes what is as it should be, and counts in its last line", () => {
    expect(report(GOOD)).toMatchObject({ failed: 0, text: expect.stringMatching(/\n4 passed, 0 failed$/) });
  });

  it.each<[string, Partial<Soaked>]>([
    ["a peer that should not be there", { divergence: 1 }],
    ["a lost ping", { pings: { sent: 100, lost: 1 } }],
    ["pings that nobody sent", { pings: { sent: 0, lost: 0 } }],
    ["a process that keeps its descriptors", { lives: [life([100, 101], [20, 41])] }],
    ["a node that is not ready", { unready: ["node-b"] }],
  ])("fails by %s", (_, wrong) => {
    expect(report({ ...GOOD, ...wrong })).toMatchObject({
      failed: 1,
      text: expect.stringMatching(/FAILED(.|\n)*\n3 passed, 1 failed$/),
    });
  });
});
