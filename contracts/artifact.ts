/** What the compiler left behind in `abi/`, for whoever deploys or calls a contract. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export interface Artifact {
  readonly contractName: ContractName;
  /** https://docs.soliditylang.org/en/latest/abi-spec.html#json */
  readonly abi: readonly (Readonly<Record<string, unknown>> & { readonly type: string })[];
  /** The creation code, `0x` and hex. */
  readonly bytecode: string;
}

export const CONTRACT_NAMES = ["DstackAccessNFT", "PlainAccessNFT"] as const;
export type ContractName = (typeof CONTRACT_NAMES)[number];

export function readArtifact(name: ContractName): Artifact {
  return JSON.parse(readFileSync(artifactPath(name), "utf8"));
}

export function artifactPath(name: ContractName): string {
  return fileURLToPath(new URL(`abi/${name}.json`, import.meta.url));
}
