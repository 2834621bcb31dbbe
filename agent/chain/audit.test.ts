import { AbiCoder } from "ethers";
import { describe, expect, it } from "vitest";
import {
  type AccessEvent,
  type Address,
  AFTER_LOGS,
  type BlockRef,
  type Hash,
  type Token,
  type TokenId,
  type TokenState,
  ZERO_ADDRESS,
  ZERO_HASH,
} from "../model.ts";
import { Down, rpcOver } from "../test/rpc-over.ts";
import { type Backend, ScriptedChain } from "../test/scripted-chain.ts";
import { MULTICALL3, ScriptedContract } from "../test/scripted-contract.ts";
import { compare, probeIds, readKeys, readTokens, sample } from "./audit.ts";
import { UNREADABLE } from "./events.ts";

const ALICE = `0x${"a1".repeat(20)}` as Address;
const BOB = `0x${"b0".repeat(20)}` as Address;
const SIGNAL = new AbortController().signal;
const ids = (...numbers: number[]) => numbers.map((number) => BigInt(number) as TokenId);

describe("a comparison with the contract's state", () => {
  const BLOCK: BlockRef = { number: 9, hash: `0x${"9".repeat(64)}` as Hash };
  const AT = { block: 1, logIndex: 0 };

  // Owner/key, then `off` for inactive, `?` for a key that waits to be read, and the keys held before the last transfer.
  const token = (drawing: string): Token | undefined => {
    if (drawing === "none") return undefined;
    const [, owner = "", key = "", flags = ""] = /^([ab])\/(\w*)(.*)$/.exec(drawing) ?? [];
    return {
      ...{ id: 1n as TokenId, nodeId: "node", owner: owner === "a" ? ALICE : BOB, active: !flags.includes(" off") },
      ...{ grantedAt: AT, transferredAt: undefined, unreadSince: flags.includes("?") ? AT : undefined },
      claim: key === "" ? undefined : { key, at: AT, lost: false },
      formerKeys: /was (\w+)/.exec(flags)?.slice(1) ?? [],
      ...{ role: "member", roleAt: undefined, endpoint: "", endpointAt: undefined },
    };
  };
  const state = (drawing: string): TokenState => {
    if (drawing === "missing") return { kind: "missing" };
    const [, owner, key = "", flags = ""] = /^([ab0])\/([\w\ufffd]*)(.*)$/.exec(drawing) ?? [];
    const holder = owner === "0" ? ZERO_ADDRESS : owner === "a" ? ALICE : BOB;
    const nodeId = / named (.*)$/.exec(flags)?.[1] ?? "node";
    return { kind: "present", nodeId, owner: holder, key, active: !flags.includes(" off") };
  };
  const drawn = (events: readonly AccessEvent[]) =>
    events.map((event) => {
      if (event.kind !== "observed") return event.kind;
      if (event.state.kind === "missing") return "missing";
      const { owner, key, active, nodeId } = event.state;
      const holder = owner === ZERO_ADDRESS ? "0" : owner === ALICE ? "a" : "b";
      return `${holder}/${key}${active ? "" : " off"}${nodeId === "node" ? "" : ` named ${nodeId}`}`;
    })[0] ?? "";

  it.each([
    // what it is about                          registry        contract         at the tip    at a final block
    ["agreement", "a/K", "a/K", "", ""],
    ["agreement about nothing", "none", "missing", "", ""],
    ["agreement about a revoked token", "a/K off", "a/K off", "", ""],
    ["a missed revoke", "a/K", "a/K off", "a/K off", "a/K off"],
    ["a token that there is not", "a/K", "missing", "missing", "missing"],
    ["a burnt token", "a/K", "0/K", "0/K", "0/K"],
    ["a missed grant", "none", "a/K", "", "a/K"],
    ["a made-up revoke", "a/K off", "a/K", "", "a/K"],
    ["a grant that was never obeyed", "none", `a/${UNREADABLE}`, "", ""],
    ["a grant with an unreadable name", "none", `a/K named ${UNREADABLE}`, "", ""],
    ["a missed key update", "a/K", "a/L", "a/", "a/L"],
    ["a missed key update to nothing", "a/K", "a/", "a/", "a/"],
    ["a missed key update to what cannot be read", "a/K", `a/${UNREADABLE}`, "a/", "a/"],
    ["a first key that was missed", "a/", "a/L", "", "a/L"],
    ["a key that waits for a read of its own", "a/K?", "a/L", "", ""],
    ["a missed transfer, the seller's key still shown", "a/K", "b/K", "b/", "b/"],
    ["a missed transfer and the buyer's key", "a/K", "b/L", "b/", "b/L"],
    ["the seller's key after a known transfer", "b/ was K", "b/K", "", ""],
    ["the buyer's key gone for the seller's", "b/L was K", "b/K", "b/", "b/"],
    ["a former key after one more transfer", "b/L was K", "a/K", "a/", "a/"],
    ["a revoked token that is back with a former key", "b/ off was K", "b/K", "", "b/"],
    ["another name", "a/K", "a/K named other", "", "a/K named other"],
    ["another name and a missed key update", "a/K", "a/L named other", "a/", "a/L named other"],
  ])("finds %s", (_, known, seen, atTheTip, whenFinal) => {
    const tokens = { get: () => token(known) };
    const states = new Map([[1n as TokenId, state(seen)]]);
    expect([drawn(compare(tokens, states, BLOCK, false)), drawn(compare(tokens, states, BLOCK, true))]).toEqual([
      atTheTip,
      whenFinal,
    ]);
  });

  it("stands behind every log of the block that was read", () => {
    const [event] = compare({ get: () => token("a/K") }, new Map([[1n as TokenId, state("missing")]]), BLOCK, false);
    expect(event).toMatchObject({
      ...{ kind: "observed", tokenId: 1n, at: { block: 9, logIndex: AFTER_LOGS } },
      ...{ blockHash: BLOCK.hash, transaction: ZERO_HASH },
    });
  });
});

describe("which tokens are looked at", () => {
  it.each([
    ["an empty registry", [], 1, 16],
    ["an unbroken row", [1, 2, 3], 4, 19],
    ["a row with a gap", [1, 2, 5, 6], 3, 20],
    ["a row that begins late", [7, 8], 1, 18],
  ])("beyond the known ones: %s", (_, known, first, last) => {
    const probed = probeIds((id) => known.includes(Number(id)));
    expect([probed.at(0), probed.at(-1)].map(Number)).toEqual([first, last]);
  });

  it.each([
    [50, 1],
    [1_000, 10],
    [1_001, 11],
    [2_345, 24],
  ])("of %d tokens each is seen once in %d rounds", (count, rounds) => {
    const all = ids(...Array.from({ length: count }, (_, i) => i + 1));
    const seen = Array.from({ length: rounds }, (_, turn) => sample(all, 7 + turn)).flat();
    expect(seen.toSorted((a, b) => Number(a - b))).toEqual(all);
  });
});

describe("reading the contract", () => {
  const KEY = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
  const chain = new ScriptedChain();
  const contract = new ScriptedContract(chain, { multicall: true });
  for (let i = 1; i <= 40; i++) contract.grant(i % 2 === 0 ? ALICE : BOB, `node-${i}`, KEY);
  contract.mine();
  contract.revoke(2n);
  const at = refOf(contract.mine());
  contract.transfer(3n, ALICE);
  contract.mine();
  const address = contract.address as Address;
  function refOf(number: number): BlockRef {
    return { number, hash: chain.hashOf(number) as Hash };
  }
  /** Counts the calls by what they are. */
  function reader(backend: Backend = chain.answer, names = ["one"]) {
    const calls: string[] = [];
    const rpc = rpcOver(
      () => names.map((name) => ({ name })),
      () => (method, params) => {
        const [{ to = "" } = {}] = params as [{ to?: string }];
        calls.push(method === "eth_call" ? (to.toLowerCase() === MULTICALL3 ? "multicall" : "call") : method);
        return backend(method, params);
      },
    );
    return { rpc, calls };
  }
  const present = (nodeId: string, owner: Address, active = true): TokenState => ({
    ...{ kind: "present", nodeId, owner, key: KEY, active },
  });
  const noMulticall: Backend = (method, params) =>
    method === "eth_getCode" ? { result: "0x" } : chain.answer(method, params);

  it("tells the state as of the pinned block, and what there is not", async () => {
    const states = await readTokens(reader().rpc, address, ids(1, 2, 3, 99), at, SIGNAL);
    expect([...states]).toEqual([
      [1n, present("node-1", BOB)],
      [2n, present("node-2", ALICE, false)],
      [3n, present("node-3", BOB)],
      [99n, { kind: "missing" }],
    ]);
  });

  it("takes a token without an owner for none, whatever its record says", async () => {
    const burnt: Backend = (method, params) => {
      const [{ data = "" } = {}] = params as [{ data?: string }];
      const isOwnerOf = method === "eth_call" && data.startsWith("0x6352211e");
      return isOwnerOf ? { error: { code: 3, message: "execution reverted" } } : chain.answer(method, params);
    };
    const { rpc, calls } = reader(burnt);
    expect([...(await readTokens(rpc, address, ids(1), at, SIGNAL))]).toEqual([[1n, { kind: "missing" }]]);
    expect(calls).toEqual(["call", "call"]);
  });

  it.each([
    ["and believes a refusal that has a reason", chain.answer, []],
    ["and asks again alone for what failed in it without one", withoutReasons, ["call", "call"]],
  ] as const)("takes one call for many tokens where there is a Multicall3, %s", async (_, backend, alone) => {
    const { rpc, calls } = reader(backend);
    const states = await readTokens(rpc, address, ids(...Array(42).keys()).slice(1), at, SIGNAL);
    expect(states.size).toBe(41);
    expect(states.get(41n as TokenId)).toEqual({ kind: "missing" });
    expect(calls).toEqual(["eth_getCode", "multicall", ...alone]);
  });

  /** As where the batch's gas runs out. */
  function withoutReasons(method: string, params: readonly unknown[]): ReturnType<Backend> {
    const answer = chain.answer(method, params) as { result?: unknown };
    const [{ to = "" } = {}] = params as [{ to?: string }];
    if (to.toLowerCase() !== MULTICALL3 || !("result" in answer)) return chain.answer(method, params);
    const abi = AbiCoder.defaultAbiCoder();
    const [results] = abi.decode(["(bool,bytes)[]"], String(answer.result)) as unknown as [[boolean, string][]];
    const blank = results.map(([isDone, data]) => [isDone, isDone ? data : "0x"]);
    return { result: abi.encode(["(bool,bytes)[]"], [blank]) };
  }

  it("asks for each where there is none, with the same result", async () => {
    const all = ids(...Array(42).keys()).slice(1);
    const { rpc, calls } = reader(noMulticall);
    expect(await readTokens(rpc, address, all, at, SIGNAL)).toEqual(
      await readTokens(reader().rpc, address, all, at, SIGNAL),
    );
    expect(calls.filter((call) => call === "call")).toHaveLength(82);
  });

  it("goes by number where hashes are refused, as long as the block is still there", async () => {
    const byNumber: Backend = (method, params) => {
      const isPinned = typeof params[1] === "object";
      return isPinned ? { error: { code: -32602, message: "invalid argument 1" } } : chain.answer(method, params);
    };
    const states = await readTokens(reader(byNumber).rpc, address, ids(3), at, SIGNAL);
    expect(states.get(3n as TokenId)).toEqual(present("node-3", BOB));
    const elsewhere = { ...at, hash: `0x${"e".repeat(64)}` as Hash };
    expect(await readTokens(reader(byNumber).rpc, address, ids(3), elsewhere, SIGNAL)).toEqual(new Map());
  });

  it.each([
    [
      "an upstream that is down",
      () => {
        throw new Down();
      },
    ],
    ["a pruned state", () => ({ error: { code: -32000, message: "missing trie node" } })],
    ["a rate limit", () => ({ error: { code: -32005, message: "rate limit exceeded" } })],
    ["no code at all", () => ({ result: "0x" })],
    ["a truncated answer", (method, params) => cutShort(chain.answer(method, params))],
    ["neither yes nor no", (method, params) => altered(chain.answer(method, params))],
    ["garbage", () => ({ result: `0x${"f".repeat(512)}` })],
  ] as readonly [string, Backend][])("takes %s for no evidence", async (_, answer) => {
    const backend: Backend = (method, params) =>
      method === "eth_call" ? answer(method, params) : chain.answer(method, params);
    expect(await readTokens(reader(backend).rpc, address, ids(1, 2, 3), at, SIGNAL)).toEqual(new Map());
    const many = ids(...Array(40).keys()).slice(1);
    expect(await readTokens(reader(backend).rpc, address, many, at, SIGNAL)).toEqual(new Map());
  });

  async function cutShort(outcome: ReturnType<Backend>) {
    const answer = await outcome;
    return "result" in answer ? { result: String(answer.result).slice(0, -64) } : answer;
  }

  /** Makes `isActive` a 2. */
  async function altered(outcome: ReturnType<Backend>) {
    const answer = await outcome;
    const result = "result" in answer ? String(answer.result) : "";
    if (result.length < 258) return answer;
    return { result: `${result.slice(0, 257)}2${result.slice(258)}` };
  }

  it("reads keys, none for a token that there is not", async () => {
    expect([...(await readKeys(reader().rpc, address, ids(1, 99), at, SIGNAL))]).toEqual([
      [1n, KEY],
      [99n, ""],
    ]);
  });

  it("can be a second witness", async () => {
    const asked: string[] = [];
    const rpc = rpcOver(
      () => [{ name: "one" }, { name: "two" }],
      (upstream) => (method, params) => {
        asked.push(upstream);
        return chain.answer(method, params);
      },
    );
    await readTokens(rpc, address, ids(1), at, SIGNAL, { not: "one" });
    expect(new Set(asked)).toEqual(new Set(["two"]));
  });
});
