/** `node contracts/deploy.ts --rpc URL --key-file FILE [--contract NAME]` puts a contract on a chain and prints where. */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { ContractFactory, FetchRequest, JsonRpcProvider, Wallet } from "ethers";
import { type Artifact, CONTRACT_NAMES, readArtifact } from "./artifact.ts";

export interface Deployment {
  readonly contractName: string;
  /** Checksummed. */
  readonly address: string;
  readonly chainId: number;
  readonly block: number;
  readonly transaction: string;
}

/** Deploys and waits for the block. The key's account pays, and owns the contract.
 *  @throws Error without the key or the path of the URL in its message */
export async function deployContract(options: {
  readonly rpcUrl: string;
  /** 32 bytes of hex. */
  readonly privateKey: string;
  readonly artifact: Artifact;
}): Promise<Deployment> {
  const { rpcUrl, privateKey, artifact } = options;
  const chainId = await chainIdOf(rpcUrl);
  const request = new FetchRequest(rpcUrl);
  request.timeout = REQUEST_TIMEOUT_MS;
  // Without a static network an upstream that goes away keeps ethers asking for ever.
  const provider = new JsonRpcProvider(request, chainId, { staticNetwork: true, batchMaxCount: 1, cacheTimeout: -1 });
  provider.pollingInterval = 250;
  try {
    const factory = new ContractFactory([...artifact.abi], artifact.bytecode, new Wallet(privateKey, provider));
    const transaction = (await factory.deploy()).deploymentTransaction();
    const receipt = await transaction?.wait(1, INCLUSION_TIMEOUT_MS);
    if (!receipt?.contractAddress) throw new Error("the transaction was included and made no contract");
    return {
      contractName: artifact.contractName,
      address: receipt.contractAddress,
      chainId,
      block: receipt.blockNumber,
      transaction: receipt.hash,
    };
  } catch (cause) {
    throw new Error(`${artifact.contractName} is not deployed: ${phrase(cause)}`, { cause });
  } finally {
    provider.destroy();
  }
}

const REQUEST_TIMEOUT_MS = 10_000;
const INCLUSION_TIMEOUT_MS = 180_000;

async function chainIdOf(rpcUrl: string): Promise<number> {
  const host = URL.canParse(rpcUrl) ? new URL(rpcUrl).host : "the RPC URL";
  try {
    const response = await fetch(rpcUrl, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "eth_chainId", params: [] }),
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
    const chainId = Number(((await response.json()) as { result?: unknown }).result);
    if (!Number.isSafeInteger(chainId) || chainId < 1) throw new Error("no chain id");
    return chainId;
  } catch (cause) {
    throw new Error(`${host} does not answer eth_chainId: is it an http(s) JSON-RPC endpoint, and up?`, { cause });
  }
}

/** What ethers says in short: its whole messages repeat the request, URL and transaction included. */
function phrase(cause: unknown): string {
  if (!(cause instanceof Error)) return "unknown";
  return "shortMessage" in cause ? String(cause.shortMessage) : cause.message;
}

async function main(): Promise<Deployment> {
  const { rpc, "key-file": keyFile, contract } = flags();
  const name = CONTRACT_NAMES.find((known) => known === contract);
  if (rpc === undefined || keyFile === undefined || name === undefined) throw new Error(USAGE);
  const privateKey = readFileSync(keyFile, "utf8").trim();
  if (!/^(0x)?[0-9a-fA-F]{64}$/.test(privateKey)) throw new Error(`${keyFile} does not hold 32 bytes of hex`);
  return deployContract({ rpcUrl: rpc, privateKey, artifact: readArtifact(name) });
}

const USAGE = `usage: node contracts/deploy.ts --rpc URL --key-file FILE [--contract ${CONTRACT_NAMES.join("|")}]`;

function flags() {
  try {
    const string = { type: "string" } as const;
    return parseArgs({
      options: { rpc: string, "key-file": string, contract: { ...string, default: CONTRACT_NAMES[0] } },
    }).values;
  } catch (cause) {
    throw new Error(USAGE, { cause });
  }
}

if (import.meta.main) {
  try {
    process.stdout.write(`${JSON.stringify(await main())}\n`);
  } catch (error) {
    process.stderr.write(`${phrase(error)}\n`);
    process.exitCode = 1;
  }
}
