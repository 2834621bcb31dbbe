/** The command line as people run it, and a chain of its own to run it against. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type ContractName, readArtifact } from "../../contracts/artifact.ts";
import { deployContract } from "../../contracts/deploy.ts";

const MAIN = fileURLToPath(new URL("../cli/main.ts", import.meta.url));

/** The first accounts of anvil's well-known mnemonic. */
export const OWNER = {
  address: "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
  key: "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
};
export const ALICE = {
  address: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
  key: "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
};
/** Has no funds on any chain of ours. */
export const POOR = {
  address: "0xd41c057fd1c78805AAC12B0A94a405c0461A6FBb",
  key: `0x${"0".repeat(62)}07`,
};

export type Env = Readonly<Record<string, string>>;

export interface Ran {
  readonly exit: number;
  readonly out: string;
  readonly err: string;
}

/** Runs to its end. Nothing of our own environment is in it but PATH. */
export async function dstackVpn(args: readonly string[], env: Env = {}, input: string | Buffer = ""): Promise<Ran> {
  const child = startDstackVpn(args, env);
  const [out, err]: [Buffer[], Buffer[]] = [[], []];
  child.stdout?.on("data", (chunk: Buffer) => out.push(chunk));
  child.stderr?.on("data", (chunk: Buffer) => err.push(chunk));
  child.stdin?.on("error", () => {});
  child.stdin?.end(input);
  const [code] = await once(child, "close");
  return { exit: code ?? -1, out: Buffer.concat(out).toString("latin1"), err: Buffer.concat(err).toString("latin1") };
}

export function startDstackVpn(args: readonly string[], env: Env): ChildProcess {
  return spawn(process.execPath, [MAIN, ...args], { env: { PATH: process.env["PATH"], ...env } });
}

export interface Anvil {
  readonly url: string;
  rpc<T>(method: string, ...params: unknown[]): Promise<T>;
  /** @returns the contract's address, checksummed */
  deploy(name?: ContractName): Promise<string>;
  /** The settings that commands need. */
  settings(contract: string): Env;
  close(): Promise<void>;
}

export async function startAnvil(...args: readonly string[]): Promise<Anvil> {
  const anvil = spawn("anvil", ["--port", "0", ...args], { stdio: ["ignore", "pipe", "inherit"] });
  await once(anvil, "spawn");
  const url = await listening(anvil);
  anvil.stdout.resume();
  const rpc = async <T>(method: string, ...params: unknown[]): Promise<T> => {
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
    const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body });
    const { result, error } = (await response.json()) as { result: T; error?: { message: string } };
    if (error !== undefined) throw new Error(`${method}: ${error.message}`);
    return result;
  };
  return {
    ...{ url, rpc },
    async deploy(name = "DstackAccessNFT") {
      const artifact = readArtifact(name);
      return (await deployContract({ rpcUrl: url, privateKey: OWNER.key, artifact })).address;
    },
    settings: (contract) => ({ NETWORK: "devnet", RPC_URL: url, CONTRACT_ADDRESS: contract }),
    async close() {
      anvil.kill();
      if (anvil.exitCode === null && anvil.signalCode === null) await once(anvil, "exit");
    },
  };
}

async function listening({ stdout }: ChildProcess): Promise<string> {
  for await (const line of createInterface({ input: stdout as NodeJS.ReadableStream })) {
    const [, address] = /Listening on (127\.0\.0\.1:[0-9]+)/.exec(line) ?? [];
    if (address !== undefined) return `http://${address}`;
  }
  throw new Error("anvil ended before it listened");
}

/** A server that takes connections and never says a word. */
export async function startSilence(): Promise<{ url: string; close(): void }> {
  const server = createServer(() => {}).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  return { url: `http://127.0.0.1:${port}/v3/hidden`, close: () => void server.close() };
}
