/** Where one upstream is: its head, and the way to it from what we hold. */
import type { Block, BlockRef, Trail } from "../model.ts";
import { blockByNumber, headOf } from "./questions.ts";
import { type Headers, type Route, routeTo } from "./route.ts";
import type { Choice, Rpc } from "./rpc.ts";

/** Far more than an upstream takes that is well, for a dozen questions. */
export const GLANCE_MS = 4_000;

/** One upstream's head, and how it is reached from what we hold. */
export interface Look {
  readonly head: Block;
  readonly upstream: string;
  readonly route: Route | { readonly kind: "failed"; readonly error: unknown };
}
export interface Target extends Look {
  readonly route: Extract<Route, { kind: "onward" }>;
}

export function isTarget(seen: Look): seen is Target {
  return seen.route.kind === "onward";
}

/** Reached without taking back anything. */
export function isForward(seen: Look, tip: BlockRef): boolean {
  return isTarget(seen) && seen.route.from.number === tip.number;
}

/** Undefined where it does not show in `ms` where it is. @throws the signal's reason */
export async function glance(
  rpc: Rpc,
  trail: Trail,
  only: string,
  signal: AbortSignal,
  ms = GLANCE_MS,
): Promise<Look | undefined> {
  const haste = AbortSignal.any([signal, AbortSignal.timeout(ms)]);
  const seen = await look(rpc, trail, { only }, haste).catch(() => undefined);
  signal.throwIfAborted();
  return seen;
}

/** @throws what asking for the head threw; trouble on the way to it is part of the answer */
export async function look(rpc: Rpc, trail: Trail, choice: Choice, signal: AbortSignal): Promise<Look> {
  const { value: head, upstream } = await rpc.ask(headOf("latest"), { ...choice, signal });
  try {
    return { head, upstream, route: await routeTo(head, trail, headersOf(rpc, upstream, signal)) };
  } catch (error) {
    signal.throwIfAborted();
    return { head, upstream, route: { kind: "failed", error } };
  }
}

/** Headers as one upstream has them; where it fails others may help, and links tell whether theirs fit. */
export function headersOf(rpc: Rpc, upstream: string, signal: AbortSignal): Headers {
  return {
    async at(number) {
      const question = blockByNumber(number);
      const { value } = await rpc.ask(question, { only: upstream, signal }).catch(() => {
        signal.throwIfAborted();
        return rpc.ask(question, { signal });
      });
      return value;
    },
    async holds(ref) {
      const { value } = await rpc.ask(blockByNumber(ref.number), { only: upstream, signal });
      return value.hash === ref.hash;
    },
  };
}
