/** The parts of a transaction, through the chain room's door: what it costs, its signature, its way into a block. */
import { keccak256 } from "ethers/crypto";
import { Wallet } from "ethers/wallet";
import type { Choice, Question, Rpc } from "../chain/rpc.ts";
import { Malformed, RpcError } from "../chain/rpc.ts";
import { type Address, parseAddress, type Secret } from "../model.ts";
import { refusal } from "./contract.ts";
import { EXIT, Failure } from "./failure.ts";
import { remark } from "./output.ts";

/** What to sign, here or elsewhere. */
export interface Call {
  readonly to: Address;
  readonly data: string;
  readonly chainId: number;
}

/** Makes a contract of `data`. */
export interface Creation extends Pick<Call, "data" | "chainId"> {
  readonly to?: undefined;
}

export interface Included {
  readonly transaction: string;
  readonly block: number;
  /** Of a creation: where the contract is. */
  readonly created: Address | undefined;
  readonly logs: readonly { readonly address: string; readonly topics: readonly string[]; readonly data: string }[];
}

/** In wei for each unit of gas. */
export interface Fees {
  /** What the last block would have taken. */
  readonly price: bigint;
  readonly maxFeePerGas: bigint;
  readonly maxPriorityFeePerGas: bigint;
}

/** Bytes that only the wallet could have written. */
export interface Signed {
  readonly hash: string;
  readonly raw: string;
}

/** A refusal costs nothing when it is found out before. @returns what the call would return @throws Failure */
export async function preview(rpc: Rpc, from: string, { to, data }: Call | Creation): Promise<string> {
  try {
    return await ask(rpc, "eth_call", [{ from, ...(to === undefined ? {} : { to }), data }, "latest"], hexText);
  } catch (error) {
    throw asRefusal(error, data);
  }
}

/** Units of gas. @throws Failure where the contract refuses, or the account cannot pay */
export async function gasOf(rpc: Rpc, from: string, { to, data }: Call | Creation): Promise<bigint> {
  try {
    return await ask(rpc, "eth_estimateGas", [{ from, ...(to === undefined ? {} : { to }), data }], quantity);
  } catch (error) {
    throw error instanceof RpcError && error.kind !== "reverted" ? unpaid(from, error) : asRefusal(error, data);
  }
}

export async function feesOf(rpc: Rpc): Promise<Fees> {
  const price = await ask(rpc, "eth_gasPrice", [], quantity);
  const tip = await ask(rpc, "eth_maxPriorityFeePerGas", [], quantity).catch((error: unknown) => {
    if (error instanceof RpcError) return price;
    throw error;
  });
  // Twice of what the last block would have taken outlasts six full blocks (EIP-1559).
  const maxFeePerGas = 2n * price;
  return { price, maxFeePerGas, maxPriorityFeePerGas: tip < maxFeePerGas ? tip : maxFeePerGas };
}

/** How many transactions of the account are in blocks, or with `pending` are on their way as well. */
export async function nonceOf(rpc: Rpc, account: string, at: "latest" | "pending"): Promise<number> {
  return Number(await ask(rpc, "eth_getTransactionCount", [account, at], quantity));
}

export async function balanceOf(rpc: Rpc, account: string): Promise<bigint> {
  return ask(rpc, "eth_getBalance", [account, "latest"], quantity);
}

export async function sign(
  key: Secret,
  { to, data, chainId }: Call | Creation,
  { maxFeePerGas, maxPriorityFeePerGas }: Fees,
  gas: bigint,
  nonce: number,
): Promise<Signed> {
  const raw = await new Wallet(key.reveal()).signTransaction({
    ...{ type: 2, chainId, to: to ?? null, data, value: 0n, nonce },
    ...{ gasLimit: (gas * 12n) / 10n, maxFeePerGas, maxPriorityFeePerGas },
  });
  return { hash: keccak256(raw), raw };
}

/** The same bytes may be handed in any number of times: at most one block takes them. @throws Failure */
export async function handIn(rpc: Rpc, { hash, raw }: Signed, from: string): Promise<void> {
  try {
    await ask(rpc, "eth_sendRawTransaction", [raw], (result) => result);
  } catch (error) {
    // An upstream may have taken it before its answer was lost, and the next one says that it knows it already.
    const isKnown =
      error instanceof RpcError && /already known|already imported|nonce too low/i.test(error.said.reveal());
    if (isKnown) return;
    if (error instanceof RpcError) throw unpaid(from, error);
    remark(`transaction ${hash} may have been sent: look it up before you try again`);
    throw error;
  }
}

/** Undefined while no block has it; `refused` where its block has it and the contract changed nothing. */
export async function receiptOf(
  rpc: Rpc,
  hash: string,
  choice: Choice = {},
): Promise<Included | "refused" | undefined> {
  const parse = (result: unknown) => (result === null ? undefined : included(hash, result));
  return (await rpc.ask({ method: "eth_getTransactionReceipt", params: [hash], deadlineMs: 10_000, parse }, choice))
    .value;
}

function included(hash: string, result: unknown): Included | "refused" {
  const { status, blockNumber, logs, contractAddress } = result as Record<string, unknown>;
  if (!Array.isArray(logs) || typeof status !== "string") throw new Malformed("the receipt has no status or no logs");
  if (quantity(status) !== 1n) return "refused";
  const created = typeof contractAddress === "string" ? parseAddress(contractAddress) : undefined;
  return { transaction: hash, block: Number(quantity(blockNumber)), created, logs: logs as Included["logs"] };
}

/** No block will ever take it, because another transaction of the account has its nonce. */
export async function isOvertaken(rpc: Rpc, account: string, nonce: number, hash: string): Promise<boolean> {
  const counting: Question<bigint> = {
    ...{ method: "eth_getTransactionCount", params: [account, "latest"], deadlineMs: 10_000, parse: quantity },
  };
  const { value: count, upstream: only } = await rpc.ask(counting);
  if (count <= nonce) return false;
  // The same upstream's word for both: another may not have the block that counts it.
  const isUnknown = (result: unknown) => result === null;
  const looking = { method: "eth_getTransactionByHash", params: [hash], deadlineMs: 10_000, parse: isUnknown };
  return (await rpc.ask(looking, { only })).value && (await receiptOf(rpc, hash, { only })) === undefined;
}

function asRefusal(error: unknown, data: string): unknown {
  if (!(error instanceof RpcError) || error.kind !== "reverted") return error;
  return new Failure(EXIT.failed, refusal(error.dataHex, data), { cause: error });
}

function unpaid(from: string, cause: RpcError): Failure {
  const isPoor = /insufficient (funds|balance)|exceeds (the )?balance|out of funds/i.test(cause.said.reveal());
  const why = isPoor ? `${from} cannot pay for it` : `the upstream does not take it: ${cause.message}`;
  return new Failure(EXIT.failed, `nothing was sent: ${why}`, { cause });
}

async function ask<T>(rpc: Rpc, method: string, params: unknown[], parse: (result: unknown) => T): Promise<T> {
  const question: Question<T> = { method, params, deadlineMs: 10_000, parse };
  return (await rpc.ask(question)).value;
}

function quantity(result: unknown): bigint {
  if (typeof result !== "string" || !/^0x[0-9a-fA-F]{1,64}$/.test(result)) throw new Malformed("it is no hex quantity");
  return BigInt(result);
}

function hexText(result: unknown): string {
  if (typeof result !== "string" || !/^0x[0-9a-fA-F]*$/.test(result)) throw new Malformed("it is no hex");
  return result;
}
