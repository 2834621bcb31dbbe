import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { type AccessEvent, type BlockRef, comparePositions, ZERO_HASH } from "../model.ts";
import { blocks, drawn, event, hashOf, id, keyOf } from "../test/drawn-tokens.ts";
import { foldAll } from "./fold.ts";
import { type Advanced, advance, emptyLedger, foresee, type Ledger, observe, trail, unread } from "./ledger.ts";
import { emptyRegistry, token } from "./registry.ts";

const start = emptyLedger({ number: 0, hash: ZERO_HASH });

/**
 * One step: `history 5: deeds`, `extend 6b: deeds` (a block of branch b), `rewind 5`, `finalise 6: 5 deed; 5 deed` (each
 * with its block), `observe 6b: deeds`, `foresee 9: deeds`. Deeds of a history are of its last block.
 */
function taken(ledger: Ledger, line: string): Advanced {
  const [, verb, digits, branch = "", rest = ""] = /^(\w+) (\d+)([a-z]?):?(.*)$/.exec(line) ?? [];
  const number = Number(digits);
  const block = { number, hash: hashOf(number, branch) };
  const events = verb === "finalise" ? missedIn(rest) : (blocks(rest, number, branch)[0]?.events ?? []);
  switch (verb) {
    case "history":
      return advance(ledger, { kind: "history", to: block, events });
    case "extend":
      return advance(ledger, { kind: "extend", block: { ...block, parentHash: ZERO_HASH, timestamp: 0 }, events });
    case "rewind":
      return advance(ledger, { kind: "rewind", to: block });
    case "finalise":
      return advance(ledger, { kind: "finalise", to: block, missed: events });
    case "observe":
      return observe(ledger, events);
    case "foresee":
      return foresee(
        ledger,
        events.filter((each) => each.kind === "observed"),
      );
    default:
      throw new Error(`no such step: ${line}`);
  }
}

function missedIn(text: string): AccessEvent[] {
  const said = text
    .split(";")
    .map((each) => each.trim())
    .filter((each) => each !== "");
  return said.map((each) => {
    const [, digits = "", deed = ""] = /^(\d+) (.*)$/.exec(each) ?? [];
    return event(deed, { number: Number(digits), hash: hashOf(Number(digits)) }, 0);
  });
}

const reached = (steps: readonly string[]) => steps.reduce((ledger, line) => taken(ledger, line).ledger, start);
const drawnTrail = (ledger: Ledger) => {
  const { final, unfinal } = trail(ledger);
  return [final.number, "|", ...unfinal.map(({ number }) => number)].join(" ");
};

describe("the ledger", () => {
  test.each<[title: string, steps: string[], tip: string, settled: string, trail: string]>([
    [
      "folds history straight into the final registry",
      ["history 3: grant 1 A k", "history 9: revoke 1"],
      "(1 A k)",
      "(1 A k)",
      "9 |",
    ],
    [
      "keeps what is not final apart",
      ["history 3: grant 1 A k", "extend 4: revoke 1", "extend 5:"],
      "(1 A k)",
      "1 A k",
      "3 | 4 5",
    ],
    [
      "drops the blocks above the common ancestor",
      ["extend 1: grant 1 A k", "extend 2: key 1 l", "extend 3: revoke 1", "rewind 1"],
      "1 A k",
      "",
      "0 | 1",
    ],
    [
      "drops everything down to the final block",
      ["history 1: grant 1 A k", "extend 2: revoke 1", "rewind 1"],
      "1 A k",
      "1 A k",
      "1 |",
    ],
    [
      "goes on with the other branch",
      ["extend 1: grant 1 A k", "extend 2: revoke 1", "rewind 1", "extend 2b: key 1 l"],
      "1 A l",
      "",
      "0 | 1 2",
    ],
    [
      "rewinds to an ancestor that it was never told of",
      ["extend 1: grant 1 A k", "extend 5: revoke 1", "rewind 3"],
      "1 A k",
      "",
      "0 | 1",
    ],
    [
      "settles what became final",
      ["extend 1: grant 1 A k", "extend 2: key 1 l", "finalise 1:"],
      "1 A l",
      "1 A k",
      "1 | 2",
    ],
    ["settles all there is", ["extend 1: grant 1 A k", "extend 2: key 1 l", "finalise 2:"], "1 A l", "1 A l", "2 |"],
    [
      "settles up to a block that it was never told of",
      ["extend 1: grant 1 A k", "extend 5: key 1 l", "finalise 3:"],
      "1 A l",
      "1 A k",
      "3 | 5",
    ],
    [
      "puts a missed log where it belongs",
      ["extend 1: grant 1 A k", "extend 2: key 1 l", "finalise 1: 1 key 1 m"],
      "1 A l",
      "1 A m",
      "1 | 2",
    ],
    [
      "lets a missed log change what came after it",
      ["extend 1:", "extend 2: grant 1 A k", "finalise 1: 1 grant 2 B k"],
      "1 A k!, 2 B k",
      "2 B k",
      "1 | 2",
    ],
    [
      "puts a missed log that is not final into its block",
      ["extend 1: grant 1 A k", "extend 3: key 1 l", "finalise 1: 3 grant 2 B m"],
      "1 A l, 2 B m",
      "1 A k",
      "1 | 3",
    ],
    [
      "keeps a final log of a block that it was never told of when the next block is dropped",
      ["extend 1: grant 1 A k", "extend 5:", "finalise 3: 2 key 1 l", "rewind 3"],
      "1 A l",
      "1 A l",
      "3 |",
    ],
    [
      "keeps a final log that is older than all its blocks",
      ["extend 5:", "finalise 3: 2 grant 1 A k", "rewind 3"],
      "1 A k",
      "1 A k",
      "3 |",
    ],
    [
      "takes missed logs in the order of the chain",
      ["history 2:", "finalise 4: 4 key 1 m; 3 grant 1 A k"],
      "1 A m",
      "1 A m",
      "4 |",
    ],
    [
      "takes a missed log in where nothing is unfinal",
      ["history 3: grant 1 A k", "finalise 4: 4 revoke 1"],
      "(1 A k)",
      "(1 A k)",
      "4 |",
    ],
    [
      "keeps what a read of a block said, with the block",
      ["history 1: grant 1 A k", "extend 2: announce A l", "extend 3: key 1 m", "observe 2: read 1 l", "rewind 2"],
      "1 A l",
      "1 A k",
      "1 | 2",
    ],
    [
      "drops what a read of a block said, with the block, where its token was touched in between",
      ["history 1: grant 1 A k", "extend 2: announce A l", "extend 3: transfer 1 B", "observe 3: read 1 l", "rewind 2"],
      "1 A k?",
      "1 A k",
      "1 | 2",
    ],
    [
      "drops it with another announcement of the owner",
      ["history 1: grant 1 A k", "extend 2: announce A l", "extend 3: announce A m", "observe 3: read 1 m", "rewind 2"],
      "1 A k?",
      "1 A k",
      "1 | 2",
    ],
    [
      "drops it with what nobody can decode",
      ["history 1: grant 1 A k", "extend 2: announce A l", "extend 3: invalid", "observe 3: read 1 l", "rewind 2"],
      "1 A k?",
      "1 A k",
      "1 | 2",
    ],
    [
      "keeps what was read after a dropped block that had nothing to do with the token",
      [
        "history 1: grant 1 A k; grant 2 B x",
        "extend 2: announce A l",
        "extend 3: revoke 2",
        "observe 3: read 1 l",
        "rewind 2",
      ],
      "1 A l, 2 B x",
      "1 A k, 2 B x",
      "1 | 2",
    ],
    [
      "keeps that it was another token that was meant",
      [
        "history 1: grant 1 A k; grant 2 A x",
        "extend 2: announce A l",
        "extend 3:",
        "observe 3: read 1 k; read 2 l",
        "rewind 2",
      ],
      "1 A k, 2 A l",
      "1 A k, 2 A x",
      "1 | 2",
    ],
    [
      "drops a key that is neither the token's nor what was announced",
      ["history 1: grant 1 A k", "extend 2: announce A l", "extend 3:", "observe 3: read 1 -", "rewind 2"],
      "1 A k?",
      "1 A k",
      "1 | 2",
    ],
    [
      "keeps it where the announcement is final",
      ["history 1: grant 1 A k; announce A l", "extend 3:", "observe 3: read 1 l", "extend 4: key 1 m", "rewind 2"],
      "1 A l",
      "1 A l",
      "1 |",
    ],
    [
      "folds later blocks on what a read of an earlier one said",
      ["history 1: grant 1 A k; grant 2 B l", "extend 2: announce A m", "extend 3: key 2 m", "observe 2: read 1 m"],
      "1 A m, 2 B m!",
      "1 A k, 2 B l",
      "1 | 2 3",
    ],
    [
      "takes a read of the final block for final",
      ["history 1: grant 1 A k", "extend 2: revoke 1", "observe 1: see 1 A l"],
      "(1 A l)",
      "1 A l",
      "1 | 2",
    ],
    [
      "lets go of a read of a block that was dropped",
      ["history 1: grant 1 A k", "extend 2:", "rewind 1", "extend 2b:", "observe 2: see 1 off"],
      "1 A k",
      "1 A k",
      "1 | 2",
    ],
    [
      "lets go of a read that is older than the final block",
      ["extend 1: grant 1 A k", "extend 2: revoke 1", "finalise 2:", "observe 1: see 1 A k"],
      "(1 A k)",
      "(1 A k)",
      "2 |",
    ],
    [
      "keeps whoever is gone by a later state away until the logs have come that far",
      ["history 1: grant 1 A k; grant 2 B l", "foresee 4: see 1 off", "extend 2: key 1 m", "extend 3:"],
      "(1 A m), 2 B l",
      "1 A k, 2 B l",
      "1 | 2 3",
    ],
    [
      "and believes the logs from there on",
      ["history 1: grant 1 A k", "foresee 4: see 1 off", "extend 3: key 1 m", "rewind 1", "extend 4b:"],
      "1 A k",
      "1 A k",
      "1 | 4",
    ],
    [
      "knows the key that was set before a transfer seen earlier for a former one",
      [
        "history 1: grant 1 A k",
        "foresee 4: see 1 B -",
        "extend 2: announce A l",
        "extend 3: transfer 1 A B",
        "extend 4:",
        "observe 4: see 1 B l",
      ],
      "1 B -",
      "1 A k",
      "1 | 2 3 4",
    ],
    [
      "keeps it away over a read, a late log and a history",
      [
        "history 1: grant 1 A k",
        "foresee 9: see 1 off",
        "history 2: key 1 l",
        "extend 3:",
        "observe 3: see 1 A m",
        "finalise 3: 3 key 1 k",
      ],
      "(1 A m)",
      "1 A m",
      "3 |",
    ],
    [
      "takes several reads of one block in the order told",
      ["extend 1: grant 1 A k", "observe 1: see 1 off", "observe 1: see 1 A k"],
      "1 A k",
      "",
      "0 | 1",
    ],
  ])("%s", (_, steps, tip, settled, expected) => {
    const ledger = reached(steps);
    expect([drawn(ledger.registry), drawn(ledger.settled), drawnTrail(ledger)]).toEqual([tip, settled, expected]);
  });

  it("is the very same ledger after a read that it lets go of", () => {
    const ledger = reached(["history 1: grant 1 A k", "extend 2: key 1 l"]);
    expect(taken(ledger, "observe 2b: see 1 off")).toEqual({ ledger, touched: new Set() });
    expect(taken(ledger, "observe 2b: see 1 off").ledger).toBe(ledger);
  });

  it("names the tokens that wait for a read", () => {
    const steps = ["history 1: grant 1 A k; grant 2 A l; grant 3 B m", "extend 2: announce A n"];
    expect(unread(reached(steps))).toEqual([1n, 2n]);
    expect(unread(reached([...steps, "observe 2: read 1 n"]))).toEqual([2n]);
    expect(unread(reached([...steps, "rewind 1"]))).toEqual([]);
  });

  it("remembers former keys in their order, also of blocks that it folds again", () => {
    const steps = ["extend 1: grant 1 B -", "extend 2: announce B k; announce B l", "extend 3: transfer 1 A"];
    const again = reached([...steps, "observe 3: read 9 k"]);
    expect(token(again.registry, id(1))?.formerKeys).toEqual([keyOf("k"), keyOf("l")]);
  });
});

const deed = fc.oneof(
  fc.tuple(fc.nat(4), fc.constantFrom(..."AB"), fc.constantFrom(..."kl-")).map(([t, o, k]) => `grant ${t} ${o} ${k}`),
  fc.nat(4).map((t) => `revoke ${t}`),
  fc.tuple(fc.nat(4), fc.constantFrom(..."AB")).map(([t, o]) => `transfer ${t} ${o}`),
  fc.tuple(fc.nat(4), fc.constantFrom(..."kl")).map(([t, k]) => `key ${t} ${k}`),
  fc.tuple(fc.constantFrom(..."AB"), fc.constantFrom(..."kl")).map(([o, k]) => `announce ${o} ${k}`),
);
const read = fc.oneof(
  fc.tuple(fc.nat(4), fc.constantFrom(..."kl")).map(([t, k]) => `read ${t} ${k}`),
  fc.tuple(fc.nat(4), fc.constantFrom(..."AB"), fc.constantFrom(..."kl")).map(([t, o, k]) => `see ${t} ${o} ${k}`),
);
const denial = fc.oneof(
  fc.nat(4).map((t) => `see ${t} off`),
  fc.tuple(fc.nat(4), fc.constantFrom(..."AB")).map(([t, o]) => `see ${t} ${o} -`),
);
const move = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("extend" as const),
      deeds: fc.array(deed, { maxLength: 3 }),
      gap: fc.nat(1),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("rewind" as const), depth: fc.nat(4) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("finalise" as const),
      depth: fc.nat(4),
      missed: fc.option(deed),
      logIndex: fc.constantFrom(-1, 9),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("observe" as const), depth: fc.nat(4), deed: read }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("foresee" as const), above: fc.nat(4), deed: denial }) },
);

describe("whatever happens to the chain", () => {
  it("the tip is the fold of what is canonical, and every token that changed was told", () => {
    fc.assert(
      fc.property(fc.array(move, { maxLength: 30 }), (moves) => {
        let ledger = start;
        let canonical: { block: BlockRef; events: AccessEvent[] }[] = [];
        let ahead: readonly AccessEvent[] = [];
        let [final, settledCount, fork] = [0, 0, 0];
        for (const each of moves) {
          const before = new Map(ledger.registry.maps.records);
          const head = canonical.at(-1)?.block.number ?? 0;
          let step: Advanced;
          if (each.kind === "extend") {
            const number = Math.max(head, final) + 1 + each.gap;
            const made = blocks(each.deeds.join(";"), number, `f${fork}`)[0];
            if (made === undefined) throw new Error("a block");
            canonical.push({ block: made.block, events: [...made.events] });
            const block = { ...made.block, parentHash: ZERO_HASH, timestamp: 0 };
            step = advance(ledger, { kind: "extend", block, events: made.events });
          } else if (each.kind === "rewind") {
            const number = Math.max(final, head - each.depth);
            const dropped = canonical.filter(({ block }) => block.number > number).flatMap(inOrder);
            canonical = canonical.filter(({ block }) => block.number <= number);
            const { registry } = foldAll(emptyRegistry(), canonical.flatMap(inOrder));
            canonical.at(-1)?.events.push(...dropped.filter((event, i) => holds(event, dropped.slice(0, i), registry)));
            fork++;
            step = advance(ledger, { kind: "rewind", to: { number, hash: ZERO_HASH } });
          } else if (each.kind === "finalise") {
            const number = Math.max(final, head - each.depth);
            const told = canonical.filter(({ block }) => block.number > final && block.number <= number);
            const place = told.at(-1);
            const missed = each.missed !== null && place ? [event(each.missed, place.block, each.logIndex)] : [];
            place?.events.push(...missed);
            final = number;
            settledCount = canonical.filter(({ block }) => block.number <= number).length;
            step = advance(ledger, {
              kind: "finalise",
              to: { number, hash: place?.block.hash ?? ledger.final.hash },
              missed,
            });
          } else if (each.kind === "foresee") {
            const number = Math.max(head, final) + 1 + each.above;
            const denials = blocks(each.deed, number, "")[0]?.events.filter(({ kind }) => kind === "observed") ?? [];
            ahead = [...ahead, ...denials];
            step = foresee(
              ledger,
              denials.filter((one) => one.kind === "observed"),
            );
          } else {
            const place = canonical.filter(({ block }) => block.number > final).at(-1 - each.depth);
            const reads = place ? [event(each.deed, place.block, 0)] : [];
            place?.events.push(...reads);
            step = observe(ledger, reads);
          }
          ledger = step.ledger;
          for (const [tokenId, state] of ledger.registry.maps.records) {
            if (JSON.stringify(state, inText) !== JSON.stringify(before.get(tokenId), inText))
              expect(step.touched).toContain(tokenId);
            before.delete(tokenId);
          }
          for (const tokenId of before.keys()) expect(step.touched).toContain(tokenId);
          const straight = (list: typeof canonical) =>
            lookedAt(foldAll(emptyRegistry(), list.flatMap(inOrder)).registry);
          const tip = Math.max(final, canonical.at(-1)?.block.number ?? 0);
          ahead = ahead.filter(({ at }) => at.block > tip);
          const atTip = foldAll(emptyRegistry(), canonical.flatMap(inOrder)).registry;
          expect(lookedAt(ledger.registry)).toBe(lookedAt(foldAll(atTip, ahead).registry));
          expect(lookedAt(ledger.settled)).toBe(straight(canonical.slice(0, settledCount)));
        }
      }),
      { numRuns: 300 },
    );
  });
});

const inOrder = ({ events }: { events: readonly AccessEvent[] }) =>
  events.toSorted((a, b) => comparePositions(a.at, b.at));

/** Whether a read that a reorg drops is of a key that still waits, and of a token that nothing before it touched. */
function holds(event: AccessEvent, before: readonly AccessEvent[], registry: Ledger["registry"]): boolean {
  if (event.kind !== "key-read") return false;
  const waiting = token(registry, event.tokenId);
  if (waiting?.unreadSince === undefined || !waiting.active) return false;
  const { claim, owner } = waiting;
  const isAnswer = event.key === claim?.key || registry.maps.announced.get(owner)?.has(event.key);
  if (!isAnswer) return false;
  const touches = (other: AccessEvent) =>
    "tokenId" in other ? other.tokenId === waiting.id : "owner" in other && other.owner === waiting.owner;
  return !before.some(touches);
}

const inText = (_: string, value: unknown) => (typeof value === "bigint" ? String(value) : value);
const lookedAt = ({ maps }: Ledger["registry"]) =>
  JSON.stringify(
    [...maps.records.values()].sort((a, b) => Number(a.id - b.id)),
    inText,
  );
