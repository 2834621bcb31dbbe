/** The commands as people run them, against the agent's own HTTP server. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Secret } from "../model.ts";
import { createJournal } from "../observe/journal.ts";
import { createMetrics } from "../observe/metrics.ts";
import { serve } from "../observe/server.ts";
import { NOW, snapshot } from "../test/snapshot.ts";
import { accepted, askAgent } from "./agent-http.ts";
import { eventLine, statusLines } from "./agents.ts";

const MAIN = fileURLToPath(new URL("main.ts", import.meta.url));
const TOKEN = "planted-admin-token-0123456789";

const started: string[] = [];
const journal = createJournal({ now: () => NOW.wallMs });
const metrics = createMetrics();
let server: Awaited<ReturnType<typeof serve>>;
let url: string;

beforeAll(async () => {
  journal.add("grant", { tokenId: "7", nodeId: "\u001b[2Jeve" });
  server = await serve({
    ...{ host: "127.0.0.1", port: 0, allowedHosts: [], corsOrigins: [], adminToken: new Secret(TOKEN), settings: {} },
    ...{ snapshot: () => snapshot(), journal, metrics, isOverlayAddress: () => false, now: () => NOW },
    actions: {
      resync: async () => ({ repairs: started.push("resync") }),
      rollback: async (generation) => ({ generation: started.push(`rollback ${generation}`) }),
    },
  });
  url = `http://127.0.0.1:${server.port}`;
});

afterAll(async () => {
  await server.close();
  metrics.close();
});

function run(args: readonly string[], environment: Readonly<Record<string, string>> = {}) {
  const env = { PATH: process.env["PATH"], ...environment };
  return new Promise<{ exit: number; out: string; err: string }>((resolve) => {
    execFile(process.execPath, [MAIN, ...args], { env }, (error, out, err) => {
      resolve({ exit: typeof error?.code === "number" ? error.code : error === null ? 0 : -1, out, err });
    });
  });
}

describe("an agent's administrator", { timeout: 60_000 }, () => {
  it("sees how it is", async () => {
    const { exit, out } = await run(["status"], { HEALTH_CHECK_PORT: String(server.port) });
    expect(exit).toBe(0);
    expect(out).toMatch(/^127\.0\.0\.1:[0-9]+ {2}node-a {2}healthy\n {2}block 120 of 120, tokens /);
  });

  it("sees of several which one does not answer", async () => {
    const { exit, out } = await run(["status", url, "http://127.0.0.1:1", "--json"]);
    expect(exit).toBe(69);
    expect(JSON.parse(out)).toMatchObject([{ status: "healthy" }, { host: "127.0.0.1:1", status: "unreachable" }]);
  });

  it("reads what happened, and nothing in it moves the cursor", async () => {
    const { exit, out } = await run(["events", "--url", url]);
    expect(exit).toBe(0);
    expect(out).toContain("2026-01-02T03:04:05.000Z  grant  tokenId=7  nodeId=\\u001b[2Jeve\n");
    expect(out).toMatch(/^[\x20-\x7e\n]*$/);
  });

  it("starts a resync and a rollback with the token alone", async () => {
    const admin = { ADMIN_TOKEN: TOKEN };
    expect(await run(["resync", "--url", url])).toMatchObject({
      exit: 78,
      err: expect.stringMatching(/^ADMIN_TOKEN: /),
    });
    const wrong = await run(["resync", "--url", url], { ADMIN_TOKEN: "another-0123456789" });
    expect(wrong).toMatchObject({ exit: 78, err: expect.stringMatching(/refuses: set ADMIN_TOKEN/) });
    expect(started).toEqual([]);
    expect(await run(["resync", "--url", url], admin)).toMatchObject({ exit: 0, out: "repairs  1\n" });
    expect((await run(["rollback", "41", "--url", url], admin)).exit).toBe(0);
    expect((await run(["rollback", "--url", url], admin)).exit).toBe(0);
    expect(started).toEqual(["resync", "rollback 41", "rollback undefined"]);
  });
});

describe("an agent is asked with care", () => {
  it("so that the token goes to nobody over plain http", async () => {
    const asking = askAgent(new URL("http://vpn.example.org/"), "/resync", {
      method: "POST",
      token: new Secret(TOKEN),
    });
    await expect(asking).rejects.toThrow(/not sent over http/);
  });

  it.each([
    ["a page", (): [number, string] => [200, "<html>"]],
    ["a list", (): [number, string] => [200, "[]"]],
    ["elsewhere", (): [number, string] => [302, "{}"]],
    ["more than it could ever have", (): [number, string] => [200, `"${"x".repeat(5 * 1024 * 1024)}"`]],
  ])("so that what answers with %s is no agent", async (_, answer) => {
    const stranger = createServer((_request, response) => {
      const [status, body] = answer();
      response.writeHead(status, { location: `${url}/health` }).end(body);
    }).listen(0, "127.0.0.1");
    await once(stranger, "listening");
    const { port } = stranger.address() as { port: number };
    await expect(askAgent(new URL(`http://127.0.0.1:${port}/`), "/health")).rejects.toMatchObject({ exit: 69 });
    stranger.close();
  });

  it("so that the administrator of 60,000 peers gets all of them", async () => {
    const allowedIps = ["10.213.234.96/32", "fd00:1234:5678:9abc::ea60/128"];
    const peer = { tokenId: "60000", nodeId: "n".repeat(63), publicKey: `${"k".repeat(43)}=`, allowedIps };
    const body = JSON.stringify({ peers: Array(60_000).fill(peer) });
    const node = createServer((_request, response) => response.end(body)).listen(0, "127.0.0.1");
    await once(node, "listening");
    const { port } = node.address() as { port: number };
    const answer = await askAgent(new URL(`http://127.0.0.1:${port}/`), "/wireguard", { token: new Secret(TOKEN) });
    expect(answer.body["peers"]).toHaveLength(60_000);
    node.close();
  });

  it.each([
    [404, { error: { code: "not-found" } }, 78, /has no administrator/],
    [404, { error: { code: "config.no-generation", message: "there is no generation 3" } }, 1, /no generation 3/],
    [500, { error: "\u001b[2J" }, 1, /does not say why/],
  ])("so that a refusal is explained: %i %o", (status, body, exit, message) => {
    const attempt = () => accepted(new URL("http://localhost/"), { status, body });
    expect(attempt).toThrow(message);
    expect(attempt).toThrow(expect.objectContaining({ exit }));
  });
});

describe("whatever an agent answers", () => {
  it("becomes plain lines", () => {
    expect(statusLines({ host: "a", body: { status: "\u001b[2J", components: {}, reasons: [{}, 7] } })).toEqual([
      "a  undefined  \\u001b[2J",
      "  block ? of ?, tokens ?, admitted ?, quarantined ?, peers ?, connected ?",
      "  undefined: undefined",
      "  undefined: undefined",
    ]);
    expect(eventLine({ id: 1, at: "now", kind: "k", "\u0007": "\u202e" })).toBe("now  k  \\u0007=\\u202e");
  });

  it("shows addresses with their checksums, and leaves hashes alone", () => {
    const fields = { owner: "0x70997970c51812dc3a010c7d01b50e0d17dc79c8", blockHash: `0x${"a".repeat(64)}` };
    expect(eventLine({ id: 1, at: "now", kind: "grant", ...fields })).toBe(
      `now  grant  owner=0x70997970C51812dc3A010C7d01b50e0d17dc79C8  blockHash=0x${"a".repeat(64)}`,
    );
  });
});
