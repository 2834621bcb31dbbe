/** Whether what has code at an address is an access contract: writing to anything else costs gas and gives nobody access. */

import { Interface } from "ethers/abi";
import { getAddress as checksummed } from "ethers/address";
import { call } from "../chain/questions.ts";
import { type Rpc, RpcError } from "../chain/rpc.ts";
import { AgentError } from "../errors.ts";
import type { Address } from "../model.ts";
import { EXIT, Failure } from "./failure.ts";

const NOBODY = `0x${"0".repeat(39)}1`;
/** Views that every access contract has and that need no token; other contracts refuse them, or answer with nothing. */
const VIEWS = new Interface([
  "function hasNodeAccess(address user, string nodeId) view returns (bool)",
  "function verifyAccess(address user, string nodeId) view returns (bool)",
  "function getPublicKeyByOwner(address owner) view returns (string)",
  "function owner() view returns (address)",
]);
const QUESTIONS: readonly (readonly [string, readonly string[]])[] = [
  ["hasNodeAccess", [NOBODY, "nobody"]],
  ["verifyAccess", [NOBODY, "nobody"]],
  ["getPublicKeyByOwner", [NOBODY]],
];

/** True where one of the views answers as it must. @throws what no upstream could answer */
export async function isAccessContract(rpc: Rpc, contract: Address): Promise<boolean> {
  for (const [name, values] of QUESTIONS) if (await answers(rpc, contract, name, values)) return true;
  return false;
}

/** @throws Failure where the contract is another one */
export async function mustBeAccessContract(rpc: Rpc, contract: Address): Promise<void> {
  if (await isAccessContract(rpc, contract)) return;
  throw new Failure(
    EXIT.settings,
    `the code at ${checksummed(contract)} is no access contract: set CONTRACT_ADDRESS to the one that deploy-contract printed`,
  );
}

/** Who may grant, for pricing without a key. @throws Failure where the contract does not say */
export async function ownerOf(rpc: Rpc, contract: Address): Promise<string> {
  try {
    const { value } = await rpc.ask(call(contract, VIEWS.encodeFunctionData("owner"), "latest"));
    return String(VIEWS.decodeFunctionResult("owner", value)[0]);
  } catch (cause) {
    if (cause instanceof AgentError) throw cause;
    throw new Failure(EXIT.failed, "the contract does not say who owns it: set the signing key", { cause });
  }
}

async function answers(rpc: Rpc, contract: Address, name: string, values: readonly string[]): Promise<boolean> {
  try {
    const { value } = await rpc.ask(call(contract, VIEWS.encodeFunctionData(name, values), "latest"));
    VIEWS.decodeFunctionResult(name, value);
    return true;
  } catch (error) {
    if (error instanceof RpcError && error.kind !== "reverted") throw error;
    if (error instanceof RpcError || (error as { code?: unknown }).code === "BAD_DATA") return false;
    throw error;
  }
}
