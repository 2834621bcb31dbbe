/** Ring 2: the commands as people run them, against a chain of their own with the real contract on it. */
import { once } from "node:events";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import type { Command } from "commander";
import { Interface } from "ethers/abi";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readArtifact } from "../../contracts/artifact.ts";
import { ALICE, OWNER } from "../test/cli.ts";
import { Typing } from "../test/typing.ts";
import { program } from "./program.ts";

let typing: Typing;

beforeAll(async () => {
  typing = await Typing.open("DstackAccessNFT");
}, 60_000);
afterAll(() => typing?.[Symbol.asyncDispose]());

const at = (name: string) => join(typing.folder, name);
const keyPair = async (name: string) => (await typing.run(["keys", "--out", name])).out.trim();
const asOwner = (...args: readonly string[]) => typing.as(OWNER.key, ...args);
const asAlice = (...args: readonly string[]) => typing.as(ALICE.key, ...args);

/** With what stands before and after it, as it is printed. */
function help(command: Command): string {
  let text = "";
  command
    .configureOutput({
      writeOut: (piece) => {
        text += piece;
      },
    })
    .outputHelp();
  return text;
}

/** The commands and theirs, each with the words that name it. */
function named(command: Command, words: readonly string[] = []): [string, Command][] {
  return command.commands.flatMap((each) => {
    const name = [...words, each.name()];
    return [[name.join(" "), each] as [string, Command], ...named(each, name)];
  });
}

describe("the command line", { timeout: 120_000 }, () => {
  it("says how to use every command, with an example and the exit codes", () => {
    const commands = named(program());
    expect(commands.map(([name]) => name)).toEqual(expect.arrayContaining(["grant", "join", "backup restore"]));
    for (const [name, command] of commands) {
      expect(help(command)).toMatch(new RegExp(`^Example: dstack-vpn ${name}\\b`, "m"));
      expect(help(command)).toContain("Exit codes: 0 ");
    }
  });

  it("understands its own examples", () => {
    const commands = named(program()).toSorted(([a], [b]) => b.length - a.length);
    const examples = commands.flatMap(([, command]) => [
      ...help(command).matchAll(/^(?:Example:| {9}) dstack-vpn (.*)$/gm),
    ]);
    expect(examples.length).toBeGreaterThan(commands.length);
    for (const [, line = ""] of examples) {
      const key = Buffer.alloc(32, 9).toString("base64");
      const words = line
        .replace(/ >+ .*$/, "")
        .replace(/"\$\(.*\)"/, key)
        .split(" ");
      const [name = "", command] = commands.find(([each]) => `${words.join(" ")} `.startsWith(`${each} `)) ?? [];
      expect(command?.parseOptions(words.slice(name.split(" ").length)).unknown).toEqual([]);
    }
  });

  it("makes a key that only its owner reads, once", async () => {
    const file = "once.key";
    const first = await typing.run(["keys", "--out", file]);
    expect(first).toMatchObject({ exit: 0, err: "", out: expect.stringMatching(/^[A-Za-z0-9+/]{43}=\n$/) });
    const made = readFileSync(at(file), "utf8");
    expect(made).toMatch(/^[A-Za-z0-9+/]{43}=\n$/);
    expect(made).not.toBe(first.out);
    expect(statSync(at(file)).mode & 0o777).toBe(0o600);
    const again = await typing.run(["keys", "--out", file]);
    expect(again).toMatchObject({
      exit: 1,
      out: "",
      err: `${file} exists already and is never overwritten: name another\n`,
    });
    expect(readFileSync(at(file), "utf8")).toBe(made);
  });

  it("prints what to sign elsewhere where it has no key to sign with", async () => {
    const unsigned = await typing.run(["revoke", "7", "--json"]);
    expect(unsigned.exit).toBe(0);
    expect(JSON.parse(unsigned.out)).toEqual({
      to: typing.chain["CONTRACT_ADDRESS"],
      data: new Interface(JSON.stringify(readArtifact("DstackAccessNFT").abi)).encodeFunctionData(
        "revokeNodeAccess",
        [7],
      ),
      value: "0",
      chainId: 31337,
    });
  });

  it("gives access, says why it may not be given twice, and takes it away", async () => {
    const key = await keyPair("alice.key");
    const granted = await asOwner("grant", "--to", ALICE.address, "--node-id", "alice", "--key", key, "--json");
    expect(granted.exit).toBe(0);
    const { tokenId } = JSON.parse(granted.out);
    expect(tokenId).toMatch(/^[0-9]+$/);
    const listed = JSON.parse((await typing.run(["list", "--json"])).out);
    expect(listed.tokens).toContainEqual({
      ...{
        tokenId,
        nodeId: "alice",
        owner: ALICE.address,
        active: true,
        role: "member",
        publicKey: key,
        endpoint: null,
      },
      ...{ access: "admitted", addresses: [`10.213.0.${tokenId}/32`, expect.stringMatching(/^fd.*::[0-9a-f]+\/128$/)] },
    });
    expect(await asOwner("grant", "--to", ALICE.address, "--node-id", "alice")).toMatchObject({
      exit: 1,
      err: `the name alice is taken: active token ${tokenId} has it\n`,
    });
    expect(await asAlice("revoke", tokenId)).toMatchObject({
      exit: 1,
      err: `${ALICE.address} does not own the contract: only its owner may do this\n`,
    });
    expect(await asOwner("revoke", tokenId)).toMatchObject({
      exit: 0,
      out: expect.stringMatching(/^transaction {2}0x/),
    });
    expect(await asOwner("revoke", tokenId)).toMatchObject({ exit: 1, err: `token ${tokenId} is revoked, for good\n` });
    expect((await typing.run(["list"])).out).not.toContain("alice");
    const shown = await typing.run(["show", "alice"]);
    expect(shown.out).toMatch(/^access +inactive: the token is revoked/m);
    expect(await typing.run(["show", "nobody\u001b[2J"])).toMatchObject({
      exit: 1,
      err: "no token has this number, name or owner: nobody\\u001b[2J\n",
    });
  });

  it("lets a token's owner alone set its key and endpoint", async () => {
    const { tokenId } = JSON.parse((await asOwner("grant", "--to", ALICE.address, "--node-id", "gate", "--json")).out);
    const key = await keyPair("gate.key");
    const strange = await asOwner("set-key", "--token", tokenId, "--key", key);
    expect(strange).toMatchObject({ exit: 1, err: expect.stringMatching(`^token ${tokenId} is not yours: `) });
    expect((await asAlice("set-key", "--token", tokenId, "--key", key)).exit).toBe(0);
    const dial = ["set-endpoint", "--token", tokenId, "--endpoint", "gate.example.org:51820"];
    expect(await asAlice(...dial)).toMatchObject({ exit: 1, err: expect.stringMatching(/see set-role\n$/) });
    expect((await asOwner("set-role", "--token", tokenId, "--role", "gateway")).exit).toBe(0);
    expect((await asAlice(...dial)).exit).toBe(0);
    const member = await withConfig(key);
    await refusesConfig(tokenId, member);
    expect((await asOwner("transfer-ownership", "--to", ALICE.address)).exit).toBe(0);
  });
});

/** A member's configuration, with one gateway on the contract. @returns the member's token */
async function withConfig(gatewayKey: string): Promise<string> {
  const file = "bob.key";
  const key = await keyPair(file);
  const { tokenId } = JSON.parse(
    (await asOwner("grant", "--to", ALICE.address, "--node-id", "bob", "--key", key, "--json")).out,
  );
  const out = "bob.conf";
  const args = ["config", "--token", tokenId, "--key-file", file];
  expect(await typing.run([...args, "--out", out, "--exit", "gate"])).toMatchObject({ exit: 0, out: "" });
  const conf = readFileSync(at(out), "utf8");
  expect(statSync(at(out)).mode & 0o777).toBe(0o600);
  expect(conf).toContain(`PrivateKey = ${readFileSync(at(file), "utf8")}`);
  expect(conf).toMatch(
    new RegExp(`PublicKey = ${gatewayKey.replace(/[+/]/g, "\\$&")}\nAllowedIPs = .*, 0.0.0.0/0, ::/0\n`),
  );
  const read = await typing.run(args);
  expect(read).toMatchObject({ exit: 0, out: expect.stringContaining("Endpoint = gate.example.org:51820\n") });
  expect(read.out).not.toContain(readFileSync(at(file), "utf8").trim());
  // The same chain, the same text; and only over what we wrote.
  expect((await typing.run([...args, "--out", out, "--exit", "gate"])).exit).toBe(0);
  expect(readFileSync(at(out), "utf8")).toBe(conf);
  const code = await typing.run([...args, "--qr"]);
  expect(code.out.split("\n").length).toBeGreaterThan(30);
  return tokenId;
}

async function refusesConfig(stranger: string, member: string): Promise<void> {
  const file = "bob.key";
  const config = (token: string, ...more: readonly string[]) =>
    typing.run(["config", "--token", token, "--key-file", file, ...more]);
  const refused = (message: RegExp) => ({ exit: 1, out: "", err: expect.stringMatching(message) });
  expect(await config(stranger)).toMatchObject(refused(/has another key than/));
  expect(await config("999")).toMatchObject(refused(/^there is no token 999/));
  expect(await config(member, "--exit", "bob")).toMatchObject(refused(/^bob is no gateway/));
  expect(await config(member, "--out", file)).toMatchObject(refused(/is not a configuration of this token/));
  expect(await config(member, "--out", "none/a.conf")).toMatchObject(refused(/cannot be written \(ENOENT\)/));
}

describe("what is wrong, in one sentence and an exit code", { timeout: 60_000 }, () => {
  const wanted = ["revoke", "1"];
  it("a chain that refuses the connection", async () => {
    expect(await typing.run(wanted, { RPC_URL: "http://127.0.0.1:1" })).toMatchObject({
      exit: 69,
      out: "",
      err: expect.stringMatching(/^eth_.* failed: .*\n$/),
    });
  });

  it("a chain that accepts and never answers", async () => {
    const silent = createServer(() => {}).listen(0, "127.0.0.1");
    await once(silent, "listening");
    const { port } = silent.address() as { port: number };
    const ran = await typing.run(wanted, { RPC_URL: `http://127.0.0.1:${port}/v3/hidden` });
    silent.close();
    expect(ran).toMatchObject({ exit: 69, out: "" });
    expect(ran.err).not.toContain("hidden");
  });

  it.each([
    ["an address without a contract", { CONTRACT_ADDRESS: ALICE.address }, 78, /^no code at /],
    ["another chain", { CHAIN_ID: "1" }, 78, /serves chain 31337, not 1/],
    ["a key that is none", { CONTRACT_PRIVATE_KEY: "0x1234" }, 78, /^CONTRACT_PRIVATE_KEY: must be 32 bytes of hex/],
    ["no upstream at all", { RPC_URL: "" }, 78, /^RPC_URL: is required/],
    ["a key file that is not there", { CONTRACT_PRIVATE_KEY_FILE: "none" }, 78, /cannot be read \(ENOENT\)/],
  ])("%s", async (_, environment, exit, message) => {
    const ran = await typing.run(wanted, environment);
    expect(ran).toMatchObject({ exit, out: "", err: expect.stringMatching(message) });
    expect(ran.err).not.toMatch(/^\s+at /m);
  });

  it.each([
    [["revoke"]],
    [["revoke", "one"]],
    [["fly"]],
    [["grant", "--to", `${ALICE.address}0`, "--node-id", "a"]],
    [["set-key", "--token", "1", "--key", "short"]],
  ])("wrong usage: %o", async (args) => {
    expect(await typing.run(args)).toMatchObject({ exit: 2, out: "" });
  });

  it("a folder that is none", async () => {
    writeFileSync(at("file"), "");
    expect(await typing.run(["keys", "--out", "file/key"])).toMatchObject({
      exit: 1,
      err: expect.stringMatching(/ENOTDIR/),
    });
  });
});
