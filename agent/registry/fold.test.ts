import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import type { Token } from "../model.ts";
import { drawn, event, events, hashOf, id, keyOf, ownerOf } from "../test/drawn-tokens.ts";
import { fold, foldAll } from "./fold.ts";
import {
  claimants,
  difference,
  emptyRegistry,
  named,
  ownedBy,
  type Registry,
  restored,
  size,
  token,
  tokens,
  unreadIds,
} from "./registry.ts";

const folded = (script: string) => foldAll(emptyRegistry(), events(script)).registry;
const tokenOf = (script: string, tokenId: number) => token(folded(script), id(tokenId));

describe("fold", () => {
  test.each<[title: string, script: string, expected: string]>([
    ["a grant makes an active token of its owner, with their key", "grant 1 A k", "1 A k"],
    ["a grant without a key makes a token that waits for one", "grant 1 A -", "1 A -"],
    ["the mint's Transfer before the grant changes nothing", "transfer 1 A; grant 1 A k", "1 A k"],
    ["a first owner is the owner, whomever the grant right after it names", "transfer 1 A; grant 1 B k", "1 A -"],
    ["a Transfer right before the grant of another token counts", "transfer 1 A; grant 2 A k", "(1 A -), 2 A k"],
    ["the mint's Transfer after the grant changes nothing", "grant 1 A k; transfer 1 A", "1 A k"],
    ["a Transfer alone makes a record that is not active", "transfer 1 A", "(1 A -)"],
    [
      "a grant that is logged after its token was transferred keeps the later owner, without the first one's key",
      "transfer 1 A; transfer 1 B; grant 1 A k",
      "1 B -",
    ],
    [
      "a grant of a known token to another than its owner takes the owner's key off",
      "grant 1 A k | grant 1 B l",
      "1 A -",
    ],
    ["a grant of a revoked token gives it its new key", "grant 1 A k | revoke 1 | grant 1 A l", "1 A l"],
    ["a grant of a burnt token gives it to its new owner", "grant 1 A k | transfer 1 0 | grant 1 B l", "1 B l"],

    ["a revoke deactivates", "grant 1 A k | revoke 1", "(1 A k)"],
    ["a revoke of an unknown token is nothing", "revoke 1", ""],
    ["a revoke frees the key for another owner", "grant 1 A k | revoke 1 | grant 2 B k", "(1 A k), 2 B k"],
    [
      "a revoked token that is granted again has lost a key that was taken meanwhile",
      "grant 1 A k | revoke 1 | grant 2 B k | grant 1 A k",
      "1 A k!, 2 B k",
    ],

    [
      "a transfer takes the key off and the endpoint away",
      "grant 1 A k; role 1 node; endpoint 1 h:1 | transfer 1 B",
      "1 B - node",
    ],
    ["a transfer to the same owner changes nothing", "grant 1 A k; endpoint 1 h:1 | transfer 1 A", "1 A k h:1"],
    ["a transfer that is told twice acts once", "grant 1 A k | transfer 1 B; key 1 l; transfer 1 B", "1 B l"],
    ["a transfer to nobody deactivates", "grant 1 A k | transfer 1 0", "(1 0 -)"],
    ["a transfer frees the key", "grant 1 A k | transfer 1 B | grant 2 C k", "1 B -, 2 C k"],
    ["the new owner's key counts after the transfer", "grant 1 A k | transfer 1 B | key 1 l", "1 B l"],
    ["the new owner may register the old owner's key", "grant 1 A k | transfer 1 B | key 1 k", "1 B k"],

    ["a key update puts the new key in the old one's place", "grant 1 A k | key 1 l", "1 A l"],
    ["a key update to nothing takes the key off", "grant 1 A k | key 1 -", "1 A -"],
    ["a key update frees the old key", "grant 1 A k | key 1 l; grant 2 B k", "1 A l, 2 B k"],

    ["a key of another owner's active token is lost", "grant 1 A k | grant 2 B k", "1 A k, 2 B k!"],
    ["a lost claim stays lost when the winner goes", "grant 1 A k | grant 2 B k | revoke 1", "(1 A k), 2 B k!"],
    [
      "a lost claim that is made again is judged again",
      "grant 1 A k | grant 2 B k | revoke 1 | key 2 k",
      "(1 A k), 2 B k",
    ],
    [
      "a lost claim that is made again while the winner stands is lost again",
      "grant 1 A k | grant 2 B k | key 2 k",
      "1 A k, 2 B k!",
    ],
    [
      "a lost claim does not stand against a third owner's",
      "grant 1 A k | grant 2 B k | revoke 1 | grant 3 C k",
      "(1 A k), 2 B k!, 3 C k",
    ],
    ["an owner's second token may have the key of the first", "grant 1 A k | grant 2 A k", "1 A k, 2 A k"],
    ["within a block the earlier log wins", "grant 2 B k; grant 1 A k", "1 A k!, 2 B k"],

    [
      "an announced key turns all of its owner's tokens off",
      "grant 1 A k; grant 2 A l; grant 3 B m | announce A n",
      "1 A k?, 2 A l?, 3 B m",
    ],
    ["an announced key leaves the token that has it alone", "grant 1 A k; grant 2 A l | announce A l", "1 A k?, 2 A l"],
    ["an announcement in the mint leaves the minted token alone", "announce A k; grant 1 A k; announce A k", "1 A k"],
    [
      "an announced key that is lost to the token so far is asked for",
      "grant 2 B k | grant 1 A k | revoke 2 | announce A k | read 1 k",
      "1 A k, (2 B k)",
    ],
    ["a read of an announced key makes the claim", "grant 1 A k | announce A l | read 1 l", "1 A l"],
    [
      "a read of the old key shows that another token was meant",
      "grant 1 A k; grant 2 A l | announce A m | read 1 k; read 2 m",
      "1 A k, 2 A m",
    ],
    ["a read of a key that nobody announced takes the key off", "grant 1 A k | announce A l | read 1 x", "1 A -"],
    ["a read of no key takes the key off", "grant 1 A k | announce A l | read 1 -", "1 A -"],
    [
      "of several announcements the one that was read counts",
      "grant 1 A k | announce A l; announce A m; announce A n | read 1 m",
      "1 A m",
    ],
    ["a read of a token that does not wait is nothing", "grant 1 A k | read 1 x", "1 A k"],
    ["a read of an unknown token is nothing", "read 1 k", ""],
    ["a read key can be lost to another owner", "grant 1 A k; grant 2 B l | announce A l | read 1 l", "1 A l!, 2 B l"],
    ["a key update settles what was announced", "grant 1 A k | announce A l | key 1 m", "1 A m"],
    [
      "a token that was transferred does not wait for what its old owner announced",
      "grant 1 A k | announce A l | transfer 1 B",
      "1 B -",
    ],
    [
      "what the new owner announced before the transfer does not count for the token",
      "grant 1 A k; grant 2 B m | announce B l | transfer 1 B | announce B n | read 1 l",
      "1 B -, 2 B m?",
    ],
    ["a revoked token waits for nothing", "grant 1 A k | announce A l | revoke 1", "(1 A k)"],
    [
      "a token granted after an announcement does not wait for it",
      "grant 1 A k | announce A l | grant 2 A m",
      "1 A k?, 2 A m",
    ],

    [
      "roles and endpoints are taken as they come",
      "grant 1 A k; role 1 gateway; endpoint 1 h:1 | role 1 node",
      "1 A k node h:1",
    ],
    ["a role that is told before the grant is kept", "role 1 node; grant 1 A k", "1 A k node"],
    ["a role survives a transfer", "grant 1 A k; role 1 node | transfer 1 B", "1 B - node"],

    ["a token seen missing is deactivated", "grant 1 A k | see 1 missing", "(1 A k)"],
    ["a token seen inactive is deactivated", "grant 1 A k | see 1 off", "(1 A k)"],
    ["a token seen without an owner is deactivated", "grant 1 A k | see 1 0 k", "(1 A k)"],
    [
      "a lost claim that is seen is as lost as before",
      "grant 1 A k; grant 2 B k | revoke 1 | see 2 B k",
      "(1 A k), 2 B k!",
    ],
    ["an unknown token seen missing is nothing", "see 1 missing", ""],
    ["an unknown token that is seen is granted", "see 1 A k", "1 A k"],
    ["a token seen with another owner is transferred", "grant 1 A k; endpoint 1 h:1 | see 1 B l", "1 B l"],
    ["a token seen with another owner never gets the old owner's key", "grant 1 A k | see 1 B k", "1 B -"],
    ["a token seen with another key has it", "grant 1 A k | see 1 A l", "1 A l"],
    ["a token seen with another owner's key has lost it", "grant 1 A k; grant 2 B l | see 2 B k", "1 A k, 2 B k!"],
    ["a token seen as it is stays as it is", "grant 1 A k; grant 2 B k | see 2 B k", "1 A k, 2 B k!"],
    [
      "an inactive token seen active has a claim that is judged now",
      "grant 1 A k | revoke 1 | grant 2 B k | see 1 A k",
      "1 A k!, 2 B k",
    ],
    ["a token seen settles what was announced", "grant 1 A k | announce A l | see 1 A k", "1 A k"],
    [
      "a former owner's key that is seen takes the present key off and is not taken on",
      "grant 1 A k | transfer 1 B | key 1 l | see 1 B k",
      "1 B -",
    ],
    ["an invalid log is nothing", "invalid; grant 1 A k; invalid", "1 A k"],
  ])("%s", (_, script, expected) => {
    expect(drawn(folded(script))).toBe(expected);
  });

  it("remembers every key that a plain contract may still show for a transferred token", () => {
    expect(tokenOf("grant 1 A k | announce A l; announce A m | transfer 1 B", 1)?.formerKeys).toEqual(
      ["k", "l", "m"].map(keyOf),
    );
    expect(tokenOf("transfer 1 A; transfer 1 B; grant 1 A k", 1)?.formerKeys).toEqual([keyOf("k")]);
    expect(tokenOf("grant 1 A k | revoke 1 | transfer 1 B | see 1 B k", 1)?.claim).toBeUndefined();
  });

  it("counts among them only what was announced while the token was there", () => {
    const script = "grant 1 A k | announce A l | grant 2 A m | announce A n | transfer 2 B";
    expect(tokenOf(script, 2)?.formerKeys).toEqual(["m", "n"].map(keyOf));
  });

  it("leaves a token alone that is seen as it is", () => {
    const before = folded("grant 1 A k; grant 2 B k");
    expect(foldAll(before, events("see 1 A k; see 2 B k", 2))).toEqual({ registry: before, touched: new Set() });
  });

  it("forgets what an owner announced as soon as nobody waits, in every version", () => {
    const before = folded("grant 1 A k; grant 2 A m");
    const [announced, one, both] = ["announce A l", "announce A l; read 1 l", "announce A l; read 1 l; read 2 m"].map(
      (script) => foldAll(before, events(script, 2)).registry,
    );
    expect([announced, one, both, before].map((each) => each?.maps.announced.size)).toEqual([1, 1, 0, 0]);
  });

  it("bounds what it remembers of a token that goes from hand to hand", () => {
    const hands = Array.from({ length: 500 }, (_, i) => `key 1 k${i}; transfer 1 ${"AB"[i % 2]}`);
    expect(tokenOf(`grant 1 B k; ${hands.join(";")}`, 1)?.formerKeys.length).toBeLessThan(50);
  });

  it("repeats a standing claim without moving it, unless the owner gave the key to another token since", () => {
    expect(tokenOf("grant 1 A k | grant 1 A k | key 1 k", 1)?.claim?.at.block).toBe(1);
    expect(tokenOf("grant 1 A k | grant 2 A k | key 1 k", 1)?.claim?.at.block).toBe(3);
    expect(tokenOf("grant 1 A k | revoke 1 | grant 1 A k", 1)?.claim?.at.block).toBe(3);
  });

  it("keeps the first grant's position while the token is active, and counts anew after a revoke", () => {
    expect(tokenOf("grant 1 A k | grant 1 A l", 1)?.grantedAt?.block).toBe(1);
    expect(tokenOf("grant 1 A k | revoke 1 | grant 1 A l", 1)?.grantedAt?.block).toBe(3);
    expect(tokenOf("see 1 A k", 1)?.grantedAt?.block).toBe(1);
  });

  it("takes an announced key as claimed where it was announced, not where it was read", () => {
    expect(tokenOf("grant 1 A k | announce A l || read 1 l", 1)?.claim?.at.block).toBe(2);
  });

  it("takes the biggest token id there is", () => {
    const last = (1n << 256n) - 1n;
    expect(drawn(folded(`grant ${last} A k | key ${last} l`))).toBe(`${last} A l`);
  });

  it("makes the same token of a mint in whatever order its logs come", () => {
    const deeds = ["transfer 1 A", "grant 1 A k", "transfer 1 A"];
    const orders = deeds.flatMap((a, i) => deeds.flatMap((b, j) => (i === j ? [] : [[a, b, deeds[3 - i - j]]])));
    const block = { number: 1, hash: hashOf(1) };
    const made = orders.map((order) => {
      const logs = order.map((deed) => event(deed ?? "", block, 0));
      return token(foldAll(emptyRegistry(), logs).registry, id(1));
    });
    for (const each of made) expect(each).toEqual(made[0]);
  });
});

/** Deeds over few tokens, owners and keys, so that they meet. */
const deed = fc.oneof(
  fc.tuple(fc.nat(5), fc.constantFrom(..."ABC"), fc.constantFrom(..."klm-")).map(([t, o, k]) => `grant ${t} ${o} ${k}`),
  fc.nat(5).map((t) => `revoke ${t}`),
  fc.tuple(fc.nat(5), fc.constantFrom(..."ABC0")).map(([t, o]) => `transfer ${t} ${o}`),
  fc.tuple(fc.nat(5), fc.constantFrom(..."klm-")).map(([t, k]) => `key ${t} ${k}`),
  fc.tuple(fc.constantFrom(..."ABC"), fc.constantFrom(..."klm-")).map(([o, k]) => `announce ${o} ${k}`),
  fc.tuple(fc.nat(5), fc.constantFrom(..."klm-")).map(([t, k]) => `read ${t} ${k}`),
  fc.tuple(fc.nat(5), fc.constantFrom(..."ABC"), fc.constantFrom(..."klm")).map(([t, o, k]) => `see ${t} ${o} ${k}`),
  fc.tuple(fc.nat(5), fc.constantFrom("off", "missing")).map(([t, s]) => `see ${t} ${s}`),
  fc.tuple(fc.nat(5), fc.constantFrom("node", "member")).map(([t, r]) => `role ${t} ${r}`),
);
const deeds = fc.array(deed, { maxLength: 40 });
const onePerBlock = (script: readonly string[]) => events(script.join("|"));

describe("a key that was announced", () => {
  const lost = (script: string) => [1, 2].map((tokenId) => tokenOf(script, tokenId)?.claim?.lost);
  it.each([
    ["before another's announcement", "grant 1 B x; grant 2 A y | announce A k | announce B k | read 1 k; read 2 k"],
    ["and read at once", "grant 1 B x; grant 2 A y | announce A k; read 2 k | announce B k; read 1 k"],
    ["before another's grant", "grant 2 A y | announce A k | grant 1 B k | read 2 k"],
  ])("%s is the first one's, whenever it is read", (_, script) => expect(lost(script)).toEqual([true, false]));
});

describe("whatever happens", () => {
  it("every registry stays as it was, in whatever order they are looked at again", () => {
    fc.assert(
      fc.property(deeds, fc.array(fc.nat(40)), (script, visits) => {
        const versions: { registry: Registry; drawing: string }[] = [];
        let registry = emptyRegistry();
        for (const each of onePerBlock(script)) {
          registry = fold(registry, each).registry;
          versions.push({ registry, drawing: lookedAt(registry) });
        }
        for (const visit of visits) {
          const version = versions[visit % versions.length];
          expect(version && lookedAt(version.registry)).toBe(version?.drawing);
        }
      }),
    );
  });

  it("two registries that grew from one are both right", () => {
    fc.assert(
      fc.property(deeds, deeds, deeds, (trunk, left, right) => {
        const base = foldAll(emptyRegistry(), onePerBlock(trunk)).registry;
        const a = foldAll(base, events(left.join("|"), 100)).registry;
        const b = foldAll(base, events(right.join("|"), 100)).registry;
        const alone = (tail: readonly string[]) =>
          lookedAt(
            foldAll(foldAll(emptyRegistry(), onePerBlock(trunk)).registry, events(tail.join("|"), 100)).registry,
          );
        expect([a, b, a].map(lookedAt)).toEqual([left, right, left].map(alone));
      }),
    );
  });

  it("folding all at once is folding one by one, and tells everything that it touched", () => {
    fc.assert(
      fc.property(deeds, (script) => {
        const start = foldAll(emptyRegistry(), onePerBlock(["grant 1 A k", "grant 2 A l", "grant 3 B m"])).registry;
        const before = new Map(start.maps.records);
        const all = foldAll(start, events(script.join("|"), 10));
        const single = events(script.join("|"), 10).reduce((registry, each) => fold(registry, each).registry, start);
        expect(lookedAt(all.registry)).toBe(lookedAt(single));
        for (const [tokenId, state] of all.registry.maps.records) {
          if (before.get(tokenId) !== state) expect(all.touched).toContain(tokenId);
        }
      }),
    );
  });

  it("the look-ups say what the records say", () => {
    fc.assert(
      fc.property(deeds, (script) => {
        const { registry } = foldAll(emptyRegistry(), onePerBlock(script));
        const records = [...registry.maps.records.values()];
        const active = records.filter((each) => each.active);
        const sorted = (list: readonly Token[]) => list.map((each) => Number(each.id)).sort((a, b) => a - b);
        expect(size(registry)).toBe(tokens(registry).length);
        expect(sorted(unreadIds(registry).map((each) => ({ id: each }) as Token))).toEqual(
          sorted(active.filter((each) => each.unreadSince !== undefined)),
        );
        for (const owner of "ABC".split("").map(ownerOf)) {
          expect(sorted(ownedBy(registry, owner))).toEqual(sorted(active.filter((each) => each.owner === owner)));
        }
        for (const key of "klm".split("").map(keyOf)) {
          const standing = active.filter(({ claim }) => claim?.key === key && !claim.lost);
          expect(sorted(claimants(registry, key))).toEqual(sorted(standing));
          expect(new Set(standing.map((each) => each.owner)).size).toBeLessThanOrEqual(1);
        }
        for (let t = 0; t <= 5; t++) {
          const sameName = active.filter((each) => each.nodeId === `token-${t}`);
          expect(sorted(named(registry, `token-${t}`))).toEqual(sorted(sameName));
        }
        for (const owner of registry.maps.announced.keys()) {
          expect(ownedBy(registry, owner).some((each) => each.unreadSince !== undefined)).toBe(true);
        }
      }),
    );
  });

  it("a difference makes the later registry of the earlier one, whichever is the later", () => {
    fc.assert(
      fc.property(deeds, deeds, (first, second) => {
        const a = foldAll(emptyRegistry(), onePerBlock(first)).registry;
        const b = foldAll(a, events(second.join("|"), 100)).registry;
        for (const [before, after] of [
          [a, b],
          [b, a],
          [undefined, b],
          [emptyRegistry(), b],
        ] as const) {
          const { isPartial, records, announcements } = difference(before, after);
          const held = before === undefined || !isPartial ? emptyRegistry() : before;
          const made = new Map(held.maps.records);
          for (const [tokenId, state] of records)
            if (state) made.set(tokenId, state);
            else made.delete(tokenId);
          const said = new Map(
            [...difference(undefined, held).announcements, ...announcements].map((each) => [
              `${each.owner} ${each.key}`,
              each,
            ]),
          );
          const again = restored(
            made.values(),
            [...said.values()].filter(({ at }) => at !== undefined),
          );
          expect(lookedAt(again)).toBe(lookedAt(after));
        }
      }),
    );
  });
});

function lookedAt(registry: Registry): string {
  const { records, announced } = registry.maps;
  const said = [...announced].flatMap(([owner, keys]) => [...keys].map(([key, at]) => `${owner} ${key} ${at.block}`));
  const claims = "klm".split("").map((key) =>
    claimants(registry, keyOf(key))
      .map((each) => each.id)
      .sort()
      .join(),
  );
  const all = [...records.values()].sort((a, b) => Number(a.id - b.id));
  return JSON.stringify([drawn(registry), all, said.sort(), claims], (_, value) =>
    typeof value === "bigint" ? String(value) : value,
  );
}
