/** Lies that an upstream tells about its chain, for `RpcProxy.lie`: about heads, logs, ranges, tags. Each is one function. */
import type { Lie } from "./rpc-proxy.ts";
import type { Backend, Outcome } from "./scripted-chain.ts";

export type Json = Record<string, unknown>;

/** The head is so many blocks back, with all that follows from it; a function for a head that moves. */
export function behind(blocks: number | (() => number)): Lie {
  return async function lagging({ method, params }, next) {
    const head = numberIn(await next("eth_blockNumber", []));
    const shown = Math.max(0, head - (typeof blocks === "number" ? blocks : blocks()));
    if (method === "eth_blockNumber") return { result: hex(shown) };
    if (method === "eth_getBlockByNumber") {
      const asked = params[0] === "latest" ? hex(shown) : params[0];
      return Number(asked) > shown ? { result: null } : next(method, [asked, false]);
    }
    if (method === "eth_getBlockByHash") {
      const block = resultOf(await next(method, params)) as Json | null;
      return { result: block !== null && Number(block["number"]) <= shown ? block : null };
    }
    if (method !== "eth_getLogs") return next(method, params);
    const filter = params[0] as Json;
    if (filter["blockHash"] !== undefined) {
      const block = resultOf(await next("eth_getBlockByHash", [filter["blockHash"], false])) as Json | null;
      const isHidden = block === null || Number(block["number"]) > shown;
      return isHidden ? refusal(-32000, "unknown block") : next(method, params);
    }
    if (Number(filter["fromBlock"]) > shown) return { result: [] };
    const to = Math.min(shown, Number(filter["toBlock"] === "latest" ? shown : filter["toBlock"]));
    return next(method, [{ ...filter, toBlock: hex(to) }]);
  };
}

/** The head stays where it is at the first question. */
export function frozen(): Lie {
  let at: number | undefined;
  return async function freeze(call, next) {
    const head = numberIn(await next("eth_blockNumber", []));
    at ??= head;
    return behind(head - at)(call, next);
  };
}

/** Every other answer about the head is so many blocks back. */
export function flapping(blocks: number): Lie {
  let isBack = false;
  return behind(() => {
    isBack = !isBack;
    return isBack ? blocks : 0;
  });
}

/** A head that nobody else knows, so many blocks ahead. */
export function ahead(blocks: number): Lie {
  return async function running({ method, params }, next) {
    if (method === "eth_blockNumber") return { result: hex(numberIn(await next(method, params)) + blocks) };
    if (method !== "eth_getBlockByNumber" || params[0] !== "latest") return next(method, params);
    const block = resultOf(await next(method, params)) as Json;
    const hash = `0x${"f".repeat(56)}${String(block["hash"]).slice(-8)}`;
    return { result: { ...block, number: hex(Number(block["number"]) + blocks), hash } };
  };
}

/** From a block on a fork of its own, on which nothing happens: the chain's blocks under other hashes, without logs. */
export function ownFork(since: number): Lie {
  const truthOf = new Map<string, string>();
  const renamed = (hash: unknown) => {
    const made = `0xf0f0f0f0${String(hash).slice(10)}`;
    truthOf.set(made, String(hash));
    return made;
  };
  return async function fork({ method, params }, next) {
    if (method === "eth_getLogs") return { result: [] };
    if (method === "eth_call") return next(method, [params[0], hex(since - 1)]);
    const asked = params.map((param) => truthOf.get(String(param)) ?? param);
    const block = method.startsWith("eth_getBlock") ? (resultOf(await next(method, asked)) as Json | null) : null;
    if (block === null || Number(block["number"]) < since) return next(method, asked);
    const parentHash = Number(block["number"]) > since ? renamed(block["parentHash"]) : block["parentHash"];
    return { result: { ...block, hash: renamed(block["hash"]), parentHash, logsBloom: `0x${"0".repeat(512)}` } };
  };
}

/** Split brain: another chain answers whenever `isOther` says so. */
export function elsewhere(other: Backend, isOther: () => boolean): Lie {
  return function splitBrain({ method, params }, next) {
    return isOther() ? other(method, params) : next(method, params);
  };
}

/** Changes the list of logs of every answer: omit (`filter`), duplicate, shuffle, alter (`map`). */
export function changedLogs(change: (logs: readonly Json[]) => readonly unknown[]): Lie {
  return async function changeLogs({ method, params }, next) {
    const outcome = await next(method, params);
    return method === "eth_getLogs" && "result" in outcome ? { result: change(outcome.result as Json[]) } : outcome;
  };
}

/** Logs appear only when their block is so deep. */
export function lateLogs(blocks: number): Lie {
  return async function late({ method, params }, next) {
    const outcome = await next(method, params);
    if (method !== "eth_getLogs" || !("result" in outcome)) return outcome;
    const newest = numberIn(await next("eth_blockNumber", [])) - blocks;
    return { result: (outcome.result as Json[]).filter((log) => Number(log["blockNumber"]) <= newest) };
  };
}

export interface Cap {
  readonly provider: string;
  readonly code: number;
  readonly text: (limit: number) => string;
}

/** How providers say that a range is too wide; collected from their documentation and from bug reports. */
export const BLOCK_CAPS: readonly Cap[] = [
  {
    provider: "Alchemy",
    code: -32600,
    text: (n) =>
      `Under the Free tier plan, you can make eth_getLogs requests with up to a ${n} block range. Based on your parameters, this block range should work: [0x1, 0x2]`,
  },
  { provider: "Infura", code: -32602, text: (n) => `range 1000000 exceeds limit of ${n}` },
  { provider: "QuickNode, thirdweb, Base", code: -32614, text: (n) => `eth_getLogs is limited to a ${n} range` },
  { provider: "Ankr", code: -32000, text: () => "block range is too wide" },
  { provider: "Base", code: -32603, text: () => "block range too large" },
  {
    provider: "Cloudflare",
    code: -32047,
    text: (n) => `Invalid eth_getLogs request. 'fromBlock'-'toBlock' range too large. Max range: ${n}`,
  },
  {
    provider: "Chainstack",
    code: -32000,
    text: () => "Block range limit exceeded. See more details at https://docs.example",
  },
  { provider: "reth, Tenderly", code: -32602, text: (n) => `query exceeds max block range ${n}` },
  { provider: "dRPC", code: 35, text: (n) => `ranges over ${n} blocks are not supported on free plan` },
  { provider: "publicnode", code: -32701, text: (n) => `exceed maximum block range: ${n}` },
  { provider: "Moralis", code: -32000, text: (n) => `eth_getLogs block range too large, range: 100000, max: ${n}` },
  { provider: "BlastAPI", code: -32602, text: (n) => `eth_getLogs is limited to 0 - ${n} blocks range` },
  { provider: "Erigon", code: -32000, text: (n) => `query block range exceeds server limit, narrow your filter: ${n}` },
  { provider: "Scroll", code: -32000, text: () => "block range is bigger than maxBlockRange" },
  { provider: "a Tenderly gateway", code: -32602, text: () => "invalid params" },
  { provider: "nobody in particular", code: -32000, text: () => "computer says no" },
];

export const RESULT_CAPS: readonly Cap[] = [
  {
    provider: "geth, Infura",
    code: -32005,
    text: (n) => `query returned more than ${n} results. Try with this block range [0x1, 0x2].`,
  },
  {
    provider: "Alchemy",
    code: -32602,
    text: () =>
      "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range and no limit on the response size",
  },
  { provider: "reth, dRPC", code: -32602, text: (n) => `query exceeds max results ${n}, retry with the range 1-2` },
  { provider: "Erigon", code: -32000, text: (n) => `query returns too many logs, narrow your filter: ${n}` },
  { provider: "jsonrpsee", code: -32008, text: () => "Response is too big" },
  { provider: "Binance", code: -32005, text: () => "limit exceeded" },
  { provider: "Robinhood", code: -32000, text: () => "log query timed out" },
];

/** Refuses ranges of more than `limit` blocks. */
export function cappedBlocks(limit: number, { code, text }: Cap = BLOCK_CAPS[0] as Cap): Lie {
  return function capBlocks({ method, params }, next) {
    const { fromBlock, toBlock, blockHash } = (params[0] ?? {}) as Json;
    const isOver = blockHash === undefined && Number(toBlock) - Number(fromBlock) + 1 > limit;
    return method === "eth_getLogs" && isOver ? refusal(code, text(limit)) : next(method, params);
  };
}

/** Refuses answers of more than `limit` logs. */
export function cappedResults(limit: number, { code, text }: Cap = RESULT_CAPS[0] as Cap): Lie {
  return capped((logs) => logs.length > limit, refusal(code, text(limit)));
}

/** Refuses answers of more than `limit` bytes. */
export function cappedBytes(limit: number, { code, text }: Cap = RESULT_CAPS[4] as Cap): Lie {
  return capped((logs) => JSON.stringify(logs).length > limit, refusal(code, text(limit)));
}

/** Gives the first `limit` logs and says nothing of the others. */
export function silentCut(limit: number): Lie {
  return changedLogs((logs) => logs.slice(0, limit));
}

function capped(isOver: (logs: readonly Json[]) => boolean, refused: Outcome): Lie {
  return async function capResults({ method, params }, next) {
    const outcome = await next(method, params);
    return method === "eth_getLogs" && "result" in outcome && isOver(outcome.result as Json[]) ? refused : outcome;
  };
}

/** How clients refuse the tags `safe` and `finalized`. */
export const TAG_REFUSALS: readonly { readonly client: string; readonly outcome: Outcome | "head" }[] = [
  { client: "geth before the merge", outcome: refusal(-32602, "invalid argument 0: hex string without 0x prefix") },
  { client: "geth without a consensus client", outcome: refusal(-32000, "finalized block not found") },
  { client: "a client on a chain without finality", outcome: { result: null } },
  { client: "Erigon, execution-apis", outcome: refusal(-39001, "Unknown block") },
  {
    client: "hardhat",
    outcome: refusal(-32602, 'Errors encountered in param 0: Invalid value "finalized" supplied to : QUANTITY | TAG'),
  },
  { client: "Besu", outcome: refusal(-32602, "Invalid block parameters") },
  { client: "a gateway", outcome: refusal(-32601, "Method not supported") },
  { client: "Nethermind", outcome: refusal(-32001, "Finalized block is not available") },
  { client: "a proxy", outcome: refusal(-32603, "Internal error") },
  { client: "a client that takes any tag for latest", outcome: "head" },
];

export function refusedTags(outcome: Outcome | "head"): Lie {
  return function refuseTag({ method, params }, next) {
    if (params[0] !== "finalized" && params[0] !== "safe") return next(method, params);
    return outcome === "head" ? next(method, ["latest", ...params.slice(1)]) : outcome;
  };
}

export function refusal(code: number, message: string, data?: unknown): Outcome {
  return { error: data === undefined ? { code, message } : { code, message, data } };
}

const hex = (number: number) => `0x${number.toString(16)}`;
const resultOf = (outcome: Outcome) => ("result" in outcome ? outcome.result : null);
const numberIn = (outcome: Outcome) => Number(resultOf(outcome));
