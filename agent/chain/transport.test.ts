import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { RpcProxy } from "../test/rpc-proxy.ts";
import type { WireFault } from "../test/wire-faults.ts";
import { Trouble, type TroubleKind } from "./reply.ts";
import { overWebSocket } from "./socket.ts";
import { overHttp, type Transport, within } from "./transport.ts";

// The machine may be busy.
vi.setConfig({ testTimeout: 20_000 });
const WELL = { result: "0x10" };
const long = `0x${"ab".repeat(3 * 2 ** 20)}`;

let proxy: RpcProxy;
beforeAll(async () => {
  proxy = await RpcProxy.open((method) => (method === "long" ? { result: long } : WELL));
});
beforeEach(async () => {
  proxy.heal();
  proxy.calls.length = 0;
});
afterAll(() => proxy[Symbol.asyncDispose]());

let lastId = 0;
function send(
  transport: Transport,
  { method = "any", deadlineMs = 10_000, signal = undefined as AbortSignal | undefined } = {},
) {
  const id = ++lastId;
  return transport.exchange({
    id,
    text: JSON.stringify({ jsonrpc: "2.0", id, method, params: [] }),
    deadlineMs,
    signal,
  });
}

const CARRIERS: readonly [string, () => Transport][] = [
  ["HTTP", () => overHttp(proxy.url())],
  ["a WebSocket", () => overWebSocket(proxy.url("/", "ws"), { onOpen: () => {}, onNotice: () => {} })],
];

/** The trouble that one faulty exchange ends in, and that the next exchange is well. */
async function troubleOf(fault: WireFault, carrier: () => Transport, deadlineMs?: number): Promise<Trouble> {
  const transport = carrier();
  try {
    await send(transport);
    proxy.misbehave(fault, { times: 1 });
    const error = await send(transport, deadlineMs === undefined ? {} : { deadlineMs }).then(
      () => new Error("it answered"),
      (caught: unknown) => caught,
    );
    expect(await send(transport)).toMatchObject(WELL);
    if (error instanceof Trouble) return error;
    throw error;
  } finally {
    transport.close();
  }
}

describe.each(CARRIERS)("an exchange over %s", (_, carrier) => {
  it("gives the reply's JSON", async () => {
    const transport = carrier();
    expect(await send(transport)).toMatchObject({ jsonrpc: "2.0", id: lastId, ...WELL });
    transport.close();
  });

  it("carries a reply of megabytes", async () => {
    const transport = carrier();
    expect(await send(transport, { method: "long" })).toMatchObject({ result: long });
    transport.close();
  });

  it.each<[string, WireFault, TroubleKind, number?]>([
    ["ends at the deadline where no answer comes", { kind: "drop" }, "timeout", 150],
    ["refuses HTML", { kind: "text", text: "<html>sorry</html>" }, "malformed"],
    ["refuses an empty answer", { kind: "text", text: "" }, "malformed"],
    ["refuses what is nested too deeply", { kind: "text", text: "[".repeat(100_000) }, "malformed"],
    ["refuses what would grow in parsing", { kind: "text", text: `[${"{},".repeat(100_000)}{}]` }, "malformed"],
    ["refuses more than 8 MB", { kind: "flood", megabytes: 9 }, "oversize"],
  ])("%s", async (__, fault, kind, deadlineMs) => {
    expect((await troubleOf(fault, carrier, deadlineMs)).kind).toBe(kind);
  });

  it("outlives a refusal of connections", async () => {
    const transport = carrier();
    await send(transport);
    await proxy.stop();
    await expect(send(transport)).rejects.toMatchObject({ kind: "connect" });
    await expect(send(transport)).rejects.toMatchObject({
      kind: "connect",
      message: "connection failed (ECONNREFUSED)",
    });
    await proxy.start();
    expect(await send(transport)).toMatchObject(WELL);
    transport.close();
  });

  it("stops with the caller's own reason", async () => {
    const transport = carrier();
    proxy.misbehave({ kind: "drop" });
    const stop = new AbortController();
    const why = new Error("enough");
    setTimeout(() => stop.abort(why), 30);
    await expect(send(transport, { signal: stop.signal })).rejects.toBe(why);
    await expect(send(transport, { signal: stop.signal })).rejects.toBe(why);
    transport.close();
  });
});

describe("an exchange over HTTP", () => {
  const carrier = () => overHttp(proxy.url());
  const status = (code: number, retryAfter?: string): WireFault => ({
    ...{ kind: "status", status: code },
    ...(retryAfter === undefined ? {} : { retryAfter }),
  });

  it.each<[string, WireFault, TroubleKind, number | undefined]>([
    ["follows no redirect", { kind: "redirect", to: "/elsewhere" }, "http-status", undefined],
    [
      "takes no result from a failing server",
      { kind: "text", status: 500, text: '{"jsonrpc":"2.0","id":1,"result":1}' },
      "http-status",
      undefined,
    ],
    ["refuses a truncated answer", { kind: "truncate" }, "connect", undefined],
    ["refuses a small body that inflates to a large one", { kind: "bomb", megabytes: 64 }, "oversize", undefined],
    [
      "refuses much that inflates to nothing",
      { kind: "flood", megabytes: 9, piece: gzipSync(""), encoding: "gzip" },
      "oversize",
      undefined,
    ],
    ["refuses broken compression", { kind: "text", text: "{}", encoding: "gzip" }, "malformed", undefined],
    [
      "refuses compression that was not asked for",
      { kind: "text", text: "{}", encoding: "br" },
      "malformed",
      undefined,
    ],
    ["knows an overloaded server", status(503, "1"), "rate-limit", 1_000],
    ["takes an overload without a time for any failure", status(503), "http-status", undefined],
    ["knows a server that is asked too often", status(429), "rate-limit", undefined],
    ["knows how long to wait", status(429, "2"), "rate-limit", 2_000],
    ["never waits over five seconds", status(503, "3600"), "rate-limit", 5_000],
    ["waits for no date", status(429, "Wed, 21 Oct 2026 07:28:00 GMT"), "rate-limit", undefined],
    ["knows a server that fails", status(500), "http-status", undefined],
    ["knows a server that refuses us", status(403), "http-status", undefined],
    ["takes 204 for no answer", status(204), "http-status", undefined],
  ])("%s", async (_, fault, kind, retryAfterMs) => {
    expect(await troubleOf(fault, carrier)).toMatchObject({ kind, retryAfterMs });
    expect(proxy.calls.every(({ path }) => path === "/")).toBe(true);
  });

  it("reads the error object that explains a failing status", async () => {
    const transport = carrier();
    const error = { code: -32602, message: "range too wide" };
    proxy.misbehave({ kind: "text", status: 400, text: JSON.stringify({ jsonrpc: "2.0", id: 1, error }) });
    expect(await send(transport)).toMatchObject({ error });
    transport.close();
  });

  it("holds its deadline against an answer that drips", async () => {
    const startedAt = performance.now();
    const trouble = await troubleOf({ kind: "drip", bytes: 1, everyMs: 40 }, carrier, 200);
    expect(trouble.kind).toBe("timeout");
    // 37 bytes would take 1.5 s; each arrives within any idle timeout.
    expect(performance.now() - startedAt).toBeLessThan(1_400);
  });

  it("refuses more than was expected of the question", async () => {
    const transport = carrier();
    const request = { id: 1, text: JSON.stringify({ id: 1, method: "long" }), deadlineMs: 10_000 };
    await expect(transport.exchange({ ...request, maxBytes: 2 ** 20 })).rejects.toMatchObject({ kind: "oversize" });
    expect(await transport.exchange(request)).toMatchObject({ result: long });
    transport.close();
  });

  it("reads large answers one at a time, and small ones beside them", async () => {
    const transport = carrier();
    proxy.misbehave({ kind: "drip", bytes: 2 ** 20, everyMs: 80 }, { method: "long", times: 1 });
    const done: string[] = [];
    const note = (name: string) => () => done.push(name);
    const slow = send(transport, { method: "long" }).then(note("slow"));
    await new Promise((resolve) => setTimeout(resolve, 160));
    await Promise.all([
      slow,
      send(transport, { method: "long" }).then(note("quick")),
      send(transport).then(note("small")),
    ]);
    expect(done).toEqual(["small", "slow", "quick"]);
    transport.close();
  });

  it("lets the next large answer pass when one is given up", async () => {
    const transport = carrier();
    proxy.misbehave({ kind: "drip", bytes: 2 ** 20, everyMs: 200 }, { method: "long", times: 1 });
    const given = expect(send(transport, { method: "long", deadlineMs: 300 })).rejects.toMatchObject({
      kind: "timeout",
    });
    expect(await send(transport, { method: "long" })).toMatchObject({ result: long });
    await given;
    transport.close();
  });

  it("inflates gzip", async () => {
    const transport = carrier();
    const text = gzipSync(JSON.stringify({ jsonrpc: "2.0", id: 1, ...WELL }));
    proxy.misbehave({ kind: "text", text, encoding: "gzip" });
    expect(await send(transport)).toMatchObject(WELL);
    transport.close();
  });

  it("keeps one connection for one request after another", async () => {
    const transport = carrier();
    for (let i = 0; i < 5; i++) await send(transport);
    expect(proxy.connections()).toBe(1);
    transport.close();
  });

  it("is over when a new connection is reset", async () => {
    const transport = carrier();
    proxy.misbehave({ kind: "reset" }, { times: 1 });
    await expect(send(transport)).rejects.toMatchObject({ kind: "connect", message: "connection failed (ECONNRESET)" });
    transport.close();
  });

  it("is over when a new connection answers with another protocol, and tried again where an old one does", async () => {
    const transport = carrier();
    proxy.misbehave({ kind: "upgrade" }, { times: 1 });
    await expect(send(transport)).rejects.toMatchObject({ kind: "connect" });
    await send(transport);
    proxy.misbehave({ kind: "upgrade" }, { times: 1 });
    expect(await send(transport)).toMatchObject(WELL);
    transport.close();
  });

  it("takes another connection where the server closed an idle one", async () => {
    const transport = carrier();
    await Promise.all([send(transport), send(transport), send(transport)]);
    proxy.cut();
    expect(await send(transport)).toMatchObject(WELL);
    transport.close();
  });

  it("sends credentials of the URL as a header and the path as it is", async () => {
    const url = proxy.url("/v3/key?x=1");
    url.username = "us%20er";
    url.password = "pass";
    const transport = overHttp(url);
    await send(transport);
    const authorization = `Basic ${Buffer.from("us er:pass").toString("base64")}`;
    expect(proxy.calls.at(-1)).toMatchObject({ path: "/v3/key?x=1", authorization });
    transport.close();
  });
});

describe("the deadline and the signal of an exchange", () => {
  const never = () => new Promise<never>(() => {});
  it("end it, whatever its work is waiting for", async () => {
    await expect(within({ deadlineMs: 30 }, never)).rejects.toMatchObject({ kind: "timeout" });
    const why = new Error("enough");
    const stop = new AbortController();
    setTimeout(() => stop.abort(why), 30);
    await expect(within({ deadlineMs: 10_000, signal: stop.signal }, never)).rejects.toBe(why);
  });
});

describe("an exchange over a WebSocket", () => {
  const carrier = (onNotice: (notice: unknown) => void = () => {}, onOpen = () => {}) =>
    overWebSocket(proxy.url("/", "ws"), { onOpen, onNotice });

  it("is over when the connection is", async () => {
    expect((await troubleOf({ kind: "reset" }, carrier)).kind).toBe("connect");
  });

  it("matches answers that come in another order", async () => {
    const transport = carrier();
    proxy.misbehave({ kind: "delay", ms: 60 }, { method: "slow" });
    const answers: string[] = [];
    const note = (name: string) => () => answers.push(name);
    await Promise.all([send(transport, { method: "slow" }).then(note("slow")), send(transport).then(note("fast"))]);
    expect(answers).toEqual(["fast", "slow"]);
    transport.close();
  });

  it("refuses an answer to what was never asked", async () => {
    expect((await troubleOf({ kind: "envelope", change: (reply) => ({ ...reply, id: 1e9 }) }, carrier)).kind).toBe(
      "malformed",
    );
  });

  it("is not troubled by an answer that comes too late", async () => {
    const opened: unknown[] = [];
    const transport = carrier(
      () => {},
      () => opened.push("open"),
    );
    await send(transport);
    proxy.misbehave({ kind: "delay", ms: 120 }, { method: "slow" });
    const other = send(transport, { method: "slow" });
    await expect(send(transport, { method: "slow", deadlineMs: 60 })).rejects.toMatchObject({ kind: "timeout" });
    await send(transport);
    await other;
    expect(opened).toEqual(["open"]);
    transport.close();
  });

  it("is patient with an end that is slow and answers pings", async () => {
    const opened: string[] = [];
    const transport = carrier(
      () => {},
      () => opened.push("open"),
    );
    proxy.misbehave({ kind: "delay", ms: 1_200 });
    const patient = send(transport);
    await expect(send(transport, { deadlineMs: 60 })).rejects.toMatchObject({ kind: "timeout" });
    expect(await patient).toMatchObject(WELL);
    expect(opened).toEqual(["open"]);
    transport.close();
  });

  it("takes a new connection where the old one has gone silent", async () => {
    const opened: string[] = [];
    const transport = carrier(
      () => {},
      () => opened.push("open"),
    );
    await send(transport);
    proxy.hang();
    await expect(send(transport, { deadlineMs: 50 })).rejects.toMatchObject({ kind: "timeout" });
    await expect(send(transport)).rejects.toMatchObject({ kind: "connect" });
    await send(transport);
    expect(opened).toEqual(["open", "open"]);
    transport.close();
  });

  it("knows how long a server that refuses the upgrade wants to be left alone", async () => {
    const transport = carrier();
    proxy.upgradeStatus = 429;
    await expect(send(transport)).rejects.toMatchObject({ kind: "rate-limit", retryAfterMs: 1_000 });
    proxy.upgradeStatus = 401;
    await expect(send(transport)).rejects.toMatchObject({ kind: "http-status" });
    transport.close();
  });

  it("sends credentials of the URL as a header, and no fragment", async () => {
    const url = proxy.url("/v3/key#part", "ws");
    url.username = "user";
    url.password = "pass";
    const transport = overWebSocket(url, { onOpen: () => {}, onNotice: () => {} });
    await send(transport);
    const authorization = `Basic ${Buffer.from("user:pass").toString("base64")}`;
    expect(proxy.calls.at(-1)).toMatchObject({ path: "/v3/key", authorization });
    transport.close();
  });
});
