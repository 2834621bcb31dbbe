/** Ring 2: every command where something is wrong: one sentence, the documented exit code, nothing half done. */
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ALICE, OWNER, type Ran } from "../test/cli.ts";
import { Typing } from "../test/typing.ts";

let typing: Typing;
let key: string;

beforeAll(async () => {
  typing = await Typing.open("DstackAccessNFT");
  key = (await typing.run(["keys", "--out", "phone.key"])).out.trim();
  await typing.owner("grant", "--to", ALICE.address, "--node-id", "phone");
  writeFileSync(join(typing.folder, "file"), "");
}, 60_000);
afterAll(() => typing?.[Symbol.asyncDispose]());

const HELD = ["--token", "1", "--key-file", "phone.key"];
const readers = () => [["list"], ["show", "phone"], ["check", "--token", "1"], ["config", ...HELD], ["join", ...HELD]];
const writers = () => [
  ["grant", "--to", ALICE.address, "--node-id", "other"],
  ["revoke", "1"],
  ["set-key", "--token", "1", "--key", key],
  ["set-role", "--token", "1", "--role", "node"],
  ["set-endpoint", "--token", "1", "--endpoint", "192.0.2.1:51820"],
  ["transfer-ownership", "--to", ALICE.address],
  ["accept-ownership"],
];

/** Two at a time: what is wrong must not be that the machine is busy. */
async function each(commands: readonly (readonly string[])[], environment: Readonly<Record<string, string>>) {
  const ran: [string, Ran][] = [];
  for (let i = 0; i < commands.length; i += 2) {
    const pair = commands.slice(i, i + 2);
    const results = await Promise.all(pair.map((args) => typing.run(args, environment)));
    for (const [j, result] of results.entries()) ran.push([pair[j]?.[0] ?? "", result]);
  }
  return ran;
}

describe("every command, where something is wrong", { timeout: 180_000 }, () => {
  it.each([
    [
      "a chain that refuses the connection",
      { RPC_URL: "http://127.0.0.1:1" },
      69,
      /^(eth_\w+ on 127\.0\.0\.1:1 failed|the upstreams show no head)/,
    ],
    ["an address without a contract", { CONTRACT_ADDRESS: ALICE.address }, 78, /^no code at /],
    [
      "settings that are wrong",
      { RPC_URL: "ftp://x", OVERLAY_IPV4: "x" },
      78,
      /^(RPC_URL: must be .*\nOVERLAY_IPV4: must|OVERLAY_IPV4: must be .*\nRPC_URL: must)/,
    ],
  ])("%s", async (_, environment, exit, message) => {
    for (const [name, ran] of await each([...readers(), ...writers()], environment)) {
      expect([name, ran.exit, ran.out, ran.err]).toEqual([name, exit, "", expect.stringMatching(message)]);
      expect(ran.err).not.toMatch(/^\s+at /m);
    }
  });

  it("a contract that is another one", async () => {
    // Its code is one STOP: it answers every question with nothing.
    const hash = await typing.rpc("eth_sendTransaction", { from: ALICE.address, data: "0x600060005360016000f3" });
    const { contractAddress } = (await typing.rpc("eth_getTransactionReceipt", hash)) as { contractAddress: string };
    for (const [name, ran] of await each([...readers(), ...writers()], { CONTRACT_ADDRESS: contractAddress })) {
      expect([name, ran.exit, ran.out, ran.err]).toEqual([
        name,
        78,
        "",
        expect.stringMatching(/is no access contract/),
      ]);
    }
  });

  it("a chain that takes the connection and says nothing", async () => {
    const silent = createServer(() => {}).listen(0, "127.0.0.1");
    await once(silent, "listening");
    const { port } = silent.address() as { port: number };
    const RPC_URL = `http://127.0.0.1:${port}/v3/hidden`;
    const ran = await each([["check", "--token", "1"], ["join", ...HELD], ["list"], ["accept-ownership"]], { RPC_URL });
    silent.close();
    for (const [name, { exit, out, err }] of ran) {
      expect([name, exit, out]).toEqual([name, 69, ""]);
      expect(err).not.toMatch(/hidden|^\s+at /m);
    }
  });

  it("a token that is not yours", async () => {
    const commands = [
      ["set-key", "--token", "1", "--key", key],
      ["set-endpoint", "--token", "1", "--endpoint", "192.0.2.1:51820"],
      ["revoke", "1"],
      ["set-role", "--token", "1", "--role", "node"],
      ["accept-ownership"],
    ];
    // Of anvil's accounts, the third is nobody here.
    const stranger = "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a";
    for (const [name, ran] of await each(commands, { CONTRACT_PRIVATE_KEY: stranger })) {
      const why = expect.stringMatching(/is not yours|does not own the contract|was not offered to/);
      expect([name, ran.exit, ran.out, ran.err]).toEqual([name, 1, "", why]);
    }
  });

  it.each(["0", "f"])("a signing key of 32 bytes that is none: all %s", async (digit) => {
    const ran = await typing.run(["revoke", "1"], { CONTRACT_PRIVATE_KEY: digit.repeat(64) });
    expect(ran).toMatchObject({
      exit: 78,
      out: "",
      err: expect.stringMatching(/^CONTRACT_PRIVATE_KEY: must be 32 bytes/),
    });
    expect(ran.err).not.toContain(digit.repeat(8));
  });

  it("a folder that cannot be written, before anything is sent", async () => {
    const gateway = (await typing.run(["keys", "--out", "gate.key"])).out.trim();
    const { tokenId } = await typing.owner("grant", "--to", ALICE.address, "--node-id", "gate", "--key", gateway);
    await typing.owner("set-role", "--token", tokenId, "--role", "gateway");
    await typing.as(ALICE.key, "set-endpoint", "--token", tokenId, "--endpoint", "192.0.2.1:51820");
    const files = readdirSync(typing.folder);
    const [keys, joined] = await Promise.all([
      typing.run(["keys", "--out", "none/phone.key"]),
      typing.as(ALICE.key, "join", ...HELD, "--out", "none/phone.conf"),
    ]);
    expect(keys).toEqual({ exit: 1, out: "", err: "none/phone.key cannot be written (ENOENT)\n" });
    expect(joined).toEqual({ exit: 1, out: "", err: "none/phone.conf cannot be written (ENOENT)\n" });
    expect(readdirSync(typing.folder)).toEqual(files);
    expect((await typing.run(["show", "phone"])).out).toMatch(/^key +none$/m);
  });

  it("a file that is something else, before anything is sent, where nobody is there to be asked", async () => {
    const joined = await typing.as(ALICE.key, "join", ...HELD, "--out", "file");
    expect(joined).toMatchObject({ exit: 1, out: "", err: expect.stringMatching(/^file exists and is not/) });
    expect((await typing.run(["show", "phone"])).out).toMatch(/^key +none$/m);
  });

  it("a checkout where nothing is installed yet", () => {
    const scripts = join(typing.folder, "checkout", "scripts");
    mkdirSync(scripts, { recursive: true });
    copyFileSync(new URL("../../scripts/dstack-vpn", import.meta.url), join(scripts, "dstack-vpn"));
    const { status, stdout, stderr } = spawnSync(join(scripts, "dstack-vpn"), ["list"], { encoding: "utf8" });
    const err = expect.stringMatching(/^not installed yet: run .*\/scripts\/install\.sh\n$/);
    expect([status, stdout, stderr]).toEqual([78, "", err]);
  });

  it("a word that does not belong there, which may be a secret all the same", async () => {
    const commands = [
      ["revoke", "hunter2"],
      ["list", "hunter2"],
      ["backup", "create", "hunter2"],
      ["backup", "hunter2"],
    ];
    for (const [name, ran] of await each(commands, {})) {
      expect([name, ran.exit, ran.out]).toEqual([name, 2, ""]);
      expect(ran.err).toMatch(/^error: /);
      expect(ran.err).not.toContain("hunter2");
    }
  });

  it("a key among the arguments, which is not repeated and does nothing", async () => {
    for (const [, ran] of await each([["revoke", OWNER.key], ["keys", `--out=${OWNER.key}`], [OWNER.key]], {})) {
      expect(ran).toMatchObject({ exit: 2, out: "", err: expect.stringMatching(/looks like a private key/) });
      expect(ran.err).not.toContain(OWNER.key.slice(2, 12));
    }
    expect(existsSync(join(typing.folder, OWNER.key))).toBe(false);
  });
});
