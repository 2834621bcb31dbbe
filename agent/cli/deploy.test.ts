/** Ring 2: deploying, against a chain of its own. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ALICE, type Anvil, dstackVpn, type Env, OWNER, POOR, startAnvil } from "../test/cli.ts";

let anvil: Anvil;
let chain: Env;
const deploy = (env: Env, ...more: string[]) => dstackVpn(["deploy-contract", ...more], { ...chain, ...env });

beforeAll(async () => {
  anvil = await startAnvil();
  chain = { NETWORK: "devnet", RPC_URL: anvil.url };
}, 60_000);
afterAll(() => anvil.close());

describe("deploy-contract", { timeout: 240_000 }, () => {
  it("prints what belongs into .env, and with it the other commands work at once", async () => {
    const { exit, out, err } = await deploy({ CONTRACT_PRIVATE_KEY: OWNER.key });
    expect(exit).toBe(0);
    expect(err).toMatch(/^a new contract on chain 31337, owned by 0xf39F.*: about [0-9.e-]+ ETH, at most /);
    const lines = out.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    const settings = Object.fromEntries(lines.map((line) => line.split("=")));
    const block = Number(await anvil.rpc<string>("eth_blockNumber"));
    const address = /its address will be (0x[0-9a-fA-F]{40})/.exec(err)?.[1];
    expect(settings).toEqual({ NETWORK: "devnet", CONTRACT_ADDRESS: address, START_BLOCK: String(block) });
    const env = { ...settings, RPC_URL: anvil.url, CONTRACT_PRIVATE_KEY: OWNER.key };
    expect(await dstackVpn(["grant", "--to", ALICE.address, "--node-id", "alice"], env)).toMatchObject({ exit: 0 });
    expect((await dstackVpn(["list"], env)).out).toMatch(/^1 +alice +member /m);
  });

  it("prints JSON with the block and the chain", async () => {
    const { exit, out } = await deploy({ CONTRACT_PRIVATE_KEY: OWNER.key }, "--json", "--yes");
    expect(exit).toBe(0);
    const { contract, block, chainId, transaction } = JSON.parse(out);
    expect(chainId).toBe(31337);
    expect(await anvil.rpc("eth_getTransactionReceipt", transaction)).toMatchObject({
      contractAddress: contract.toLowerCase(),
      blockNumber: `0x${block.toString(16)}`,
    });
  });

  it("prints what to sign elsewhere where it has no key", async () => {
    const before = await anvil.rpc("eth_blockNumber");
    const { exit, out } = await deploy({}, "--json");
    expect(exit).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ to: null, chainId: 31337, data: expect.stringMatching(/^0x60/) });
    expect(await anvil.rpc("eth_blockNumber")).toBe(before);
  });

  it("prints nothing but comments and settings, so that .env stays one also where it has no key", async () => {
    const { exit, out, err } = await deploy({}, "--yes");
    expect({ exit, rest: out.replaceAll(/^(# .*|[A-Z_]+=\S*)\n/gm, "") }).toEqual({ exit: 0, rest: "" });
    expect(out).toMatch(/^# data +0x60/m);
    expect(err).toMatch(/^No signing key is set; nothing was sent/);
  });

  it("sends nothing that the account cannot pay", async () => {
    const { exit, out, err } = await deploy({ CONTRACT_PRIVATE_KEY: POOR.key });
    expect({ exit, out }).toEqual({ exit: 1, out: "" });
    expect(err).toMatch(`nothing was sent: ${POOR.address} cannot pay for it`);
    await anvil.rpc("anvil_setBalance", POOR.address, "0x100000");
    expect((await deploy({ CONTRACT_PRIVATE_KEY: POOR.key })).err).toMatch(/nothing was sent: .* cannot pay for it/);
  });
});
