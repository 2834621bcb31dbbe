/** Ring 2: the commands as people run them, against a chain of their own with the real contract on it. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Interface } from "ethers/abi";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readArtifact } from "../../contracts/artifact.ts";
import { deployContract } from "../../contracts/deploy.ts";

const MAIN = fileURLToPath(new URL("main.ts", import.meta.url));
// The first accounts of anvil's well-known mnemonic.
const OWNER_KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const ALICE_KEY = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
const ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

const artifact = readArtifact("DstackAccessNFT");
const folder = mkdtempSync(join(tmpdir(), "dstack-vpn-cli-"));
let anvil: ChildProcess;
let chain: Readonly<Record<string, string>>;

beforeAll(async () => {
  anvil = spawn("anvil", ["--port", "0"], { stdio: ["ignore", "pipe", "inherit"] });
  await once(anvil, "spawn");
  for await (const line of createInterface({ input: anvil.stdout as NodeJS.ReadableStream })) {
    const listening = /Listening on (127\.0\.0\.1:[0-9]+)/.exec(line);
    if (listening === null) continue;
    const rpcUrl = `http://${listening[1]}`;
    const { address } = await deployContract({ rpcUrl, privateKey: OWNER_KEY, artifact });
    chain = { NETWORK: "devnet", RPC_URL: rpcUrl, CONTRACT_ADDRESS: address };
    break;
  }
}, 60_000);

afterAll(async () => {
  rmSync(folder, { recursive: true });
  if (anvil?.pid === undefined) return;
  anvil.kill();
  if (anvil.exitCode === null && anvil.signalCode === null) await once(anvil, "exit");
});

interface Ran {
  readonly exit: number;
  readonly out: string;
  readonly err: string;
}

function run(args: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<Ran> {
  const env = { PATH: process.env["PATH"], ...environment };
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...args], { env }, (error, out, err) => {
      resolve({ exit: typeof error?.code === "number" ? error.code : error === null ? 0 : -1, out, err });
    });
  });
}

const asOwner = (...args: readonly string[]) => run(args, { ...chain, CONTRACT_PRIVATE_KEY: OWNER_KEY });
const asAlice = (...args: readonly string[]) => run(args, { ...chain, CONTRACT_PRIVATE_KEY: ALICE_KEY });

describe("the command line", { timeout: 120_000 }, () => {
  it("says how to use every command, with an example and the exit codes", async () => {
    const { out, exit } = await run(["--help"]);
    expect(exit).toBe(0);
    const commands = [...out.matchAll(/^ {2}([a-z-]+) .*$/gm)].map(([, name = ""]) => name);
    const named = commands.filter((name) => name !== "help" && !name.startsWith("-"));
    expect(named).toContain("grant");
    for (const [i, help] of (await Promise.all(named.map((name) => run([name, "--help"])))).entries()) {
      const name = named[i];
      expect(help.out).toContain(`Example: dstack-vpn ${name}`);
      expect(help.out).toContain("Exit codes: 0 ");
      expect(help.exit).toBe(0);
    }
  });

  it("makes a key that only its owner reads, once", async () => {
    const file = join(folder, "once.key");
    const first = await run(["keys", "--out", file]);
    expect(first).toMatchObject({ exit: 0, err: "", out: expect.stringMatching(/^[A-Za-z0-9+/]{43}=\n$/) });
    const made = readFileSync(file, "utf8");
    expect(made).toMatch(/^[A-Za-z0-9+/]{43}=\n$/);
    expect(made).not.toBe(first.out);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const again = await run(["keys", "--out", file]);
    expect(again).toMatchObject({
      exit: 1,
      out: "",
      err: `${file} exists already and is never overwritten: name another\n`,
    });
    expect(readFileSync(file, "utf8")).toBe(made);
  });

  it("prints what to sign elsewhere where it has no key to sign with", async () => {
    const unsigned = await run(["revoke", "7", "--json"], chain);
    expect(unsigned.exit).toBe(0);
    expect(JSON.parse(unsigned.out)).toEqual({
      to: chain["CONTRACT_ADDRESS"],
      data: new Interface(JSON.stringify(artifact.abi)).encodeFunctionData("revokeNodeAccess", [7]),
      value: "0",
      chainId: 31337,
    });
  });

  it("gives access, says why it may not be given twice, and takes it away", async () => {
    const key = (await run(["keys", "--out", join(folder, "alice.key")])).out.trim();
    const granted = await asOwner("grant", "--to", ALICE, "--node-id", "alice", "--key", key, "--json");
    expect(granted.exit).toBe(0);
    const { tokenId } = JSON.parse(granted.out);
    expect(tokenId).toMatch(/^[0-9]+$/);
    const listed = JSON.parse((await run(["list", "--json"], chain)).out);
    expect(listed.tokens).toContainEqual({
      ...{ tokenId, nodeId: "alice", owner: ALICE, active: true, role: "member", publicKey: key, endpoint: null },
      ...{ access: "admitted", addresses: [`10.213.0.${tokenId}/32`, expect.stringMatching(/^fd.*::[0-9a-f]+\/128$/)] },
    });
    expect(await asOwner("grant", "--to", ALICE, "--node-id", "alice")).toMatchObject({
      exit: 1,
      err: `the name alice is taken: active token ${tokenId} has it\n`,
    });
    expect(await asAlice("revoke", tokenId)).toMatchObject({
      exit: 1,
      err: `${ALICE} does not own the contract: only its owner may do this\n`,
    });
    expect(await asOwner("revoke", tokenId)).toMatchObject({
      exit: 0,
      out: expect.stringMatching(/^transaction {2}0x/),
    });
    expect(await asOwner("revoke", tokenId)).toMatchObject({ exit: 1, err: `token ${tokenId} is revoked, for good\n` });
    expect((await run(["list"], chain)).out).not.toContain("alice");
    const shown = await run(["show", "alice"], chain);
    expect(shown.out).toMatch(/^access +inactive: the token is revoked/m);
    expect(await run(["show", "nobody\u001b[2J"], chain)).toMatchObject({
      exit: 1,
      err: "no token has this number, name or owner: nobody\\u001b[2J\n",
    });
  });

  it("lets a token's owner alone set its key and endpoint", async () => {
    const { tokenId } = JSON.parse((await asOwner("grant", "--to", ALICE, "--node-id", "gate", "--json")).out);
    const key = (await run(["keys", "--out", join(folder, "gate.key")])).out.trim();
    const strange = await asOwner("set-key", "--token", tokenId, "--key", key);
    expect(strange).toMatchObject({ exit: 1, err: expect.stringMatching(`^token ${tokenId} is not yours: `) });
    expect((await asAlice("set-key", "--token", tokenId, "--key", key)).exit).toBe(0);
    const dial = ["set-endpoint", "--token", tokenId, "--endpoint", "gate.example.org:51820"];
    expect(await asAlice(...dial)).toMatchObject({ exit: 1, err: expect.stringMatching(/see set-role\n$/) });
    expect((await asOwner("set-role", "--token", tokenId, "--role", "gateway")).exit).toBe(0);
    expect((await asAlice(...dial)).exit).toBe(0);
    const member = await withConfig(key);
    await refusesConfig(tokenId, member);
    expect((await asOwner("transfer-ownership", "--to", ALICE)).exit).toBe(0);
  });
});

/** A member's configuration, with one gateway on the contract. @returns the member's token */
async function withConfig(gatewayKey: string): Promise<string> {
  const file = join(folder, "bob.key");
  const key = (await run(["keys", "--out", file])).out.trim();
  const { tokenId } = JSON.parse(
    (await asOwner("grant", "--to", ALICE, "--node-id", "bob", "--key", key, "--json")).out,
  );
  const out = join(folder, "bob.conf");
  const args = ["config", "--token", tokenId, "--key-file", file];
  expect(await run([...args, "--out", out, "--exit", "gate"], chain)).toMatchObject({ exit: 0, out: "" });
  const conf = readFileSync(out, "utf8");
  expect(statSync(out).mode & 0o777).toBe(0o600);
  expect(conf).toContain(`PrivateKey = ${readFileSync(file, "utf8")}`);
  expect(conf).toMatch(
    new RegExp(`PublicKey = ${gatewayKey.replace(/[+/]/g, "\\$&")}\nAllowedIPs = .*, 0.0.0.0/0, ::/0\n`),
  );
  const read = await run(args, chain);
  expect(read).toMatchObject({ exit: 0, out: expect.stringContaining("Endpoint = gate.example.org:51820\n") });
  expect(read.out).not.toContain(readFileSync(file, "utf8").trim());
  // The same chain, the same text; and only over what we wrote.
  expect((await run([...args, "--out", out, "--exit", "gate"], chain)).exit).toBe(0);
  expect(readFileSync(out, "utf8")).toBe(conf);
  const code = await run([...args, "--qr"], chain);
  expect(code.out.split("\n").length).toBeGreaterThan(30);
  return tokenId;
}

async function refusesConfig(stranger: string, member: string): Promise<void> {
  const file = join(folder, "bob.key");
  const config = (token: string, ...more: readonly string[]) =>
    run(["config", "--token", token, "--key-file", file, ...more], chain);
  const refused = (message: RegExp) => ({ exit: 1, out: "", err: expect.stringMatching(message) });
  expect(await config(stranger)).toMatchObject(refused(/has another key than/));
  expect(await config("999")).toMatchObject(refused(/^there is no token 999/));
  expect(await config(member, "--exit", "bob")).toMatchObject(refused(/^bob is no gateway/));
  expect(await config(member, "--out", file)).toMatchObject(refused(/is not a configuration of this token/));
  expect(await config(member, "--out", join(folder, "none", "a.conf"))).toMatchObject(
    refused(/cannot be written \(ENOENT\)/),
  );
}

describe("what is wrong, in one sentence and an exit code", { timeout: 60_000 }, () => {
  const wanted = ["revoke", "1"];
  it("a chain that refuses the connection", async () => {
    const gone = { ...chain, RPC_URL: "http://127.0.0.1:1" };
    expect(await run(wanted, gone)).toMatchObject({
      exit: 69,
      out: "",
      err: expect.stringMatching(/^eth_.* failed: .*\n$/),
    });
  });

  it("a chain that accepts and never answers", async () => {
    const silent = createServer(() => {}).listen(0, "127.0.0.1");
    await once(silent, "listening");
    const { port } = silent.address() as { port: number };
    const ran = await run(wanted, { ...chain, RPC_URL: `http://127.0.0.1:${port}/v3/hidden` });
    silent.close();
    expect(ran).toMatchObject({ exit: 69, out: "" });
    expect(ran.err).not.toContain("hidden");
  });

  it.each([
    ["an address without a contract", { CONTRACT_ADDRESS: ALICE }, 78, /^no code at /],
    ["another chain", { CHAIN_ID: "1" }, 78, /serves chain 31337, not 1/],
    ["a key that is none", { CONTRACT_PRIVATE_KEY: "0x1234" }, 78, /^CONTRACT_PRIVATE_KEY: must be 32 bytes of hex/],
    ["no upstream at all", { RPC_URL: "" }, 78, /^RPC_URL: is required/],
    [
      "a key file that is not there",
      { CONTRACT_PRIVATE_KEY_FILE: join(folder, "none") },
      78,
      /cannot be read \(ENOENT\)/,
    ],
  ])("%s", async (_, environment, exit, message) => {
    const ran = await run(wanted, { ...chain, ...environment });
    expect(ran).toMatchObject({ exit, out: "", err: expect.stringMatching(message) });
    expect(ran.err).not.toMatch(/^\s+at /m);
  });

  it.each([
    [["revoke"]],
    [["revoke", "one"]],
    [["fly"]],
    [["grant", "--to", `${ALICE}0`, "--node-id", "a"]],
    [["set-key", "--token", "1", "--key", "short"]],
  ])("wrong usage: %o", async (args) => {
    expect(await run(args, chain)).toMatchObject({ exit: 2, out: "" });
  });

  it("a folder that is none", async () => {
    writeFileSync(join(folder, "file"), "");
    expect(await run(["keys", "--out", join(folder, "file", "key")])).toMatchObject({
      exit: 1,
      err: expect.stringMatching(/ENOTDIR/),
    });
  });
});
