import { readFileSync } from "node:fs";
import { Interface } from "ethers";
import { describe, expect, it } from "vitest";
import { CONTRACT_NAMES, readArtifact } from "./artifact.ts";
import { COMPILER, compile } from "./compile.ts";

/** The contract that is on Base, and so what every contract that agents follow has at least. */
const DEPLOYED = [
  "event NodeAccessGranted(uint256 indexed tokenId, string nodeId, address indexed owner, string wireguardPublicKey)",
  "event NodeAccessRevoked(uint256 indexed tokenId, string nodeId)",
  "event NodeAccessTransferred(uint256 indexed tokenId, address indexed from, address indexed to)",
  "event PublicKeyUpdated(address indexed owner, string wireguardPublicKey)",
  "event OwnershipTransferInitiated(address indexed previousOwner, address indexed newOwner)",
  "event Transfer(address indexed from, address indexed to, uint256 indexed tokenId)",
  "function mintNodeAccess(address to, string nodeId, string wireguardPublicKey, string tokenURI) returns (uint256)",
  "function revokeNodeAccess(uint256 tokenId)",
  "function getNodeAccess(uint256 tokenId) view returns (string nodeId, string wireguardPublicKey, uint256 createdAt, bool isActive)",
  "function hasNodeAccess(address user, string nodeId) view returns (bool)",
  "function getTokenIdByNodeId(string nodeId) view returns (uint256)",
  "function verifyAccess(address user, string nodeId) view returns (bool)",
  "function getPublicKeyByOwner(address owner) view returns (string)",
  "function getPublicKeyByTokenId(uint256 tokenId) view returns (string)",
  "function ownerOf(uint256 tokenId) view returns (address)",
  "function tokenURI(uint256 tokenId) view returns (string)",
  "function transferContractOwnership(address newOwner)",
];
const OURS = [
  "event TokenPublicKeyUpdated(uint256 indexed tokenId, string key)",
  "event RoleUpdated(uint256 indexed tokenId, uint8 role)",
  "event EndpointUpdated(uint256 indexed tokenId, string endpoint)",
  "function updatePublicKey(uint256 tokenId, string key)",
  "function setRole(uint256 tokenId, uint8 role)",
  "function setEndpoint(uint256 tokenId, string endpoint)",
  "function acceptOwnership()",
];

it("the committed ABI and bytecode are what the sources compile to: if not, npm run contracts", () => {
  for (const { path, text } of compile()) expect(readFileSync(path, "utf8") === text, path).toBe(true);
}, 60_000);

it("forge tests what npm run contracts compiles", () => {
  const forge = readFileSync(new URL("foundry.toml", import.meta.url), "utf8").split("\n");
  const { evmVersion, optimizer, metadata } = COMPILER;
  expect(forge).toContain(`evm_version = "${evmVersion}"`);
  expect(forge).toContain(`optimizer = ${optimizer.enabled}`);
  expect(forge).toContain(`optimizer_runs = ${optimizer.runs}`);
  expect(forge).toContain(`bytecode_hash = "${metadata.bytecodeHash}"`);
});

describe("has the deployed interface, to the letter of every type", () => {
  it.each(CONTRACT_NAMES)("%s", (name) => expect(abiOf(name)).toEqual(expect.arrayContaining(shapes(DEPLOYED))));
});

it("DstackAccessNFT has what the deployed interface lacks, and PlainAccessNFT none of it", () => {
  expect(abiOf("DstackAccessNFT")).toEqual(expect.arrayContaining(shapes(OURS)));
  const plain = abiOf("PlainAccessNFT");
  expect(shapes(OURS).filter((shape) => plain.includes(shape))).toEqual([]);
});

const abiOf = (name: (typeof CONTRACT_NAMES)[number]) => shapes(JSON.stringify(readArtifact(name).abi));

/** Everything but the names of arguments: kind, name, types, what is indexed, what may change state, results. */
function shapes(abi: string | readonly string[]): string[] {
  return new Interface(abi).fragments.map((fragment) => {
    const { type, name = "", inputs, outputs = [], stateMutability = "" } = JSON.parse(fragment.format("json"));
    const list = (params: readonly { type: string; indexed?: boolean }[]) =>
      params.map((param) => (param.indexed ? `${param.type} indexed` : param.type)).join();
    return `${type} ${name}(${list(inputs)}) ${stateMutability} (${list(outputs)})`;
  });
}
