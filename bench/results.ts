/** The last table, kept as JSON in `bench/results/latest.json`: what the next run is compared with. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { arch, cpus, release } from "node:os";
import { dirname } from "node:path";
import type { Figure } from "./figure.ts";
import type { Last } from "./table.ts";

/** Times of another machine tell nothing about this one; ratios do. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly kernel: string;
  readonly node: string;
}

/** A row, and of which version and when: a run with `--only` replaces some of them. */
export type Kept = Figure & { readonly at: string; readonly commit: string };

export interface Results {
  readonly machine: Machine | undefined;
  readonly figures: readonly Kept[];
}

const NONE: Results = { machine: undefined, figures: [] };

/** Whatever the file holds; a file that is absent or damaged is no reason not to measure. */
export function readResults(path: string): Results {
  try {
    return parseResults(readFileSync(path, "utf8"));
  } catch {
    return NONE;
  }
}

/** Rows that are none are left out. @throws SyntaxError for what is not JSON */
export function parseResults(text: string): Results {
  const found: unknown = JSON.parse(text);
  if (typeof found !== "object" || found === null || !("figures" in found) || !Array.isArray(found.figures))
    return NONE;
  return { machine: "machine" in found ? machineOf(found.machine) : undefined, figures: found.figures.filter(isKept) };
}

function isKept(row: unknown): row is Kept {
  if (typeof row !== "object" || row === null) return false;
  const { name, value, unit } = row as Partial<Kept>;
  return typeof name === "string" && typeof value === "number" && Number.isFinite(value) && typeof unit === "string";
}

function machineOf(found: unknown): Machine | undefined {
  const isMachine = typeof found === "object" && found !== null && "cpu" in found && "cores" in found;
  return isMachine ? (found as Machine) : undefined;
}

/** A whole run is the new table; a part of it replaces its own rows, and new ones come last. */
export function merged(last: Results, measured: readonly Kept[], machine: Machine, isWhole: boolean): Results {
  if (isWhole) return { machine, figures: measured };
  const news = new Map(measured.map((row) => [row.name, row]));
  const kept = last.figures.map((row) => news.get(row.name) ?? row);
  const names = new Set(kept.map(({ name }) => name));
  return { machine: last.machine ?? machine, figures: [...kept, ...measured.filter(({ name }) => !names.has(name))] };
}

export function writeResults(path: string, results: Results): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.new`, `${JSON.stringify(results, null, 2)}\n`);
  renameSync(`${path}.new`, path);
}

export const lastOf = ({ figures }: Results): Last => new Map(figures.map((row) => [row.name, row]));

export function thisMachine(): Machine {
  const [first] = cpus();
  const cpu = `${first?.model.trim() ?? "unknown"} (${arch()})`;
  return { cpu, cores: cpus().length, kernel: release(), node: process.version };
}

export const isSameMachine = (a: Machine, b: Machine | undefined) => a.cpu === b?.cpu && a.cores === b.cores;

/** Of the checkout that is measured; a `+` where it has changes of its own. */
export function commitOf(root: string): string {
  try {
    const words = ["-C", root, "-c", `safe.directory=${root}`, "describe", "--always", "--dirty=+", "--exclude=*"];
    return execFileSync("git", words, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return "unknown";
  }
}
