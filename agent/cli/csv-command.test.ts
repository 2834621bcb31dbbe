/** Ring 2: batches of grants, against a chain of their own, with crashes between signing and hearing of it. */
import { once } from "node:events";
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Interface } from "ethers/abi";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { ALICE, type Anvil, dstackVpn, type Env, OWNER, POOR, startAnvil, startDstackVpn } from "../test/cli.ts";

let anvil: Anvil;
let env: Env;
let contract: string;
let folder: string;
let file: string;

beforeAll(async () => {
  anvil = await startAnvil();
}, 60_000);
afterAll(() => anvil.close());
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "dstack-vpn-csv-"));
  file = join(folder, "members.csv");
  contract = await anvil.deploy();
  env = { ...anvil.settings(contract), CONTRACT_PRIVATE_KEY: OWNER.key, XDG_CACHE_HOME: join(folder, "cache") };
}, 60_000);
afterEach(async () => {
  await anvil.rpc("evm_setAutomine", true);
  await anvil.rpc("anvil_mine", "0x1");
  rmSync(folder, { recursive: true });
});

const keyOf = (i: number) => Buffer.alloc(32, i + 1).toString("base64");
const rowOf = (i: number) => `${ALICE.address},member-${i},${keyOf(i)}`;
const write = (count: number) =>
  writeFileSync(file, `to,node_id,key\r\n${Array.from({ length: count }, (_, i) => `${rowOf(i)}\r\n`).join("")}`);
const grant = (...more: string[]) => dstackVpn(["grant", "--csv", file, ...more], env);
const sentCount = async () => Number(await anvil.rpc("eth_getTransactionCount", OWNER.address, "pending"));
const grants = new Interface([
  "event NodeAccessGranted(uint256 indexed tokenId, string nodeId, address indexed owner, string key)",
]);

/** The names that were granted, in order, however often. */
async function granted(): Promise<string[]> {
  const topics = [grants.getEvent("NodeAccessGranted")?.topicHash];
  const filter = { address: contract, fromBlock: "0x0", toBlock: "latest", topics };
  const logs = await anvil.rpc<{ topics: string[]; data: string }[]>("eth_getLogs", filter);
  return logs.map((log) => grants.parseLog(log)?.args["nodeId"]);
}

async function until(claim: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await claim())) await sleep(20);
}

const signedIn = () =>
  existsSync(`${file}.journal`) ? readFileSync(`${file}.journal`, "utf8").split('"signed"').length - 1 : 0;
const names = (count: number) => Array.from({ length: count }, (_, i) => `member-${i}`);

describe("grant --csv", { timeout: 240_000 }, () => {
  it("prices a dry run and leaves nothing behind, without a key either", async () => {
    write(3);
    const before = await sentCount();
    const { CONTRACT_PRIVATE_KEY: _, ...keyless } = env;
    for (const each of [env, keyless]) {
      const { exit, out, err } = await dstackVpn(["grant", "--csv", file, "--dry-run"], each);
      expect({ exit, before }).toEqual({ exit: 0, before: await sentCount() });
      expect(err).toMatch(/^3 row\(s\): 0 done already, 0 on their way, 3 to send: about [0-9.e-]+ ETH/m);
      expect(out).toMatch(/^4 +member-2 +to send/m);
    }
    expect(existsSync(`${file}.journal`)).toBe(false);
  });

  it("sends every row once, which list --csv shows as it was, and a second run sends nothing", async () => {
    write(20);
    const first = await grant();
    expect(first.exit).toBe(0);
    expect(first.out.match(/granted/g)).toHaveLength(20);
    expect(statSync(`${file}.journal`).mode & 0o777).toBe(0o600);
    expect((await dstackVpn(["list", "--csv"], env)).out).toBe(readFileSync(file, "utf8"));
    const sent = await sentCount();
    const again = await grant("--json");
    expect(again.exit).toBe(0);
    expect(JSON.parse(again.out).rows).toContainEqual(
      expect.objectContaining({ line: 2, status: "granted", tokenId: "1" }),
    );
    rmSync(`${file}.journal`);
    const unremembered = await grant();
    expect(unremembered).toMatchObject({ exit: 0, out: expect.stringMatching(/^2 +member-0 +present +1$/m) });
    expect(await sentCount()).toBe(sent);
    expect(await granted()).toEqual(names(20));
  });

  it("reads standard input, and prints what to sign where it has no key", async () => {
    const { CONTRACT_PRIVATE_KEY: _, ...keyless } = env;
    const csv = `to,node_id\n${ALICE.address},alice\n`;
    const unsigned = await dstackVpn(["grant", "--csv", "-", "--json"], keyless, csv);
    const [{ line, to, data }] = JSON.parse(unsigned.out).transactions;
    expect({ line, to }).toEqual({ line: 2, to: contract });
    await anvil.rpc("eth_sendTransaction", { from: OWNER.address, to, data });
    await until(async () => (await granted()).length === 1);
    expect(await granted()).toEqual(["alice"]);
    const there = await dstackVpn(["grant", "--csv", "-"], { ...env, XDG_STATE_HOME: folder }, csv);
    expect(there).toMatchObject({ exit: 0, out: expect.stringMatching(/^2 +alice +present +1$/m) });
  });

  it("tells every mistake before anything is sent, those against the chain too", async () => {
    write(1);
    expect((await grant()).exit).toBe(0);
    const sent = await sentCount();
    const rows = [
      `${ALICE.address},member-0,`,
      `${OWNER.address},member-0,`,
      `${OWNER.address},other,${keyOf(0)}`,
      "x,new,",
      rowOf(5),
    ];
    writeFileSync(file, `to,node_id,key\n${rows.join("\n")}\n`);
    const { exit, err } = await grant();
    expect(exit).toBe(1);
    expect(err.split("\n").filter((text) => text !== "")).toEqual([
      "line 3: the name member-0 is on line 2 already",
      "line 3: the name member-0 is taken: active token 1 has it",
      "line 4: the key is taken: active token 1 has it",
      expect.stringMatching(/^line 5: to: /),
      "4 mistake(s): nothing was sent",
    ]);
    expect(await sentCount()).toBe(sent);
  });

  it.each([
    ["the transactions wait in the pool", false],
    ["the pool has lost them", true],
  ])("goes on after a crash without sending anything twice: %s", async (_, isLost) => {
    write(24);
    const before = await sentCount();
    await anvil.rpc("evm_setAutomine", false);
    const killed = startDstackVpn(["grant", "--csv", file], env);
    await until(() => signedIn() >= 5);
    killed.kill("SIGKILL");
    await once(killed, "close");
    // As a power cut leaves it.
    appendFileSync(`${file}.journal`, '{"kind":"sig');
    if (isLost) await anvil.rpc("anvil_dropAllTransactions");
    const again = grant();
    await until(() => signedIn() >= 16);
    await anvil.rpc("evm_setIntervalMining", 1);
    const { exit, err } = await again;
    await anvil.rpc("evm_setIntervalMining", 0);
    expect({ exit, err }).toMatchObject({ exit: 0 });
    expect((await granted()).toSorted()).toEqual(names(24).toSorted());
    expect((await sentCount()) - before).toBe(24);
  });

  it("grants nothing anew that was revoked since, and says so", async () => {
    write(2);
    expect((await grant()).exit).toBe(0);
    expect((await dstackVpn(["revoke", "1"], env)).exit).toBe(0);
    const sent = await sentCount();
    const again = await grant();
    expect(again).toMatchObject({
      exit: 0,
      out: expect.stringMatching(/^2 +member-0 +revoked +1 .*\n3 +member-1 +granted/m),
    });
    expect(again.err).toMatch(
      /^line 2 \(member-0\): token 1 was revoked since, and is not granted anew: take the row/m,
    );
    expect(await sentCount()).toBe(sent);
  });

  it("says which rows their blocks refused, and sends them when they can pass", async () => {
    write(3);
    await anvil.rpc("evm_setAutomine", false);
    const running = grant();
    await until(() => signedIn() === 3);
    await until(async () => Number((await anvil.rpc<{ pending: string }>("txpool_status")).pending) === 3);
    const slot = await ownerSlot();
    const owner = await anvil.rpc<string>("eth_getStorageAt", contract, slot, "latest");
    await anvil.rpc("anvil_setStorageAt", contract, slot, `0x${"0".repeat(63)}1`);
    await anvil.rpc("anvil_mine", "0x1");
    const { exit, err, out } = await running;
    expect(exit).toBe(1);
    expect(err).toMatch(/^line 3 \(member-1\): the contract refused it/m);
    expect(err).toMatch(/^3 of 3 row\(s\) failed$/m);
    expect(out).toMatch(/^4 +member-2 +failed/m);
    await anvil.rpc("anvil_setStorageAt", contract, slot, owner);
    await anvil.rpc("evm_setAutomine", true);
    expect(await grant()).toMatchObject({ exit: 0 });
    expect(await granted()).toEqual(names(3));
  });

  it("is refused to a second one at work on the same file, and not by one that died", async () => {
    write(1);
    writeFileSync(`${file}.journal.lock`, String(process.pid));
    expect(await grant()).toMatchObject({ exit: 1, err: expect.stringMatching(/another grant --csv is at work/) });
    expect(await granted()).toEqual([]);
    writeFileSync(`${file}.journal.lock`, "4194305");
    expect(await grant()).toMatchObject({ exit: 0 });
    expect(existsSync(`${file}.journal.lock`)).toBe(false);
  });

  it("sends nothing where it cannot keep what it signs, or cannot read what it kept", async () => {
    write(1);
    expect(await grant("--journal", "/proc/none/journal")).toMatchObject({
      exit: 1,
      err: expect.stringMatching(/--journal/),
    });
    writeFileSync(`${file}.journal`, "nonsense\n");
    expect(await grant()).toMatchObject({ exit: 1, err: expect.stringMatching(/line 1, is damaged/) });
    expect(await granted()).toEqual([]);
  });

  it.each([
    ["a wallet without the right", { CONTRACT_PRIVATE_KEY: ALICE.key }, 1, /does not own the contract/],
    ["a wallet without funds or right", { CONTRACT_PRIVATE_KEY: POOR.key }, 1, /does not own the contract|cannot pay/],
  ])("%s sends nothing", async (_, key, exit, message) => {
    write(2);
    expect(await dstackVpn(["grant", "--csv", file], { ...env, ...key })).toMatchObject({
      exit,
      err: expect.stringMatching(message),
    });
    expect(await granted()).toEqual([]);
  });

  it("sends nothing that the owner cannot pay", async () => {
    write(2);
    const balance = await anvil.rpc<string>("eth_getBalance", OWNER.address, "latest");
    await anvil.rpc("anvil_setBalance", OWNER.address, "0x1000");
    const { exit, err } = await grant();
    await anvil.rpc("anvil_setBalance", OWNER.address, balance);
    expect({ exit, err }).toMatchObject({ exit: 1, err: expect.stringMatching(/nothing was sent: .* cannot pay/) });
    expect(await granted()).toEqual([]);
  });
});

async function ownerSlot(): Promise<string> {
  for (let slot = 0; slot < 20; slot++) {
    const value = await anvil.rpc<string>("eth_getStorageAt", contract, `0x${slot.toString(16)}`, "latest");
    if (value.endsWith(OWNER.address.slice(2).toLowerCase())) return `0x${slot.toString(16)}`;
  }
  throw new Error("no slot holds the owner");
}
