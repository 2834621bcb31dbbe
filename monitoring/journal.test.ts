import { describe, expect, it } from "vitest";
import { JOURNAL_KINDS } from "../agent/observe/journal.ts";
import { GROUPS, isChosen, mergedJournal, sentence } from "./journal.js";

type Row = [second: number, kind: string, fields?: Record<string, string>];

/** Journals as rows; each entry's time is in seconds after noon. */
function merged(journals: Record<string, readonly Row[]>): string[] {
  const entries = Object.entries(journals).map(([node, rows]) => {
    const list = rows.map(([second, kind, fields = {}], index) => ({ id: index + 1, at: at(second), kind, fields }));
    return [node, list] as const;
  });
  return mergedJournal(new Map(entries)).map(
    ({ at: when, kind, nodes }) => `${seconds(when)} ${kind} ${nodes.join("+")}`,
  );
}
const NOON = Date.UTC(2026, 0, 1, 12);
const at = (second: number) => new Date(NOON + second * 1_000).toISOString();
const seconds = (when: string) => (Date.parse(when) - NOON) / 1_000;

const GRANT = { tokenId: "7", nodeId: "alice", block: "12" };

describe("the journals of all nodes", () => {
  it.each<[title: string, journals: Record<string, readonly Row[]>, expected: string[]]>([
    [
      "are one, newest first",
      {
        a: [
          [1, "start"],
          [3, "apply"],
        ],
        b: [[2, "apply"]],
      },
      ["3 apply a", "2 apply b", "1 start a"],
    ],
    ["tell one log of the chain once", { a: [[1, "grant", GRANT]], b: [[2, "grant", GRANT]] }, ["1 grant a+b"]],
    [
      "tell it once for a node that came later",
      { a: [[1, "grant", GRANT]], b: [[9_000, "grant", GRANT]] },
      ["1 grant a+b"],
    ],
    [
      "tell it again where a node saw it again, after a reorg",
      {
        a: [
          [1, "grant", GRANT],
          [5, "grant", GRANT],
        ],
        b: [[2, "grant", GRANT]],
      },
      ["5 grant a", "1 grant a+b"],
    ],
    [
      "do not take two logs for one",
      { a: [[1, "grant", GRANT]], b: [[1, "grant", { ...GRANT, nodeId: "alicе" }]] },
      ["1 grant b", "1 grant a"],
    ],
    [
      "tell one judgement of a token once, and a later one again",
      {
        a: [[1, "quarantine", { tokenId: "7", code: "key.weak" }]],
        b: [[2, "quarantine", { tokenId: "7", code: "key.weak" }]],
        c: [[900, "quarantine", { tokenId: "7", code: "key.weak" }]],
      },
      ["900 quarantine c", "1 quarantine a+b"],
    ],
    [
      "never fold what each node does for itself",
      { a: [[1, "apply", { added: "1" }]], b: [[1, "apply", { added: "1" }]] },
      ["1 apply b", "1 apply a"],
    ],
  ])("%s", (_, journals, expected) => {
    expect(merged(journals)).toEqual(expected);
  });
});

describe("the filter", () => {
  const line = { key: "", at: "", kind: "revoke", fields: {}, nodes: ["a", "b"] };
  it.each<[choice: { kind: string; node: string }, isShown: boolean]>([
    [{ kind: "", node: "" }, true],
    [{ kind: "revoke", node: "" }, true],
    [{ kind: "grant", node: "" }, false],
    [{ kind: "Access", node: "b" }, true],
    [{ kind: "Device", node: "" }, false],
    [{ kind: "", node: "c" }, false],
  ])("%j: a revoke on a and b is shown: %j", (choice, isShown) => {
    expect(isChosen(line, choice)).toBe(isShown);
  });

  it("offers every kind that an agent writes, each once", () => {
    const offered = Object.values(GROUPS).flatMap((kinds) => Object.keys(kinds));
    expect(offered.toSorted()).toEqual([...JOURNAL_KINDS].toSorted());
  });
});

describe("a line", () => {
  it.each<[kind: string, fields: Record<string, string>, expected: string]>([
    [
      "grant",
      { ...GRANT, owner: "0x37d2106badb01dd5be1926e45d172cb4203c4186" },
      "Token 7 «alice» was granted to ‹0x37d2…4186› in block 12",
    ],
    ["revoke", { tokenId: "7", block: "1234567" }, "Token 7 was revoked in block 1,234,567"],
    [
      "transfer",
      { ...GRANT, from: "0x1", to: "0x2" },
      "Token 7 «alice» changed hands, from ‹0x1› to ‹0x2› in block 12",
    ],
    [
      "quarantine",
      { tokenId: "7", nodeId: '</script>"', code: "key.weak" },
      'Token 7 «</script>"» gets no peer: ‹key.weak›',
    ],
    ["endpoint", { ...GRANT, endpoint: "" }, "Token 7 «alice» has no endpoint any more in block 12"],
    ["apply", { added: "2", removed: "1", changed: "0" }, "Peers on the device: 2 added, 1 removed"],
    [
      "rollback",
      { changes: "2", code: "device.command-failed" },
      "2 changes failed and were put back: ‹device.command-failed›",
    ],
    ["rollback", { generation: "7" }, "Generation 7 was put back by hand; nobody is added until a resync"],
    ["drift-repair", { missing: "1", unknown: "2" }, "Peers put right on the device: 1 missing, 2 unknown"],
    ["drift-repair", { repairs: "write the firewall" }, "Put right: ‹write the firewall›"],
    ["gateway", { tokenId: "7" }, "Token 7 is the primary gateway"],
    ["gateway", {}, "There is no gateway any more"],
    ["start", { version: "0.1.0" }, "The agent started, version 0.1.0"],
    ["reorg", { block: "99" }, "The chain was followed back to block 99"],
    ["fault", { code: "chain.stale", detail: "old" }, "‹chain.stale›: ‹old›"],
    ["upstream", { upstream: "rpc.example", change: "failed" }, "Upstream ‹rpc.example›: ‹failed›"],
    ["something-new", { of: "x" }, "something-new: of ‹x›"],
  ])("%s reads well, and keeps other people's words apart", (kind, fields, expected) => {
    const parts = sentence({ kind, fields }).map((part) => {
      if (typeof part === "string") return part;
      return "name" in part ? `«${part.name}»` : `‹${part.said}›`;
    });
    expect(parts.join("")).toBe(expected);
  });
});
