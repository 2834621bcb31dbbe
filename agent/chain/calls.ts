/** Many calls of views at one block: through Multicall3 where the chain has it, otherwise side by side. */
import { type Address, type BlockRef, parseAddress } from "../model.ts";
import { numberAt } from "./events.ts";
import { parallel } from "./parallel.ts";
import { type At, blockByNumber, call, code } from "./questions.ts";
import { type Choice, type Question, type Rpc, RpcError, refusesForm } from "./rpc.ts";

export interface Call {
  readonly to: Address;
  /** Selector and arguments, as hex. */
  readonly data: string;
}

/** `undefined` is no evidence: whoever was asked could not tell. */
export type Outcome = { readonly kind: "returned"; readonly data: string } | { readonly kind: "reverted" } | undefined;

/** https://github.com/mds1/multicall: the same address on every chain that has it. */
export const MULTICALL3 = parseAddress("0xcA11bde05977b3631167028862bE2a173976CA11") as Address;
const AGGREGATE3 = "0x82ad56cb";
const BATCH = 200;
/** So few calls are not worth asking whether there is a Multicall3. */
const FEW = 16;
/** All that may be in flight, and what leaves room for whoever follows the chain. */
const AT_ONCE = { hurried: 8, patient: 4 };

/** `not`: by another upstream's word, for a second witness. `isPatient`: beside the polls, and nobody waits for it. */
export type Reading = Pick<Choice, "not" | "only"> & { readonly isPatient?: boolean };

/** In the order of `calls`; never throws but when the signal aborts. */
export async function callAll(
  rpc: Rpc,
  calls: readonly Call[],
  block: BlockRef,
  { isPatient = false, ...choice }: Choice & Reading,
): Promise<readonly Outcome[]> {
  const view = { ...viewAt(rpc, block, choice), atOnce: isPatient ? AT_ONCE.patient : AT_ONCE.hurried };
  if (calls.length <= FEW || !(await view.hasCode(MULTICALL3))) return oneByOne(view, calls);
  const batches = Array.from({ length: Math.ceil(calls.length / BATCH) }, (_, i) =>
    calls.slice(i * BATCH, (i + 1) * BATCH),
  );
  return (await parallel(batches, 2, (batch) => together(view, batch))).flat();
}

interface View {
  readonly atOnce: number;
  call(call: Call): Promise<Outcome>;
  hasCode(address: Address): Promise<boolean>;
}

function oneByOne(view: View, calls: readonly Call[]): Promise<Outcome[]> {
  return parallel(calls, view.atOnce, view.call);
}

/** What fails inside without a reason may have run out of the batch's gas: it counts as a revert only when asked alone. */
async function together(view: View, calls: readonly Call[]): Promise<readonly Outcome[]> {
  const reply = await view.call({ to: MULTICALL3, data: aggregate(calls) });
  const results = reply?.kind === "returned" ? resultsIn(reply.data, calls.length) : undefined;
  if (results !== undefined) {
    return parallel([...calls.entries()], view.atOnce, async ([i, one]) => results[i] ?? view.call(one));
  }
  if (calls.length <= FEW) return oneByOne(view, calls);
  const half = Math.ceil(calls.length / 2);
  return [...(await together(view, calls.slice(0, half))), ...(await together(view, calls.slice(half)))];
}

/** `aggregate3((address target, bool allowFailure, bytes callData)[])`, every failure allowed. */
function aggregate(calls: readonly Call[]): string {
  const tuples = calls.map(({ to, data }) => {
    const length = (data.length - 2) / 2;
    const bytes = data.slice(2).padEnd(64 * Math.ceil(length / 32), "0");
    return `${to.slice(2).padStart(64, "0")}${word(1)}${word(96)}${word(length)}${bytes}`;
  });
  let offset = 32 * calls.length;
  const offsets = tuples.map((tuple) => {
    const here = word(offset);
    offset += tuple.length / 2;
    return here;
  });
  return `${AGGREGATE3}${word(32)}${word(calls.length)}${offsets.join("")}${tuples.join("")}`;
}

/** `(bool success, bytes returnData)[]`; undefined for each that failed without data, and altogether where it is no such list. */
function resultsIn(data: string, count: number): readonly Outcome[] | undefined {
  const list = numberAt(data, 0);
  if (list === undefined || numberAt(data, list) !== count) return undefined;
  const results: Outcome[] = [];
  for (let i = 0; i < count; i++) {
    const tuple = offsetAt(data, list + 32, list + 32 + 32 * i);
    const bytes = tuple === undefined ? undefined : offsetAt(data, tuple, tuple + 32);
    const length = bytes === undefined ? undefined : numberAt(data, bytes);
    const success = tuple === undefined ? undefined : numberAt(data, tuple);
    if (bytes === undefined || length === undefined || success === undefined) return undefined;
    const start = 2 + 2 * (bytes + 32);
    if (start + 2 * length > data.length) return undefined;
    const returned = `0x${data.slice(start, start + 2 * length)}`;
    results.push(success === 1 ? { kind: "returned", data: returned } : length > 0 ? { kind: "reverted" } : undefined);
  }
  return results;
}

/** An offset that is counted from `base` and written at `place`. */
function offsetAt(data: string, base: number, place: number): number | undefined {
  const offset = numberAt(data, place);
  return offset === undefined ? undefined : base + offset;
}

function word(number: number): string {
  return number.toString(16).padStart(64, "0");
}

/** Pinned by hash (EIP-1898); by number where upstreams refuse hashes and still have this block there. */
function viewAt(rpc: Rpc, block: BlockRef, choice: Choice): Omit<View, "atOnce"> {
  let at: Exclude<At, string> = { hash: block.hash };
  const ask = async (question: (at: At) => Question<string>): Promise<string> => {
    const asked = at;
    try {
      return (await rpc.ask(question(asked), choice)).value;
    } catch (error) {
      const isRefused =
        error instanceof RpcError ? error.kind === "unsupported" || error.kind === "other" : refusesForm(error);
      if (!isRefused || !("hash" in asked)) throw error;
      const { value } = await rpc.ask(blockByNumber(block.number), choice);
      if (value.hash !== block.hash) throw error;
      at = { number: block.number };
      return (await rpc.ask(question(at), choice)).value;
    }
  };
  return {
    async call({ to, data }) {
      try {
        return { kind: "returned", data: await ask((at) => call(to, data, at)) };
      } catch (error) {
        choice.signal?.throwIfAborted();
        return error instanceof RpcError && error.kind === "reverted" ? { kind: "reverted" } : undefined;
      }
    },
    async hasCode(address) {
      try {
        return (await ask((at) => code(address, at))) !== "0x";
      } catch {
        choice.signal?.throwIfAborted();
        return false;
      }
    },
  };
}
