/** What each benchmark is to the program that runs them. */
import type { Figure } from "./figure.ts";

export interface Benchmark {
  /** What `--only` names, in kebab-case. */
  readonly name: string;
  /** A line for `--help`. */
  readonly about: string;
  run(context: Context): Promise<readonly Figure[]>;
}

export interface Context {
  /** Smaller sizes and fewer rounds: all benchmarks together end within two minutes on two quiet cores. */
  readonly quick: boolean;
  /** A line of progress, to standard error. */
  readonly log: (text: string) => void;
  readonly signal: AbortSignal;
  /** The agent's built output: `main.js`. */
  readonly built: string;
  /** A directory on the disk, which vanishes with the run. */
  readonly scratch: string;
}
