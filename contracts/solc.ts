#!/usr/bin/env node
/** The `solc` that forge runs: npm's solc behind the native one's command line, so that forge needs no download. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import solc from "solc";

const args = process.argv.slice(2);

if (args.includes("--version")) {
  // forge accepts the banner of a native build only.
  const version: string = solc.version().replace(".Emscripten.clang", ".Linux.g++");
  process.stdout.write(`solc, the solidity compiler commandline interface\nVersion: ${version}\n`);
} else {
  process.stdout.write(solc.compile(readFileSync(0, "utf8"), { import: imported }));
}

function imported(path: string): { contents: string } | { error: string } {
  for (const folder of ["", ...valuesOf("--base-path"), ...valuesOf("--include-path")]) {
    try {
      return { contents: readFileSync(join(folder, path), "utf8") };
    } catch {} // not there: the next folder may have it
  }
  return { error: `${path} is in no folder that was named` };
}

function valuesOf(flag: string): string[] {
  return args.flatMap((arg, at) => (arg === flag ? args.slice(at + 1, at + 2) : []));
}
