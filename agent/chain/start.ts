/** Where the contract's history begins, where no setting says it. */
import { AgentError } from "../errors.ts";
import type { Address } from "../model.ts";
import { code } from "./questions.ts";
import { type Rpc, RpcError, refusesForm } from "./rpc.ts";
import { hasWitness } from "./tip.ts";

/** What is remembered of it between polls. */
export interface Search {
  /** How often old state was refused in words that say nothing. */
  refusals: number;
}

/**
 * The first block after which the contract has code, by bisecting: some 25 questions, which need an archive node. Whoever
 * makes it later than it is hides what came before for good: where two can be asked, both must say that there is no code.
 * @throws AgentError chain.no-contract | chain.no-start-block
 */
export async function firstBlock(
  rpc: Rpc,
  contract: Address,
  head: number,
  search: Search,
  signal: AbortSignal,
): Promise<number> {
  const hasCode = async (number: number) => {
    try {
      const { value, upstream } = await rpc.ask(code(contract, { number }), { signal });
      const isThere = value !== "0x" || (!isAlone && (await othersHave(number, upstream)));
      return { isThere, upstream };
    } catch (error) {
      // At the head even an archive may lack for a moment what another server of its provider has told.
      const isOld = number < head;
      const isFinal = error instanceof RpcError && (error.kind === "unsupported" || (error.kind === "absent" && isOld));
      // Others refuse old state in words of their own, by a status, or by nothing; a passing error does so once.
      const isRefused = isOld && (error instanceof RpcError || refusesForm(error));
      if (!isFinal && !(isRefused && ++search.refusals >= REFUSALS)) throw error;
      const upstream = rpc.upstreams()[0]?.name ?? "none";
      throw new AgentError({ code: "chain.no-start-block", upstream }, { cause: error });
    }
  };
  // Also of one that nobody has heard yet: whoever is quickest must not have the only say.
  let isAlone = rpc.upstreams().length < 2;
  const othersHave = async (number: number, not: string) => {
    const haste = AbortSignal.any([signal, AbortSignal.timeout(HASTE_MS)]);
    try {
      return (await rpc.ask(code(contract, { number }), { not, signal: haste })).value !== "0x";
    } catch (error) {
      signal.throwIfAborted();
      // It may be no archive, or behind.
      if (error instanceof RpcError) return false;
      if (hasWitness(rpc, not) && !haste.aborted) throw error;
      isAlone = true;
      return false;
    }
  };
  const { isThere, upstream } = await hasCode(head);
  if (!isThere) throw new AgentError({ code: "chain.no-contract", contract, upstream });
  let [first, last] = [0, head];
  while (first < last) {
    const middle = Math.floor((first + last) / 2);
    if ((await hasCode(middle)).isThere) last = middle;
    else first = middle + 1;
  }
  return first;
}

/** So many, of a poll each, are no accident. */
const REFUSALS = 3;

/** One that is silent costs this once. */
const HASTE_MS = 4_000;
