import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import type { Cidr, Peer, PublicKey } from "../model.ts";
import { drawn, drawnChanges, keyOf, letterOf, NOW_MS, peerOf, peersOf } from "../test/peers.ts";
import { type Change, plan, type Repairs, repair, sentence, undone } from "./plan.ts";

/** `-A` in `wanted` is a key that is to have no peer. */
function touched(drawing: string): Map<PublicKey, Peer | undefined> {
  const gone = [...drawing.matchAll(/-([A-Z])/g)].map(([, letter = ""]) => [keyOf(letter), undefined] as const);
  return new Map([...gone, ...peersOf(drawing.replaceAll(/-[A-Z]/g, ""))]);
}

describe("an event's plan", () => {
  test.each([
    ["leaves a settled device alone", "A@1", "A@1", ""],
    ["does not touch whom the event does not name", "A@1 B@2", "A@1", ""],
    ["adds", "", "A@1", "+A@1"],
    ["removes", "A@1", "-A", "-A"],
    ["has nothing to remove where nobody is", "", "-A", ""],
    ["takes a revoked peer's address before another gains it", "A@1", "-A B@1", "-A +B@1"],
    ["removes first, whatever the order asked", "A@1", "B@2 -A", "-A +B@2"],
    ["moves the overlay from one gateway to the next, the loser first", "A@1 B@*,2", "A@*,1 B@2", "=B@2 =A@*,1"],
    ["swaps addresses with what loses one first", "A@1 B@2", "A@2 B@1", "=A@2 =B@1"],
    ["widens before it adds", "A@1", "C@3 A@1,2", "=A@1,2 +C@3"],
    ["writes a new endpoint", "A@1!1", "A@1!2", "=A@1!2"],
    ["leaves the endpoint of a node that has none any more", "A@1!1", "A@1", ""],
    ["writes a keepalive that changed, and no endpoint that did not", "A@1!1", "A@1!1~25", "=A@1~25"],
    ["takes a keepalive away", "A@1~25", "A@1", "=A@1"],
  ])("%s", (_, running, wanted, changes) => {
    expect(drawnChanges(plan(peersOf(running), touched(wanted)))).toBe(changes);
  });
});

describe("a full pass", () => {
  const repairs: Repairs = { asked: new Map(), lastSeen: new Map(), keepsUnknown: false, nowMs: NOW_MS };

  test.each([
    ["leaves a settled device alone", "A@1 B@2!1~25", "A@1 B@2!1~25", ""],
    ["removes a foreign peer", "A@1 X@9", "A@1", "-X"],
    ["adds a peer that is gone", "", "A@1!1~25", "+A@1!1~25"],
    ["gives back an address that was moved, the taker first", "A@ B@1,2", "A@1 B@2", "=B@2 =A@1"],
    ["takes the keepalive away that somebody set", "A@1~99", "A@1", "=A@1"],
    ["drops a preshared key that somebody set", "A@1^", "A@1", "=A@1^"],
    ["gives an endpoint to a peer that lost it", "A@1", "A@1!1", "=A@1!1"],
  ])("%s", (_, found, wanted, changes) => {
    expect(drawnChanges(repair(peersOf(found), peersOf(wanted), repairs))).toBe(changes);
  });

  test.each([
    ["a peer that roamed is left alone", "A@1?8#30", "A@1!1", "A@1!1", ""],
    ["a peer that was somehow sent elsewhere is left alone, too", "A@1?8", "A@1!1", "A@1!1", ""],
    ["a node that we do not dial is left where it roamed to, however silent", "A@1?8#900", "A@1!1", "A@1!1", ""],
    ["one that we dial is left alone before its first handshake, too", "A@1?8~25", "A@1!1~25", "A@1!1~25", ""],
    ["a node without any endpoint gets the one that it should have", "A@1", "A@1!1", "A@1!1", "=A@1!1"],
    ["a member's endpoint is its own", "A@1?8#900", "A@1", "A@1", ""],
    ["a node that published another endpoint is dialled there", "A@1?8#30", "A@1!1", "A@1!2", "=A@1!2"],
    ["whoever we dial is dialled at home once it is lost", "A@1?8~25#181", "A@1!1~25", "A@1!1~25", "=A@1!1~25"],
    ["but not before", "A@1?8~25#179", "A@1!1~25", "A@1!1~25", ""],
    ["a device of before our time keeps a living session's endpoint", "A@1?8#30", "", "A@1!1", ""],
    ["and a dead session's is set right", "A@1?8#181", "", "A@1!1", "=A@1!1"],
  ])("%s", (_, found, asked, wanted, changes) => {
    const knowing = { ...repairs, asked: peersOf(asked) };
    expect(drawnChanges(repair(peersOf(found), peersOf(wanted), knowing))).toBe(changes);
  });

  test.each([
    ["a living member is found where it was and woken", "A@1?8#30", "A@1", "+A@1!8*"],
    ["a living node is found where it had roamed to", "A@1?8#30", "A@1!1~25", "+A@1!8~25*"],
    ["a silent member keeps its last endpoint and its peace", "A@1?8#200", "A@1", "+A@1!8"],
    ["a silent node is dialled at home", "A@1?8#200", "A@1!1", "+A@1!1"],
  ])("after the interface was lost, %s", (_, lastSeen, wanted, changes) => {
    const remembering = { ...repairs, lastSeen: peersOf(lastSeen) };
    expect(drawnChanges(repair(new Map(), peersOf(wanted), remembering))).toBe(changes);
  });

  it("removes nobody while it does not know all that the chain says", () => {
    const changes = repair(peersOf("A@1~9 X@9"), peersOf("A@1 B@2"), { ...repairs, keepsUnknown: true });
    expect(drawnChanges(changes)).toBe("=A@1 +B@2");
  });
});

describe("undoing", () => {
  test.each([
    ["an addition removes", "", "A@1", "-A"],
    ["a change writes what was there, with the endpoint it wrote over", "A@1!1", "A@1,2!2~25", "=A@1!1"],
    ["leaves an endpoint that was not written", "A@1!1", "A@1,2!1", "=A@1"],
    ["a removal does not give access back, and asks for it again", "A@1", "-A", "-A"],
    ["takes the last step back first", "A@1 B@*,2", "A@*,1 B@2", "=A@1 =B@*,2"],
    ["a replaced key leaves neither key", "A@1", "-A B@1", "-A -B"],
  ])("%s", (_, running, wanted, changes) => {
    expect(drawnChanges(undone(plan(peersOf(running), touched(wanted))))).toBe(changes);
  });
});

describe("a sentence", () => {
  test.each([
    ["+", "", "A@1!1~25", "add peer QUFBQUFB…: addresses 10.213.0.1/32, endpoint 192.0.2.1:51820, keepalive 25 s"],
    ["-", "A@1", "-A", "remove peer QUFBQUFB…"],
    ["=", "A@1~25", "A@*", "change peer QUFBQUFB…: loses 10.213.0.1/32, gains 10.213.0.0/16, keepalive 0 s"],
  ])("says what a change does: %s", (_, running, wanted, words) => {
    expect(plan(peersOf(running), touched(wanted)).map(sentence)).toEqual([words]);
  });

  it("says why a peer is touched that has what it should", () => {
    const repairs = { asked: new Map(), lastSeen: peersOf("B@2!2#1"), keepsUnknown: false, nowMs: NOW_MS };
    expect(repair(peersOf("A@1^"), peersOf("A@1 B@2"), repairs).map(sentence)).toEqual([
      "change peer QUFBQUFB…: preshared key dropped",
      "add peer QkJCQkJC…: addresses 10.213.0.2/32, endpoint 192.0.2.2:51820, woken",
    ]);
  });
});

/** WireGuard's own rule: an address belongs to one peer, and whoever is given it takes it from the one that had it. */
function carriedOut(peers: ReadonlyMap<PublicKey, Peer>, change: Change): Map<PublicKey, Peer> {
  const after = new Map(peers);
  if (change.kind === "remove") {
    after.delete(change.key);
    return after;
  }
  const taken = new Set<Cidr>(change.peer.allowedIps);
  for (const [key, peer] of after) {
    after.set(key, { ...peer, allowedIps: peer.allowedIps.filter((address) => !taken.has(address)) });
  }
  const endpoint = change.endpoint ?? after.get(change.peer.key)?.endpoint;
  after.set(change.peer.key, { ...change.peer, endpoint });
  return after;
}

const drawnDevice = (peers: ReadonlyMap<PublicKey, Peer>) => [...peers.values()].map((peer) => drawn(peer)).sort();

/** Up to eight peers of a device, each address at one of them. */
const device = fc
  .array(fc.record({ letter: fc.constantFrom(..."ABCDEFGH"), keepalive: fc.constantFrom("", "~25") }), { maxLength: 8 })
  .chain((peers) =>
    fc.array(fc.nat(7), { minLength: 9, maxLength: 9 }).map(
      (places) =>
        new Map(
          peers.map(({ letter, keepalive }, place) => {
            const addresses = places.flatMap((at, i) => (at === place ? [i === 0 ? "*" : String(i)] : []));
            return [keyOf(letter), peerOf(`${letter}@${addresses}${keepalive}`)] as const;
          }),
        ),
    ),
  )
  // A letter that was drawn twice keeps its last place only.
  .filter((peers) => peers.size > 0);

describe("whatever the device and the wish", () => {
  const repairs: Repairs = { asked: new Map(), lastSeen: new Map(), keepsUnknown: false, nowMs: NOW_MS };

  it("ends as wished, without removing and adding the same peer", () => {
    fc.assert(
      fc.property(device, device, (found, wanted) => {
        const changes = repair(found, wanted, repairs);
        expect(drawnDevice(changes.reduce(carriedOut, new Map<PublicKey, Peer>(found)))).toEqual(drawnDevice(wanted));
        const removed = changes.flatMap((change) => (change.kind === "remove" ? [letterOf(change.key)] : []));
        expect(removed.filter((letter) => wanted.has(keyOf(letter)))).toEqual([]);
      }),
    );
  });

  it("gives nobody an address that is still another's, wherever it is interrupted", () => {
    fc.assert(
      fc.property(device, device, (found, wanted) => {
        let now = new Map<PublicKey, Peer>(found);
        for (const change of repair(found, wanted, repairs)) {
          if (change.kind === "set") {
            const gained = change.peer.allowedIps.filter((ip) => !now.get(change.peer.key)?.allowedIps.includes(ip));
            const holders = [...now.values()].filter((peer) => peer.allowedIps.some((ip) => gained.includes(ip)));
            // Two peers that swap addresses are the exception: one of them has to begin.
            for (const { key } of holders) {
              const [before, after] = [found.get(key), wanted.get(key)];
              expect(after?.allowedIps.some((ip) => !before?.allowedIps.includes(ip))).toBe(true);
            }
          }
          now = carriedOut(now, change);
        }
      }),
    );
  });

  it("goes back to what was there, but for those removed", () => {
    fc.assert(
      fc.property(device, device, fc.nat(20), (found, wanted, done) => {
        const changes = repair(found, wanted, repairs);
        const half = changes.slice(0, done).reduce(carriedOut, new Map<PublicKey, Peer>(found));
        const after = undone(changes).reduce(carriedOut, half);
        const kept = new Map([...found].filter(([key]) => wanted.has(key)));
        expect(drawnDevice(after)).toEqual(drawnDevice(kept));
      }),
    );
  });
});
