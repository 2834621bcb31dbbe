import { describe, expect, it } from "vitest";
import { AgentError } from "../errors.ts";
import { PrivateKey, Secret } from "../model.ts";
import { ascii, printable, scrub } from "./printable.ts";

const key = PrivateKey.generate();
const KEY = key.reveal();
const HEX = "ab".repeat(32);

describe("printable", () => {
  it.each([
    ["a secret", new Secret("marker"), "[secret]"],
    ["a private key", key, "[secret]"],
    ["a secret deep inside", { a: [{ b: new Secret("marker") }] }, { a: [{ b: "[secret]" }] }],
    ["a big number", 2n ** 256n - 1n, String(2n ** 256n - 1n)],
    ["no number", Number.NaN, "NaN"],
    ["a URL", new URL("https://user:marker@rpc.example:8443/v2/marker?k=marker"), "rpc.example:8443"],
    ["bytes", Buffer.from("marker"), "[unprintable]"],
    ["a map", new Map([["marker", 1]]), "[unprintable]"],
    ["a function", () => "marker", "[unprintable]"],
    ["a date", new Date(0), "1970-01-01T00:00:00.000Z"],
    ["a long list", Array(60).fill(1), [...Array(50).fill(1), "[10 more]"]],
    ["too deep a thing", { a: { b: { c: { d: { e: 1 } } } } }, { a: { b: { c: { d: "[deep]" } } } }],
  ])("shows of %s what may be seen", (_title, value, shown) => {
    expect(printable(value)).toEqual(shown);
  });

  it("shows a fault's code, figures and sentence, and the public key to be copied from it", () => {
    const { publicKey } = key;
    const shown = printable(new AgentError({ code: "self.no-token", nodeId: "node-a", publicKey }));
    expect(shown).toEqual({
      ...{ code: "self.no-token", nodeId: "node-a", publicKey },
      message: expect.stringContaining(`--key ${publicKey}`),
    });
  });

  it("shows a field's public key in the sentence beside it, and no other key", () => {
    const { publicKey } = key;
    const detail = `run set-key --key ${publicKey} not ${KEY}`;
    expect(printable({ publicKey, detail, other: KEY })).toEqual({
      ...{ publicKey, detail: `run set-key --key ${publicKey} not ${KEY.slice(0, 8)}…`, other: `${KEY.slice(0, 8)}…` },
    });
  });

  it("cleans a fault's figures like any text", () => {
    const problem = `exit at https://rpc.example/${HEX} with ${KEY}`;
    const shown = JSON.stringify(printable(new AgentError({ code: "store.unsaved", path: "/state", problem })));
    expect(shown).not.toContain(KEY);
    expect(shown).not.toContain(HEX);
  });

  it("shows a known failure by code and message, its causes too, and no stack", () => {
    const cause = Object.assign(new Error("connect wss://rpc.example/v2/marker"), { code: "ECONNREFUSED" });
    const shown = printable(Object.assign(new Error("failed", { cause }), { code: "E_UP", config: "marker" }));
    expect(shown).toEqual({
      ...{ code: "E_UP", name: "Error", message: "failed" },
      cause: { code: "ECONNREFUSED", name: "Error", message: "connect wss://rpc.example" },
    });
  });

  it("shows where a mistake of ours happened, and no value", () => {
    const shown = printable(new TypeError(`marker\n    at marker ${KEY}`)) as { at: string[]; message: string };
    expect(shown.at[0]).toMatch(/^at .*printable\.test\.ts:[0-9]+:[0-9]+/);
    expect(shown.at.join()).not.toContain(KEY);
    expect(shown.message).not.toContain(KEY);
  });

  it("ends at an error that is its own cause", () => {
    const error = new Error("round");
    error.cause = error;
    expect(JSON.stringify(printable(error)).length).toBeLessThan(5_000);
  });
});

describe("scrub", () => {
  it.each([
    ["GET https://rpc.example/v2/marker?key=marker failed", "GET https://rpc.example failed"],
    ["wss://user:marker@rpc.example:8443", "wss://rpc.example:8443"],
    ["(http://rpc.example/marker), then", "(http://rpc.example then"],
    ["HTTPS://RPC.example#marker", "HTTPS://RPC.example"],
    [`key ${KEY} here`, `key ${KEY.slice(0, 8)}… here`],
    [`PrivateKey=${KEY}`, `PrivateKey=${KEY.slice(0, 8)}…`],
    [`0x${HEX}`, "0xabababab…"],
    [HEX.toUpperCase(), "ABABABAB…"],
    [
      "block 0xabc of 0x5FbDB2315678afecb367f032d93F642f64180aa3",
      "block 0xabc of 0x5FbDB2315678afecb367f032d93F642f64180aa3",
    ],
    ["a/b c:d 10.0.0.1:51820 fd00::1/128", "a/b c:d 10.0.0.1:51820 fd00::1/128"],
  ])("%s", (text, shown) => {
    expect(scrub(text)).toBe(shown);
  });

  it("finds a key glued to other letters", () => {
    expect(scrub(`x${KEY}y`)).not.toContain(KEY.slice(10));
  });

  it("bounds a text before it looks at it", () => {
    expect(scrub("a".repeat(1e6))).toHaveLength(1_001);
    expect(scrub(`a${"😀".repeat(1_000)}`).isWellFormed()).toBe(true);
  });
});

describe("ascii", () => {
  it("parses to the same, and can neither turn text nor end a script", () => {
    const hostile = { nodeId: '</script>"\u202e\u2028\u007f\u0000&é😀\ud83d' };
    const text = ascii(JSON.stringify(hostile));
    expect(text).toMatch(/^[\x20-\x7e]*$/);
    expect(text).not.toMatch(/[<>&]/);
    expect(JSON.parse(text)).toEqual(hostile);
  });
});
