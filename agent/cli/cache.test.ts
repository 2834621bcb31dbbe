/** Ring 2: what commands keep of a chain between them, against a chain of their own. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ALICE, type Anvil, dstackVpn, type Env, OWNER, startAnvil } from "../test/cli.ts";

let anvil: Anvil;
let counter: { url: string; asked: string[]; close(): void };
let env: Env;
let folder: string;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "dstack-vpn-cache-"));
  anvil = await startAnvil();
  counter = await startCounter(anvil.url);
  const contract = await anvil.deploy();
  env = { ...anvil.settings(contract), RPC_URL: counter.url, CONTRACT_PRIVATE_KEY: OWNER.key, XDG_CACHE_HOME: folder };
  expect((await dstackVpn(["grant", "--to", ALICE.address, "--node-id", "early"], env)).exit).toBe(0);
  // Final, with 64 blocks behind it, and a hundred more.
  await anvil.rpc("anvil_mine", "0x100");
}, 60_000);
afterEach(async () => {
  counter.close();
  await anvil.close();
  rmSync(folder, { recursive: true });
});

/** Passes every request on, and notes the blocks that logs are asked from. */
async function startCounter(to: string): Promise<typeof counter> {
  const asked: string[] = [];
  const server: Server = createServer(async (request, response) => {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const body = Buffer.concat(pieces).toString();
    const { method, params } = JSON.parse(body);
    if (method === "eth_getLogs" && params[0].fromBlock !== undefined) asked.push(params[0].fromBlock);
    const answer = await fetch(to, { method: "POST", headers: { "content-type": "application/json" }, body });
    response.setHeader("content-type", "application/json").end(await answer.text());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  return { url: `http://127.0.0.1:${port}`, asked, close: () => void server.close() };
}

async function list(...more: string[]): Promise<string[]> {
  counter.asked.length = 0;
  const { exit, out, err } = await dstackVpn(["list", "--json", ...more], env);
  expect({ exit, err }).toMatchObject({ exit: 0 });
  return JSON.parse(out).tokens.map(({ nodeId }: { nodeId: string }) => nodeId);
}
const readsFromStart = () => counter.asked.some((from) => Number(from) <= 1);
const place = () => join(folder, "dstack-vpn");
const cached = () => join(place(), readdirSync(place()).find((name) => name.endsWith(".sqlite")) ?? "none");

describe("the cache of a chain", { timeout: 240_000 }, () => {
  it("spares the history that was read before, and only its owner reads it", async () => {
    expect(await list()).toEqual(["early"]);
    expect(readsFromStart()).toBe(true);
    for (const name of readdirSync(place()).filter((each) => !each.endsWith(".pid"))) {
      expect(statSync(join(place(), name)).mode & 0o077).toBe(0);
    }
    expect((await dstackVpn(["revoke", "1"], env)).exit).toBe(0);
    expect(await list()).toEqual([]);
    expect(readsFromStart()).toBe(false);
    expect(await list("--no-cache")).toEqual([]);
    expect(readsFromStart()).toBe(true);
  });

  it("keeps nothing that a reorg can undo", async () => {
    expect((await dstackVpn(["grant", "--to", ALICE.address, "--node-id", "late"], env)).exit).toBe(0);
    expect(await list()).toEqual(["early", "late"]);
    await anvil.rpc("anvil_reorg", 5, []);
    await anvil.rpc("anvil_dropAllTransactions");
    expect(await list()).toEqual(["early"]);
    expect(readsFromStart()).toBe(false);
  });

  it.each([
    ["cut off", (path: string) => writeFileSync(path, readFileSync(path).subarray(0, 5_000))],
    ["no database", (path: string) => writeFileSync(path, "nonsense".repeat(1_000))],
    ["empty", (path: string) => writeFileSync(path, "")],
  ])("is made anew where it is %s", async (_, spoil) => {
    await list();
    spoil(cached());
    expect(await list()).toEqual(["early"]);
    expect(readsFromStart()).toBe(true);
    expect(await list()).toEqual(["early"]);
    expect(readsFromStart()).toBe(false);
    expect(readdirSync(place()).filter((name) => name.includes("corrupt"))).toEqual([]);
  });

  it("of a devnet that was made anew is not taken for the new one's", async () => {
    await list();
    const before = cached();
    await anvil.close();
    anvil = await startAnvil("--timestamp", "1700000000");
    counter.close();
    counter = await startCounter(anvil.url);
    env = { ...env, RPC_URL: counter.url };
    expect(`0x${env["CONTRACT_ADDRESS"]?.slice(2)}`).toBe(await anvil.deploy());
    await anvil.rpc("anvil_mine", "0x100");
    expect(await list()).toEqual([]);
    expect(cached()).toBe(before);
    expect(await list()).toEqual([]);
    expect(readsFromStart()).toBe(false);
  });

  it("serves several commands at once, and none fails for it", async () => {
    const all = await Promise.all(Array.from({ length: 4 }, () => dstackVpn(["list", "--json"], env)));
    expect(all.map(({ exit, out }) => [exit, JSON.parse(out).tokens.length])).toEqual(Array(4).fill([0, 1]));
    expect(await list()).toEqual(["early"]);
  });

  it.each([
    ["a folder that cannot be made", { XDG_CACHE_HOME: "/proc/none" }],
    ["no folder at all", { XDG_CACHE_HOME: "" }],
  ])("does without %s", async (_, where) => {
    env = { ...env, ...where };
    expect(await list()).toEqual(["early"]);
    expect(existsSync(place())).toBe(false);
  });
});
