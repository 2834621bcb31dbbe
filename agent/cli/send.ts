/** One transaction through the chain room's door: previewed, signed here, sent, and waited for. */
import { setTimeout as sleep } from "node:timers/promises";
import { keccak256 } from "ethers/crypto";
import { Wallet } from "ethers/wallet";
import type { Question, Rpc } from "../chain/rpc.ts";
import { Malformed, RpcError } from "../chain/rpc.ts";
import type { Address, Secret } from "../model.ts";
import { refusal } from "./contract.ts";
import { EXIT, Failure } from "./failure.ts";
import { remark } from "./output.ts";

/** What to sign, here or elsewhere. */
export interface Call {
  readonly to: Address;
  readonly data: string;
  readonly chainId: number;
}

export interface Included {
  readonly transaction: string;
  readonly block: number;
  readonly logs: readonly { readonly address: string; readonly topics: readonly string[]; readonly data: string }[];
}

/** @throws Failure where the contract refuses, the account cannot pay, or nothing includes it in time */
export async function send(rpc: Rpc, call: Call, key: Secret): Promise<Included> {
  const wallet = new Wallet(key.reveal());
  const message = { from: wallet.address, to: call.to, data: call.data };
  await preview(rpc, message);
  const [gas, price, nonce] = await Promise.all([
    ask(rpc, "eth_estimateGas", [message], quantity),
    ask(rpc, "eth_gasPrice", [], quantity),
    ask(rpc, "eth_getTransactionCount", [wallet.address, "pending"], quantity),
  ]).catch((cause: unknown) => {
    throw cause instanceof RpcError ? unpaid(wallet.address, cause) : cause;
  });
  const tip = await ask(rpc, "eth_maxPriorityFeePerGas", [], quantity).catch((error: unknown) => {
    if (error instanceof RpcError) return price;
    throw error;
  });
  // The price is what the last block would have taken; twice of it outlasts six full blocks (EIP-1559).
  const maxFeePerGas = 2n * price;
  const signed = await wallet.signTransaction({
    ...{ type: 2, chainId: call.chainId, to: call.to, data: call.data, value: 0n, nonce: Number(nonce) },
    ...{ gasLimit: (gas * 12n) / 10n, maxFeePerGas, maxPriorityFeePerGas: tip < maxFeePerGas ? tip : maxFeePerGas },
  });
  return included(rpc, await handedIn(rpc, signed, wallet.address));
}

/** A refusal costs nothing when it is found out before. */
async function preview(rpc: Rpc, message: object): Promise<void> {
  try {
    await ask(rpc, "eth_call", [message, "latest"], (result) => result);
  } catch (error) {
    if (!(error instanceof RpcError) || error.kind !== "reverted") throw error;
    throw new Failure(EXIT.failed, refusal(error.dataHex), { cause: error });
  }
}

async function handedIn(rpc: Rpc, signed: string, from: string): Promise<string> {
  const hash = keccak256(signed);
  try {
    await ask(rpc, "eth_sendRawTransaction", [signed], (result) => result);
  } catch (error) {
    // An upstream may have taken it before its answer was lost, and the next one says that it knows it already.
    const isKnown =
      error instanceof RpcError && /already known|already imported|nonce too low/i.test(error.said.reveal());
    if (!isKnown) {
      if (error instanceof RpcError) throw unpaid(from, error);
      remark(`transaction ${hash} may have been sent: look it up before you try again`);
      throw error;
    }
  }
  remark(`sent ${hash}, waiting for its block`);
  return hash;
}

const POLL_MS = 500;
const PATIENCE_MS = 180_000;

async function included(rpc: Rpc, hash: string): Promise<Included> {
  const until = performance.now() + PATIENCE_MS;
  for (;;) {
    const receipt = await ask(rpc, "eth_getTransactionReceipt", [hash], (result) => receiptIn(result, hash));
    if (receipt !== undefined) return receipt;
    if (performance.now() > until) {
      const limit = `${PATIENCE_MS / 1000} s`;
      throw new Failure(
        EXIT.failed,
        `no block has taken ${hash} for ${limit}; one still may: look before sending again`,
      );
    }
    await sleep(POLL_MS);
  }
}

function receiptIn(result: unknown, hash: string): Included | undefined {
  if (result === null) return undefined;
  const { status, blockNumber, logs } = result as Record<string, unknown>;
  if (!Array.isArray(logs) || typeof status !== "string") throw new Malformed("the receipt has no status or no logs");
  if (BigInt(status) !== 1n) {
    throw new Failure(EXIT.failed, `the contract refused ${hash} when its block was made: something else came first`);
  }
  return { transaction: hash, block: Number(quantity(blockNumber)), logs: logs as Included["logs"] };
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
