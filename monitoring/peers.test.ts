import { describe, expect, it } from "vitest";
import { handshakeOf, listed, PAGE, type Peer } from "./peers.js";

const peer = (tokenId: string, parts: Partial<Peer> = {}): Peer => ({
  ...{ tokenId, nodeId: `name-${tokenId}`, publicKey: "", endpoint: "", allowedIps: [`10.213.0.${tokenId}/32`] },
  ...{ latestHandshakeAt: null, rxBytes: 0, txBytes: 0, ...parts },
});
const ids = (peers: readonly Peer[]) => peers.map(({ tokenId }) => tokenId);

describe("the peers that are listed", () => {
  const peers = [
    peer("10", { rxBytes: 5 }),
    peer("9", { latestHandshakeAt: 50 }),
    peer("100", { txBytes: 9, latestHandshakeAt: 70 }),
  ];
  it.each([
    ["handshake", ["100", "9", "10"]],
    ["traffic", ["100", "10", "9"]],
    ["token", ["9", "10", "100"]],
  ])("are ordered by %s", (order, expected) => {
    expect(ids(listed(peers, { find: "", order, page: 0 }).shown)).toEqual(expected);
  });

  it.each([
    ["a name, in any case", "NAME-9", ["9"]],
    ["an address", "10.213.0.10", ["10", "100"]],
    ["nothing that is there", "zz", []],
  ])("are found by %s", (_, find, expected) => {
    expect(ids(listed(peers, { find, order: "token", page: 0 }).shown)).toEqual(expected);
  });

  it("come a page at a time, and the last page is the end", () => {
    const many = Array.from({ length: 2 * PAGE + 1 }, (_, index) => peer(String(index + 1)));
    expect(listed(many, { find: "", order: "token", page: 0 })).toMatchObject({ amount: 101, page: 0, isLast: false });
    expect(ids(listed(many, { find: "", order: "token", page: 9 }).shown)).toEqual(["101"]);
    expect(listed([], { find: "", order: "token", page: 1 })).toEqual({ shown: [], amount: 0, page: 0, isLast: true });
  });
});

it.each([
  ["never", null, undefined, false],
  ["a moment ago, by a clock that is ahead", 101_000, 0, true],
  ["within three minutes", 1_000, 99, true],
  ["longer ago", -80_001, 180, false],
])("a handshake %s", (_, latestHandshakeAt, ageSeconds, isConnected) => {
  expect(handshakeOf(peer("1", { latestHandshakeAt }), 100_000)).toEqual({ ageSeconds, isConnected });
});
