import { describe, expect, it } from "vitest";
import type { AccessEvent, Said } from "./model.ts";
import { narrate } from "./narrate.ts";

const [OWNER, HEIR, NOBODY] = ["1", "2", "0"].map((digit) => `0x${digit.repeat(40)}`) as never[] as [
  never,
  never,
  never,
];
const ID = 7n as never;
const HASH = `0x${"a".repeat(64)}` as never;

const told = (...said: readonly Said[]) => {
  const events = said.map(
    (each): AccessEvent => ({ ...each, at: { block: 9, logIndex: 0 }, blockHash: HASH, transaction: HASH }),
  );
  return narrate(events, () => "known", 2);
};

describe("the journal", () => {
  it.each<[string, Said, object[]]>([
    [
      "names a grant by what the grant says",
      { kind: "grant", tokenId: ID, nodeId: "new", owner: OWNER, key: "k" },
      [{ kind: "grant", fields: { block: 9, tokenId: "7", nodeId: "new", owner: OWNER } }],
    ],
    [
      "tells a transfer with both owners",
      { kind: "transfer", tokenId: ID, from: OWNER, to: HEIR },
      [{ kind: "transfer", fields: { block: 9, tokenId: "7", nodeId: "known", from: OWNER, to: HEIR } }],
    ],
    ["does not repeat a grant for its mint", { kind: "transfer", tokenId: ID, from: NOBODY, to: OWNER }, []],
    [
      "waits to tell an announced key until its token is known",
      { kind: "owner-key-update", owner: OWNER, key: "k" },
      [],
    ],
    [
      "never shows a key",
      { kind: "key-update", tokenId: ID, key: "k" },
      [{ kind: "key-update", fields: { block: 9, tokenId: "7", nodeId: "known" } }],
    ],
  ])("%s", (_title, said, lines) => {
    expect(told(said)).toEqual(lines);
  });

  it("keeps the newest of a step that is longer than it may be", () => {
    const revoke = (id: bigint): Said => ({ kind: "revoke", tokenId: id as never });
    expect(told(revoke(1n), revoke(2n), revoke(3n)).map(({ fields }) => fields["tokenId"])).toEqual(["2", "3"]);
  });
});
