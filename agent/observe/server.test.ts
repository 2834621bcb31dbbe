import { request as ask, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it, vi } from "vitest";
import { AgentError } from "../errors.ts";
import { Secret } from "../model.ts";
import { NOW, snapshot } from "../test/snapshot.ts";
import type { PeerView, Snapshot } from "./health.ts";
import { createJournal } from "./journal.ts";
import { createMetrics } from "./metrics.ts";
import { type ServeOptions, serve } from "./server.ts";

/** The machine may be busy; what is waited for comes, and the time is not what is tested. */
const PATIENTLY = { timeout: 20_000 };
vi.setConfig({ testTimeout: 60_000 });

const TOKEN = "planted-admin-token-0123456789";
const HOSTILE = '</script>"\u202e\u0000\ud83d\u{1f600}';
const asAdmin = { authorization: `Bearer ${TOKEN}` };

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const undo of cleanUp.splice(0).reverse()) await undo();
});

async function node(options: Partial<ServeOptions> & { world?: Snapshot } = {}) {
  const metrics = createMetrics();
  const journal = createJournal({ now: () => NOW.wallMs });
  journal.add("grant", { tokenId: "7", nodeId: HOSTILE });
  journal.add("apply", { added: 1 });
  const started: string[] = [];
  const server = await serve({
    host: "127.0.0.1",
    port: 0,
    allowedHosts: ["node-a", "Dash.Example:8082"],
    corsOrigins: ["https://watch.example"],
    adminToken: new Secret(TOKEN),
    settings: { nodeId: "node-a", chainId: 8453 },
    snapshot: () => options.world ?? snapshot(),
    journal,
    metrics,
    isOverlayAddress: () => false,
    actions: {
      resync: async () => ({ started: started.push("resync") }),
      rollback: async (generation) => ({ started: started.push(`rollback ${generation}`), generation: 6 }),
    },
    now: () => NOW,
    onError: () => {},
    ...options,
  });
  cleanUp.push(server.close, metrics.close);
  return { ...server, started };
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: a body is what the test says it is
  readonly body: any;
}

function get(
  port: number,
  path: string,
  options: { method?: string; headers?: Record<string, string>; body?: string } = {},
) {
  return new Promise<Answer>((resolve, reject) => {
    const { method = "GET", headers = {}, body } = options;
    const request = ask({ host: "127.0.0.1", port, path, method, headers: { host: `localhost:${port}`, ...headers } });
    request.on("error", reject).on("response", (response) => resolve(answered(response)));
    request.end(body);
  });
}

async function answered(response: IncomingMessage): Promise<Answer> {
  let text = "";
  for await (const piece of response.setEncoding("utf8")) text += piece;
  const isJson = response.headers["content-type"]?.startsWith("application/json") && text !== "";
  const { statusCode: status = 0, headers } = response;
  return { status, headers, text, body: isJson ? JSON.parse(text) : undefined };
}

/** Sends bytes as they are and gives back what comes until the other side closes. */
function raw(port: number, bytes: string): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    const socket = connect(port, "127.0.0.1", () => socket.write(bytes));
    const done = () => resolve(text);
    socket.setEncoding("utf8").on("data", (piece) => {
      text += piece;
    });
    socket.on("close", done).on("error", done);
  });
}

describe("the paths", () => {
  it("answers each as DESIGN section 9 lists its fields", async () => {
    const { port } = await node();
    const fields = async (path: string) => Object.keys((await get(port, path)).body);
    expect(await fields("/live")).toEqual(["status"]);
    expect(await fields("/ready")).toEqual(["status", "reasons"]);
    const health = ["status", "ready", "nodeId", "version", "uptimeSeconds", "reasons", "components"];
    expect(await fields("/health")).toEqual(health);
    const stats = [
      "uptimeSeconds",
      "tokens",
      "admitted",
      "quarantined",
      "peers",
      "traffic",
      "applies",
      "eventToDevice",
    ];
    expect(await fields("/stats")).toEqual([...stats, "chain"]);
    const device = ["interface", "publicKey", "listenPort", "addresses", "rxBytes", "txBytes", "asOf", "peers"];
    expect(await fields("/wireguard")).toEqual(device);
    expect((await get(port, "/config")).body).toEqual({ nodeId: "node-a", chainId: 8453 });
    const { body: events } = await get(port, "/events");
    expect([events.next, events.events.map(({ kind }: { kind: string }) => kind)]).toEqual([2, ["grant", "apply"]]);
    const metrics = await get(port, "/metrics");
    expect(metrics.headers["content-type"]).toBe("text/plain; version=0.0.4; charset=utf-8");
    expect(metrics.text).toContain("\ndstack_vpn_ready 1\n");
  });

  it("gives each component of /health its figures", async () => {
    const { port } = await node({ world: snapshot({ registry: { quarantined: { "key.weak": 2, inactive: 9 } } }) });
    const { components } = (await get(port, "/health")).body;
    expect(components.chain).toMatchObject({
      ...{ status: "healthy", headBlock: 120, cursorBlock: 120, finalizedBlock: 60, lagBlocks: 0, headAgeSeconds: 2 },
      upstreams: [{ name: "rpc.example", healthy: true, latencyMs: 12, headBlock: 120, errors: { timeout: 0 } }],
    });
    expect(components.registry).toEqual({
      ...{ status: "healthy", tokens: 3, admitted: 2, quarantined: 2, selfTokenId: "1" },
    });
    expect(components.wireguard).toMatchObject({ interface: "wg0", listenPort: 51820, peers: 2, connected: 0 });
    expect(components.config).toEqual({
      ...{ status: "healthy", generation: 7, rollbacks: 0 },
      ...{ lastAppliedAt: "2026-01-02T03:03:05.000Z", lastBackupAt: "2026-01-02T03:03:06.000Z" },
    });
  });

  const unreachable = { chain: { headSeenSteadyMs: 0, followedSteadyMs: 0 } };
  const gone = { faults: [{ code: "device.unreadable", problem: "no such device" }] } as const;
  it.each([
    ["all is well", {}, 200, 200],
    ["the chain is silent", unreachable, 503, 200],
    ["the device is gone", gone, 503, 503],
  ] as const)("answers /live, /ready and /health when %s", async (_title, parts, ready, healthy) => {
    const { port } = await node({ world: snapshot(parts) });
    const statuses = ["/live", "/ready", "/health"].map(async (path) => (await get(port, path)).status);
    expect(await Promise.all(statuses)).toEqual([200, ready, healthy]);
  });

  it("says why a node is not ready", async () => {
    const { port } = await node({ world: snapshot(unreachable) });
    const { body } = await get(port, "/ready");
    expect(body.status).toBe("not-ready");
    expect(body.reasons[0]).toEqual({ code: "chain.unreachable", detail: expect.stringContaining("1000 s") });
  });

  it.each([
    ["/events?after=1", 200, [2], 2],
    ["/events?after=2", 200, [], 2],
    ["/events?after=99", 200, [], 2],
    ["/events?other=1", 200, [1, 2], 2],
  ])("pages the journal: %s", async (path, status, ids, next) => {
    const { port } = await node();
    const answer = await get(port, path);
    const seen = answer.body.events.map(({ id }: { id: number }) => id);
    expect([answer.status, seen, answer.body.next]).toEqual([status, ids, next]);
  });

  it.each(["x", "-1", "1.5", "1e3", "", "9".repeat(16), "1&after=2", "%00"])("refuses ?after=%s", async (after) => {
    const { port } = await node();
    const answer = await get(port, `/events?after=${after}`);
    expect([answer.status, answer.body.error.code]).toEqual([400, "bad-request"]);
  });
});

describe("a closed surface", () => {
  it.each([
    [
      "/",
      "/admin",
      "/health/",
      "//health",
      "/HEALTH",
      "/./health",
      "/../health",
      "/%68ealth",
      "/health;x",
      "/health%00",
    ],
    ["/health/..%2fmetrics", "/live/x", "/metrics.json", "/.env", "/%ZZ", "/\\health", "/__proto__", "/constructor"],
  ])("finds nothing at %s and its like", async (...paths) => {
    const { port } = await node();
    for (const path of paths) expect([path, (await get(port, path)).status]).toEqual([path, 404]);
  });

  it.each([
    ["POST", "/health", "GET, HEAD"],
    ["PUT", "/config", "GET, HEAD"],
    ["DELETE", "/events", "GET, HEAD"],
    ["OPTIONS", "/live", "GET, HEAD"],
    ["TRACE", "/metrics", "GET, HEAD"],
    ["GET", "/resync", "POST"],
    ["PATCH", "/rollback", "POST"],
  ])("answers %s %s with 405 and what is allowed", async (method, path, allow) => {
    const { port } = await node();
    const answer = await get(port, path, { method });
    expect([answer.status, answer.headers["allow"], answer.body.error.code]).toEqual([
      405,
      allow,
      "method-not-allowed",
    ]);
  });

  it("answers HEAD like GET, without the body", async () => {
    const { port } = await node();
    const answer = await get(port, "/health", { method: "HEAD" });
    expect([answer.status, answer.text]).toEqual([200, ""]);
  });

  it.each([
    ["localhost", 200],
    ["LOCALHOST:1", 200],
    ["127.0.0.1:8080", 200],
    ["[::1]:8080", 200],
    ["node-a:8080", 200],
    ["dash.example", 200],
    ["evil.example", 421],
    ["localhost.evil.example", 421],
    ["localhost.", 421],
    ["127.0.0.1.nip.io", 421],
    ["evil@localhost", 421],
  ])("takes the Host %s for %i", async (host, status) => {
    const { port } = await node();
    expect((await get(port, "/live", { headers: { host } })).status).toBe(status);
  });

  it.each([
    [
      "an absolute target",
      "GET http://evil.example/config HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
      400,
    ],
    ["two hosts", "GET /config HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\nConnection: close\r\n\r\n", 400],
    ["no host", "GET /config HTTP/1.1\r\nConnection: close\r\n\r\n", 400],
    ["no host, in an old way", "GET /config HTTP/1.0\r\n\r\n", 421],
    ["an empty host", "GET /config HTTP/1.1\r\nHost: \r\nConnection: close\r\n\r\n", 421],
    ["no HTTP", "hello\r\n\r\n", 400],
    ["two lengths", "POST /resync HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400],
    ["a tunnel", "CONNECT localhost:22 HTTP/1.1\r\nHost: localhost\r\n\r\n", 0],
  ])("refuses %s", async (_title, bytes, status) => {
    const { port } = await node();
    const text = await raw(port, bytes);
    expect(Number(/^HTTP\/1.1 ([0-9]+)/.exec(text)?.[1] ?? 0)).toBe(status);
    expect(text).not.toContain("chainId");
  });

  it.each([
    ["a page of another site", { "sec-fetch-site": "cross-site" }, 403],
    ["a page on another port of this host", { "sec-fetch-site": "same-site", origin: "http://localhost:3000" }, 403],
    ["an old browser's foreign page", { origin: "https://evil.example" }, 403],
    ["a sandboxed page", { origin: "null" }, 403],
    [
      "a cross-site page that claims an allowed origin",
      { "sec-fetch-site": "cross-site", origin: "https://watch.example" },
      200,
    ],
    ["its own page", { "sec-fetch-site": "same-origin", origin: "http://dashboard:8082" }, 200],
    ["somebody who typed the address", { "sec-fetch-site": "none" }, 200],
    ["an old browser's own page", { origin: "http://localhost:80", host: "localhost:80" }, 200],
    ["a program", {}, 200],
  ] as const)("answers %s as it should", async (_title, headers, status) => {
    const { port } = await node();
    const answer = await get(port, "/health", { headers });
    expect(answer.status).toBe(status);
    const isShared = "origin" in headers && headers.origin === "https://watch.example";
    expect(answer.headers["access-control-allow-origin"]).toBe(isShared ? "https://watch.example" : undefined);
  });

  it("answers the preflight of an allowed origin alone", async () => {
    const { port } = await node();
    const preflight = (origin: string) =>
      get(port, "/wireguard", { method: "OPTIONS", headers: { origin, "access-control-request-method": "GET" } });
    const allowed = await preflight("https://watch.example");
    expect([allowed.status, allowed.headers["access-control-allow-headers"]]).toEqual([
      204,
      "authorization, content-type",
    ]);
    expect((await preflight("https://evil.example")).status).toBe(403);
  });

  it("closes a connection that arrives at an overlay address, whatever it asks", async () => {
    const { port } = await node({ isOverlayAddress: (ip) => ip === "127.0.0.1" });
    expect(await raw(port, "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")).toBe("");
  });

  it("sends headers that keep pages, caches and sniffers out, and its name out of them", async () => {
    const { port } = await node();
    const { headers } = await get(port, "/health");
    expect(headers).toMatchObject({
      "cache-control": "no-store",
      "content-security-policy": "default-src 'none';frame-ancestors 'none'",
      "x-content-type-options": "nosniff",
      "cross-origin-resource-policy": "same-origin",
    });
    expect(Object.keys(headers).filter((name) => /powered|server|etag/.test(name))).toEqual([]);
  });

  it("refuses a flood of headers", async () => {
    const { port } = await node();
    const flood = `GET /live HTTP/1.1\r\nHost: localhost\r\n${"X-A: b\r\n".repeat(2_000)}\r\n`;
    expect(await raw(port, flood)).toMatch(/^HTTP\/1.1 431 .*"headers-too-large"/s);
  });

  it("reads no body where none belongs, and does not wait for its end", async () => {
    const { port } = await node();
    const open = "HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nand then nothing";
    expect(await raw(port, `GET /health ${open}`)).toMatch(/^HTTP\/1.1 413 /);
    expect(await raw(port, `POST /health ${open}`)).toMatch(/^HTTP\/1.1 405 /);
    expect(await raw(port, `POST /resync ${open}`)).toMatch(/^HTTP\/1.1 401 /);
    for (const method of ["PUT", "PATCH", "DELETE"]) {
      expect(await raw(port, `${method} /health ${open}`)).toMatch(/^HTTP\/1.1 405 .*\r\nAllow: GET, HEAD\r\n/s);
      expect(await raw(port, `${method} /none ${open}`)).toMatch(/^HTTP\/1.1 404 /);
    }
  });

  it("keeps answering while a thousand sockets say nothing or hardly anything", async () => {
    const { port } = await node();
    const slow: Socket[] = [];
    cleanUp.push(() => slow.map((socket) => socket.destroy()));
    for (let i = 0; i < 1_000; i++) {
      const socket = connect(port, "127.0.0.1").on("error", () => {});
      socket.write(i % 2 ? "GET /live HTTP/1.1\r\nHost: loc" : "");
      slow.push(socket);
      if (i % 100 === 0) await sleep(1);
    }
    expect((await get(port, "/live")).status).toBe(200);
    await expect.poll(() => slow.filter(({ closed }) => closed).length, PATIENTLY).toBeGreaterThan(400);
    expect(slow.filter(({ closed }) => !closed).length).toBeGreaterThan(400);
    expect((await get(port, "/health")).status).toBe(200);
  });

  it("refuses most of ten thousand requests at once, and answers the next second", async () => {
    let steadyMs: number = NOW.steadyMs;
    const { port } = await node({ now: () => ({ ...NOW, steadyMs }) });
    const pipelined = "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    const last = "GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    const texts = await Promise.all(Array.from({ length: 10 }, () => raw(port, pipelined.repeat(999) + last)));
    const count = (status: number) => texts.join("").split(`HTTP/1.1 ${status} `).length - 1;
    expect(count(200)).toBe(2_000);
    expect(count(429)).toBeGreaterThan(0);
    expect((await get(port, "/live")).status).toBe(429);
    steadyMs += 1_000;
    expect((await get(port, "/live")).status).toBe(200);
  });
});

describe("the administrator", () => {
  const peers = (count: number): PeerView[] =>
    Array.from({ length: count }, (_, i) => ({
      ...{ tokenId: String(i), nodeId: HOSTILE, publicKey: `key-${i}`, endpoint: null, allowedIps: ["10.213.0.7/32"] },
      ...{ latestHandshakeAt: null, rxBytes: 1, txBytes: 2 },
    }));
  const counted = snapshot({ wireguard: { listPeers: () => peers(3), peers: 3, connected: 1 } });

  it("alone sees the peers", async () => {
    const { port } = await node({ world: counted });
    expect((await get(port, "/wireguard")).body.peers).toEqual({ configured: 3, connected: 1 });
    const seen = await get(port, "/wireguard", { headers: asAdmin });
    expect([seen.status, seen.body.peers]).toEqual([200, JSON.parse(JSON.stringify(peers(3)))]);
    const stranger = await get(port, "/wireguard", { headers: { authorization: "Bearer wrong" } });
    expect([stranger.status, stranger.body.error.code]).toEqual([401, "unauthorized"]);
  });

  it.each([0, 1, 499, 500, 501, 1_000])("sees a list of %i peers as one JSON text", async (count) => {
    const world = snapshot({ wireguard: { listPeers: () => peers(count) } });
    const { port } = await node({ world });
    expect((await get(port, "/wireguard", { headers: asAdmin })).body.peers).toHaveLength(count);
  });

  it("gets no half of a list for a whole one", async () => {
    const told: unknown[] = [];
    function* listPeers() {
      yield* peers(700);
      throw new Error("insides");
    }
    const { port } = await node({
      world: snapshot({ wireguard: { listPeers } }),
      onError: (error) => told.push(error),
    });
    await expect(get(port, "/wireguard", { headers: asAdmin })).rejects.toThrow();
    expect(told).toMatchObject([{ message: "insides" }]);
  });

  it("may leave half-way without a word", async () => {
    const told: unknown[] = [];
    const world = snapshot({ wireguard: { listPeers: () => peers(50_000) } });
    const { port } = await node({ world, onError: (error) => told.push(error) });
    await new Promise<void>((resolve) => {
      const request = ask({ port, path: "/wireguard", headers: { host: "localhost", ...asAdmin } }, (response) => {
        response.once("data", () => request.destroy()).once("close", resolve);
      });
      request.on("error", () => {}).end();
    });
    expect((await get(port, "/live")).status).toBe(200);
    await sleep(50);
    expect(told).toEqual([]);
  });

  it.each([
    ["without a token", {}, 401],
    ["with a wrong token", { authorization: "Bearer planted-admin-token-012345678X" }, 401],
    ["with a part of the token", { authorization: `Bearer ${TOKEN.slice(0, -1)}` }, 401],
    ["with the token by another scheme", { authorization: `Basic ${TOKEN}` }, 401],
    ["with the token", asAdmin, 200],
  ])("starts things only with the token: %s", async (_title, headers, status) => {
    const { port, started } = await node();
    for (const path of ["/resync", "/rollback"]) {
      const answer = await get(port, path, { method: "POST", headers });
      expect([answer.status, answer.headers["www-authenticate"]]).toEqual([
        status,
        status === 401 ? "Bearer" : undefined,
      ]);
    }
    expect(started).toEqual(status === 200 ? ["resync", "rollback undefined"] : []);
  });

  it("finds nothing to start where no token is set, and no peers either", async () => {
    const { port, started } = await node({ adminToken: undefined, world: counted });
    for (const method of ["GET", "POST"]) {
      for (const path of ["/resync", "/rollback"]) {
        expect((await get(port, path, { method, headers: asAdmin })).status).toBe(404);
      }
    }
    expect(started).toEqual([]);
    const seen = await get(port, "/wireguard", { headers: { authorization: "Bearer undefined" } });
    expect(seen.body.peers).toEqual({ configured: 3, connected: 1 });
  });

  it.each([
    ['{"generation":5}', 200, "rollback 5"],
    ["{}", 200, "rollback undefined"],
    ["", 200, "rollback undefined"],
    ['{"generation":"5"}', 400, ""],
    ['{"generation":-1}', 400, ""],
    ['{"generation":1.5}', 400, ""],
    ['{"generation":null}', 400, ""],
    ["[]", 400, ""],
    ["null", 400, ""],
    ["{", 400, ""],
    [`{"generation":5,"x":"${"y".repeat(2_000)}"}`, 400, ""],
  ])("rolls back to %s", async (body, status, expected) => {
    const { port, started } = await node();
    const answer = await get(port, "/rollback", { method: "POST", headers: asAdmin, body });
    expect([answer.status, started.join()]).toEqual([status, expected]);
  });

  it("is told what cannot be done, and nothing of what went wrong inside", async () => {
    const told: unknown[] = [];
    const { port } = await node({
      actions: {
        resync: async () => Promise.reject(new Error(`secret insides at ${TOKEN}`)),
        rollback: async () => Promise.reject(new AgentError({ code: "config.no-generation", generation: 99 })),
      },
      onError: (error) => told.push(error),
    });
    const post = (path: string) => get(port, path, { method: "POST", headers: asAdmin });
    const missing = await post("/rollback");
    expect([missing.status, missing.body.error.code]).toEqual([404, "config.no-generation"]);
    const broken = await post("/resync");
    expect(broken.body).toEqual({ error: { code: "internal", message: "the agent's log says more" } });
    expect(told).toHaveLength(1);
  });

  it("cannot be guessed without end", async () => {
    const { port } = await node();
    const guess = (authorization: string) => get(port, "/resync", { method: "POST", headers: { authorization } });
    for (let i = 0; i < 60; i++) expect((await guess(`Bearer guess-${i}`)).status).toBe(401);
    // Nor does a guess that is right open it then.
    for (const last of ["Bearer guess-61", asAdmin.authorization]) expect((await guess(last)).status).toBe(429);
    expect((await get(port, "/wireguard", { headers: asAdmin })).status).toBe(429);
    for (const path of ["/health", "/wireguard"]) expect((await get(port, path)).status).toBe(200);
    vi.useFakeTimers({ now: Date.now() + 61_000, toFake: ["Date"] });
    cleanUp.push(vi.useRealTimers);
    expect((await guess(asAdmin.authorization)).status).toBe(200);
  });

  it("is not shut out by asking often with the right token", async () => {
    const { port } = await node();
    for (let i = 0; i < 70; i++) expect((await get(port, "/wireguard", { headers: asAdmin })).status).toBe(200);
  });

  it("is not shut out by asking for much at once", async () => {
    const rollback = async () => ({});
    const resync = async () => sleep(200, {});
    const { port } = await node({ actions: { resync, rollback } });
    const post = () => get(port, "/resync", { method: "POST", headers: asAdmin });
    const answers = await Promise.all(Array.from({ length: 70 }, post));
    expect(answers.filter(({ status }) => status !== 200)).toEqual([]);
  });
});

describe("what is shown", () => {
  const views = ["/live", "/ready", "/health", "/stats", "/wireguard", "/config", "/events", "/metrics"];

  it("escapes a hostile node id in every view, and loses nothing of it", async () => {
    const listPeers = () =>
      [
        ...[{ tokenId: "7", nodeId: HOSTILE, publicKey: "k", endpoint: null, allowedIps: [], latestHandshakeAt: null }],
      ].map((peer) => ({ ...peer, rxBytes: 0, txBytes: 0 }));
    const { port } = await node({ world: snapshot({ wireguard: { listPeers } }) });
    for (const path of views) {
      const { text } = await get(port, path, { headers: asAdmin });
      expect(text).toMatch(/^[\x20-\x7e\n]*$/);
      expect(text.includes("<") && path !== "/metrics").toBe(false);
    }
    const seen = (await get(port, "/wireguard", { headers: asAdmin })).body.peers[0].nodeId;
    expect(seen).toBe(HOSTILE);
    expect((await get(port, "/metrics")).text).not.toContain("/script");
  });

  it("shows no planted secret in any answer", async () => {
    const { port } = await node();
    const asks = [...views, "/none", `/events?after=${TOKEN}`, `/${TOKEN}`].flatMap((path) => [
      get(port, path),
      get(port, path, { headers: asAdmin }),
      get(port, path, { method: "POST", headers: { ...asAdmin, origin: "https://evil.example" } }),
    ]);
    for (const { text, headers } of await Promise.all(asks))
      expect(text + JSON.stringify(headers)).not.toContain(TOKEN);
  });

  it("shows no stack when a view breaks", async () => {
    const { port } = await node({
      snapshot: () => {
        throw new Error("insides");
      },
    });
    const answers = await Promise.all(views.map((path) => get(port, path)));
    expect(answers.map(({ status }) => status)).toEqual([200, 500, 500, 500, 500, 200, 200, 500]);
    expect(answers.map(({ text }) => text).join()).not.toMatch(/insides|\.ts|at /);
  });
});

describe("serve", () => {
  it("names a port that is taken", async () => {
    const { port } = await node();
    await expect(node({ port })).rejects.toMatchObject({
      fault: { code: "http.port-in-use", host: "127.0.0.1", port },
    });
  });

  it("names a host that cannot be listened on", async () => {
    const problem = "cannot be listened on (EADDRNOTAVAIL): give an address of this host";
    const fault = { code: "config.invalid", setting: "HEALTH_CHECK_HOST", problem };
    await expect(node({ host: "192.0.2.1" })).rejects.toMatchObject({ fault });
  });

  it("closes though somebody keeps a connection open", async () => {
    const server = await serve({ ...(await optionsOf()), port: 0 });
    const socket = connect(server.port, "127.0.0.1").on("error", () => {});
    cleanUp.push(() => socket.destroy());
    socket.write("GET /live HTTP/1.1\r\n");
    await sleep(20);
    await server.close();
    await expect(get(server.port, "/live")).rejects.toThrow();
  });
});

async function optionsOf(): Promise<ServeOptions> {
  const metrics = createMetrics();
  cleanUp.push(metrics.close);
  return {
    ...{ host: "127.0.0.1", port: 0, allowedHosts: [], corsOrigins: [], adminToken: undefined, settings: {}, snapshot },
    ...{ journal: createJournal({ now: () => 0 }), metrics, isOverlayAddress: () => false },
    actions: { resync: async () => ({}), rollback: async () => ({}) },
  };
}
