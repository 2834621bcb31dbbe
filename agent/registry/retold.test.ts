import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import type { AccessEvent } from "../model.ts";
import { events, id } from "../test/drawn-tokens.ts";
import { foldAll } from "./fold.ts";
import { claimants, emptyRegistry, type Registry, token } from "./registry.ts";
import { against, claimedWithin, confirm } from "./retold.ts";

const folded = (all: readonly AccessEvent[]) => foldAll(emptyRegistry(), all).registry;

describe("what another upstream tells, beside a registry that was told", () => {
  test.each<[title: string, told: string, retold: string, ids: number[]]>([
    ["alike says nothing", "grant 1 A k | key 1 l", "grant 1 A k | key 1 l", []],
    ["with a revoke", "grant 1 A k", "grant 1 A k | revoke 1", [1]],
    ["with a revoke, and with a grant that was none", "grant 1 A k | | grant 1 A k", "grant 1 A k | revoke 1 |", [1]],
    ["with a revoke before a grant", "grant 1 A k | revoke 1 | grant 1 A l", "| revoke 1", []],
    ["with a transfer", "grant 1 A k", "grant 1 A k | transfer 1 B", [1]],
    ["with a burn", "grant 1 A k", "grant 1 A k | transfer 1 0", [1]],
    ["with a transfer to whose it is", "grant 1 A k", "grant 1 A k | transfer 1 A", []],
    ["with a new key", "grant 1 A k", "grant 1 A k | key 1 l", [1]],
    ["with a key before the one that it has", "grant 1 A k | | key 1 m", "grant 1 A k | key 1 l | key 1 m", []],
    ["with a grant of another key", "grant 1 A k", "grant 1 A k | grant 1 A l", [1]],
    ["with an announcement", "grant 1 A k; grant 2 A l; grant 3 B m", "grant 1 A k | announce A l", [1]],
    ["with a role", "grant 1 A k", "grant 1 A k | role 1 gateway", []],
    ["with a token that nobody knew", "grant 1 A k", "grant 1 A k; grant 2 B l | revoke 3", []],
    ["with a revoke of whom nobody has", "grant 1 A k | revoke 1", "grant 1 A k | | revoke 1", []],
  ])("%s", (_, told, retold, ids) => {
    const registry = folded(events(told));
    expect(events(retold).flatMap((event) => against(registry, event))).toEqual(ids.map(id));
  });

  test.each<[title: string, told: string, retold: string, ids: number[]]>([
    ["all of whom it grants", "grant 1 A k; grant 2 B l", "grant 1 A k; grant 2 B l", []],
    ["not whom it does not grant", "grant 1 A k; grant 2 B l", "grant 1 A k", [2]],
    ["not whom it grants with another key", "grant 1 A k", "grant 1 A l", [1]],
    ["not whom it grants elsewhere", "grant 1 A k", "| grant 1 A k", [1]],
    ["whose key it has set", "grant 1 A k | key 1 l", "grant 1 A k | key 1 l", []],
    ["not whose key it has not", "grant 1 A k | key 1 l", "grant 1 A k", [1]],
    ["whose owner it has announcing", "grant 1 A k | announce A l | read 1 l", "grant 1 A k | announce A l", []],
    ["whose key only a read has told", "see 1 A k", "", []],
    ["who is out anyway", "grant 1 A k | revoke 1", "", []],
  ])("confirms %s", (_, told, retold, ids) => {
    const registry = folded(events(told));
    const open = claimedWithin(registry, 1, 9);
    for (const event of events(retold)) confirm(open, registry, event);
    expect([...open.keys()]).toEqual(ids.map(id));
  });

  it("concerns these blocks alone", () => {
    const registry = folded(events("grant 1 A k | grant 2 A l | grant 3 A m"));
    expect([...claimedWithin(registry, 2, 2).keys()]).toEqual([id(2)]);
  });
});

const deeds = fc.constantFrom(
  ...[
    "grant 1 A k",
    "grant 1 A l",
    "grant 2 B l",
    "grant 2 A k",
    "revoke 1",
    "revoke 2",
    "transfer 1 A",
    "transfer 1 B",
  ],
  ...["transfer 2 0", "transfer 2 A", "key 1 k", "key 1 l", "key 2 m", "announce A m", "announce B k", "|"],
);
const scripts = fc.array(deeds, { minLength: 1, maxLength: 12 }).map((all) => all.join("; ").replaceAll("; |;", " | "));

/** By token: whose peer with which key there would be. */
function peersOf(registry: Registry): Map<bigint, string> {
  const all = [...registry.maps.records.values()].filter(({ active, claim }) => active && claim?.lost === false);
  return new Map(all.map(({ id, owner, claim }) => [id, `${owner} ${claim?.key}`]));
}

describe("one event that was left out", () => {
  it("speaks against every token of its own that has a peer only without it", () => {
    fc.assert(
      fc.property(scripts, fc.nat(), (script, pick) => {
        // A later grant names whoever is its owner, which a script does not know.
        const all = events(`grant 1 A k; grant 2 B l; ${script}`).filter(({ kind }, i) => i < 2 || kind !== "grant");
        const taking = all.slice(2);
        const left = taking[pick % Math.max(1, taking.length)];
        if (left === undefined || left.kind === "invalid") return;
        const [whole, without] = [folded(all), folded(all.filter((event) => event !== left))];
        const found = against(without, left);
        for (const [tokenId, peer] of peersOf(without)) {
          const isIts =
            "tokenId" in left ? left.tokenId === tokenId : token(without, tokenId as never)?.owner === left.owner;
          const key = peer.split(" ")[1] ?? "";
          const isKept = peersOf(whole).get(tokenId) === peer || claimants(whole, key).length > 0;
          if (isIts && !isKept) expect(found).toContain(tokenId);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it("is nothing that the whole history speaks of, where events name their tokens", () => {
    fc.assert(
      fc.property(scripts, (script) => {
        const all = events(script).filter(({ kind }) => kind !== "owner-key-update");
        const registry = folded(all);
        const open = claimedWithin(registry, 1, 99);
        for (const event of all) confirm(open, registry, event);
        expect([all.flatMap((event) => against(registry, event)), [...open.keys()]]).toEqual([[], []]);
      }),
      { numRuns: 2_000 },
    );
  });
});
