/** JSON-RPC over one WebSocket: requests matched by id, subscription notices passed on, reconnected on demand. */
import type { ClientRequest, IncomingMessage } from "node:http";
import { WebSocket } from "ws";
import { oversize, type Read, Trouble } from "./reply.ts";
import {
  authorizationOf,
  MAX_REPLY_BYTES,
  parseInTurns,
  refusalOf,
  type Transport,
  type WireRequest,
  within,
} from "./transport.ts";

export interface SocketTransport extends Transport {
  /** Connects where there is no connection; gives a promise of its end. @throws Trouble connect | http-status | rate-limit */
  open(): Promise<{ readonly closed: Promise<void> }>;
}

export interface SocketEvents {
  /** A new connection, before anything was sent over it: who answers there may not be who did before. */
  readonly onOpen: () => void;
  /** A message that answers no request: bounded, unchecked. */
  readonly onNotice: (notice: unknown) => void;
}

const HANDSHAKE_MS = 3_000;
/** A peer that vanished without a word is noticed within two of these. */
const PING_MS = 10_000;
const PONG_MS = 1_000;

export function overWebSocket(url: URL, events: SocketEvents): SocketTransport {
  const address = new URL(url);
  address.username = "";
  address.password = "";
  address.hash = "";
  const authorization = authorizationOf(url);
  const headers = { "user-agent": "dstack-vpn", ...(authorization === undefined ? {} : { authorization }) };
  let line: Promise<Line> | undefined;
  let isClosed = false;

  function open(): Promise<Line> {
    if (isClosed) return Promise.reject(new Trouble("connect", "closed by us"));
    line ??= dial(address, headers, events, () => {
      line = undefined;
    });
    return line;
  }

  function exchange(request: WireRequest): Promise<unknown> {
    return within(request, async (stop) => {
      const line = await open();
      stop.throwIfAborted();
      return line.ask(request, stop);
    });
  }

  function close(): void {
    isClosed = true;
    line?.then((line) => line.end()).catch(() => {});
  }

  return { open, exchange, close };
}

interface Line {
  ask(request: WireRequest, stop: AbortSignal): Promise<unknown>;
  end(): void;
  readonly closed: Promise<void>;
}

interface Waiting {
  readonly read: Read | undefined;
  readonly resolve: (reply: unknown) => void;
  readonly reject: (reason: unknown) => void;
}

/** One connection from its handshake to its end. `gone` is called once, before any of its requests fails. */
function dial(url: URL, headers: Record<string, string>, events: SocketEvents, gone: () => void): Promise<Line> {
  const ws = new WebSocket(url, {
    headers,
    maxPayload: MAX_REPLY_BYTES,
    // Nothing is inflated, so what arrives is what the cap counts.
    perMessageDeflate: false,
    handshakeTimeout: HANDSHAKE_MS,
  });
  const waiting = new Map<number, Waiting>();
  const closed = Promise.withResolvers<void>();
  const opened = Promise.withResolvers<Line>();
  let lastId = 0;
  let heardAt = 0;
  let ping: NodeJS.Timeout | undefined;
  let hasEnded = false;

  function end(why: Trouble): void {
    if (hasEnded) return;
    hasEnded = true;
    clearInterval(ping);
    gone();
    ws.terminate();
    opened.reject(why);
    for (const { reject } of waiting.values()) reject(why);
    waiting.clear();
    closed.resolve();
  }

  function ask({ id, text, read }: WireRequest, stop: AbortSignal): Promise<unknown> {
    if (hasEnded) return Promise.reject(new Trouble("connect", "the connection has just closed"));
    const sentAt = performance.now();
    lastId = Math.max(lastId, id);
    stop.addEventListener("abort", () => {
      const isLate = stop.reason instanceof Trouble && stop.reason.kind === "timeout";
      if (waiting.delete(id) && isLate) doubtSince(sentAt);
    });
    return new Promise((resolve, reject) => {
      waiting.set(id, { read, resolve, reject });
      ws.send(text);
    });
  }

  /** A slow answer leaves the others alone; an end that does not even answer a ping is gone, whatever TCP believes. */
  function doubtSince(time: number): void {
    if (hasEnded || heardAt > time) return;
    ws.ping();
    setTimeout(() => {
      if (heardAt <= time) end(new Trouble("connect", "the connection has gone silent"));
    }, PONG_MS).unref();
  }

  async function take(bytes: Buffer): Promise<void> {
    // Whose reply it is shows only in it: what one of them reads in its own way, no other one takes for its result.
    const read = [...waiting.values()].find((one) => one.read !== undefined)?.read;
    const reply = await parseInTurns(bytes, read);
    const isObject = typeof reply === "object" && reply !== null;
    if (isObject && "method" in reply && !("id" in reply)) return events.onNotice(reply);
    const id = isObject && "id" in reply ? reply.id : undefined;
    const asker = typeof id === "number" ? waiting.get(id) : undefined;
    if (asker !== undefined && typeof id === "number") {
      waiting.delete(id);
      return asker.resolve(reply);
    }
    // The late answer to a request that was given up is normal; an answer to what was never asked is not.
    if (typeof id !== "number" || !(id <= lastId)) throw new Trouble("malformed", "it answers another request");
  }

  ws.on("open", () => {
    ping = setInterval(() => {
      if (performance.now() - heardAt > 2 * PING_MS) end(new Trouble("connect", "no answer to our pings"));
      else ws.ping();
    }, PING_MS);
    ping.unref();
    heardAt = performance.now();
    events.onOpen();
    opened.resolve({ ask, closed: closed.promise, end: () => end(new Trouble("connect", "closed by us")) });
  });
  ws.on("pong", () => {
    heardAt = performance.now();
  });
  ws.on("message", (bytes: Buffer) => {
    heardAt = performance.now();
    take(bytes).catch((error) => end(error instanceof Trouble ? error : new Trouble("malformed", "it cannot be read")));
  });
  ws.on("unexpected-response", (request: ClientRequest, response: IncomingMessage) => {
    request.destroy();
    end(refusalOf(response.statusCode ?? 0, response.headers["retry-after"]));
  });
  ws.on("error", (error: NodeJS.ErrnoException) => end(troubleOf(error)));
  ws.on("close", () => end(new Trouble("connect", "the connection closed")));
  return opened.promise;
}

function troubleOf({ code = "" }: NodeJS.ErrnoException): Trouble {
  if (code === "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH") return oversize(MAX_REPLY_BYTES);
  if (code.startsWith("WS_ERR")) return new Trouble("malformed", "it breaks the WebSocket protocol");
  return new Trouble("connect", `connection failed (${/^[A-Z0-9_]{1,40}$/.test(code) ? code : "unknown"})`);
}
