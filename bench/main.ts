/**
 * `scripts/bench.sh`: measures what was asked for, one benchmark after the other, and prints one table. What is missed is
 * shown and gates nothing; the exit code says only whether everything was measured.
 */
import { execFileSync } from "node:child_process";
import { accessSync, constants, existsSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { Benchmark, Context } from "./benchmark.ts";
import { BENCHMARKS } from "./benchmarks.ts";
import type { Figure } from "./figure.ts";
import {
  commitOf,
  isSameMachine,
  type Kept,
  lastOf,
  merged,
  readResults,
  thisMachine,
  writeResults,
} from "./results.ts";
import { table } from "./table.ts";

/** sysexits.h: EX_USAGE. */
const EXIT_USAGE = 64;
const ROOT = fileURLToPath(new URL("..", import.meta.url));
const LAST = join(ROOT, "bench/results/latest.json");

interface Asked {
  readonly benchmarks: readonly Benchmark[];
  readonly isQuick: boolean;
  readonly jsonPath: string | undefined;
}

async function main(): Promise<number> {
  const asked = parseArguments(process.argv.slice(2));
  if (asked === "help") {
    process.stdout.write(HELP);
    return 0;
  }
  if (typeof asked === "string") {
    process.stderr.write(`bench.sh: ${asked}\n`);
    return EXIT_USAGE;
  }
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => stop.abort());
  const context = contextOf(asked, stop.signal);
  const [figures, failures] = await measured(asked.benchmarks, context);
  report(asked, figures, failures.length === 0);
  for (const { name, error } of failures) process.stderr.write(`\nNOT MEASURED: ${name}: ${told(error)}\n`);
  return failures.length === 0 ? 0 : 1;
}

function parseArguments(words: string[]): Asked | string {
  let flags: { json?: string; quick?: boolean; only?: string[]; help?: boolean };
  try {
    flags = parseArgs({ args: words, options: OPTIONS }).values;
  } catch (error) {
    return `${(error as Error).message.split("\n")[0]} Try --help.`;
  }
  if (flags.help) return "help";
  const benchmarks = BENCHMARKS.filter(({ name }) => flags.only?.some((part) => name.includes(part)) ?? true);
  const unknown = flags.only?.find((part) => part === "" || !BENCHMARKS.some(({ name }) => name.includes(part)));
  if (unknown !== undefined) {
    return `no benchmark is called "${unknown}": ${BENCHMARKS.map(({ name }) => name).join(", ")}`;
  }
  const jsonPath = flags.json === undefined ? undefined : resolve(flags.json);
  const problem = jsonPath === undefined ? undefined : unwritable(jsonPath);
  return problem ?? { benchmarks, isQuick: flags.quick ?? false, jsonPath };
}

const OPTIONS = {
  json: { type: "string" },
  quick: { type: "boolean" },
  only: { type: "string", multiple: true },
  help: { type: "boolean", short: "h" },
} as const;

/** Asked before a quarter of an hour is spent. */
function unwritable(path: string): string | undefined {
  if (existsSync(path) && statSync(path).isDirectory()) return `--json ${path}: it is a directory`;
  if (/^\/(var\/)?run\//.test(path)) return `--json ${path}: the benchmarks have a /run of their own, which vanishes`;
  try {
    accessSync(existsSync(path) ? path : dirname(path), constants.W_OK);
    return undefined;
  } catch (error) {
    return `--json ${path}: it cannot be written (${(error as NodeJS.ErrnoException).code})`;
  }
}

/** The agent is built as in its image: compiled, beside package.json and node_modules. */
function contextOf({ isQuick }: Asked, signal: AbortSignal): Context {
  const [built, scratch] = [process.env["AGENT_MAIN"], process.env["BENCH_SCRATCH"]];
  if (built === undefined || scratch === undefined) throw new Error("run it as scripts/bench.sh");
  for (const name of ["package.json", "node_modules"]) symlinkSync(join(ROOT, name), join(scratch, name));
  const words = ["-p", join(ROOT, "tsconfig.build.json"), "--outDir", dirname(built)];
  execFileSync("tsc", words, { stdio: ["ignore", "inherit", "inherit"] });
  return { quick: isQuick, signal, built, scratch, log: (text) => process.stderr.write(`    ${text}\n`) };
}

interface Failure {
  readonly name: string;
  readonly error: unknown;
}

async function measured(benchmarks: readonly Benchmark[], context: Context): Promise<[Figure[], Failure[]]> {
  const [figures, failures]: [Figure[], Failure[]] = [[], []];
  for (const [i, { name, run }] of benchmarks.entries()) {
    if (context.signal.aborted) {
      failures.push({ name, error: new Error("stopped") });
      continue;
    }
    const startedMs = performance.now();
    process.stderr.write(`=== ${name} (${i + 1} of ${benchmarks.length})\n`);
    try {
      figures.push(...(await run(context)));
    } catch (error) {
      failures.push({ name, error });
    }
    process.stderr.write(`--- ${((performance.now() - startedMs) / 1000).toFixed(1)} s\n`);
  }
  return [figures, failures];
}

function report({ benchmarks, isQuick, jsonPath }: Asked, figures: readonly Figure[], isComplete: boolean): void {
  const [last, machine] = [readResults(LAST), thisMachine()];
  const [at, commit] = [new Date().toISOString(), commitOf(ROOT)];
  const kept = figures.map((row): Kept => ({ ...row, at, commit }));
  const since = last.figures.length === 0 ? "no table yet" : `the table of ${last.figures[0]?.at.slice(0, 10)}`;
  const where = isSameMachine(machine, last.machine) ? "" : ", taken on another machine: only ratios compare";
  process.stdout.write(
    `\n${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}, Node ${machine.node}, commit ${commit}\n` +
      `change: against ${since}${last.figures.length === 0 ? "" : where}\n\n${table(figures, lastOf(last))}`,
  );
  if (jsonPath !== undefined) writeFileSync(jsonPath, `${JSON.stringify({ at, commit, machine, figures }, null, 2)}\n`);
  // Quick rows have other sizes, and fewer rounds where they have the same.
  if (isQuick || figures.length === 0) return;
  writeResults(LAST, merged(last, kept, machine, isComplete && benchmarks.length === BENCHMARKS.length));
}

function told(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? "" : `\n  because: ${told(error.cause)}`;
  return `${error.stack ?? error.message}${cause}`;
}

const HELP = `scripts/bench.sh [--quick] [--only NAME]... [--json FILE]

Measures the agent on this machine, each figure beside what users would have instead, or beside the limit, in the
same run. Prints one table, with the change against the last one (bench/results/latest.json), and keeps the new one.

  --quick       smaller sizes, two minutes; the last table is left as it is
  --only NAME   only the benchmarks whose name contains NAME; may be given again
  --json FILE   also write {figures: [{name, value, unit, goal, met, baseline}]}

Benchmarks:
${BENCHMARKS.map(({ name, about }) => `  ${name.padEnd(14)}${about}\n`).join("")}`;

process.exitCode = await main();
// A benchmark that failed may have left something open.
process.exit();
