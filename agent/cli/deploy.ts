/** `deploy-contract`: puts the access contract on a chain, and says what to write into `.env`. */
import { readFileSync } from "node:fs";
import { Command } from "commander";
import { getAddress as checksummed, getCreateAddress } from "ethers/address";
import { Wallet } from "ethers/wallet";
import { code, headOf } from "../chain/questions.ts";
import { connect, type Rpc } from "../chain/rpc.ts";
import type { Settings } from "../config.ts";
import type { Address, Secret } from "../model.ts";
import { confirm, costText, mustAfford } from "./cost.ts";
import { EXIT, Failure } from "./failure.ts";
import { print, printJson, remark } from "./output.ts";
import { send } from "./send.ts";
import { deploymentSettings } from "./settings.ts";
import { type Signing, signer, signs } from "./signing.ts";
import { balanceOf, type Creation, feesOf, gasOf, nonceOf } from "./transaction.ts";

interface Typed extends Signing {
  readonly json?: true;
  readonly yes?: true;
}

export function deployCommand(): Command {
  return signs(new Command("deploy-contract"))
    .description("put a new access contract on the chain; the account that signs owns it")
    .option("--yes", "do not ask on a terminal")
    .option("--json", "print JSON")
    .addHelpText("after", "\nReads NETWORK (or CHAIN_ID) and RPC_URL. What it will cost is said first.")
    .addHelpText("after", "\nExample: dstack-vpn deploy-contract --yes >> .env")
    .action(deploy);
}

async function deploy(typed: Typed): Promise<void> {
  const { json, yes } = typed;
  const settings = deploymentSettings(process.env);
  const unlock = signer(typed, process.env);
  const { chainId, rpcUrls } = settings;
  const creation: Creation = { data: creationCode(), chainId };
  const rpc = connect({ urls: rpcUrls, expect: { chainId } });
  try {
    // The first answer comes only from an upstream that serves this chain.
    await rpc.ask(headOf("latest"));
    if (unlock === undefined) printUnsigned(creation, json);
    else printDeployed(await deployed(rpc, creation, await unlock(), yes === true), settings, json);
  } finally {
    rpc.close();
  }
}

interface Deployed {
  readonly address: Address;
  readonly block: number;
  readonly transaction: string;
}

async function deployed(rpc: Rpc, creation: Creation, key: Secret, isAgreed: boolean): Promise<Deployed> {
  const { address: owner } = new Wallet(key.reveal());
  const fees = await feesOf(rpc);
  // An account without funds could not even be asked for the gas.
  const balance = await balanceOf(rpc, owner);
  if (balance === 0n && fees.price > 0n) throw new Failure(EXIT.failed, `nothing was sent: ${owner} cannot pay for it`);
  const gas = await gasOf(rpc, owner, creation);
  remark(`a new contract on chain ${creation.chainId}, owned by ${owner}: ${costText(gas, fees)}`);
  mustAfford(owner, balance, gas, fees);
  await confirm("Deploy it?", isAgreed);
  // Told before it is sent, so that a crash loses no contract.
  remark(`its address will be ${getCreateAddress({ from: owner, nonce: await nonceOf(rpc, owner, "pending") })}`);
  const { created, block, transaction } = await send(rpc, creation, key);
  if (created === undefined || (await rpc.ask(code(created, "latest"))).value === "0x") {
    throw new Failure(EXIT.failed, `${transaction} is in block ${block} and made no contract`);
  }
  return { address: created, block, transaction };
}

/** What the compiler left behind in the checkout; the image has the same file at the same place. */
const ARTIFACT = new URL("../../contracts/abi/DstackAccessNFT.json", import.meta.url);

function creationCode(): string {
  try {
    const { bytecode } = JSON.parse(readFileSync(ARTIFACT, "utf8"));
    if (typeof bytecode === "string" && /^0x([0-9a-f]{2})+$/i.test(bytecode)) return bytecode;
  } catch {
    // As below.
  }
  throw new Failure(EXIT.failed, "the compiled contract is missing or damaged: contracts/abi/DstackAccessNFT.json");
}

function printUnsigned({ data, chainId }: Creation, json: true | undefined): void {
  if (json) printJson({ to: null, data, value: "0", chainId });
  else {
    remark("No signing key is set; nothing was sent. To be signed elsewhere, without a receiver:");
    // Whatever is printed may go into .env.
    print("# value     0", `# chain id  ${chainId}`, `# data      ${data}`);
  }
}

function printDeployed({ address, block, transaction }: Deployed, { network, chainId }: Settings, json?: true): void {
  const contract = checksummed(address);
  if (json) printJson({ contract, block, chainId, transaction });
  else {
    print(`# DstackAccessNFT, chain id ${chainId}, block ${block}, transaction ${transaction}`);
    print(network === undefined ? `CHAIN_ID=${chainId}` : `NETWORK=${network}`);
    print(`CONTRACT_ADDRESS=${contract}`, `START_BLOCK=${block}`);
  }
}
