import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { BLOCK_CAPS, RESULT_CAPS, TAG_REFUSALS } from "../test/rpc-lies.ts";
import { parseJson, RpcError, resultOf, Trouble } from "./reply.ts";

function outcome(run: () => unknown): string {
  try {
    return `result ${JSON.stringify(run())}`;
  } catch (error) {
    if (error instanceof Trouble || error instanceof RpcError) return error.kind;
    throw error;
  }
}

describe("a reply", () => {
  const good = { jsonrpc: "2.0", id: 7, result: "0x1" };
  const error = { code: -32000, message: "no" };
  it.each([
    ["gives its result", good, 'result "0x1"'],
    ["may have null as its result", { ...good, result: null }, "result null"],
    ["may have null as its error", { ...good, error: null }, 'result "0x1"'],
    ["to another request is refused", { ...good, id: 8 }, "malformed"],
    ["with its id as text is refused", { ...good, id: "7" }, "malformed"],
    ["without an id is refused", { jsonrpc: "2.0", result: "0x1" }, "malformed"],
    ["of another version is refused", { ...good, jsonrpc: "1.0" }, "malformed"],
    ["without a version is refused", { id: 7, result: "0x1" }, "malformed"],
    ["with neither result nor error is refused", { jsonrpc: "2.0", id: 7 }, "malformed"],
    ["with both is refused", { ...good, error }, "malformed"],
    ["with a null result beside its error is an error", { ...good, result: null, error }, "other"],
    ["with an error of no shape is refused", { jsonrpc: "2.0", id: 7, error: "no" }, "malformed"],
    ["that could not read our id may still be an error", { jsonrpc: "2.0", id: null, error }, "other"],
    ["of a gateway that left the id out may still be an error", { jsonrpc: "2.0", error }, "other"],
    ["that is a batch is refused", [good], "malformed"],
    ["that is null is refused", null, "malformed"],
    ["that is a text is refused", "0x1", "malformed"],
  ])("%s", (_, reply, expected) => expect(outcome(() => resultOf(reply, 7, "eth_chainId"))).toBe(expected));

  it("that is no JSON is refused without a word of it", () => {
    const caught = (() => {
      try {
        return parseJson(Buffer.from("<html>PLANTED</html>"));
      } catch (error) {
        return error;
      }
    })();
    expect(caught).toMatchObject({ kind: "malformed" });
    expect(inspect(caught, { showHidden: true, depth: 5 })).not.toContain("PLANTED");
  });
});

function kind(method: string, code: number, message: string, data?: unknown): string {
  return outcome(() => resultOf({ jsonrpc: "2.0", id: 1, error: { code, message, data } }, 1, method));
}

describe("an error object", () => {
  it.each([
    ["a revert of geth and anvil", "eth_call", 3, "execution reverted", "reverted"],
    ["a revert of Besu", "eth_call", -32000, "Execution reverted", "reverted"],
    ["a call that Nethermind ended, for no reason told", "eth_call", -32015, "VM execution error.", "other"],
    ["gRPC's bad argument", "eth_call", 3, "invalid argument: no such backend", "unsupported"],
    ["a bad argument without words", "eth_call", 3, "", "other"],
    ["a transaction of the provider's own database", "eth_call", -32000, "database transaction reverted", "other"],
    ["a revert of ganache", "eth_call", -32000, "VM Exception while processing transaction: revert", "reverted"],
    ["a revert of hardhat", "eth_call", -32603, "Error: Transaction reverted without a reason string", "reverted"],
    ["a block that a reorg has reverted", "eth_call", -32000, "block was reverted by a reorg", "other"],
    ["out of gas, which says nothing of the token", "eth_call", -32000, "out of gas", "other"],
    ["a revert that nobody called for", "eth_getLogs", 3, "execution reverted", "other"],
    ["QuickNode's rate", "eth_call", -32007, "100/second request limit reached", "rate-limit"],
    ["Alchemy's rate", "eth_call", 429, "Your app has exceeded its compute units per second capacity.", "rate-limit"],
    ["Infura's rate", "eth_getLogs", -32005, "daily request count exceeded, request rate limited", "rate-limit"],
    ["a gateway's rate", "eth_getLogs", -32016, "over rate limit", "rate-limit"],
    ["Binance's either", "eth_getLogs", -32005, "limit exceeded", "rate-limit"],
    ["a block that is not there yet", "eth_getLogs", -32602, "block range extends beyond current head block", "absent"],
    ["a block that is gone", "eth_call", -32000, "header not found", "absent"],
    ["a block of another branch", "eth_call", -32000, "hash 0xab is not currently canonical", "absent"],
    ["a log query by an unknown hash", "eth_getLogs", -32000, "unknown block", "absent"],
    ["pruned state", "eth_getCode", -32000, "missing trie node 0ab (path ) state 0xab is not available", "absent"],
    ["Erigon's pruned state", "eth_getCode", -32000, "old data not available due to pruning", "absent"],
    ["Nethermind's pruned state", "eth_getCode", -32002, "No state available for block 0x1234", "absent"],
    ["reth's pruned state", "eth_call", -32603, "distance to target block exceeds maximum proof window", "absent"],
    ["QuickNode's pruned state", "eth_call", -32009, "Block requested is older than the configured history", "absent"],
    [
      "what Base had before Bedrock",
      "eth_getCode",
      -32801,
      "no historical RPC is available for this historical (pre-bedrock) execution request",
      "absent",
    ],
    ["no archive", "eth_getCode", -32000, "Archive requests are not available on your plan", "absent"],
    ["an unknown method", "eth_subscribe", -32601, "the method does not exist/is not available", "unsupported"],
    ["an unknown form of block", "eth_call", -32602, "invalid argument 1: expected string", "unsupported"],
    ["an internal error", "eth_call", -32603, "Internal error", "other"],
    ["no words at all", "eth_call", 0, "", "other"],
  ])("%s", (_, method, code, message, expected) => expect(kind(method, code, message)).toBe(expected));

  it.each([
    ["Reverted 0xabcd", "reverted"],
    ["0x", "reverted"],
    ["", "other"],
    ["OutOfGas", "other"],
    ["Bad instruction fe", "other"],
  ])("of Nethermind's one code for all is what its data says: %s", (data, expected) => {
    const reply = { jsonrpc: "2.0", id: 1, error: { code: -32015, message: "VM execution error.", data } };
    expect(() => resultOf(reply, 1, "eth_call")).toThrow(expect.objectContaining({ kind: expected }));
  });

  it("is a revert by geth's code with what the contract said, whatever the words", () => {
    expect(kind("eth_call", 3, "", "0x7e273289")).toBe("reverted");
    expect(kind("eth_call", 3, "", "no such backend")).toBe("other");
  });

  // "invalid params" and words never seen before reach the caller too, who halves on any error.
  it.each(BLOCK_CAPS)("too many blocks, as $provider says it", ({ code, text }) =>
    expect(["limited", "unsupported", "other"]).toContain(kind("eth_getLogs", code, text(2_000))),
  );
  it.each(RESULT_CAPS.filter(({ provider }) => provider !== "Binance"))(
    "too many results, as $provider says it",
    ({ code, text }) => expect(kind("eth_getLogs", code, text(10_000))).toBe("limited"),
  );
  it("knows most providers' words for a range", () => {
    const known = BLOCK_CAPS.filter(({ code, text }) => kind("eth_getLogs", code, text(2_000)) === "limited");
    expect(known.length).toBe(BLOCK_CAPS.length - 2);
  });
  it.each(TAG_REFUSALS.filter(({ outcome }) => outcome !== "head" && "error" in outcome))(
    "a tag refused by $client is no outage",
    ({ outcome: reply }) => {
      const { code, message } = (reply as { error: { code: number; message: string } }).error;
      expect(["unsupported", "absent", "other"]).toContain(kind("eth_getBlockByNumber", code, message));
    },
  );

  it.each([
    ["of geth", "0xABcd", "0xabcd"],
    ["of hardhat", { message: "x", data: "0xabcd" }, "0xabcd"],
    ["of Nethermind", "Reverted 0xabcd", "0xabcd"],
    ["that is no hex", "0xabc", undefined],
    ["that is no text", 7, undefined],
    ["beyond 64 KB", `0x${"ab".repeat(70_000)}`, undefined],
  ])("keeps the revert data %s", (_, data, expected) => {
    try {
      resultOf({ jsonrpc: "2.0", id: 1, error: { code: 3, message: "execution reverted", data } }, 1, "eth_call");
      expect.unreachable();
    } catch (error) {
      expect((error as RpcError).dataHex).toBe(expected);
    }
  });

  it("keeps what the upstream said out of every print", () => {
    const said = `no such project PLANTED ${"x".repeat(5_000)}`;
    const error = new RpcError("other", -32000, said);
    expect(`${inspect(error, { showHidden: true, depth: 5 })}${error.stack}${JSON.stringify(error)}`).not.toContain(
      "PLANTED",
    );
    expect(error.said.reveal()).toBe(said.slice(0, 1_000));
  });
});
