/** The command line as people type it, in a folder of their own and at a terminal, against a chain with a contract. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ContractName } from "../../contracts/artifact.ts";
import { type Anvil, type Env, OWNER, type Ran, startAnvil } from "./cli.ts";

const MAIN = fileURLToPath(new URL("../cli/main.ts", import.meta.url));

/** Runs to the end, in `folder` and with it as its home, with nothing of our own environment but PATH. */
export function typed(folder: string, args: readonly string[], environment: Env = {}): Promise<Ran> {
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
  readonly #anvil: Anvil;
  /** What every command reads from the environment. */
  readonly chain: Env;

  private constructor(anvil: Anvil, chain: Env) {
    this.#anvil = anvil;
    this.chain = chain;
  }

  static async open(contract: ContractName): Promise<Typing> {
    const anvil = await startAnvil();
    return new Typing(anvil, anvil.settings(await anvil.deploy(contract)));
  }

  /** Signed by nobody. */
  run(args: readonly string[], environment: Env = {}): Promise<Ran> {
    return typed(this.folder, args, { ...this.chain, ...environment });
  }

  /** How it is started, for tests that start it in a way of their own. */
  command(args: readonly string[]): { readonly argv: readonly string[]; readonly env: NodeJS.ProcessEnv } {
    return {
      argv: [process.execPath, MAIN, ...args],
      env: { PATH: process.env["PATH"], HOME: this.folder, ...this.chain },
    };
  }

  rpc<T>(method: string, ...params: unknown[]): Promise<T> {
    return this.#anvil.rpc<T>(method, ...params);
  }

  as(key: string, ...args: readonly string[]): Promise<Ran> {
    return this.run(args, { CONTRACT_PRIVATE_KEY: key });
  }

  /** As the contract's owner. @returns what `--json` says @throws with the error where it fails */
  async owner(...args: readonly string[]): Promise<{ readonly tokenId: string }> {
    const { exit, out, err } = await this.as(OWNER.key, ...args, "--json");
    if (exit !== 0) throw new Error(`${args.join(" ")} ended with ${exit}: ${err}`);
    return JSON.parse(out);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    rmSync(this.folder, { recursive: true });
    await this.#anvil.close();
  }
}

/** At a terminal of its own (script, of Debian's bsdutils): types `keys` once `question` is there. */
export async function typedAtTerminal(
  typing: Typing,
  args: readonly string[],
  question: RegExp,
  keys: string,
  environment: Env = {},
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
