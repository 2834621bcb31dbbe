import { describe, expect, it } from "vitest";
import { REFUSALS } from "../agent/model.ts";
import { MEANINGS, quarantined } from "./quarantine.js";

const line = (kind: string, tokenId: string, fields: Record<string, string> = {}) => ({
  ...{ key: `${kind} ${tokenId}`, at: "", kind, nodes: ["a"] },
  fields: { tokenId, ...fields },
});

describe("quarantined tokens", () => {
  it("are counted by reason, the most first", () => {
    const rows = quarantined(
      [
        { "key.weak": 1, "key.missing": 4 },
        { "key.weak": 1, "key.missing": 4 },
      ],
      [],
    );
    expect(rows.map(({ code, fewest, most }) => [code, fewest, most])).toEqual([
      ["key.missing", 4, 4],
      ["key.weak", 1, 1],
    ]);
  });

  it("are a range where nodes differ", () => {
    const rows = quarantined([{ "key.own": 1 }, {}], []);
    expect(rows).toMatchObject([{ code: "key.own", fewest: 0, most: 1 }]);
  });

  it("are named as long as nothing newer was told of them", () => {
    const lines = [
      line("key-update", "3"),
      line("quarantine", "2", { code: "key.weak", nodeId: "bob" }),
      line("quarantine", "3", { code: "key.weak", nodeId: "carol" }),
      line("grant", "2"),
    ];
    expect(quarantined([{ "key.weak": 1 }], lines)[0]?.named).toEqual([{ tokenId: "2", name: "bob" }]);
  });

  it("are nobody where no node counts any", () => {
    expect(quarantined([{}, {}], [line("quarantine", "2", { code: "key.weak" })])).toEqual([]);
  });
});

it("every reason that an agent gives has its meaning", () => {
  expect(Object.keys(MEANINGS)).toEqual(REFUSALS.filter((code) => code !== "inactive"));
});
