import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Address, type TokenId, ZERO_HASH } from "../model.ts";
import { foldAll } from "../registry/fold.ts";
import { emptyRegistry } from "../registry/registry.ts";
import { plainCell, readCsv, writeCsv } from "./csv.ts";
import { type Grant, grantsIn, heldAgainst } from "./csv-grants.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const read = (text: string) => readCsv(bytes(text));
const ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const BOB = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";
const [KEY_1, KEY_2] = [1, 2].map((byte) => Buffer.alloc(32, byte).toString("base64"));

describe("a CSV file as it is read", () => {
  it.each([
    ["rows end with LF", "a,b\nc,d\n", ["1: a|b", "2: c|d"]],
    ["rows end with CRLF, the last one with nothing", "a,b\r\nc,d", ["1: a|b", "2: c|d"]],
    ["rows end with CR, as old Macs write them", "a\rb\r", ["1: a", "2: b"]],
    ["a byte order mark is no part of the first cell", "\ufeffa,b\n", ["1: a|b"]],
    ["a quoted cell holds commas, quotes and line ends", '"a,""b""\r\nc",d\ne,f\n', ['1: a,"b"\r\nc|d', "3: e|f"]],
    ["empty rows are passed over and still counted as lines", "a\n\n,,\nb\n", ["1: a", "4: b"]],
    ["a comma at the end makes an empty cell", "a,\n,b\n", ["1: a|", "2: |b"]],
    ["an empty file has no rows", "", []],
  ])("%s", (_, text, drawn) => {
    const { rows, mistakes } = read(text);
    expect(rows.map(({ line, cells }) => `${line}: ${cells.join("|")}`)).toEqual(drawn);
    expect(mistakes).toEqual([]);
  });

  it.each([
    ["a quote that is never closed", 'a\nb,"c\nd\n', [2, /never closed/]],
    ["text behind a closing quote", 'a\n"b"c,d\ne\n', [2, /behind a closing quote/]],
    ["a quote inside a plain cell", 'a\nb"c,d\ne\n', [2, /a quote inside/]],
    ["a zero byte", "a\nb\0\n", [2, /zero byte/]],
  ])("%s is a mistake with its line", (_, text, [line, problem]) => {
    expect(read(text).mistakes).toEqual([{ line, problem: expect.stringMatching(problem as RegExp) }]);
  });

  it("goes on behind a mistake, to tell all of them", () => {
    const { rows, mistakes } = read('a\nb"\nc\n"d"e\nf\n');
    expect(mistakes.map(({ line }) => line)).toEqual([2, 4]);
    expect(rows.map(({ cells }) => cells[0])).toEqual(["a", "c", "f"]);
  });

  it.each([
    ["UTF-16", Buffer.from("\ufeffto,node_id", "utf16le"), /UTF-16/],
    ["Latin-1", Buffer.from("caf\xe9", "latin1"), /not UTF-8/],
  ])("%s is named as what it is", (_, file, problem) => {
    expect(readCsv(file).mistakes).toEqual([{ line: 1, problem: expect.stringMatching(problem) }]);
  });
});

describe("a CSV file as it is written", () => {
  it("comes back the same, whatever is in its cells", () => {
    const cell = fc.string({ unit: "grapheme" }).filter((text) => text === text.trim() && !text.includes("\0"));
    fc.assert(
      fc.property(fc.array(fc.array(cell, { minLength: 2, maxLength: 2 })), (rows) => {
        const back = readCsv(bytes(writeCsv([["head", ""], ...rows])));
        expect(back.mistakes).toEqual([]);
        const filled = rows.filter((cells) => cells.some((text) => text !== ""));
        expect(back.rows.slice(1).map(({ cells }) => cells.map(plainCell))).toEqual(filled);
      }),
    );
  });

  it.each(["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "'=1", "|calc", "%0A", "\r=1"])(
    "starts no formula: %j",
    (cell) => {
      expect(writeCsv([[cell]])).toMatch(/^"?'/);
    },
  );
});

describe("the rows to grant", () => {
  const HEAD = "to,node_id,key\n";
  const told = (text: string) => grantsIn(bytes(text)).mistakes.map(({ line, problem }) => `${line}: ${problem}`);

  it("are read by the names of their columns, in any order", () => {
    const { grants, mistakes } = grantsIn(
      bytes(`Key, Node_ID ,to,token_uri\n${KEY_1},alice,${ALICE},ipfs://a\n,'-bob,${BOB},\n`),
    );
    expect(mistakes).toEqual([]);
    expect(grants).toEqual([
      { line: 2, to: ALICE.toLowerCase(), nodeId: "alice", key: KEY_1, tokenUri: "ipfs://a" },
      { line: 3, to: BOB.toLowerCase(), nodeId: "-bob", key: "", tokenUri: "" },
    ]);
  });

  it("are told all their mistakes at once, each with its line", () => {
    const lines = [
      `${ALICE},alice,${KEY_1}`,
      `${ALICE.replace("c8", "C8").replace("C8", "c8").replace("d17", "D17")},bad-checksum,`,
      `0x12,Bad Name,short`,
      `${BOB},alice,`,
      `${BOB},bob,${KEY_1}`,
      `${BOB},carol`,
      `0x${"0".repeat(40)},zero,`,
      `nonsense,alice,`,
    ];
    expect(told(HEAD + lines.join("\n"))).toEqual([
      expect.stringMatching(/^3: to: .*checksum/),
      expect.stringMatching(/^4: to: /),
      expect.stringMatching(/^4: node_id: /),
      expect.stringMatching(/^4: key: /),
      "5: the name alice is on line 2 already",
      "6: its key is on line 2 already",
      "7: it has 2 cells, and the first row 3",
      "8: to: the zero address can hold no token",
      expect.stringMatching(/^9: to: /),
      "9: the name alice is on line 2 already",
    ]);
  });

  it("never show what stands in the column of keys", () => {
    expect(told(`${HEAD}${ALICE},alice,my-private-key\n`).join()).not.toContain("my-private-key");
  });

  it.each([
    ["no header", `${ALICE},alice,${KEY_1}\n`, /^1: the column to is missing/],
    ["a column that is not known", "to,node_id,role\n", /^1: there is no column role/],
    ["a column twice", "to,node_id,to\n", /^1: the column to is there twice/],
    ["semicolons", `to;node_id;key\n${ALICE};a;\n`, /^1: columns must be separated by commas/],
    ["no rows", HEAD, /^1: there is no row/],
    ["nothing", "", /^1: there is no row/],
  ])("%s", (_, text, first) => {
    expect(told(text)[0]).toMatch(first);
  });
});

describe("the rows held against the chain", () => {
  const at = (logIndex: number) => ({ at: { block: 1, logIndex }, blockHash: ZERO_HASH, transaction: ZERO_HASH });
  const alice = ALICE.toLowerCase() as Address;
  const { registry } = foldAll(emptyRegistry(), [
    { ...at(0), kind: "grant", tokenId: 7n as TokenId, nodeId: "alice", owner: alice, key: KEY_1 ?? "" },
    { ...at(1), kind: "grant", tokenId: 8n as TokenId, nodeId: "gone", owner: alice, key: KEY_2 ?? "" },
    { ...at(2), kind: "revoke", tokenId: 8n as TokenId },
  ]);
  const row = (nodeId: string, key: string, to = alice): Grant => ({ line: 2, to, nodeId, key, tokenUri: "" });
  const held = (grant: Grant) => {
    const { grants, present, mistakes } = heldAgainst(registry, [grant]);
    return grants.length > 0 ? "send" : (mistakes[0]?.problem ?? `token ${present.get(2)}`);
  };

  it.each([
    ["the very token is there", row("alice", KEY_1 ?? ""), "token 7"],
    ["the token is there, and the row leaves its key to the holder", row("alice", ""), "token 7"],
    [
      "another owner has the name",
      row("alice", KEY_1 ?? "", BOB.toLowerCase() as Address),
      /^the name alice is taken: .* 7/,
    ],
    ["the name has another key", row("alice", KEY_2 ?? ""), /^the name alice is taken: .* 7/],
    ["another name has the key", row("bob", KEY_1 ?? ""), /^the key is taken: .* 7/],
    ["a revoked token holds neither name nor key", row("gone", KEY_2 ?? ""), "send"],
    ["nobody has either", row("bob", KEY_2 ?? ""), "send"],
  ])("%s", (_, grant, fate) => {
    if (typeof fate === "string") expect(held(grant)).toBe(fate);
    else expect(held(grant)).toMatch(fate);
  });
});
