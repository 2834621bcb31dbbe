/** Ring 2: the operators' commands against chains and contracts that are not as they should be. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ALICE, type Anvil, dstackVpn, type Env, OWNER, startAnvil, startSilence } from "../test/cli.ts";

const folder = mkdtempSync(join(tmpdir(), "dstack-vpn-adversity-"));
const csv = join(folder, "members.csv");
/** Takes every call and answers with nothing, as wrapped ether does. */
const ANYTHING = "0x1111111111111111111111111111111111111111";
let anvil: Anvil;
let silence: { url: string; close(): void };
let env: Env;

beforeAll(async () => {
  writeFileSync(csv, `to,node_id,key\n${ALICE.address},alice,\n`);
  [anvil, silence] = await Promise.all([startAnvil(), startSilence()]);
  // STOP
  await anvil.rpc("anvil_setCode", ANYTHING, "0x00");
  env = { ...anvil.settings(ANYTHING), CONTRACT_PRIVATE_KEY: OWNER.key, XDG_CACHE_HOME: folder };
}, 60_000);
afterAll(async () => {
  silence.close();
  await anvil.close();
  rmSync(folder, { recursive: true });
});

const COMMANDS = [
  ["list"],
  ["show", "alice"],
  ["grant", "--to", ALICE.address, "--node-id", "alice"],
  ["grant", "--csv", csv],
  ["grant", "--csv", csv, "--dry-run"],
  ["revoke", "1"],
];

describe("operators' commands, in one sentence and without writing anything", { timeout: 240_000 }, () => {
  it.each(COMMANDS.map((args) => [args]))("a contract that is another one: %j", async (args) => {
    const before = await anvil.rpc("eth_blockNumber");
    const ran = await dstackVpn(args, env);
    expect(ran).toMatchObject({
      exit: 78,
      out: "",
      err: expect.stringMatching(/^the code at 0x1{40} is no access contract: .*\n$/),
    });
    expect(await anvil.rpc("eth_blockNumber")).toBe(before);
  });

  it.each([...COMMANDS, ["deploy-contract"]].map((args) => [args]))("a chain that never answers: %j", async (args) => {
    const ran = await dstackVpn(args, { ...env, RPC_URL: silence.url });
    expect(ran).toMatchObject({ exit: 69, out: "" });
    expect(ran.err).toMatch(/^eth_.* failed: .*\n$/);
    expect(ran.err).not.toContain("hidden");
  });

  it.each([[["list"]], [["grant", "--csv", csv]]])("an address without code: %j", async (args) => {
    const ran = await dstackVpn(args, { ...env, CONTRACT_ADDRESS: ALICE.address });
    expect(ran).toMatchObject({ exit: 78, out: "", err: expect.stringMatching(/^no code at /) });
  });

  it("a file that cannot be read", async () => {
    const ran = await dstackVpn(["grant", "--csv", join(folder, "none.csv")], env);
    expect(ran).toMatchObject({
      exit: 1,
      out: "",
      err: expect.stringMatching(/none\.csv cannot be read \(ENOENT\)\n$/),
    });
  });
});
