import { describe, expect, it } from "vitest";
import { MAX_DEPTH, MAX_KEYS, MIN_BYTES_PER_VALUE, scan } from "./scan.ts";

const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
const spaced = (values: number, bytes: number) =>
  `[${Array(values)
    .fill("1".padEnd(bytes - 1))
    .join(",")}]`;
const keyed = (keys: number) =>
  `[${Array.from({ length: keys }, (_, i) => `{"${i}": "${"x".repeat(60)}"}`).join(",")}]`;

describe("the scan before parsing", () => {
  it.each([
    ["lets an ordinary reply pass", '{"jsonrpc":"2.0","id":1,"result":"0x1"}', undefined],
    ["lets nesting pass up to its limit", nested(MAX_DEPTH), undefined],
    ["refuses nesting beyond it", nested(MAX_DEPTH + 1), "nested"],
    ["refuses nesting of objects too", '{"a":'.repeat(MAX_DEPTH + 1), "nested"],
    ["counts brackets that close", `[${"[],".repeat(70)}[]]`, undefined],
    ["lets many values pass where each has room", spaced(2_000, MIN_BYTES_PER_VALUE), undefined],
    ["refuses more values than there is text for", spaced(2_000, MIN_BYTES_PER_VALUE - 4), "more than one value"],
    ["refuses empty objects in their thousands", `[${"{},".repeat(2_000)}{}]`, "more than one value"],
    ["lets a list of short strings pass while it is short", `[${'"",'.repeat(200)}""]`, undefined],
    ["sees no structure in strings", `["${"[{,".repeat(2_000)}"]`, undefined],
    ["knows an escaped quote from the end of a string", `["\\"${"[".repeat(100)}"]`, undefined],
    ["knows an escaped quote far into a string", `["${"x".repeat(99)}\\"${"[".repeat(100)}"]`, undefined],
    ["knows a quote behind escaped backslashes", `["${"x".repeat(99)}\\\\",${nested(MAX_DEPTH)}]`, "nested"],
    ["knows them where the short search ends", `["${"x".repeat(23)}\\\\\\"${"[".repeat(100)}"]`, undefined],
    ["knows an escaped backslash from an escaped quote", `["\\\\",${nested(MAX_DEPTH)}]`, "nested"],
    ["lets as many different keys pass as blocks and logs have", keyed(MAX_KEYS), undefined],
    ["refuses ever new keys", keyed(MAX_KEYS + 1), "different keys"],
    ["counts a key with spaces before its colon", keyed(MAX_KEYS + 1).replaceAll('":', '"  \n\t:'), "different keys"],
    ["comes to an end where a string does not", '["', undefined],
    ["comes to an end behind a last backslash", '["\\', undefined],
    ["takes nothing for harmless", "", undefined],
  ])("%s", (_, text, problem) => {
    const found = scan(Buffer.from(text));
    if (problem === undefined) expect(found).toBeUndefined();
    else expect(found).toContain(problem);
  });
});
