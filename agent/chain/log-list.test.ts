import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type RawLog, readLogs } from "./log-list.ts";
import { Malformed } from "./reply.ts";

const hex = (bytes: number) =>
  fc.uint8Array({ minLength: bytes, maxLength: bytes }).map((all) => `0x${Buffer.from(all).toString("hex")}`);
const quantity = fc.integer({ min: 0, max: 1e9 }).map((number) => `0x${number.toString(16)}`);
/** So few of each that neighbours often repeat one another, as they do on a chain, or differ in their last digit alone. */
const oneOf = (bytes: number) =>
  fc.constantFrom("1", "2", "f").map((digit) => `0x${"0".repeat(2 * bytes - 1)}${digit}`);
const log = fc.record({
  address: fc.oneof(oneOf(20), hex(20)),
  topics: fc.array(fc.oneof(oneOf(32), hex(32)), { maxLength: 4 }),
  data: fc.oneof(hex(0), hex(3), hex(64)),
  blockNumber: quantity,
  blockHash: fc.oneof(oneOf(32), hex(32)),
  transactionHash: fc.oneof(oneOf(32), hex(32)),
  logIndex: quantity,
});
type Told = typeof log extends fc.Arbitrary<infer T> ? T : never;

const asRead = ({ blockNumber, logIndex, ...told }: Told) =>
  ({ ...told, blockNumber: Number(blockNumber), logIndex: Number(logIndex) }) as unknown as RawLog;
const read = (text: string) => readLogs(Buffer.from(text))?.result.read();
const reply = (list: string, more = "") => `{"jsonrpc":"2.0","id":7,"result":${list}${more}}`;

describe("a reply with logs", () => {
  it("is read as a parser would read it, however it is spelt", () => {
    const member = fc.tuple(fc.string(), fc.jsonValue());
    const spelt = fc.tuple(fc.array(log), fc.array(member, { maxLength: 3 }), fc.nat(), fc.boolean());
    fc.assert(
      fc.property(spelt, ([logs, others, turn, isSpaced]) => {
        const known = new Set(["removed", "__proto__", ...Object.keys(logs[0] ?? {})]);
        const more = others.filter(([name]) => !known.has(name));
        const told = logs.map((each) => {
          const members = [...Object.entries(each), ["removed", false], ["transactionIndex", "0x0"], ...more];
          const from = turn % members.length;
          return Object.fromEntries([...members.slice(from), ...members.slice(0, from)]);
        });
        const text = JSON.stringify({ result: told, id: 7, jsonrpc: "2.0" }, null, isSpaced ? "\t" : "");
        expect(read(text)).toEqual(logs.map(asRead));
      }),
    );
  });

  it("is never misread, whatever becomes of its bytes", () => {
    const damage = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(fc.array(log, { minLength: 1, maxLength: 3 }), damage, fc.nat(), (logs, changes, length) => {
        const bytes = Buffer.from(reply(JSON.stringify(logs)));
        for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
        const cut = length % 4 === 0 ? bytes.subarray(0, length % bytes.length) : bytes;
        const found = outcomeOf(cut);
        if (found === undefined) return;
        // What is passed over may hold control characters, which a parser would not let pass.
        const text = Buffer.from(cut.map((byte) => Math.max(byte, 0x20))).toString("latin1");
        const parsed = JSON.parse(text) as { result: Record<string, string>[] };
        expect(found).toEqual(parsed.result.map((each) => inLowerCase(each as unknown as Told)));
      }),
      { numRuns: 2_000 },
    );
  });

  it.each([
    ["that holds none is an empty list", reply("[]"), []],
    ["that holds none is an empty list, with spaces too", reply(" [ ] "), []],
    ["may say more than an answer needs", reply("[]", ',"usage":{"a":[1,"}"]}'), []],
    ["may say that there is no error", reply("[]", ',"error":null'), []],
    ["with an error is for a parser", reply("[]", ',"error":{"code":-32000}'), undefined],
    ["without a list is for a parser", reply("null"), undefined],
    ["of another version is for a parser", reply("[]").replace("2.0", "1.0"), undefined],
    ["without an id is for a parser", reply("[]").replace('"id":7,', ""), undefined],
    ["with a text for its id is for a parser", reply("[]").replace("7", '"7"'), undefined],
    ["with something behind it is for a parser", `${reply("[]")}x`, undefined],
    ["that is cut off is for a parser", reply("[]").slice(0, -1), undefined],
    ["that is empty is for a parser", "", undefined],
    ["that is a list is for a parser", `[${reply("[]")}]`, undefined],
  ])("%s", (_, text, expected) => expect(read(text)).toEqual(expected));

  it.each([
    ["holds anything but objects", '["0x"]'],
    ["holds an object that is none", '[{"address"}]'],
    ["goes on behind its last log", "[,]"],
  ])("whose list %s has no logs", (_, list) => {
    expect(() => read(reply(list))).toThrow(Malformed);
  });

  it("tells whose it is, also behind logs that are none", () => {
    const found = readLogs(Buffer.from('{"result":[{"address":"0x1"}],"id":7,"jsonrpc":"2.0"}'));
    expect(found?.id).toBe(7);
    expect(() => found?.result.read()).toThrow("a log's address");
  });
});

function outcomeOf(bytes: Buffer): readonly RawLog[] | undefined {
  try {
    return readLogs(bytes)?.result.read();
  } catch (error) {
    if (error instanceof Malformed) return undefined;
    throw error;
  }
}

function inLowerCase(told: Told): RawLog {
  const { address, topics, blockHash, transactionHash } = told;
  const lower = { address: address.toLowerCase(), topics: topics.map((topic) => topic.toLowerCase()) };
  return asRead({
    ...{ ...told, ...lower, data: told.data },
    ...{ blockHash: blockHash.toLowerCase(), transactionHash: transactionHash.toLowerCase() },
  });
}
