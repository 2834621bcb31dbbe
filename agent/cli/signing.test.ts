/** Ring 2: who signs, and how they are asked. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { encryptKeystoreJsonSync } from "ethers/wallet";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ALICE, OWNER } from "../test/cli.ts";
import { Typing, typedAtTerminal } from "../test/typing.ts";

const PASSPHRASE = "correct horse \u00e9";
let typing: Typing;

beforeAll(async () => {
  typing = await Typing.open("DstackAccessNFT");
  // A keystore of every day has N = 131072 or more, which only takes longer.
  const cheap = { scrypt: { N: 1024, r: 8, p: 1 } };
  const json = encryptKeystoreJsonSync({ address: ALICE.address, privateKey: ALICE.key }, PASSPHRASE, cheap);
  writeFileSync(join(typing.folder, "wallet.json"), json);
  writeFileSync(join(typing.folder, "pass"), `${PASSPHRASE}\n`);
  writeFileSync(join(typing.folder, "wrong"), "hunter2");
  writeFileSync(join(typing.folder, "plain.json"), OWNER.key);
}, 60_000);
afterAll(() => typing?.[Symbol.asyncDispose]());

const accepting = (...more: readonly string[]) => ["accept-ownership", ...more];

describe("an encrypted keystore", { timeout: 60_000 }, () => {
  it("signs once its passphrase was typed, which the terminal does not show", async () => {
    await typing.owner("transfer-ownership", "--to", ALICE.address);
    const args = accepting("--keystore", "wallet.json");
    const ran = await typedAtTerminal(typing, args, /Passphrase of wallet\.json: /, `${PASSPHRASE}x\u007f\r`);
    expect(ran.out).toMatch(/transaction {2}0x[0-9a-f]{64}\r?\n/);
    expect(ran.out).not.toContain("correct");
    expect(ran.exit).toBe(0);
    const minted = await typing.run(["grant", "--to", ALICE.address, "--node-id", "hers"], {
      CONTRACT_PRIVATE_KEY: ALICE.key,
    });
    expect(minted.exit).toBe(0);
  });

  it("gives up at Ctrl-C, with nothing sent", async () => {
    const args = accepting("--keystore", "wallet.json");
    const ran = await typedAtTerminal(typing, args, /Passphrase/, "corr\u0003");
    expect(ran.out).toContain("nothing was entered");
    expect(ran.exit).toBe(1);
  });

  it.each([
    ["with its passphrase in a file", ["--passphrase-file", "pass"], 1, /^the contract was not offered to 0x7099/m],
    [
      "with another passphrase",
      ["--passphrase-file", "wrong"],
      1,
      /wallet\.json stays locked: the passphrase does not open it/,
    ],
    [
      "with no terminal to ask at",
      [],
      2,
      /no terminal to ask for the passphrase at: name a file with --passphrase-file/,
    ],
  ])("%s", async (_, more, exit, message) => {
    const ran = await withoutTerminal(accepting("--keystore", "wallet.json", ...more));
    expect(ran).toMatchObject({ exit, out: "", err: expect.stringMatching(message) });
    expect(ran.err).not.toMatch(/hunter2|correct|^\s+at /m);
  });

  it.each([
    ["that is none", ["--keystore", "plain.json"], {}, 1, "plain.json is no encrypted JSON keystore of version 3\n"],
    ["that is not there", ["--keystore", "gone.json"], {}, 1, "there is no gone.json\n"],
    [
      "beside another key",
      ["--keystore", "wallet.json"],
      { CONTRACT_PRIVATE_KEY: OWNER.key },
      78,
      "CONTRACT_PRIVATE_KEY is set together with --keystore: keep one of them\n",
    ],
    [
      "left out where its passphrase is not",
      ["--passphrase-file", "pass"],
      {},
      2,
      "--passphrase-file needs --keystore\n",
    ],
  ])("%s", async (_, more, environment, exit, err) => {
    expect(await typing.run(accepting(...more), environment)).toEqual({ exit, out: "", err });
  });
});

/** In a session of its own, which has no terminal whoever runs the test. */
async function withoutTerminal(args: readonly string[]) {
  const { argv, env } = typing.command(args);
  const [file = "", ...rest] = argv;
  const child = spawn(file, rest, { env, cwd: typing.folder, detached: true, stdio: ["ignore", "pipe", "pipe"] });
  let [out, err] = ["", ""];
  child.stdout.on("data", (chunk) => {
    out += chunk;
  });
  child.stderr.on("data", (chunk) => {
    err += chunk;
  });
  const [exit] = await once(child, "close");
  return { exit, out, err };
}
