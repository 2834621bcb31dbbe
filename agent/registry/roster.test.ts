import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { type Admitted, type Cidr, REFUSALS, type TokenId } from "../model.ts";
import { blocks, events, id, keyOf } from "../test/drawn-tokens.ts";
import { addressPlan } from "./addresses.ts";
import { judged, type Rules } from "./admission.ts";
import { foldAll } from "./fold.ts";
import { emptyRegistry, type Registry } from "./registry.ts";
import { type Roster, rosterOf } from "./roster.ts";

const overlay = { ipv6Prefix: "fd12:3456:789a::/48" as Cidr, overlayIpv4: "10.213.0.0/16" as Cidr };
const RULES: Rules = {
  nodeId: "us",
  ownKey: keyOf("own"),
  confirmations: 1,
  maxTokensPerOwner: 0,
  maxPeers: 100,
  addresses: addressPlan(overlay, { ipv6: true }),
  gateways: new Set(),
  peerEndpoints: new Map(),
};
const folded = (script: string) => foldAll(emptyRegistry(), events(script)).registry;

/** `1+` is admitted, `1=` is ourselves, `1 code` is refused; inactive tokens are left out. */
function drawn(roster: Roster, registry: Registry): string {
  const ids = [...registry.maps.records.keys()].sort((a, b) => (a < b ? -1 : 1));
  const verdicts = ids
    .map((each) => [each, roster.verdict(each)] as const)
    .filter(([, verdict]) => verdict !== "inactive");
  return verdicts
    .map(([each, verdict]) =>
      verdict === "admitted" ? `${each}+` : verdict === "self" ? `${each}=` : `${each} ${verdict}`,
    )
    .join(", ");
}

/** Judged block by block, as a running node does; `head` is where the chain stands at the end. */
function rostered(script: string, rules: Partial<Rules> = {}, head = script.split("|").length) {
  const roster = rosterOf({ ...RULES, ...rules });
  let registry = emptyRegistry();
  for (const { block, events } of blocks(script)) {
    const after = foldAll(registry, events);
    registry = after.registry;
    roster.update(registry, after.touched, Math.min(block.number, head));
  }
  if (head > script.split("|").length) roster.update(registry, [], head);
  return { roster, registry, drawing: drawn(roster, registry) };
}

describe("admission", () => {
  const ipv4Only = { addresses: addressPlan(overlay, { ipv6: false }) };
  const beyond = 1n << 80n;

  test.each<[title: string, script: string, expected: string, rules?: Partial<Rules>, head?: number]>([
    ["a token with a sound key is admitted", "grant 1 A k", "1+"],
    ["an inactive token is neither admitted nor quarantined", "grant 1 A k | revoke 1", ""],
    ["a token that was only transferred is nothing yet", "transfer 1 A", ""],

    [
      "a grant waits for its confirmations",
      "grant 1 A k | grant 2 B l",
      "1+, 2 grant.unconfirmed",
      { confirmations: 2 },
    ],
    ["a grant is confirmed by the last of its blocks", "grant 1 A k", "1+", { confirmations: 3 }, 3],
    ["a new key waits for its confirmations", "grant 1 A k | key 1 l", "1 grant.unconfirmed", { confirmations: 2 }],
    ["a repeated key does not wait again", "grant 1 A k | key 1 k", "1+", { confirmations: 2 }],
    ["a token whose key may have changed is refused", "grant 1 A k | announce A l", "1 key.unread"],
    ["a token without a key is refused", "grant 1 A -", "1 key.missing"],
    [
      "a token that was transferred is refused until its new owner registers a key",
      "grant 1 A k | transfer 1 B",
      "1 key.missing",
    ],
    ["the new owner's key admits the token", "grant 1 A k | transfer 1 B | key 1 l", "1+"],
    ["this node's key on another token is refused", "grant 1 A own", "1 key.own"],
    [
      "this node's key under another name is refused, whoever owns it",
      "grant 1 A own us; grant 2 A own them",
      "1=, 2 key.own",
    ],
    ["another owner's key is refused", "grant 1 A k; grant 2 B k", "1+, 2 key.claimed"],
    ["the loser does not inherit", "grant 1 A k; grant 2 B k | revoke 1", "2 key.claimed"],
    [
      "a claim to a key that is refused stands all the same",
      "grant 0 A k | grant 2 B k",
      "0 address.reserved, 2 key.claimed",
    ],
    ["an owner's later token has the peer", "grant 1 A k; grant 2 A k", "1 key.claimed, 2+"],
    [
      "an owner's later claim has the peer, whatever the ids",
      "grant 2 A k; grant 1 A l | key 1 k",
      "1+, 2 key.claimed",
    ],
    ["the earlier one has it again when the later one has another key", "grant 1 A k; grant 2 A k | key 2 l", "1+, 2+"],
    ["the earlier one has it again when the later one goes", "grant 1 A k; grant 2 A k | revoke 2", "1+"],
    [
      "the earlier one keeps it until the later one is confirmed",
      "grant 1 A k | grant 2 A k",
      "1+, 2 grant.unconfirmed",
      { confirmations: 2 },
    ],
    [
      "a node's key that was set with one announcement on two tokens is the later token's",
      "grant 1 A k; grant 2 A l | announce A m | read 1 m; read 2 m",
      "1 key.claimed, 2+",
    ],
    ["id 0 has no address", "grant 0 A k", "0 address.reserved"],
    ["ids beyond 80 bits have no address", `grant ${beyond} A k`, `${beyond} address.exhausted`],
    [
      "ids beyond the pool have none without IPv6",
      "grant 65534 A k; grant 65535 A l",
      "65534+, 65535 address.exhausted",
      ipv4Only,
    ],
    [
      "an owner's tokens beyond the cap are refused, the earliest stay",
      "grant 1 A k; grant 2 A l; grant 3 A m; grant 4 B n",
      "1+, 2+, 3 cap.owner, 4+",
      { maxTokensPerOwner: 2 },
    ],
    [
      "an owner's next token moves up",
      "grant 1 A k; grant 2 A l; grant 3 A m | revoke 1",
      "2+, 3+",
      { maxTokensPerOwner: 2 },
    ],
    [
      "tokens beyond the cap are refused, the earliest claims stay",
      "grant 3 A k; grant 1 B l; grant 2 C m",
      "1+, 2 cap.total, 3+",
      { maxPeers: 2 },
    ],
    [
      "a token that comes back stands last",
      "grant 1 A k | grant 2 B l | revoke 1 | grant 1 A k",
      "1 cap.total, 2+",
      { maxPeers: 1 },
    ],
    [
      "a refused token takes no place",
      "grant 1 A -; grant 2 B l; grant 3 C m",
      "1 key.missing, 2+, 3 cap.total",
      { maxPeers: 1 },
    ],
    [
      "a token over its owner's cap takes no place of another",
      "grant 1 A k; grant 2 A l; grant 3 B m",
      "1+, 2 cap.owner, 3+",
      { maxTokensPerOwner: 1, maxPeers: 2 },
    ],
    ["this node takes no place", "grant 1 A own us; grant 2 A k", "1=, 2+", { maxPeers: 1, maxTokensPerOwner: 1 }],
  ])("%s", (_, script, expected, rules, head) => {
    expect(rostered(script, rules, head).drawing).toBe(expected);
  });

  test.each<[title: string, key: string, code: string]>([
    ["a short text", "abc", "key.malformed"],
    ["stray bits in the last symbol", `${"A".repeat(42)}B=`, "key.malformed"],
    ["url-safe letters", `${"-".repeat(42)}A=`, "key.malformed"],
    ["white space around it", ` ${keyOf("k")}`, "key.malformed"],
    ["zero", `${"A".repeat(43)}=`, "key.weak"],
    ["a point of low order", `AQ${"A".repeat(41)}=`, "key.weak"],
    [
      "a field element that is not canonical",
      `${Buffer.from([...Array(31).fill(255), 127]).toString("base64")}`,
      "key.weak",
    ],
  ])("refuses a key that is %s", (_, key, code) => {
    const [grant] = events("grant 1 A k");
    if (grant?.kind !== "grant") throw new Error("a grant");
    const { registry } = foldAll(emptyRegistry(), [{ ...grant, key }]);
    const roster = rosterOf(RULES);
    roster.rebuild(registry, 1);
    expect(drawn(roster, registry)).toBe(`1 ${code}`);
  });

  it("refuses an inactive token before asking anything else of it", () => {
    const registry = folded("grant 1 A k | revoke 1");
    const moment = { registry, rules: RULES, head: 2, self: undefined, winners: new Map(), firsts: new Map() };
    expect([...registry.maps.records.values()].map((each) => judged(moment, each))).toEqual([
      { kind: "refused", code: "inactive" },
    ]);
  });

  it("asks in the order in which the refusals are listed", () => {
    const steps = [
      ["grant 0 A - ", "grant.unconfirmed", 1],
      ["grant 0 A - | announce A own", "key.unread", 9],
      ["grant 0 A -", "key.missing", 9],
      ["grant 1 B own | grant 0 A own", "key.own", 9],
      ["grant 1 B k | grant 0 A k", "key.claimed", 9],
      ["grant 1 A k | grant 0 A l", "address.reserved", 9],
      ["grant 1 A k | grant 2 A l", "cap.owner", 9],
      ["grant 1 B k | grant 2 A l", "cap.total", 9],
    ] as const;
    const codes = steps.map(([script, , head]) => {
      const { roster } = rostered(script, { confirmations: 2, maxTokensPerOwner: 1, maxPeers: 1 }, head);
      return roster.verdict(id(script.includes("grant 0") ? 0 : 2));
    });
    expect(codes).toEqual(steps.map(([, code]) => code));
    const places = codes.map((code) => (REFUSALS as readonly string[]).indexOf(code));
    expect(places).toEqual(places.toSorted((a, b) => a - b));
  });
});

describe("the node itself", () => {
  test.each<[title: string, script: string, expected: string]>([
    ["is the token of its name and key", "grant 1 A k; grant 2 B own us", "found 2"],
    ["is the earliest of several", "grant 2 B own us; grant 1 A own us", "found 2"],
    ["is not a token of its name with another key", "grant 1 A k us; grant 2 B own us", "found 2"],
    ["is itself even where a stranger registered its key first", "grant 1 A own; grant 2 B own us", "found 2"],
    ["is not a token of its key with another name", "grant 1 A own them", "no-token"],
    ["is not a revoked token", "grant 1 A own us | revoke 1", "no-token"],
    ["needs its key on the token", "grant 1 A k us", "key-mismatch 1"],
    [
      "is the next of its name when the first one goes",
      "grant 3 C own | grant 1 A own us | grant 2 B own us | revoke 1",
      "found 2",
    ],
    [
      "is the first of its name when that gets the key",
      "grant 3 C own | grant 1 A k us | grant 2 B own us | key 1 own",
      "found 1",
    ],
  ])("%s", (_, script, expected) => {
    const { roster, drawing } = rostered(script);
    const { self } = roster;
    expect(drawing.match(/\d+(?==)/g) ?? []).toEqual(self.kind === "found" ? [String(self.token.id)] : []);
    expect(self.kind === "no-token" ? self.kind : `${self.kind} ${self.token.id}`).toBe(expected);
    expect([...roster.everybody()].map(({ tokenId }) => tokenId)).not.toContain(self.kind === "found" && self.token.id);
  });
});

describe("what an admitted token is to others", () => {
  const a = { host: "10.0.0.1", port: 51820 };
  const settings = {
    gateways: new Set(["gw"]),
    peerEndpoints: new Map([
      ["gw", a],
      ["node", a],
    ]),
  };
  const drawnDuty = (peer: Admitted | undefined) =>
    peer === undefined
      ? "none"
      : [peer.role, peer.endpoint && `${peer.endpoint.host}:${peer.endpoint.port}`].join(" ").trim();

  test.each<[title: string, script: string, expected: string, head?: number]>([
    ["a member, where nothing is said", "grant 1 A k", "member"],
    [
      "a node with its endpoint",
      "grant 1 A k; role 1 node; endpoint 1 vpn.example.org:51820",
      "node vpn.example.org:51820",
    ],
    ["a gateway without an endpoint", "grant 1 A k; role 1 gateway", "gateway"],
    ["a member has no endpoint whatever it says", "grant 1 A k; endpoint 1 10.0.0.2:1", "member"],
    ["an endpoint that is none is none", "grant 1 A k; role 1 node; endpoint 1 $(reboot):1", "node"],
    ["an unconfirmed role is a member's", "grant 1 A k | role 1 gateway", "member", 2],
    ["a role that is taken away is gone at once", "grant 1 A k; role 1 gateway | role 1 member", "member", 2],
    [
      "an unconfirmed endpoint is none",
      "grant 1 A k; role 1 node; endpoint 1 10.0.0.2:1 | endpoint 1 10.0.0.3:1",
      "node",
      2,
    ],
    ["what is confirmed counts", "grant 1 A k; role 1 node | endpoint 1 10.0.0.3:1", "node 10.0.0.3:1", 3],
    ["a name in the settings, where the chain says nothing", "grant 1 A k gw", "gateway 10.0.0.1:51820"],
    ["a node by the settings", "grant 1 A k node", "node 10.0.0.1:51820"],
    ["the chain's word wins over the settings", "grant 1 A k gw; role 1 node", "node"],
    ["an endpoint is the chain's word too", "grant 1 A k gw; endpoint 1 10.0.0.2:1", "member"],
    [
      "a transfer takes the chain's endpoint away and does not bring the settings' back",
      "grant 1 A k node; role 1 node; endpoint 1 10.0.0.2:1 | transfer 1 B; key 1 l",
      "node",
      9,
    ],
    ["of two tokens of one name the later is a member", "grant 2 B l gw | grant 1 A k gw", "member", 9],
    [
      "the later of two is the node once the earlier is gone",
      "grant 2 B l gw | grant 1 A k gw ||| revoke 2",
      "gateway 10.0.0.1:51820",
      9,
    ],
  ])("%s", (_, script, expected, head = 9) => {
    const { roster } = rostered(script, { ...settings, confirmations: 2 }, head);
    expect(drawnDuty(roster.admitted(id(1)))).toBe(expected);
  });

  it("has its key and addresses with it", () => {
    expect(rostered("grant 7 A k").roster.admitted(id(7))).toEqual({
      tokenId: 7n,
      key: keyOf("k"),
      addresses: ["10.213.0.7/32", "fd12:3456:789a::7/128"],
      role: "member",
      endpoint: undefined,
    });
  });
});

describe("the roster", () => {
  it("counts the admitted and the quarantined, by code", () => {
    const { roster } = rostered(
      "grant 1 A k; grant 2 B k; grant 3 C -; grant 4 D -; grant 5 E own us; grant 6 F l; revoke 6",
    );
    expect(roster.counts).toEqual({ admitted: 1, quarantined: { "key.claimed": 1, "key.missing": 2 } });
  });

  it("moves a confirmed token in as the head advances, untouched", () => {
    const registry = folded("grant 1 A k | grant 2 B l | grant 3 C m");
    const roster = rosterOf({ ...RULES, confirmations: 2 });
    const steps = [3, 4, 5].map((head) =>
      [...roster.update(registry, head === 3 ? [id(1), id(2), id(3)] : [], head)].join(),
    );
    expect(steps).toEqual(["1,2", "3", ""]);
  });

  it("takes back what a lower head no longer confirms", () => {
    const registry = folded("grant 1 A k | grant 2 B l");
    const roster = rosterOf({ ...RULES, confirmations: 2 });
    roster.rebuild(registry, 3);
    expect([...roster.update(registry, [], 2)]).toEqual([2n]);
    expect(drawn(roster, registry)).toBe("1+, 2 grant.unconfirmed");
  });

  it("tells of a token whose role or endpoint alone is another one", () => {
    const roster = rosterOf(RULES);
    const before = folded("grant 1 A k; grant 2 B l");
    roster.rebuild(before, 1);
    const role = foldAll(before, events("role 1 node; endpoint 1 h.example:1", 2));
    expect([...roster.update(role.registry, role.touched, 2)]).toEqual([1n]);
    const again = foldAll(role.registry, events("endpoint 1 h.example:1", 3));
    expect([...roster.update(again.registry, again.touched, 3)]).toEqual([]);
  });

  const grant = fc
    .tuple(
      fc.nat(5),
      fc.constantFrom(..."ABC"),
      fc.constantFrom("k", "l", "m", "n", "o", "own", "-"),
      fc.constantFrom("us", "gw", "x"),
    )
    .map(([t, o, k, name]) => `grant ${t} ${o} ${k} ${name}`);
  const deed = fc.oneof(
    { weight: 4, arbitrary: grant },
    fc.nat(5).map((t) => `revoke ${t}`),
    fc.tuple(fc.nat(5), fc.constantFrom(..."ABC0")).map(([t, o]) => `transfer ${t} ${o}`),
    fc.tuple(fc.nat(5), fc.constantFrom("k", "l", "m", "own", "-")).map(([t, k]) => `key ${t} ${k}`),
    fc.tuple(fc.constantFrom(..."ABC"), fc.constantFrom(..."klm")).map(([o, k]) => `announce ${o} ${k}`),
    fc.tuple(fc.nat(5), fc.constantFrom(..."klm-")).map(([t, k]) => `read ${t} ${k}`),
    fc.tuple(fc.nat(5), fc.constantFrom("node", "gateway", "member")).map(([t, r]) => `role ${t} ${r}`),
    fc.tuple(fc.nat(5), fc.constantFrom("h.example:1", "h.example:2", "-")).map(([t, e]) => `endpoint ${t} ${e}`),
  );
  /** A block of deeds, how far the head is behind it, and whether the block is then dropped again. */
  const step = fc.record({
    deeds: fc.array(deed, { maxLength: 3 }),
    lag: fc.constantFrom(0, 0, 0, 0, 0, 0, 1, 3),
    isDropped: fc.constantFrom(false, false, false, false, true),
  });
  const rules = fc.record({
    confirmations: fc.constantFrom(1, 1, 1, 2, 4),
    maxTokensPerOwner: fc.nat(3),
    maxPeers: fc.integer({ min: 1, max: 6 }),
    isNamed: fc.boolean(),
  });

  it("is at any time what judging everybody anew gives, and tells exactly whose peer is another one", () => {
    fc.assert(
      fc.property(rules, fc.array(step, { maxLength: 30 }), ({ isNamed, ...limits }, steps) => {
        const named = { gateways: new Set(["gw"]), peerEndpoints: new Map([["x", { host: "10.0.0.1", port: 1 }]]) };
        const all = { ...RULES, ...limits, ...(isNamed ? named : {}) };
        const roster = rosterOf(all);
        let registry = emptyRegistry();
        let peers = "";
        steps.forEach(({ deeds, lag, isDropped }, index) => {
          const after = foldAll(registry, events(deeds.join(";"), index + 1));
          for (const [state, head] of [
            [after.registry, index + 1 - lag],
            [isDropped ? registry : after.registry, index + 1],
          ] as const) {
            const before = new Map(peers.split("\n").map((line) => [line.split(" ")[0] ?? "", line]));
            const changed = roster.update(state, after.touched, head);
            const fresh = rosterOf(all);
            fresh.rebuild(state, head);
            expect(drawn(roster, state)).toBe(drawn(fresh, state));
            expect(roster.counts).toEqual(fresh.counts);
            expect(roster.self).toEqual(fresh.self);
            expect(drawnPeers(roster)).toBe(drawnPeers(fresh));
            peers = drawnPeers(roster);
            const now = new Map(peers.split("\n").map((line) => [line.split(" ")[0] ?? "", line]));
            const differing = [...new Set([...before.keys(), ...now.keys()])].filter(
              (each) => before.get(each) !== now.get(each),
            );
            expect([...changed].map(String).sort()).toEqual(differing.filter((each) => each !== "").sort());
          }
          registry = isDropped ? registry : after.registry;
        });
      }),
      { numRuns: 200 },
    );
  });

  function drawnPeers(roster: Roster): string {
    const line = ({ tokenId, key, role, endpoint }: Admitted) =>
      [tokenId, key, role, JSON.stringify(endpoint)].join(" ");
    return [...roster.everybody()].map(line).sort().join("\n");
  }

  it("ranks a crowd among one that came before it, whichever was on the chain first", () => {
    const registry = folded(
      Array.from({ length: 1_000 }, (_, i) => `grant ${i + 1} ${"ABCDEFGH"[i % 8]} k${i}`).join(";"),
    );
    const all = { ...RULES, maxTokensPerOwner: 100, maxPeers: 500 };
    const [atOnce, inTwo] = [rosterOf(all), rosterOf(all)];
    atOnce.rebuild(registry, 1);
    for (const rest of [1n, 0n]) inTwo.update(registry, ids(registry, rest), 1);
    expect(drawn(inTwo, registry)).toBe(drawn(atOnce, registry));
  });
  const ids = ({ maps }: Registry, rest: bigint) =>
    [...maps.records.keys()].filter((each) => (each >> 1n) % 2n === rest);

  it("finds its way with many at once as with one at a time, at the edge of both caps", () => {
    const script = Array.from({ length: 1200 }, (_, i) => `grant ${i} ${"ABCDEFGH"[i % 8]} k${i}`);
    const all = { ...RULES, maxTokensPerOwner: 140, maxPeers: 600 };
    const registry = folded(script.join(";"));
    const [atOnce, oneByOne] = [rosterOf(all), rosterOf(all)];
    atOnce.rebuild(registry, 1);
    const ids = [...registry.maps.records.keys()];
    for (const each of ids.toSorted((a, b) => Number((a * 7n) % 1200n) - Number((b * 7n) % 1200n))) {
      oneByOne.update(registry, [each], 1);
    }
    expect(drawn(oneByOne, registry)).toBe(drawn(atOnce, registry));
    const gone = foldAll(
      registry,
      events(
        ids
          .filter((each) => each % 2n === 0n)
          .map((each) => `revoke ${each}`)
          .join(";"),
        2,
      ),
    );
    atOnce.update(gone.registry, gone.touched, 2);
    for (const each of gone.touched) oneByOne.update(gone.registry, [each] as TokenId[], 2);
    expect(drawn(oneByOne, gone.registry)).toBe(drawn(atOnce, gone.registry));
  });
});
