import { describe, expect, it } from "vitest";
import { readDevice, readHealth, readStats } from "./answers.js";
import { hasRestarted, isCurrent, newNode, sampled, standing, together, trafficOf } from "./network.js";

function node(name: string, { status = "healthy", failure = "", ...stats }: Record<string, unknown> = {}) {
  return {
    ...newNode(name),
    health: readHealth({ status, components: { chain: { headBlock: 10, lagBlocks: stats["lag"] ?? 0 } } }),
    stats: readStats({ peers: { configured: 4, connected: 2 }, tokens: 9, ...stats }),
    answeredMs: 1_000,
    failure: String(failure),
  };
}
const everyone = () => true;

describe("a node", () => {
  it.each([
    ["waiting", newNode("a")],
    ["healthy", node("a")],
    ["unhealthy", node("a", { status: "unhealthy" })],
    ["unreachable", node("a", { failure: "does not answer in time" })],
  ])("stands as %s", (expected, each) => {
    expect(standing(each)).toBe(expected);
  });

  it.each([
    ["counts while it answers", node("a"), 6_000, true],
    ["does not count unheard", newNode("a"), 6_000, false],
    ["does not count once it fails", node("a", { failure: "does not answer in time" }), 1_001, false],
    ["does not count when the page slept", node("a"), 60_000, false],
  ])("%s", (_, each, steadyMs, isCounted) => {
    expect(isCurrent(each, steadyMs, 5_000)).toBe(isCounted);
  });
});

describe("a restart of the agent", () => {
  const before = { ...newNode("a"), health: readHealth({ status: "healthy", uptimeSeconds: 60 }), answeredMs: 10_000 };
  it.each<[title: string, uptimeSeconds: number | null, steadyMs: number, isOne: boolean]>([
    ["is none while the time goes on", 65, 15_000, false],
    ["is none where clocks run a little apart", 3_655, 3_610_000, false],
    ["is told by a time that fell", 58, 10_500, true],
    ["is told by a time that grew too little while nobody asked", 90, 3_610_000, true],
    ["is none that is not known", null, 15_000, false],
  ])("%s", (_, uptimeSeconds, steadyMs, isOne) => {
    expect(hasRestarted(before, uptimeSeconds, steadyMs)).toBe(isOne);
    expect(hasRestarted(newNode("a"), uptimeSeconds, steadyMs)).toBe(false);
  });
});

describe("traffic", () => {
  const reading = (second: number, rxBytes: number, txBytes: number) =>
    readDevice({ asOf: new Date(second * 1_000).toISOString(), rxBytes, txBytes });

  it("is bytes a second between two readings of the device, not between two polls", () => {
    const first = trafficOf(undefined, reading(100, 1_000, 500), true);
    expect(first).toMatchObject({ rx: null, tx: null });
    const second = trafficOf(first, reading(130, 31_000, 3_500), true);
    expect(second).toMatchObject({ rx: 1_000, tx: 100 });
    expect(trafficOf(second, reading(130, 31_000, 3_500), true)).toBe(second);
  });

  it("is not known once the device cannot be read", () => {
    const second = trafficOf(trafficOf(undefined, reading(100, 1_000, 500), true), reading(130, 31_000, 3_500), true);
    const unread = trafficOf(second, reading(130, 31_000, 3_500), false);
    expect(unread).toMatchObject({ rx: null, tx: null, rxBytes: 31_000, txBytes: 3_500 });
    expect(trafficOf(unread, reading(190, 91_000, 9_500), true)).toMatchObject({ rx: 1_000, tx: 100 });
  });

  it("is not known over a restart, whose counters fall", () => {
    const before = trafficOf(undefined, reading(100, 9_000, 9_000), true);
    expect(trafficOf(before, reading(130, 10, 9_500), true)).toMatchObject({ rx: null, tx: null, rxBytes: 10 });
    expect(trafficOf(before, reading(130, 9_500, 10), true)).toMatchObject({ rx: null, tx: null, txBytes: 10 });
  });

  it("is not known before the device was read", () => {
    expect(trafficOf(undefined, readDevice({ asOf: null, rxBytes: 0, txBytes: 0 }), true)).toBeUndefined();
  });
});

describe("all nodes together", () => {
  it("add up what adds up, and are as slow as the slowest", () => {
    const nodes = [
      node("a", { eventToDevice: { p99Ms: 40 }, quarantined: { "key.weak": 1, "key.own": 1 } }),
      node("b", { eventToDevice: { p99Ms: null }, quarantined: { "key.weak": 1 }, lag: 3 }),
    ];
    expect(together(nodes, everyone)).toMatchObject({
      ...{ nodes: 2, answering: 2, healthy: 2, configured: 8, connected: 4 },
      ...{ tokens: 9, latencyP99Ms: 40, latencyP50Ms: null, quarantined: 2, lagBlocks: 3 },
    });
  });

  it("leave out whoever does not count", () => {
    const nodes = [node("a"), node("b", { failure: "does not answer in time" })];
    expect(together(nodes, ({ failure }) => failure === "")).toMatchObject({
      nodes: 2,
      answering: 1,
      healthy: 1,
      connected: 2,
    });
  });

  it("know of nobody quarantined only where a node says so", () => {
    const quarantine = (...nodes: ReturnType<typeof node>[]) => together(nodes, everyone).quarantined;
    expect([quarantine(node("a", { quarantined: {} })), quarantine(node("a"))]).toEqual([0, null]);
    expect(quarantine(node("a"), node("b", { quarantined: { "key.weak": 1 } }))).toBe(1);
  });

  it("know nothing where nobody answers", () => {
    expect(together([newNode("a")], () => false)).toMatchObject({
      answering: 0,
      connected: null,
      tokens: null,
      rx: null,
    });
  });
});

it("a sample is of each node and of all, and unknown for who does not count", () => {
  const nodes = [node("a"), node("b")];
  const histories = sampled(new Map(), nodes, ({ name }) => name === "a", 5_000);
  const connected = [...histories].map(([name, { recent }]) => [name, recent[0]?.values[0]]);
  expect(connected).toEqual([
    ["", 2],
    ["a", 2],
    ["b", null],
  ]);
});
