import { describe, expect, it } from "vitest";
import type { Fault } from "../errors.ts";
import { NOW, snapshot } from "../test/snapshot.ts";
import { type Health, health, type Snapshot } from "./health.ts";

const ago = (ms: number) => NOW.steadyMs - ms;
const deviceFails: Fault = { code: "device.command-failed", command: "wg set", exit: 1, problem: "no such device" };
const deviceGone: Fault = { code: "device.unreadable", problem: "no such device" };
const diskFull: Fault = { code: "store.unsaved", path: "/state/ledger.db", problem: "ENOSPC" };
const fileUnwritten: Fault = { code: "config.unwritten", path: "/etc/wireguard/wg0.conf", problem: "ENOSPC" };
const frozen: Fault = { code: "chain.fork-below-finality", block: 60 };
const foreign: Fault = { code: "chain.wrong-network", upstream: "b.example", expected: 1, got: 2 };
const mismatch: Fault = { code: "self.key-mismatch", nodeId: "node-a", tokenId: "4", publicKey: "k" };
const noIpv6: Fault = { code: "address.no-ipv6" };

const silent = { headSeenSteadyMs: ago(6_000), followedSteadyMs: ago(6_000) };
const starting = { caughtUp: false, followedSteadyMs: undefined };

// One line per truth: the world, then ready or not, how well, and why (what blocks first).
const rows: [title: string, world: Snapshot, seen: string][] = [
  ["a node that lacks nothing is ready", snapshot(), "ready healthy"],

  ["a head seen 5 s ago is fresh", snapshot({ chain: { headSeenSteadyMs: ago(5_000) } }), "ready healthy"],
  ["no head for over 5 s is unreachable", snapshot({ chain: silent }), "not-ready degraded chain.unreachable"],
  ["a slow poll is given five turns", snapshot({ chain: { ...silent, pollIntervalMs: 2_000 } }), "ready healthy"],
  [
    "five turns of a slow poll without a head are unreachable",
    snapshot({ chain: { headSeenSteadyMs: ago(10_001), pollIntervalMs: 2_000 } }),
    "not-ready degraded chain.unreachable",
  ],
  [
    "a chain that never answered since the start is unreachable",
    snapshot({ chain: { ...starting, headSeenSteadyMs: undefined, headBlock: undefined, headAt: undefined } }),
    "not-ready degraded chain.unreachable chain.catching-up",
  ],
  [
    "in the first seconds a silent chain is only not caught up with",
    snapshot({ startedSteadyMs: ago(1_000), chain: { ...starting, headSeenSteadyMs: undefined } }),
    "not-ready degraded chain.catching-up",
  ],

  ["a head block of 45 s is fresh", snapshot({ chain: { headAt: NOW.wallMs - 45_999 } }), "ready healthy"],
  ["an older head block is stale", snapshot({ chain: { headAt: NOW.wallMs - 46_000 } }), "ready degraded chain.stale"],
  [
    "a devnet without transactions is never stale",
    snapshot({ chain: { headAt: 0, headAgeLimitSeconds: undefined } }),
    "ready healthy",
  ],
  ["a head dated in the future is not stale", snapshot({ chain: { headAt: NOW.wallMs + 9e6 } }), "ready healthy"],
  [
    "a chain can be stale and unreachable",
    snapshot({ chain: { ...silent, headAt: NOW.wallMs - 99_000 } }),
    "not-ready degraded chain.unreachable chain.stale",
  ],

  ["the first catch-up has to be finished", snapshot({ chain: starting }), "not-ready degraded chain.catching-up"],
  [
    "a short lag behind the head later is nothing",
    snapshot({ chain: { followedSteadyMs: ago(14_000), cursorBlock: 110 } }),
    "ready healthy",
  ],
  [
    "heads without logs are not followed",
    snapshot({ chain: { followedSteadyMs: ago(16_000), cursorBlock: 110 } }),
    "not-ready degraded chain.catching-up",
  ],
  ["a fork below finality freezes", snapshot({ faults: [frozen] }), "not-ready degraded chain.fork-below-finality"],
  ["one bad upstream of two is a lack", snapshot({ faults: [foreign] }), "ready degraded chain.wrong-network"],

  [
    "a node without a token is not ready",
    snapshot({ registry: { selfTokenId: undefined } }),
    "not-ready degraded self.no-token",
  ],
  [
    "a token with another key is named as such",
    snapshot({ registry: { selfTokenId: undefined }, faults: [mismatch] }),
    "not-ready degraded self.key-mismatch",
  ],
  [
    "nobody misses the token before the first catch-up",
    snapshot({ chain: starting, registry: { selfTokenId: undefined } }),
    "not-ready degraded chain.catching-up",
  ],
  [
    "a silent chain does not hide a missing token",
    snapshot({ chain: silent, registry: { selfTokenId: undefined } }),
    "not-ready degraded chain.unreachable self.no-token",
  ],

  [
    "a device that was never read is being changed",
    snapshot({ wireguard: { readSteadyMs: undefined, verified: false } }),
    "not-ready degraded device.changing",
  ],
  [
    "a claim of verification without a reading is not believed",
    snapshot({ wireguard: { readSteadyMs: undefined } }),
    "not-ready degraded device.changing",
  ],
  ["an unverified device blocks", snapshot({ wireguard: { verified: false } }), "not-ready degraded device.changing"],
  [
    "a failed command is worse than a change under way",
    snapshot({ wireguard: { verified: false }, faults: [deviceFails] }),
    "not-ready unhealthy device.command-failed",
  ],
  ["a device that is gone is unhealthy", snapshot({ faults: [deviceGone] }), "not-ready unhealthy device.unreadable"],
  [
    "a full pass that hangs is noticed by its absence",
    snapshot({ wireguard: { readSteadyMs: ago(100_001) } }),
    "not-ready unhealthy device.unreadable",
  ],
  ["full passes may take three turns", snapshot({ wireguard: { readSteadyMs: ago(100_000) } }), "ready healthy"],

  ["a full disk is a lack", snapshot({ faults: [diskFull] }), "ready degraded store.unsaved"],
  [
    "a full disk under both files is two lacks",
    snapshot({ faults: [diskFull, fileUnwritten] }),
    "ready degraded store.unsaved config.unwritten",
  ],
  ["a host without IPv6 is a lack", snapshot({ faults: [noIpv6] }), "ready degraded address.no-ipv6"],
  [
    "generations restored by hand are a lack",
    snapshot({ faults: [{ code: "config.held", generation: 3 }] }),
    "ready degraded config.held",
  ],
  [
    "what blocks stands before what lacks",
    snapshot({ faults: [diskFull, noIpv6, frozen], chain: silent }),
    "not-ready degraded chain.unreachable chain.fork-below-finality store.unsaved address.no-ipv6",
  ],
  [
    "what the pass itself reports replaces what is worked out",
    snapshot({ chain: silent, faults: [{ code: "chain.unreachable", seconds: 6, upstreams: 1 }] }),
    "not-ready degraded chain.unreachable",
  ],
];

describe("health", () => {
  it.each(rows)("%s", (_title, world, seen) => {
    expect(told(health(world, NOW))).toBe(seen);
  });

  it("says the numbers in each reason", () => {
    const world = snapshot({ chain: { ...silent, headAt: NOW.wallMs - 61_000, upstreams: [] } });
    expect(
      health(world, NOW)
        .reasons.map(({ detail }) => detail)
        .join("\n"),
    ).toMatch(/0 upstream.*6 s.*\n.*61 s old/s);
  });

  it("blames the component that a reason is about", () => {
    const world = snapshot({ faults: [deviceGone, diskFull] });
    expect(health(world, NOW).components).toEqual({
      chain: "healthy",
      registry: "degraded",
      wireguard: "unhealthy",
      config: "healthy",
    });
  });

  it("is ready only with every part of readiness there, in every combination of what can go wrong", () => {
    const chains = [{}, silent, starting, { headAt: NOW.wallMs - 99_000 }];
    const devices = [{}, { verified: false }, { readSteadyMs: undefined }, { readSteadyMs: ago(200_000) }];
    const faultLists = [[], [deviceGone], [deviceFails], [diskFull], [frozen], [mismatch], [noIpv6, foreign]];
    const blocking: readonly Fault[] = [deviceGone, deviceFails, frozen, mismatch];
    const seen = { ready: 0, not: 0 };
    for (const chain of chains) {
      for (const wireguard of devices) {
        for (const faults of faultLists) {
          for (const selfTokenId of ["1", undefined]) {
            const world = snapshot({ chain, wireguard, faults, registry: { selfTokenId } });
            const result = health(world, NOW);
            const isFollowed = chain !== silent && chain !== starting;
            const isBlocked = faults.some((fault) => blocking.includes(fault));
            const isReady = isFollowed && wireguard === devices[0] && selfTokenId !== undefined && !isBlocked;
            expect([result.ready, told(result)]).toEqual([isReady, told(result)]);
            expect(result.status === "healthy").toBe(result.reasons.length === 0);
            if (!result.ready) expect(result.reasons.length).toBeGreaterThan(0);
            seen[result.ready ? "ready" : "not"]++;
          }
        }
      }
    }
    expect(seen).toEqual({ ready: 6, not: 218 });
  });
});

function told({ ready, status, reasons }: Health): string {
  return [ready ? "ready" : "not-ready", status, ...reasons.map(({ code }) => code)].join(" ");
}
