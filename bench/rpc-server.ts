/**
 * A program, started by `rpc.ts`: a chain of many tokens behind JSON-RPC over HTTP and WebSocket, told over IPC what to do
 * next. A process of its own, so that its work is not counted as anybody else's; logs of final blocks are answered from
 * bytes that are kept after the first time.
 */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";
import { ScriptedChain } from "../agent/test/scripted-chain.ts";
import { ScriptedContract } from "../agent/test/scripted-contract.ts";
import {
  type Asked,
  type Deed,
  FINAL_DEPTH,
  keyOf,
  type Mined,
  type Order,
  ownerOf,
  type Range,
  type ServedOptions,
  steadyMs,
} from "./rpc.ts";

const options = JSON.parse(process.argv[2] ?? "{}") as ServedOptions;
const chain = new ScriptedChain({ chainId: 31_337, finalizedDepth: FINAL_DEPTH });
const contract = new ScriptedContract(chain, { multicall: options.multicall ?? true });
const subscribers = new Map<WebSocket, string>();
const kept = new Map<string, Buffer>();
const calls = new Map<string, number>();
let asked: Asked[] = [];
let ranges: Range[] = [];
let granted = 0;

populate();
const server = createServer(async (request, response) => {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const reply = replyTo(Buffer.concat(chunks).toString());
  response.writeHead(200, { "content-type": "application/json", "content-length": reply.length }).end(reply);
});
// Two sides take turns, and a connection that was closed in between would cost one of them an error.
server.keepAliveTimeout = 600_000;
new WebSocketServer({ server }).on("connection", (socket) => {
  socket.on("error", () => {});
  socket.on("close", () => subscribers.delete(socket));
  socket.on("message", (bytes: Buffer) => {
    const text = bytes.toString();
    if (text.includes('"eth_subscribe"')) subscribers.set(socket, `0x${subscribers.size + 1}`);
    socket.send(replyTo(text).toString());
  });
});
process.on("message", ({ id, order }: { id: number; order: Order }) =>
  process.send?.({ id, result: carriedOut(order) }),
);
process.on("disconnect", () => process.exit());
server.listen(0, options.host ?? "127.0.0.1");
await once(server, "listening");
const { port } = server.address() as AddressInfo;
process.send?.({ id: 0, result: { port, contract: contract.address, head: chain.head } });

/** The node's own token first, then the members', then as many empty blocks as make all of them final. */
function populate(): void {
  const { self, tokens, perBlock = 10, emptyBlocks = FINAL_DEPTH } = options;
  if (self !== undefined) {
    contract.grant(ownerOf(0), self.nodeId, self.publicKey);
    contract.setRole(1n, 1);
    contract.mine();
  }
  while (granted < tokens) grant(Math.min(perBlock, tokens - granted));
  chain.mine(emptyBlocks);
}

function grant(count: number): Deed[] {
  const deeds = Array.from({ length: count }, (): Deed => {
    const index = ++granted;
    const key = options.keys?.[index - 1] ?? keyOf(index);
    const tokenId = contract.grant(ownerOf(index), `member-${index}`, key);
    return { tokenId: String(tokenId), key };
  });
  contract.mine();
  return deeds;
}

function carriedOut(order: Order): unknown {
  switch (order.kind) {
    case "grant":
      return mined(grant(order.count));
    case "revoke": {
      for (const id of order.tokenIds) contract.revoke(BigInt(id));
      contract.mine();
      return mined(order.tokenIds.map((id) => ({ tokenId: id, key: contract.token(BigInt(id))?.key ?? "" })));
    }
    case "mine":
      chain.mine(order.count);
      return mined([]);
    case "count": {
      const counted = { calls: Object.fromEntries(calls), asked, ranges };
      calls.clear();
      asked = [];
      ranges = [];
      return counted;
    }
  }
}

function mined(deeds: Deed[]): Mined {
  const block = chain.answer("eth_getBlockByNumber", ["latest", false]) as { result: unknown };
  // A chain has made a block's bloom before anybody sees it.
  const visibleMs = steadyMs();
  for (const [socket, subscription] of subscribers) {
    const params = { subscription, result: block.result };
    socket.send(JSON.stringify({ jsonrpc: "2.0", method: "eth_subscription", params }));
  }
  return { block: chain.head, hash: chain.hashOf(chain.head), visibleMs, deeds };
}

interface Request {
  readonly id: number;
  readonly method: string;
  readonly params?: readonly unknown[];
}

function replyTo(text: string): Buffer {
  const request = JSON.parse(text) as Request | readonly Request[];
  if (!("length" in request)) return one(request);
  return Buffer.from(`[${request.map((each) => one(each).toString()).join(",")}]`);
}

function one({ id, method, params = [] }: Request): Buffer {
  calls.set(method, (calls.get(method) ?? 0) + 1);
  if (params[0] === "latest" || method === "eth_blockNumber") asked.push({ atMs: steadyMs(), head: chain.head });
  return Buffer.concat([Buffer.from(`{"jsonrpc":"2.0","id":${id},`), outcome(method, params), BRACE]);
}

const BRACE = Buffer.from("}");

function outcome(method: string, params: readonly unknown[]): Buffer {
  if (method !== "eth_getLogs") return inside(method, params);
  const { fromBlock, toBlock } = params[0] as { fromBlock?: string; toBlock?: string };
  const [from, to] = [Number(fromBlock), Number(toBlock)];
  if (fromBlock !== undefined && toBlock !== undefined) ranges.push([fromBlock, toBlock]);
  if (options.maxRange !== undefined && to - from >= options.maxRange) {
    const message = `block range is too wide: at most ${options.maxRange} blocks`;
    return Buffer.from(`"error":${JSON.stringify({ code: -32_602, message })}`);
  }
  if (!(to <= chain.head - FINAL_DEPTH)) return inside(method, params);
  const question = JSON.stringify(params);
  const answer = kept.get(question) ?? inside(method, params);
  kept.set(question, answer);
  return answer;
}

/** The reply's `result` or `error`, as they stand between the braces. */
function inside(method: string, params: readonly unknown[]): Buffer {
  const answer = method === "eth_subscribe" ? { result: "0x1" } : chain.answer(method, params);
  return Buffer.from(JSON.stringify(answer).slice(1, -1));
}
