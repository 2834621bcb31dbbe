/**
 * A JSON-RPC server that misbehaves on demand, before a real upstream or a scripted chain, over HTTP and WebSocket on
 * one port. Faults of the wire are in `wire-faults.ts`, lies about the
 * chain in `rpc-lies.ts`. It records every call.
 */
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { type WebSocket, WebSocketServer } from "ws";
import type { Backend, Outcome } from "./scripted-chain.ts";
import { answerHttp, answerSocket, type WireFault } from "./wire-faults.ts";

/** Answers in the backend's place, or asks it (`next`) and changes what it says. */
export type Lie = (call: Call, next: Backend) => Promise<Outcome> | Outcome;

export interface Where {
  /** All methods without it. */
  readonly method?: string | RegExp;
  /** How often, then never again. */
  readonly times?: number;
  /** 0 to 1, drawn from `random`. */
  readonly chance?: number;
  readonly random?: () => number;
  readonly when?: (call: Call) => boolean;
}

export interface Call {
  readonly method: string;
  readonly params: readonly unknown[];
  readonly via: "http" | "ws";
  readonly path: string;
  readonly authorization: string | undefined;
  readonly at: number;
  /** What was done to it, if anything. */
  fault: string | undefined;
}

interface Rule<T> {
  readonly does: T;
  readonly where: Where;
  left: number;
}

export class RpcProxy implements AsyncDisposable {
  /** Every call, oldest first; empty it at will. */
  readonly calls: Call[] = [];
  backend: Backend;
  /** No newHeads notices while set; subscriptions are granted all the same. */
  isMute = false;
  /** Refuses WebSocket upgrades with this status. */
  upgradeStatus: number | undefined;
  /** The hash in the last newHeads notice. */
  lastHeadTold: unknown;
  /** The most requests that were unanswered at one time. */
  mostInFlight = 0;
  #inFlight = 0;
  #faults: Rule<WireFault>[] = [];
  #lies: Rule<Lie>[] = [];
  #server: Server | undefined;
  #port = 0;
  readonly #address: string;
  readonly #sockets = new Set<Socket>();
  readonly #subscribers = new Map<WebSocket, string>();
  #watch: NodeJS.Timeout | undefined;

  private constructor(backend: Backend, address: string) {
    this.backend = backend;
    this.#address = address;
  }

  /** On loopback, unless others are to reach it at `address`. */
  static async open(backend: Backend | URL, port = 0, address = "127.0.0.1"): Promise<RpcProxy> {
    const proxy = new RpcProxy(backend instanceof URL ? overHttp(backend) : backend, address);
    proxy.#port = port;
    await proxy.start();
    return proxy;
  }

  url(path = "/", scheme: "http" | "ws" = "http"): URL {
    return new URL(path, `${scheme}://${this.host}`);
  }

  get host(): string {
    return `${this.#address}:${this.#port}`;
  }

  /** Until undone, or `times`. Of several that fit, the latest is done. */
  misbehave(fault: WireFault, where: Where = {}): () => void {
    const rule = { does: fault, where, left: where.times ?? Number.POSITIVE_INFINITY };
    this.#faults.unshift(rule);
    return () => {
      this.#faults = this.#faults.filter((other) => other !== rule);
    };
  }

  /** Lies are told on top of one another, the latest outermost. */
  lie(lie: Lie, where: Where = {}): () => void {
    const rule = { does: lie, where, left: where.times ?? Number.POSITIVE_INFINITY };
    this.#lies.push(rule);
    return () => {
      this.#lies = this.#lies.filter((other) => other !== rule);
    };
  }

  heal(): void {
    this.#faults = [];
    this.#lies = [];
    this.isMute = false;
    this.upgradeStatus = undefined;
  }

  subscribers(): number {
    return this.#subscribers.size;
  }

  /** Over HTTP and WebSocket together. */
  connections(): number {
    return this.#sockets.size;
  }

  /** The connections there are stay, and nothing more is read from them: what a crashed host looks like. */
  hang(): void {
    for (const socket of this.#sockets) socket.pause();
  }

  /** Closes every connection and keeps listening. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  count(method?: string): number {
    return this.calls.filter((call) => method === undefined || call.method === method).length;
  }

  /** Nobody listens on the port, and every connection is cut. */
  async stop(): Promise<void> {
    clearInterval(this.#watch);
    this.#subscribers.clear();
    const server = this.#server;
    this.#server = undefined;
    this.cut();
    if (server === undefined) return;
    server.close();
    await once(server, "close");
  }

  /** Listens again, on the same port. */
  async start(): Promise<void> {
    const server = createServer(
      (request, response) => void this.#serve(request, response).catch(() => response.destroy()),
    );
    const sockets = new WebSocketServer({ noServer: true, maxPayload: 2 ** 20 });
    server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.setNoDelay(true).once("close", () => this.#sockets.delete(socket));
    });
    server.on("upgrade", (request, socket, head) => {
      if (this.upgradeStatus !== undefined) {
        socket.end(`HTTP/1.1 ${this.upgradeStatus} No\r\ncontent-length: 0\r\nretry-after: 1\r\n\r\n`);
        return;
      }
      sockets.handleUpgrade(request, socket, head, (ws) => {
        ws.on("error", () => {});
        ws.on("message", (bytes: Buffer) => {
          // A backend that is down looks like a connection that breaks.
          this.#converse(ws, bytes.toString(), request).catch(() => ws.terminate());
        });
        ws.on("close", () => this.#subscribers.delete(ws));
      });
    });
    server.listen(this.#port, this.#address);
    await once(server, "listening");
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
    this.#watch = setInterval(() => void this.#tellHeads().catch(() => {}), 10);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { text, fault } = await this.#reply(Buffer.concat(chunks).toString(), "http", request);
    await answerHttp(response, text, fault);
  }

  async #converse(ws: WebSocket, request: string, upgrade: IncomingMessage): Promise<void> {
    const { text, fault, call } = await this.#reply(request, "ws", upgrade);
    if (call.method === "eth_subscribe" && fault === undefined) this.#subscribers.set(ws, String(this.calls.length));
    answerSocket(ws, text, fault);
  }

  /** The answer as it would go out, and what is to be done to it instead. */
  async #reply(request: string, via: "http" | "ws", { url = "/", headers }: IncomingMessage) {
    const { id, method, params } = JSON.parse(request) as { id: unknown; method: string; params: unknown[] };
    const { authorization } = headers;
    const call: Call = { method, params, via, path: url, authorization, at: Date.now(), fault: undefined };
    this.calls.push(call);
    this.mostInFlight = Math.max(this.mostInFlight, ++this.#inFlight);
    try {
      const fault = drawn(this.#faults, call)?.does;
      call.fault = fault?.kind;
      if (fault?.kind === "delay") await sleep(fault.ms);
      const outcome = fault?.kind === "answer" ? fault.outcome : await this.#ask(call, via);
      const reply = { jsonrpc: "2.0", id, ...outcome };
      return { call, fault, text: JSON.stringify(fault?.kind === "envelope" ? fault.change(reply) : reply) };
    } finally {
      this.#inFlight--;
    }
  }

  async #ask(call: Call, via: "http" | "ws"): Promise<Outcome> {
    let answer: Backend = (method, params) =>
      method === "eth_subscribe" && via === "ws" ? { result: `0x${this.calls.length}` } : this.backend(method, params);
    for (const rule of this.#lies) {
      if (drawn([rule], call) === undefined) continue;
      call.fault ??= rule.does.name === "" ? "lie" : rule.does.name;
      const next = answer;
      answer = (method, params) => rule.does({ ...call, method, params }, next);
    }
    return answer(call.method, call.params);
  }

  async #tellHeads(): Promise<void> {
    if (this.#subscribers.size === 0 || this.isMute) return;
    const outcome = await this.backend("eth_getBlockByNumber", ["latest", false]);
    const block = "result" in outcome ? (outcome.result as { hash?: unknown } | null) : null;
    if (block === null || block.hash === this.lastHeadTold) return;
    this.lastHeadTold = block.hash;
    for (const [ws, subscription] of this.#subscribers) {
      ws.send(JSON.stringify({ jsonrpc: "2.0", method: "eth_subscription", params: { subscription, result: block } }));
    }
  }
}

function drawn<T>(rules: readonly Rule<T>[], call: Call): Rule<T> | undefined {
  const found = rules.find(({ where: { method, chance = 1, random = Math.random, when }, left }) => {
    const fits =
      method === undefined || (typeof method === "string" ? method === call.method : method.test(call.method));
    return left > 0 && fits && (when?.(call) ?? true) && (chance === 1 || random() < chance);
  });
  if (found !== undefined) found.left--;
  return found;
}

function overHttp(url: URL): Backend {
  return async (method, params) => {
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
    const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body });
    const { result, error } = (await response.json()) as { result?: unknown; error?: never };
    return error === undefined ? { result } : { error };
  };
}
