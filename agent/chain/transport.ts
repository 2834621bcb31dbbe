/** One bounded JSON-RPC exchange over HTTP: total deadline, byte caps on the wire and inflated, no redirects. */
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage, type RequestOptions } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { createGunzip } from "node:zlib";
import { isErrorReply, oversize, parseJson, parseReply, type Read, Trouble } from "./reply.ts";

/** What carries requests to one upstream; over HTTP here, over a WebSocket in `socket.ts`. */
export interface Transport {
  /**
   * Sends one JSON-RPC request and gives the JSON that comes back, unchecked but bounded.
   * @throws Trouble timeout | connect | http-status | rate-limit | oversize | malformed
   * @throws the signal's reason when it aborts
   */
  exchange(request: WireRequest): Promise<unknown>;
  close(): void;
}

export interface WireRequest {
  readonly id: number;
  /** The JSON text. */
  readonly text: string;
  readonly deadlineMs: number;
  /** Of the inflated reply; `MAX_REPLY_BYTES` at most and by default. */
  readonly maxBytes?: number | undefined;
  /** Goes before the parser; undefined where the reply has to be parsed. */
  readonly read?: Read | undefined;
  readonly signal?: AbortSignal | undefined;
}

export const MAX_REPLY_BYTES = 8 * 1024 * 1024;
export const MAX_IN_FLIGHT = 8;
export const MAX_RETRY_AFTER_MS = 5_000;
/** Enough for an error object; what a failing server sends beyond it explains nothing. */
const MAX_ERROR_BYTES = 64 * 1024;
/**
 * Above this a reply waits until the upstream's last large one is parsed, and is looked at in turns of the event loop of
 * its own: eight hostile replies at a time cost little more memory than one.
 */
const LARGE_BYTES = 512 * 1024;

export function overHttp(url: URL): Transport {
  const secure = url.protocol === "https:";
  const agent = new (secure ? HttpsAgent : HttpAgent)({ keepAlive: true, maxSockets: MAX_IN_FLIGHT });
  const authorization = authorizationOf(url);
  const options: RequestOptions = {
    agent,
    method: "POST",
    // Brackets of an IPv6 host are the URL's, not the resolver's.
    hostname: url.hostname.replace(/^\[|\]$/g, ""),
    port: url.port,
    path: `${url.pathname}${url.search}`,
    headers: {
      "content-type": "application/json",
      accept: "application/json",
      "accept-encoding": "gzip",
      "user-agent": "dstack-vpn",
      ...(authorization === undefined ? {} : { authorization }),
    },
  };
  const send = secure ? httpsRequest : httpRequest;

  const turns = queue();

  const exchange = (request: WireRequest) =>
    within(request, async (stop) => {
      let turn: Promise<() => void> | undefined;
      const growing = () => {
        turn ??= turns();
        return turn;
      };
      try {
        return await replyIn(await respond(request.text, stop), request, growing);
      } finally {
        turn?.then((leave) => leave());
      }
    });

  /** A kept-alive socket that the server has just closed fails at once and says nothing about the server: the next is tried. */
  async function respond(text: string, signal: AbortSignal): Promise<IncomingMessage> {
    for (;;) {
      const request = send({ ...options, headers: { ...options.headers, "content-length": Buffer.byteLength(text) } });
      const stop = () => request.destroy();
      signal.addEventListener("abort", stop, { once: true });
      // Stays for the body's sake: an abort must also end a reply that drips.
      request.once("close", () => signal.removeEventListener("abort", stop));
      try {
        return await new Promise<IncomingMessage>((resolve, reject) => {
          request.once("response", resolve).on("error", reject);
          // Also where neither comes: Node drops a connection that goes over to another protocol without a word.
          request.once("close", () => reject(new Trouble("connect", "the connection closed before an answer")));
          request.end(text);
        });
      } catch (error) {
        if (signal.aborted || !request.reusedSocket) throw error;
      }
    }
  }

  return { exchange, close: () => agent.destroy() };
}

/**
 * Runs `work` under the request's deadline and signal. Whichever stops it first is what is thrown, also where the work
 * does not notice; any other error of Node's becomes a trouble that names its code alone.
 */
export async function within<T>(
  { deadlineMs, signal }: Pick<WireRequest, "deadlineMs" | "signal">,
  work: (stop: AbortSignal) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const stop = new AbortController();
  const deadline = setTimeout(() => stop.abort(new Trouble("timeout", `no reply in ${deadlineMs} ms`)), deadlineMs);
  const abort = () => stop.abort(signal?.reason);
  signal?.addEventListener("abort", abort, { once: true });
  const stopped = new Promise<never>((_, reject) => {
    stop.signal.addEventListener("abort", () => reject(stop.signal.reason), { once: true });
  });
  try {
    return await Promise.race([work(stop.signal), stopped]);
  } catch (error) {
    if (stop.signal.aborted) throw stop.signal.reason;
    throw error instanceof Trouble ? error : new Trouble("connect", `connection failed (${errorCode(error)})`);
  } finally {
    clearTimeout(deadline);
    signal?.removeEventListener("abort", abort);
  }
}

/** Credentials in a URL belong in a header; a URL is printed too easily. */
export function authorizationOf(url: URL): string | undefined {
  if (url.username === "" && url.password === "") return undefined;
  return `Basic ${Buffer.from(`${decoded(url.username)}:${decoded(url.password)}`).toString("base64")}`;
}

/** @throws Trouble for every status but 200 that is not explained by a JSON-RPC error */
async function replyIn(response: IncomingMessage, request: WireRequest, growing: Growing): Promise<unknown> {
  const { read, maxBytes = MAX_REPLY_BYTES } = request;
  const status = response.statusCode ?? 0;
  const isError = status >= 400 && status !== 429 && status !== 503;
  if (status !== 200 && !isError) {
    response.destroy();
    throw refusalOf(status, response.headers["retry-after"]);
  }
  if (!isError) return parseInTurns(await bodyOf(response, maxBytes, growing), read);
  try {
    const reply = parseJson(await bodyOf(response, MAX_ERROR_BYTES, growing));
    if (isErrorReply(reply)) return reply;
  } catch (error) {
    if (!(error instanceof Trouble)) throw error;
  }
  throw refusalOf(status, undefined);
}

/** What a status other than 200 means, of an answer or of a WebSocket's upgrade. */
export function refusalOf(status: number, retryAfter: string | undefined): Trouble {
  const seconds = /^[0-9]{1,9}$/.test(retryAfter ?? "") ? Number(retryAfter) : undefined;
  const retryAfterMs = seconds === undefined ? undefined : Math.min(seconds * 1_000, MAX_RETRY_AFTER_MS);
  // Whoever is down for a moment says 503 as well, and is better asked again at once than less often.
  const isRate = status === 429 || (status === 503 && seconds !== undefined);
  return new Trouble(isRate ? "rate-limit" : "http-status", `HTTP ${status}`, retryAfterMs);
}

/** Asked by a body that grows large; it goes on when this resolves. */
type Growing = () => Promise<unknown>;

async function bodyOf(response: IncomingMessage, limit: number, growing: Growing): Promise<Buffer> {
  const encoding = response.headers["content-encoding"]?.toLowerCase() ?? "identity";
  if (!["identity", "", "gzip", "x-gzip"].includes(encoding)) {
    response.destroy();
    throw new Trouble("malformed", "its content encoding was not asked for");
  }
  if (Number(response.headers["content-length"] ?? 0) > limit) {
    response.destroy();
    throw oversize(limit);
  }
  return new Promise((resolve, reject) => {
    const inflate = encoding.endsWith("gzip") ? createGunzip() : undefined;
    const chunks: Buffer[] = [];
    let wire = 0;
    let inflated = 0;
    const fail = (error: unknown) => {
      response.destroy();
      inflate?.destroy();
      chunks.length = 0;
      reject(error);
    };
    const take = (chunk: Buffer) => {
      const isGrowing = inflated <= LARGE_BYTES && inflated + chunk.length > LARGE_BYTES;
      inflated += chunk.length;
      if (inflated > limit) return fail(oversize(limit));
      chunks.push(chunk);
      if (isGrowing) growing().then(() => (inflate ?? response).resume(), fail);
      if (isGrowing) (inflate ?? response).pause();
    };
    const finish = () => resolve(Buffer.concat(chunks, inflated));
    // Counted on both sides: a gzip stream may inflate to gigabytes, and an endless one to nothing.
    response.on("data", (chunk: Buffer) => {
      wire += chunk.length;
      if (wire > limit) fail(oversize(limit));
    });
    response.once("error", fail);
    if (inflate === undefined) response.on("data", take).once("end", finish);
    else {
      inflate.on("data", take).once("end", finish);
      inflate.once("error", () => fail(new Trouble("malformed", "its compression is broken")));
      response.pipe(inflate);
    }
  });
}

/** One after another: each call resolves when those before have left, with the way to leave. */
function queue(): () => Promise<() => void> {
  let last = Promise.resolve();
  return () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const before = last;
    last = promise;
    return before.then(() => resolve);
  };
}

/** 8 MB take some 30 ms to decode and scan and as long to parse; other work goes on in between. */
export async function parseInTurns(bytes: Buffer, read?: Read): Promise<unknown> {
  if (bytes.length > LARGE_BYTES) await nextTurn();
  const reply = parseReply(bytes, read);
  if (bytes.length > LARGE_BYTES) await nextTurn();
  return reply;
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A code of Node's such as ECONNREFUSED; messages may hold more than that. */
function errorCode(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return /^[A-Z][A-Z0-9_]{1,40}$/.test(code) ? code : "unknown";
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
