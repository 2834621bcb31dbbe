import { describe, expect, it } from "vitest";
import { NO_READINGS, type PeerReading, type Readings, read } from "./readings.ts";

const NOW = 10_000_000;
const peer = (rxBytes: number, txBytes = 0, ageSeconds?: number): PeerReading => ({
  rxBytes,
  txBytes,
  latestHandshakeAt: ageSeconds === undefined ? undefined : NOW - ageSeconds * 1000,
});
const first = { readings: NO_READINGS, peers: new Map<string, PeerReading>() };
const reading = (peers: Record<string, PeerReading>, before = first) => {
  const now = new Map(Object.entries(peers));
  return { readings: read(before, now, NOW), peers: now };
};
const traffic = ({ rxBytes, txBytes }: Readings) => `${rxBytes}/${txBytes}`;

describe("readings", () => {
  it("adds up what the peers carried since the reading before", () => {
    const one = reading({ a: peer(10, 1), b: peer(20, 2) });
    const two = reading({ a: peer(15, 1), b: peer(20, 4) }, one);
    expect([traffic(one.readings), traffic(two.readings)]).toEqual(["30/3", "35/5"]);
  });

  it("never falls when a peer is removed, nor when it is added again from zero", () => {
    const one = reading({ a: peer(100), b: peer(20) });
    const two = reading({ b: peer(20) }, one);
    const three = reading({ a: peer(5), b: peer(20) }, two);
    const four = reading({ a: peer(2), b: peer(20) }, three);
    expect([two, three, four].map((each) => traffic(each.readings))).toEqual(["120/0", "125/0", "127/0"]);
  });

  it("counts who is connected and how old handshakes are", () => {
    const { readings } = reading({
      new: peer(0, 0, 30),
      late: peer(0, 0, 179),
      gone: peer(0, 0, 180),
      ancient: peer(0, 0, 100_000),
      never: peer(0),
      ahead: peer(0, 0, -50),
    });
    expect(readings.connected).toBe(3);
    expect(readings.handshakeAges).toEqual({ buckets: [2, 0, 0, 2, 0, 0, 0], sumSeconds: 100_389, count: 5 });
  });

  it("takes a handshake at zero for none", () => {
    const peers = { a: { rxBytes: 0, txBytes: 0, latestHandshakeAt: 0 } };
    expect(reading(peers).readings.handshakeAges.count).toBe(0);
  });
});
