import { describe, expect, it } from "vitest";
import type { Address, Hash } from "../model.ts";
import { blockByHash, blockByNumber, call, chainId, code, headOf, logs } from "./questions.ts";
import { Malformed, parseReply, RpcError } from "./reply.ts";
import type { Question } from "./rpc.ts";

const A = `0x${"aa".repeat(20)}` as Address;
const B = `0x${"bb".repeat(20)}` as Address;
const hash = (byte: string) => `0x${byte.repeat(32)}` as Hash;
const block = {
  ...{ number: "0x10", hash: hash("a1"), parentHash: hash("a0"), timestamp: "0x64" },
  ...{ logsBloom: `0x${"0".repeat(512)}`, extra: "ignored" },
};
const log = {
  ...{ address: A, topics: [hash("01"), hash("02")], data: "0xABcd", blockNumber: "0x10", blockHash: hash("a1") },
  ...{ transactionHash: hash("c1"), transactionIndex: "0x0", logIndex: "0x3", removed: false },
};

/** As a reply that holds it comes over the wire. */
function read<T>(question: Question<T>, result: unknown): T | string {
  const reply = parseReply(Buffer.from(JSON.stringify({ jsonrpc: "2.0", id: 1, result })), question.read);
  try {
    return question.parse((reply as { result: unknown }).result);
  } catch (error) {
    if (error instanceof RpcError) return error.kind;
    if (error instanceof Malformed) return `refused: ${error.message}`;
    throw error;
  }
}

describe("what is asked", () => {
  it.each<[string, Question<unknown>, string, unknown, number]>([
    ["the head", headOf("latest"), "eth_getBlockByNumber", ["latest", false], 3_000],
    ["the final block", headOf("finalized"), "eth_getBlockByNumber", ["finalized", false], 3_000],
    ["a block", blockByNumber(16), "eth_getBlockByNumber", ["0x10", false], 3_000],
    ["a block by hash", blockByHash(hash("a1")), "eth_getBlockByHash", [hash("a1"), false], 3_000],
    [
      "logs of a range",
      logs({ address: A, topics: [hash("01")], fromBlock: 1, toBlock: 255 }),
      "eth_getLogs",
      [{ address: A, topics: [[hash("01")]], fromBlock: "0x1", toBlock: "0xff" }],
      10_000,
    ],
    [
      "logs of a block",
      logs({ address: A, blockHash: hash("a1") }),
      "eth_getLogs",
      [{ address: A, blockHash: hash("a1") }],
      10_000,
    ],
    ["code", code(A, "latest"), "eth_getCode", [A, "latest"], 3_000],
    ["a call at a number", call(A, "0x01", { number: 16 }), "eth_call", [{ to: A, data: "0x01" }, "0x10"], 3_000],
    [
      "a call at a hash",
      call(A, "0x01", { hash: hash("a1") }),
      "eth_call",
      [{ to: A, data: "0x01" }, { blockHash: hash("a1") }],
      3_000,
    ],
    ["the chain id", chainId(), "eth_chainId", [], 3_000],
  ])("%s", (_, question, method, params, deadlineMs) => expect(question).toMatchObject({ method, params, deadlineMs }));

  it("tells the head only where the answer is one", () => {
    expect(headOf("latest").head?.(read(headOf("latest"), block) as never)).toMatchObject({
      number: 16,
      hash: block.hash,
    });
    expect([headOf("finalized").head, blockByNumber(16).head]).toEqual([undefined, undefined]);
  });
});

describe("a block", () => {
  const { extra: _, ...plain } = block;
  it.each([
    ["is read with its bloom", block, { number: 16, timestamp: 100, logsBloom: block.logsBloom }],
    ["may come without a bloom", { ...block, logsBloom: undefined }, { number: 16 }],
    ["may come with null for a bloom", { ...block, logsBloom: null }, { number: 16 }],
    ["may come with a bloom that is none", { ...block, logsBloom: "0x" }, { number: 16 }],
    ["has its hashes in lower case", { ...block, hash: hash("A1").replace("0X", "0x") }, { hash: hash("a1") }],
    ["may have leading zeros in its numbers", { ...block, number: "0x0010" }, { number: 16 }],
  ])("%s", (_, result, expected) => expect(read(headOf("latest"), result)).toMatchObject(expected));

  it.each([
    ["that is null is absent", null, "absent"],
    ["that is missing is refused", undefined, "refused: the block is no object"],
    ["that is a list is refused", [plain], "refused: the block is no object"],
    ["of a number that is none is refused", { ...plain, number: 16 }, "refused: the block's number is no hex"],
    ["of a number beyond 2^53 is refused", { ...plain, number: `0x${"f".repeat(15)}` }, "refused: the block's number"],
    ["of a short hash is refused", { ...plain, hash: "0xa1" }, "refused: the block's hash is no 32 bytes"],
    ["without a parent is refused", { ...plain, parentHash: null }, "refused: the block's parent hash"],
  ])("%s", (_, result, expected) => expect(read(headOf("latest"), result)).toContain(expected));

  it("of another number than the one asked for is refused", () => {
    expect(read(blockByNumber(16), block)).toMatchObject({ number: 16 });
    expect(read(blockByNumber(17), block)).toContain("another number");
  });

  it("of another hash than the one asked for is refused", () => {
    expect(read(blockByHash(hash("a1")), block)).toMatchObject({ number: 16 });
    expect(read(blockByHash(hash("a2")), block)).toContain("another hash");
  });
});

describe("logs", () => {
  const range = logs({ address: A, fromBlock: 16, toBlock: 20 });
  it("are read as they are, in the order told", () => {
    const other = { ...log, logIndex: "0x1", topics: [], data: "0x" };
    expect(read(range, [log, other, log])).toEqual([
      {
        address: A,
        topics: log.topics,
        data: "0xABcd",
        blockNumber: 16,
        blockHash: hash("a1"),
        transactionHash: hash("c1"),
        logIndex: 3,
      },
      expect.objectContaining({ logIndex: 1, topics: [], data: "0x" }),
      expect.objectContaining({ logIndex: 3 }),
    ]);
  });

  it("of other addresses are passed over", () => {
    expect(read(range, [{ ...log, address: B }, log])).toHaveLength(1);
  });

  it("may come with the address in upper case", () => {
    expect(read(range, [{ ...log, address: `0x${"AA".repeat(20)}` }])).toHaveLength(1);
  });

  it.each([
    ["that are null are refused", null, "the logs are no list"],
    ["that are no objects are refused", ["0x"], "a log is no object"],
    ["above the range are refused", [{ ...log, blockNumber: "0x15" }], "outside"],
    ["below the range are refused", [{ ...log, blockNumber: "0xf" }], "outside"],
    ["of a pending block are refused", [{ ...log, blockNumber: null }], "a log's block number"],
    ["of five topics are refused", [{ ...log, topics: Array(5).fill(hash("01")) }], "topics"],
    ["of a short topic are refused", [{ ...log, topics: ["0x01"] }], "a log's topic"],
    ["of half a byte are refused", [{ ...log, data: "0xabc" }], "a log's data"],
    ["of data that is no hex are refused", [{ ...log, data: "0xzz" }], "a log's data"],
    ["without an index are refused", [{ ...log, logIndex: undefined }], "a log's index"],
  ])("%s", (_, result, expected) => expect(read(range, result)).toContain(expected));

  it("marked as removed are none, and the others of their list are read", () => {
    const [gone, here] = [
      { ...log, removed: true },
      { ...log, logIndex: "0x4" },
    ];
    expect(read(range, [gone, here, gone])).toMatchObject([{ logIndex: 4 }]);
  });

  it("are each read anew, however alike their neighbours are", () => {
    const other = {
      ...log,
      topics: [hash("02")],
      blockHash: hash("a2"),
      transactionHash: hash("c2"),
      blockNumber: "0x11",
    };
    const alone = (each: unknown) => (read(range, [each]) as readonly unknown[])[0];
    const all = [log, log, other, log];
    expect(read(range, all)).toEqual(all.map(alone));
    expect(alone(other)).toMatchObject({ topics: other.topics, blockHash: hash("a2"), transactionHash: hash("c2") });
    for (const wrong of [{ address: "0x1" }, { topics: ["0x1"] }, { blockHash: "0x1" }, { transactionHash: "0x1" }]) {
      expect(read(range, [log, { ...log, ...wrong }])).toContain("refused");
    }
  });

  it("of another block than the one asked for by hash are refused", () => {
    expect(read(logs({ address: A, blockHash: hash("a1") }), [log])).toHaveLength(1);
    expect(read(logs({ address: A, blockHash: hash("a2") }), [log])).toContain("outside");
  });
});

describe("hex", () => {
  it.each([
    ["is given in lower case", "0xABcd", "0xabcd"],
    ["may be empty", "0x", "0x"],
    ["of half a byte is refused", "0xabc", "refused"],
    ["without its prefix is refused", "abcd", "refused"],
    ["that is null is refused", null, "refused"],
  ])("%s", (_, result, expected) => expect(read(code(A, "latest"), result)).toContain(expected));
});
