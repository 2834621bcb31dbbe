import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Contract, type ContractTransactionResponse, id, JsonRpcProvider, Wallet } from "ethers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ContractName, readArtifact } from "./artifact.ts";
import { deployContract } from "./deploy.ts";

// The first accounts of anvil's well-known mnemonic.
const OWNER_KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const ALICE_KEY = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
const BOB = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";
const KEY_1 = Buffer.alloc(32, 1).toString("base64");
const KEY_2 = Buffer.alloc(32, 2).toString("base64");

let anvil: ChildProcess;
let rpcUrl: string;
let provider: JsonRpcProvider;

beforeAll(async () => {
  anvil = spawn("anvil", ["--port", "0"], { stdio: ["ignore", "pipe", "inherit"] });
  await once(anvil, "spawn");
  for await (const line of createInterface({ input: anvil.stdout as NodeJS.ReadableStream })) {
    const listening = /Listening on (127\.0\.0\.1:[0-9]+)/.exec(line);
    if (listening !== null) {
      rpcUrl = `http://${listening[1]}`;
      break;
    }
  }
  provider = new JsonRpcProvider(rpcUrl, 31337, { staticNetwork: true, batchMaxCount: 1, cacheTimeout: -1 });
  provider.pollingInterval = 20;
}, 20_000);

afterAll(async () => {
  provider?.destroy();
  if (anvil?.pid === undefined) return;
  anvil.kill();
  if (anvil.exitCode === null && anvil.signalCode === null) await once(anvil, "exit");
});

describe("a deployed contract logs the events of the design, in this order", () => {
  const TRANSFER = "Transfer(address,address,uint256)";
  const GRANTED = "NodeAccessGranted(uint256,string,address,string)";
  const REVOKED = "NodeAccessRevoked(uint256,string)";
  const TRANSFERRED = "NodeAccessTransferred(uint256,address,address)";
  const OWNER_KEY_UPDATED = "PublicKeyUpdated(address,string)";
  const TOKEN_KEY_UPDATED = "TokenPublicKeyUpdated(uint256,string)";
  const ROLE = "RoleUpdated(uint256,uint8)";
  const ENDPOINT = "EndpointUpdated(uint256,string)";
  const OFFERED = "OwnershipTransferInitiated(address,address)";

  it("DstackAccessNFT", async () => {
    const { owner, alice, holder } = await deployed("DstackAccessNFT");
    expect(await topics(owner("mintNodeAccess", holder, "node-a", "", "ipfs://a"))).toEqual(
      [TRANSFER, GRANTED].map(id),
    );
    expect(await topics(alice("updatePublicKey", 1, KEY_1))).toEqual([OWNER_KEY_UPDATED, TOKEN_KEY_UPDATED].map(id));
    expect(await topics(owner("setRole", 1, 2))).toEqual([ROLE].map(id));
    expect(await topics(alice("setEndpoint", 1, "a.example:51820"))).toEqual([ENDPOINT].map(id));
    expect(await topics(alice("transferFrom", holder, BOB, 1))).toEqual(
      [TRANSFER, TRANSFERRED, ROLE, ENDPOINT].map(id),
    );
    expect(await topics(owner("revokeNodeAccess", 1))).toEqual([REVOKED].map(id));
    expect(await topics(owner("transferContractOwnership", BOB))).toEqual([
      id("OwnershipTransferStarted(address,address)"),
      id(OFFERED),
    ]);
  });

  it("PlainAccessNFT, with ERC-4906's MetadataUpdate between them", async () => {
    const { owner, alice, holder } = await deployed("PlainAccessNFT");
    expect(await topics(owner("mintNodeAccess", holder, "node-a\n", "not a key", "ipfs://a"))).toEqual([
      id(TRANSFER),
      id("MetadataUpdate(uint256)"),
      id(GRANTED),
    ]);
    expect(await topics(alice("updatePublicKey", KEY_2))).toEqual([OWNER_KEY_UPDATED].map(id));
    expect(await topics(alice("transferFrom", holder, BOB, 1))).toEqual([TRANSFER, TRANSFERRED].map(id));
    expect(await topics(owner("revokeNodeAccess", 1))).toEqual([REVOKED].map(id));
    expect(await topics(owner("transferContractOwnership", BOB))).toEqual([
      id(OFFERED),
      id("OwnershipTransferred(address,address)"),
    ]);
  });
});

describe("node contracts/deploy.ts", () => {
  const run = promisify(execFile);
  const script = fileURLToPath(new URL("deploy.ts", import.meta.url));
  const folder = mkdtempSync(join(tmpdir(), "deploy-"));
  const keyFile = join(folder, "key");
  afterAll(() => rmSync(folder, { recursive: true }));

  it("deploys with the key in a file and prints where as one line of JSON", async () => {
    writeFileSync(keyFile, `${OWNER_KEY}\n`);
    const { stdout } = await run(process.execPath, [script, "--rpc", rpcUrl, "--key-file", keyFile]);
    const { address, contractName, chainId } = JSON.parse(stdout);
    expect({ contractName, chainId }).toEqual({ contractName: "DstackAccessNFT", chainId: 31337 });
    const contract = new Contract(address, JSON.stringify(readArtifact("DstackAccessNFT").abi), provider);
    expect(await contract.getFunction("owner")()).toBe(new Wallet(OWNER_KEY).address);
  });

  it("says in one line what is wrong, never the key nor the path of the URL", async () => {
    const failure = async (...args: string[]) => {
      const { code, stdout, stderr } = await run(process.execPath, [script, ...args]).catch((error) => error);
      expect([code, stdout]).toEqual([1, ""]);
      return stderr;
    };
    const secret = "ab".repeat(30);
    writeFileSync(keyFile, secret);
    expect(await failure("--rpc", rpcUrl, "--key-file", keyFile)).toBe(`${keyFile} does not hold 32 bytes of hex\n`);
    writeFileSync(keyFile, OWNER_KEY);
    expect(await failure("--rpc", "http://127.0.0.1:1/secret", "--key-file", keyFile)).toMatch(
      /^127\.0\.0\.1:1 does not answer eth_chainId.*\n$/,
    );
    writeFileSync(keyFile, secret.padEnd(64, "c")); // an account without money
    expect(await failure("--rpc", rpcUrl, "--key-file", keyFile)).toMatch(
      /^DstackAccessNFT is not deployed: insufficient funds[a-z ]*\n$/,
    );
    expect(await failure("--rpc", rpcUrl)).toMatch(/^usage: /);
    expect(await failure("--key", OWNER_KEY)).toMatch(/^usage: [^0]*\n$/);
  }, 20_000);
});

async function deployed(name: ContractName) {
  const artifact = readArtifact(name);
  const { address } = await deployContract({ rpcUrl, privateKey: OWNER_KEY, artifact });
  const sender = (privateKey: string) => {
    const contract = new Contract(address, JSON.stringify(artifact.abi), new Wallet(privateKey, provider));
    return (method: string, ...args: unknown[]): Promise<ContractTransactionResponse> =>
      contract.getFunction(method).send(...args);
  };
  return { owner: sender(OWNER_KEY), alice: sender(ALICE_KEY), holder: new Wallet(ALICE_KEY).address };
}

async function topics(sent: Promise<ContractTransactionResponse>): Promise<(string | undefined)[]> {
  const receipt = await (await sent).wait();
  return receipt?.logs.map((log) => log.topics[0]) ?? [];
}
