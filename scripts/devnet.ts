/**
 * `node scripts/devnet.ts` is a local chain for trying things out: anvil with the access contract on it at the address of
 * the preset `devnet`, and a grant for each node that DEVNET_NODES names, as soon as that node says its public key.
 *
 *   DEVNET_NODES  name:port:role,…  the WireGuard port behind that name and gateway, node or member
 *   DEVNET_STATE  file              where the chain is kept across restarts (default: nowhere)
 *   DEVNET_HOST   address           to listen on (default 127.0.0.1), port 8545
 *
 * Its accounts are anvil's, whose keys everybody knows: nothing on it is worth or safe anything.
 */
import { spawn } from "node:child_process";
import { copyFileSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Interface } from "ethers";
import { NETWORKS } from "../agent/config.ts";
import { ROLES, type Role } from "../agent/model.ts";
import { readArtifact } from "../contracts/artifact.ts";

interface Wanted {
  readonly name: string;
  readonly port: number;
  readonly role: Role;
}
interface Receipt {
  readonly status: string;
  readonly contractAddress: string | null;
  readonly logs: readonly { readonly topics: readonly string[] }[];
}

const CONTRACT = NETWORKS.devnet.contract;
const BLOCK_SECONDS = 2;
/** So long each node gets the token of its place in the list, and with it the same address in every new devnet. */
const IN_ORDER_MS = 15_000;
const { abi, bytecode } = readArtifact("DstackAccessNFT");
const contract = new Interface(JSON.stringify(abi));
const say = (event: string, fields = {}) => console.log(JSON.stringify({ event, ...fields }));

const wanted = parseNodes(process.env["DEVNET_NODES"] ?? "");
const url = startAnvil(process.env["DEVNET_HOST"] ?? "127.0.0.1", process.env["DEVNET_STATE"]);
const accounts = await answered();
// A chain that was continued would go on from when it was stopped.
await rpc("evm_setTime", Date.now());
await deploy();
say("devnet.ready", { contract: CONTRACT });
// The container's healthcheck looks for it.
if (process.env["DEVNET_READY_FILE"] !== undefined) writeFileSync(process.env["DEVNET_READY_FILE"], "");
await grantAll();

function parseNodes(text: string): Wanted[] {
  return text
    .split(",")
    .filter((item) => item !== "")
    .map((item) => {
      const [, name = "", port, role] = /^([a-z0-9-]{1,63}):([0-9]{1,5}):([a-z]+)$/.exec(item) ?? [];
      const known = ROLES.find((each) => each === role);
      if (known === undefined) {
        console.error(`DEVNET_NODES: «${item}» is not name:port:role with a role of ${ROLES.join(", ")}`);
        process.exit(78);
      }
      return { name, port: Number(port), role: known };
    });
}

function startAnvil(host: string, state: string | undefined): string {
  const isOld = state !== undefined && restore(state);
  const kept = state === undefined ? [] : ["--state", state, "--state-interval", "30", ...genesisOf(state, isOld)];
  // Old states are large and nobody asks for them; old blocks and logs stay.
  const args = ["--host", host, "--port", "8545", "--block-time", String(BLOCK_SECONDS), "--prune-history", "100"];
  say("anvil.starting", { chain: isOld ? "continued" : "new" });
  // In a process group of its own: told twice to stop, it leaves half a state behind.
  const anvil = spawn(process.env["ANVIL_BIN"] ?? "anvil", [...args, "--silent", ...kept], {
    stdio: ["ignore", "inherit", "inherit"],
    detached: true,
  });
  anvil.on("error", ({ message }) => {
    console.error(message);
    process.exit(69);
  });
  // It writes the state as it ends, so we end after it.
  anvil.on("exit", (code, signal) => process.exit(signal === null ? (code ?? 1) : 0));
  let isStopping = false;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      if (!isStopping) anvil.kill("SIGTERM");
      isStopping = true;
    });
  }
  return `http://${host === "0.0.0.0" ? "127.0.0.1" : host}:8545`;
}

/** Whether there is a chain to go on with. anvil writes its state in place, and a kill leaves half of it: then the one before. */
function restore(state: string): boolean {
  const last = `${state}.last`;
  if (isWhole(state)) copyFileSync(state, last);
  else if (isWhole(last)) copyFileSync(last, state);
  else rmSync(state, { force: true });
  return existsSync(state);
}

function isWhole(file: string): boolean {
  try {
    JSON.parse(readFileSync(file, "utf8"));
    return true;
  } catch {
    return false;
  }
}

/** anvil makes its genesis block anew at each start; only with the same time does it get the same hash. */
function genesisOf(state: string, isOld: boolean): string[] {
  const file = `${state}.genesis`;
  if (!isOld || !existsSync(file)) writeFileSync(file, String(Math.floor(Date.now() / 1000)));
  return ["--timestamp", readFileSync(file, "utf8")];
}

async function rpc<T>(method: string, ...params: unknown[]): Promise<T> {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
  const headers = { "content-type": "application/json" };
  const response = await fetch(url, { method: "POST", headers, body, signal: AbortSignal.timeout(10_000) });
  const { result, error } = (await response.json()) as { result: T; error?: { message: string } };
  if (error !== undefined) throw new Error(`${method}: ${error.message}`);
  return result;
}

async function answered(): Promise<readonly string[]> {
  for (;;) {
    const found = await rpc<string[]>("eth_accounts").catch(() => undefined);
    if (found !== undefined) return found;
    await sleep(50);
  }
}

async function deploy(): Promise<void> {
  if ((await rpc<string>("eth_getCode", CONTRACT, "latest")) !== "0x") return;
  const { contractAddress } = await transact(0, { data: bytecode + contract.encodeDeploy([]).slice(2) });
  if (contractAddress?.toLowerCase() !== CONTRACT.toLowerCase()) {
    throw new Error(`the contract came to ${contractAddress}, not to ${CONTRACT}: this chain was used before`);
  }
}

/** Account 0 owns the contract and never a token; `account` sends. */
async function transact(account: number, transaction: { to?: string; data: string }): Promise<Receipt> {
  const hash = await rpc<string>("eth_sendTransaction", { from: accounts[account], ...transaction });
  // In a block now: who waits for a grant should not wait for the clock too.
  await rpc("anvil_mine", "0x1");
  for (;;) {
    const receipt = await rpc<Receipt | null>("eth_getTransactionReceipt", hash);
    if (receipt?.status === "0x1") return receipt;
    if (receipt !== null) throw new Error(`transaction ${hash} failed`);
    await sleep(50);
  }
}

function call(account: number, method: string, args: readonly unknown[]): Promise<Receipt> {
  return transact(account, { to: CONTRACT, data: contract.encodeFunctionData(method, args) });
}

/** Each name once in the life of the chain: what an operator revokes stays revoked. */
async function grantAll(): Promise<void> {
  const left = new Map(wanted.map((node, index) => [node.name, { ...node, account: index + 1 }]));
  for (const name of await everGranted()) left.delete(name);
  const patientUntil = performance.now() + IN_ORDER_MS;
  while (left.size > 0) {
    for (const node of left.values()) {
      const key = await publicKey(node.name);
      if (key === undefined && performance.now() < patientUntil) break;
      if (key === undefined) continue;
      await grant(node, node.account, key);
      left.delete(node.name);
    }
    await sleep(200);
  }
}

async function everGranted(): Promise<string[]> {
  const topics = [contract.getEvent("NodeAccessGranted")?.topicHash];
  const logs = await rpc<{ topics: string[]; data: string }[]>("eth_getLogs", {
    ...{ address: CONTRACT, fromBlock: "0x0", toBlock: "latest", topics },
  });
  return logs.map((log) => contract.parseLog(log)?.args["nodeId"]);
}

async function publicKey(name: string): Promise<string | undefined> {
  try {
    const response = await fetch(`http://${name}:8080/wireguard`, { signal: AbortSignal.timeout(2_000) });
    return ((await response.json()) as { publicKey?: string }).publicKey;
  } catch {
    return undefined; // not up yet
  }
}

async function grant({ name, port, role }: Wanted, account: number, key: string): Promise<void> {
  const { logs } = await call(0, "mintNodeAccess", [accounts[account], name, key, ""]);
  const topic = contract.getEvent("NodeAccessGranted")?.topicHash;
  const tokenId = BigInt(logs.find(({ topics }) => topics[0] === topic)?.topics[1] ?? 0);
  if (role !== "member") {
    await call(0, "setRole", [tokenId, ROLES.indexOf(role)]);
    await call(account, "setEndpoint", [tokenId, `${name}:${port}`]);
  }
  say("devnet.granted", { name, role, tokenId: String(tokenId) });
}
