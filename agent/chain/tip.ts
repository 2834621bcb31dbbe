/** The logs of one block near the head, pinned by its hash and held against its bloom. */
import { AgentError } from "../errors.ts";
import type { Block } from "../model.ts";
import { byNumber, type Contract, type Habits, logsOfBlock } from "./block-logs.ts";
import { denies, emptiness, usesBlooms } from "./bloom.ts";
import { decodeLogs, isInvalid } from "./events.ts";
import type { RawLog } from "./log-list.ts";
import { contradiction } from "./ranges.ts";
import type { Answer, Choice, Rpc } from "./rpc.ts";

/**
 * An answer that the bloom speaks against is asked for once more, of another upstream where there is one, and that one
 * is accepted: a bloom can warn and never block.
 * @param from the upstream that told the block, and so has it
 */
export async function logsAtTip(
  rpc: Rpc,
  contract: Contract,
  block: Block,
  from: string,
  habits: Habits,
  signal: AbortSignal,
): Promise<readonly RawLog[]> {
  // Question by question it could draw out its reply for half a minute, and a revoke wait behind it.
  const isHurried = hasWitness(rpc, from);
  const haste = isHurried ? AbortSignal.any([signal, AbortSignal.timeout(HASTE_MS)]) : signal;
  const first = await ask({ only: from, signal: haste }).catch((error: unknown) => {
    signal.throwIfAborted();
    if (!isHurried) throw error;
    return ask({ not: from, signal });
  });
  const objection = objectionTo(block, first.value, contract, habits);
  if (objection === undefined) return isDamaged(first.value) ? mended() : first.value;
  const second = await again(first).catch((error: unknown) => {
    signal.throwIfAborted();
    if (first.value.length > 0) throw error;
    return first;
  });
  const problem = contradiction(second.value);
  if (problem !== undefined) {
    throw new AgentError({ code: "chain.reply-refused", method: "eth_getLogs", upstream: second.upstream, problem });
  }
  if (second.upstream !== first.upstream && objectionTo(block, second.value, contract, habits) === undefined) {
    rpc.suspect(first.upstream);
  }
  return second.value;

  /** Of another upstream, or in another way: some take a filter by hash and find nothing by it. */
  function again({ value, upstream }: Answer<readonly RawLog[]>) {
    const isAlone = value.length === 0 && !hasWitness(rpc, upstream);
    return isAlone ? byNumber(rpc, contract, block, { signal }) : ask(another(rpc, upstream, signal));
  }

  /** What one upstream damages another may have whole; what nobody has whole is passed as it is. */
  async function mended(): Promise<readonly RawLog[]> {
    const other = await ask(another(rpc, first.upstream, signal)).catch(() => first);
    signal.throwIfAborted();
    const isWhole = objectionTo(block, other.value, contract, habits) === undefined && !isDamaged(other.value);
    if (!isWhole || other.value.length < first.value.length) return first.value;
    if (other.upstream !== first.upstream) rpc.suspect(first.upstream);
    return other.value;
  }

  function ask(choice: Choice) {
    return logsOfBlock(rpc, contract, block, choice, habits);
  }
}

const HASTE_MS = 4_000;

/** Why an answer is not simply believed. */
export function objectionTo(
  block: Block,
  found: readonly RawLog[],
  contract: Contract,
  habits: Habits,
): string | undefined {
  habits.hasBlooms ||= usesBlooms(block);
  if (found.length > 0) {
    return contradiction(found) ?? (denies(block, found, habits.hasBlooms) ? "the bloom rules a log out" : undefined);
  }
  const isUnlikely = emptiness(block, contract.address, contract.topics) === "unlikely";
  return isUnlikely ? "the bloom has logs and the answer none" : undefined;
}

/** A log of ours that does not decode: the contract may have written it so, and an upstream may have made it so. */
export function isDamaged(found: readonly RawLog[]): boolean {
  return decodeLogs(found).some(isInvalid);
}

/** Another upstream where one can be expected to answer, otherwise any. */
export function another(rpc: Rpc, upstream: string, signal: AbortSignal): Choice {
  return hasWitness(rpc, upstream) ? { not: upstream, signal } : { signal };
}

/** Whether an upstream besides this one is worth asking: waiting for one that is down would cost more than its word is worth. */
export function hasWitness(rpc: Rpc, upstream: string): boolean {
  return rpc.upstreams().some(({ name, healthy }) => healthy && name !== upstream);
}
