/** One transaction: previewed, signed here, sent, and waited for. */
import { setTimeout as sleep } from "node:timers/promises";
import { Wallet } from "ethers/wallet";
import type { Rpc } from "../chain/rpc.ts";
import type { Secret } from "../model.ts";
import { EXIT, Failure } from "./failure.ts";
import { remark } from "./output.ts";
import {
  type Call,
  type Creation,
  feesOf,
  gasOf,
  handIn,
  type Included,
  nonceOf,
  preview,
  receiptOf,
  sign,
} from "./transaction.ts";

export type { Call, Included } from "./transaction.ts";

/** @throws Failure where the contract refuses, the account cannot pay, or nothing includes it in time */
export async function send(rpc: Rpc, call: Call | Creation, key: Secret): Promise<Included> {
  const { address } = new Wallet(key.reveal());
  await preview(rpc, address, call);
  const [gas, fees, nonce] = await Promise.all([
    gasOf(rpc, address, call),
    feesOf(rpc),
    nonceOf(rpc, address, "pending"),
  ]);
  const signed = await sign(key, call, fees, gas, nonce);
  await handIn(rpc, signed, address);
  remark(`sent ${signed.hash}, waiting for its block`);
  return included(rpc, signed.hash);
}

const POLL_MS = 500;
const PATIENCE_MS = 180_000;

async function included(rpc: Rpc, hash: string): Promise<Included> {
  const until = performance.now() + PATIENCE_MS;
  for (;;) {
    const receipt = await receiptOf(rpc, hash);
    if (receipt === "refused") {
      throw new Failure(EXIT.failed, `the contract refused ${hash} when its block was made: something else came first`);
    }
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
