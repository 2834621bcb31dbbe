/** Many grants: signed with consecutive nonces, several on their way at once, and none of them sent twice. */
import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { parallel } from "../chain/parallel.ts";
import type { Rpc } from "../chain/rpc.ts";
import type { Address, Secret } from "../model.ts";
import { contract } from "./contract.ts";
import type { Grant } from "./csv-grants.ts";
import type { Attempt, Entry, Journal } from "./csv-journal.ts";
import { EXIT, Failure } from "./failure.ts";
import { type Call, type Fees, handIn, type Included, isOvertaken, nonceOf, receiptOf, sign } from "./transaction.ts";

export type Result =
  | {
      /** `revoked`: granted, and taken away since. */
      readonly kind: "granted" | "revoked";
      readonly tokenId: string;
      readonly transaction: string;
      readonly block: number | undefined;
    }
  | { readonly kind: "failed"; readonly problem: string };

/** Where a batch goes. */
export interface Target {
  readonly contract: Address;
  readonly chainId: number;
  /** `id:contract genesis`: tells this chain from another with the same id, such as a devnet that was made anew. */
  readonly chain: string;
}

export function callOf({ contract: to, chainId }: Target, { to: owner, nodeId, key, tokenUri }: Grant): Call {
  return { to, data: contract.encodeFunctionData("mintNodeAccess", [owner, nodeId, key, tokenUri]), chainId };
}

/** Pure: what a row says, so that moving it within the file, or the file itself, changes nothing. */
export function rowOf({ to, nodeId, key, tokenUri }: Grant): string {
  return createHash("sha256")
    .update(JSON.stringify([to, nodeId, key, tokenUri]))
    .digest("hex");
}

export interface Resumed {
  readonly results: ReadonlyMap<Grant, Result>;
  /** Signed by an earlier run, and in no block yet: by their nonces. */
  readonly waiting: readonly Waiting[];
  /** The others. */
  readonly fresh: readonly Grant[];
}

interface Waiting {
  readonly grant: Grant;
  readonly attempt: Attempt;
}

/** What earlier runs have done, as the chain has it now; sends nothing. @throws what no upstream could answer */
export async function resume(
  rpc: Rpc,
  target: Target,
  grants: readonly Grant[],
  entries: readonly Entry[],
): Promise<Resumed> {
  const known = Map.groupBy(
    entries.filter(({ chain }) => isSameChain(chain, target.chain)),
    ({ row }) => row,
  );
  const results = new Map<Grant, Result>();
  const waiting: Waiting[] = [];
  const fresh: Grant[] = [];
  await parallel(grants, AT_ONCE, async (grant) => {
    let isOpen = true;
    for (const attempt of open(known.get(rowOf(grant)) ?? [])) {
      const fate = await fateOf(rpc, attempt);
      if (fate === "void") continue;
      isOpen = false;
      if (fate === "waiting") waiting.push({ grant, attempt });
      else results.set(grant, granted(fate, grant, target.contract));
    }
    if (isOpen) fresh.push(grant);
  });
  return {
    results,
    waiting: waiting.sort((a, b) => a.attempt.nonce - b.attempt.nonce),
    fresh: fresh.sort((a, b) => a.line - b.line),
  };
}

const AT_ONCE = 8;

function open(told: readonly Entry[]): Attempt[] {
  const refused = new Set(told.filter(({ kind }) => kind === "refused").map(({ hash }) => hash));
  return told.filter((entry) => entry.kind === "signed").filter(({ hash }) => !refused.has(hash));
}

/** An upstream that does not show the genesis leaves it out. */
function isSameChain(a: string, b: string): boolean {
  const [[place, genesis], [otherPlace, otherGenesis]] = [a.split(" "), b.split(" ")];
  return place === otherPlace && (!genesis || !otherGenesis || genesis === otherGenesis);
}

/** `void`: no block will ever take it, or one has and the contract refused it. */
async function fateOf(rpc: Rpc, { hash, account, nonce }: Attempt): Promise<Included | "waiting" | "void"> {
  const receipt = await receiptOf(rpc, hash);
  if (receipt === "refused") return "void";
  if (receipt !== undefined) return receipt;
  return (await isOvertaken(rpc, account, nonce, hash)) ? "void" : "waiting";
}

/** As many as a pool of geth takes of one account (`--txpool.accountslots`). */
const IN_FLIGHT = 16;
const POLL_MS = 300;
/** Polls. */
const SELDOM = 10;
const PATIENCE_MS = 180_000;

export interface Batch {
  readonly rpc: Rpc;
  readonly target: Target;
  readonly journal: Journal;
  readonly key: Secret;
  readonly account: string;
  readonly fees: Fees;
  /** Units of gas by grant. */
  readonly gas: ReadonlyMap<Grant, bigint>;
  /** Called once for each row, in the order of their nonces. */
  onResult(grant: Grant, result: Result): void;
}

/** @throws Failure where it must stop with rows left over: the same command goes on where it was */
export async function sendAll(batch: Batch, { waiting, fresh }: Resumed): Promise<void> {
  const { rpc, target, journal, account } = batch;
  const inFlight: Waiting[] = [];
  // The same bytes: whoever has them says so, and whoever lost them takes them again.
  for (const { attempt } of waiting) await handIn(rpc, attempt, account);
  inFlight.push(...waiting);
  const behind = Math.max(-1, ...waiting.map(({ attempt }) => attempt.nonce)) + 1;
  let nonce = Math.max(await nonceOf(rpc, account, "pending"), behind);
  try {
    for (const grant of fresh) {
      while (inFlight.length >= IN_FLIGHT) await settleFirst(batch, inFlight);
      const attempt = await signed(batch, grant, nonce++);
      journal.add(attempt);
      await handIn(rpc, attempt, account);
      inFlight.push({ grant, attempt });
    }
  } catch (error) {
    // What is on its way is waited for; what was signed last may be, and the journal has it.
    while (inFlight.length > 0) await settleFirst(batch, inFlight).catch(() => inFlight.splice(0));
    throw error;
  }
  while (inFlight.length > 0) await settleFirst(batch, inFlight);

  async function signed({ key, fees, gas }: Batch, grant: Grant, next: number): Promise<Attempt> {
    const { hash, raw } = await sign(key, callOf(target, grant), fees, gas.get(grant) ?? 0n, next);
    return { kind: "signed", chain: target.chain, row: rowOf(grant), account, nonce: next, hash, raw };
  }
}

/** Waits for the one with the lowest nonce: no block takes another before it. */
async function settleFirst({ rpc, target, journal, onResult }: Batch, inFlight: Waiting[]): Promise<void> {
  const [first] = inFlight;
  if (first === undefined) return;
  const { grant, attempt } = first;
  const { chain, row, hash, account, nonce } = attempt;
  const until = performance.now() + PATIENCE_MS;
  for (let polls = 1; ; polls++) {
    const receipt = await receiptOf(rpc, hash);
    if (receipt !== undefined) {
      inFlight.shift();
      const result = granted(receipt, grant, target.contract);
      if (result.kind === "failed") journal.add({ kind: "refused", chain, row, hash });
      else journal.add({ kind: "granted", chain, row, hash, tokenId: result.tokenId });
      onResult(grant, result);
      return;
    }
    if (polls % SELDOM === 0 && (await isOvertaken(rpc, account, nonce, hash))) {
      inFlight.shift();
      const problem = "another transaction of the account took its turn: the same command sends it again";
      onResult(grant, { kind: "failed", problem });
      return;
    }
    if (performance.now() > until) {
      const limit = `${PATIENCE_MS / 1000} s`;
      throw new Failure(
        EXIT.failed,
        `no block has taken ${hash} for ${limit}; the same command goes on where this one ends`,
      );
    }
    await sleep(POLL_MS);
  }
}

function granted(receipt: Included | "refused", { nodeId }: Grant, to: Address): Result {
  if (receipt === "refused") {
    return { kind: "failed", problem: "the contract refused it when its block was made: something else came first" };
  }
  for (const { address, topics, data } of receipt.logs) {
    const log = address.toLowerCase() === to ? contract.parseLog({ topics, data }) : null;
    if (log?.name !== "NodeAccessGranted" || log.args[1] !== nodeId) continue;
    return { kind: "granted", tokenId: String(log.args[0]), transaction: receipt.transaction, block: receipt.block };
  }
  return { kind: "failed", problem: `${receipt.transaction} is in block ${receipt.block} and granted nothing` };
}
