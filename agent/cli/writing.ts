/** One call of the contract from the command line: checked, signed here or printed to be signed elsewhere. */
import { Command } from "commander";
import { getAddress as checksummed } from "ethers/address";
import { code, headOf } from "../chain/questions.ts";
import { connect, type Rpc } from "../chain/rpc.ts";
import type { Address } from "../model.ts";
import { contract, lacking } from "./contract.ts";
import { EXIT, Failure } from "./failure.ts";
import { print, printJson } from "./output.ts";
import { mustBeAccessContract } from "./probe.ts";
import { type Call, type Included, send } from "./send.ts";
import { chainSettings } from "./settings.ts";
import { type Signing, signer, signs } from "./signing.ts";
import { typedToken } from "./typed.ts";

export interface Shape extends Signing {
  readonly json?: true;
}

/** A command that writes to the contract. */
export function writing(name: string, description: string): Command {
  return signs(new Command(name).description(description).option("--json", "print JSON"));
}

export function ofToken(name: string, description: string): Command {
  return writing(name, description).requiredOption("--token <id>", "the token's number", typedToken);
}

/**
 * @param method a name in `contract`
 * @param check what else must be so of the contract's code, or it throws @throws Failure | AgentError
 */
export async function write(
  shape: Shape,
  method: string,
  values: readonly unknown[],
  check: (code: string) => void = () => {},
): Promise<void> {
  const { chainId, contract: to, rpcUrls } = chainSettings(process.env);
  const unlock = signer(shape, process.env);
  const call: Call = { to, data: contract.encodeFunctionData(method, [...values]), chainId };
  const rpc = connect({ urls: rpcUrls, expect: { chainId, contract: to } });
  try {
    check(await checkFunction(rpc, to, method));
    if (unlock === undefined) printUnsigned(call, shape);
    else printIncluded(await send(rpc, call, await unlock()), to, shape);
  } finally {
    rpc.close();
  }
}

/**
 * Also where nothing is signed here: a transaction that must fail is not worth a walk to the wallet.
 * @returns the contract's code as hex @throws Failure
 */
export async function checkFunction(rpc: Rpc, to: Address, method: string): Promise<string> {
  // The first answer comes only from an upstream that serves this chain and has code at this address.
  await rpc.ask(headOf("latest"));
  await mustBeAccessContract(rpc, to);
  const { value } = await rpc.ask(code(to, "latest"));
  const missing = lacking(value, method);
  if (missing !== undefined) throw new Failure(EXIT.failed, `the contract ${checksummed(to)} ${missing}`);
  return value;
}

export function unsigned({ to, data, chainId }: Call) {
  return { to: checksummed(to), data, value: "0", chainId };
}

export function unsignedLines({ to, data, chainId }: Call): string[] {
  return [`to        ${checksummed(to)}`, "value     0", `chain id  ${chainId}`, `data      ${data}`];
}

function printUnsigned(call: Call, { json }: Shape): void {
  if (json) printJson(unsigned(call));
  else print("No signing key is set; nothing was sent. To be signed elsewhere:", ...unsignedLines(call));
}

function printIncluded({ transaction, block, logs }: Included, to: Address, { json }: Shape): void {
  const tokenId = logs.map((log) => grantedIn(log, to)).find((id) => id !== undefined);
  if (json) printJson({ ...(tokenId === undefined ? {} : { tokenId }), transaction, block });
  else {
    if (tokenId !== undefined) print(`token        ${tokenId}`);
    print(`transaction  ${transaction}`, `block        ${block}`);
  }
}

function grantedIn({ address, topics, data }: Included["logs"][number], to: Address): string | undefined {
  if (address.toLowerCase() !== to) return undefined;
  const log = contract.parseLog({ topics, data });
  return log?.name === "NodeAccessGranted" ? String(log.args[0]) : undefined;
}
