/** Child processes of the lab: argument arrays, deadlines, and an end by pid. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A process that keeps running; its output is kept for questions and error messages. */
export class Running implements AsyncDisposable {
  readonly pid: number;
  readonly exited: Promise<Exit>;
  readonly #child: ChildProcess;
  #output = "";

  constructor(child: ChildProcess) {
    this.#child = child;
    this.pid = child.pid ?? -1;
    const keep = (chunk: Buffer) => {
      this.#output += chunk.toString();
    };
    child.stdout?.on("data", keep);
    child.stderr?.on("data", keep);
    child.on("error", (error) => keep(Buffer.from(String(error))));
    this.exited = once(child, "close").then(([code, signal]) => ({ code, signal }) as Exit);
  }

  /** Standard output and error as they came. */
  get output(): string {
    return this.#output;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async end(signal: NodeJS.Signals = "SIGKILL"): Promise<Exit> {
    if (this.isRunning) this.#child.kill(signal);
    return this.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }

  /** The first match in the output so far, or to come. @throws when the process ends or the deadline passes without one. */
  async says(pattern: RegExp, deadlineMs = 10_000): Promise<RegExpExecArray> {
    return until(`${this.#child.spawnargs.join(" ")} to say ${pattern}`, deadlineMs, () => {
      const match = pattern.exec(this.#output);
      if (match === null && !this.isRunning) throw new Error(`it ended without saying ${pattern}:\n${this.#output}`);
      return match ?? undefined;
    });
  }
}

export interface Options {
  readonly stdin?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly deadlineMs?: number;
}

export function start(argv: readonly string[], { stdin, env }: Options = {}): Running {
  const [file = "", ...args] = argv;
  const child = spawn(file, args, { env: env ?? process.env, stdio: ["pipe", "pipe", "pipe"] });
  // A command that does not read its input is no fault of the caller's.
  child.stdin.on("error", () => {});
  child.stdin.end(stdin ?? "");
  return new Running(child);
}

/** Runs to the end and gives the output. @throws with the output when it fails or the deadline passes. */
export async function run(argv: readonly string[], options: Options = {}): Promise<string> {
  const running = start(argv, options);
  const timer = setTimeout(() => running.end(), options.deadlineMs ?? 10_000);
  const { code, signal } = await running.exited.finally(() => clearTimeout(timer));
  if (code !== 0) throw new Error(`${argv.join(" ")} ended with ${code ?? signal}:\n${running.output}`);
  return running.output;
}

/** Asks until there is an answer. @throws when the deadline passes; the last error of `ask` is the cause. */
export async function until<T>(
  what: string,
  deadlineMs: number,
  ask: () => T | undefined | false | Promise<T | undefined | false>,
  everyMs = 20,
): Promise<T> {
  const deadline = performance.now() + deadlineMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > deadline) throw new Error(`waited ${deadlineMs} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
