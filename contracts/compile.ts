/** `npm run contracts`: Solidity → `abi/<name>.json`, byte for byte the same on every machine. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import solc from "solc";
import { type Artifact, artifactPath, CONTRACT_NAMES, type ContractName } from "./artifact.ts";

/** `foundry.toml` repeats these for forge; `abi.test.ts` compares them. */
export const COMPILER = {
  // The newest rules that every chain we name, and every anvil in use, has had for long.
  evmVersion: "cancun",
  optimizer: { enabled: true, runs: 1000 },
  // No hash of the sources in the code: a comment does not change what is deployed.
  metadata: { bytecodeHash: "none" },
} as const;

/** The files of `abi/` as these sources make them. Warnings count: throws with every diagnostic that solc has. */
export function compile(): { path: string; text: string }[] {
  const input = {
    language: "Solidity",
    sources: Object.fromEntries(Object.values(SOURCES).map((path) => [path, { content: read(HERE, path) }])),
    settings: { ...COMPILER, outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } } },
  };
  const output: SolcOutput = JSON.parse(solc.compile(JSON.stringify(input), { import: imported }));
  if (output.errors !== undefined) throw new Error(output.errors.map((error) => error.formattedMessage).join("\n"));
  return CONTRACT_NAMES.map((contractName) => {
    const compiled = output.contracts[SOURCES[contractName]]?.[contractName];
    if (compiled === undefined) throw new Error(`${SOURCES[contractName]} has no contract ${contractName}`);
    const artifact: Artifact = { contractName, abi: compiled.abi, bytecode: `0x${compiled.evm.bytecode.object}` };
    return { path: artifactPath(contractName), text: `${JSON.stringify(artifact, undefined, 2)}\n` };
  });
}

const SOURCES: Readonly<Record<ContractName, string>> = {
  DstackAccessNFT: "DstackAccessNFT.sol",
  PlainAccessNFT: "test/PlainAccessNFT.sol",
};
const HERE = fileURLToPath(new URL(".", import.meta.url));
const MODULES = join(HERE, "../node_modules");

interface SolcOutput {
  readonly errors?: readonly { readonly formattedMessage: string }[];
  /** By path, then by name. */
  readonly contracts: Readonly<Record<string, Readonly<Record<string, Compiled>>>>;
}
interface Compiled {
  readonly abi: Artifact["abi"];
  readonly evm: { readonly bytecode: { readonly object: string } };
}

function imported(path: string): { contents: string } | { error: string } {
  try {
    return { contents: read(path.startsWith("@") ? MODULES : HERE, path) };
  } catch (cause) {
    return { error: String(cause) };
  }
}

function read(folder: string, path: string): string {
  return readFileSync(join(folder, path), "utf8");
}

if (import.meta.main) {
  for (const { path, text } of compile()) {
    writeFileSync(path, text);
    process.stdout.write(`${path}\n`);
  }
}
