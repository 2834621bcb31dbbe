/** The command line as people type it, against a chain of its own; the contract's owner is anvil's first account. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type ContractName, readArtifact } from "../../contracts/artifact.ts";
import { deployContract } from "../../contracts/deploy.ts";

const MAIN = fileURLToPath(new URL("../cli/main.ts", import.meta.url));

/** The first accounts of anvil's well-known mnemonic. */
export const OWNER_KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
export const ALICE_KEY = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
export const ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

export interface Ran {
  readonly exit: number;
  readonly out: string;
  readonly err: string;
}

type Environment = Readonly<Record<string, string>>;

/** Runs to the end, in `folder` and with it as its home, with nothing of our own environment but PATH. */
export function typed(folder: string, args: readonly string[], environment: Environment = {}): Promise<Ran> {
  const env = { PATH: process.env["PATH"], HOME: folder, ...environment };
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [MAIN, ...args], { env, cwd: folder }, (error, out, err) => {
      resolve({ exit: typeof error?.code === "number" ? error.code : error === null ? 0 : -1, out, err });
    });
    child.stdin?.end();
  });
}

/** anvil, a contract on it, and a folder to type in. */
export class Typing implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), "dstack-vpn-typing-"));
  readonly #anvil: ChildProcess;
  #chain: Environment = {};

  private constructor(anvil: ChildProcess) {
    this.#anvil = anvil;
  }

  static async open(contract: ContractName): Promise<Typing> {
    const anvil = spawn("anvil", ["--port", "0"], { stdio: ["ignore", "pipe", "inherit"] });
    await once(anvil, "spawn");
    const typing = new Typing(anvil);
    for await (const line of createInterface({ input: anvil.stdout as NodeJS.ReadableStream })) {
      const listening = /Listening on (127\.0\.0\.1:[0-9]+)/.exec(line);
      if (listening === null) continue;
      const rpcUrl = `http://${listening[1]}`;
      const artifact = readArtifact(contract);
      const { address } = await deployContract({ rpcUrl, privateKey: OWNER_KEY, artifact });
      typing.#chain = { NETWORK: "devnet", RPC_URL: rpcUrl, CONTRACT_ADDRESS: address };
      break;
    }
    return typing;
  }

  /** What every command reads from the environment. */
  get chain(): Environment {
    return this.#chain;
  }

  /** Signed by nobody. */
  run(args: readonly string[], environment: Environment = {}): Promise<Ran> {
    return typed(this.folder, args, { ...this.#chain, ...environment });
  }

  /** How it is started, for tests that start it in a way of their own. */
  command(args: readonly string[]): { readonly argv: readonly string[]; readonly env: NodeJS.ProcessEnv } {
    return {
      argv: [process.execPath, MAIN, ...args],
      env: { PATH: process.env["PATH"], HOME: this.folder, ...this.#chain },
    };
  }

  async rpc(method: string, ...params: unknown[]): Promise<unknown> {
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
    const headers = { "content-type": "application/json" };
    const response = await fetch(this.#chain["RPC_URL"] ?? "", { method: "POST", headers, body });
    const { result, error } = (await response.json()) as { result?: unknown; error?: { message: string } };
    if (error !== undefined) throw new Error(`${method}: ${error.message}`);
    return result;
  }

  as(key: string, ...args: readonly string[]): Promise<Ran> {
    return this.run(args, { CONTRACT_PRIVATE_KEY: key });
  }

  /** As the contract's owner. @returns what `--json` says @throws with the error where it fails */
  async owner(...args: readonly string[]): Promise<{ readonly tokenId: string }> {
    const { exit, out, err } = await this.as(OWNER_KEY, ...args, "--json");
    if (exit !== 0) throw new Error(`${args.join(" ")} ended with ${exit}: ${err}`);
    return JSON.parse(out);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    rmSync(this.folder, { recursive: true });
    this.#anvil.kill();
    if (this.#anvil.exitCode === null && this.#anvil.signalCode === null) await once(this.#anvil, "exit");
  }
}

/** At a terminal of its own (script, of Debian's bsdutils): types `keys` once `question` is there. */
export async function typedAtTerminal(
  typing: Typing,
  args: readonly string[],
  question: RegExp,
  keys: string,
  environment: Environment = {},
): Promise<{ readonly exit: number | null; readonly out: string }> {
  const { argv, env } = typing.command(args);
  const line = argv.map((word) => `'${word}'`).join(" ");
  const child = spawn("script", ["-qefc", line, "/dev/null"], { env: { ...env, ...environment }, cwd: typing.folder });
  let out = "";
  let isTyped = false;
  // A character of several bytes may come in two pieces.
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    out += chunk;
    if (isTyped || !question.test(out)) return;
    isTyped = true;
    child.stdin.write(keys);
  });
  const [exit] = await once(child, "close");
  return { exit, out };
}
