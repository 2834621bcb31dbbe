/**
 * The chain room's door: asks one question of the healthiest upstream and fails over.
 * Nothing that leaves here names more of an upstream than host[:port].
 */
import type { Fault } from "../errors.ts";
import type { Address, Hash } from "../model.ts";
import type { TroubleKind } from "./reply.ts";

export { Malformed, RpcError } from "./reply.ts";

export interface Rpc {
  /**
   * Asks the healthiest upstream, and the next one where it fails. `parse` throws `Malformed` on a wrong shape, which
   * counts against that upstream and is asked of the next.
   * @throws RpcError what a working upstream says instead: `reverted` and `limited` at once, the others when every
   *   upstream that could be asked says so
   * @throws AgentError chain.request-failed | chain.reply-refused of the last upstream tried, or chain.wrong-network |
   *   chain.other-genesis | chain.no-contract when no upstream serves our chain and contract
   * @throws the signal's reason when it aborts
   */
  ask<T>(question: Question<T>, choice?: Choice): Promise<Answer<T>>;
  /** Resolves on a newHeads message of any WebSocket upstream since the last call, or when the signal aborts; only a wake-up. */
  nextHead(signal: AbortSignal): Promise<void>;
  /** The caller has found an upstream's answers to contradict the chain or one another: others are preferred for a while. */
  suspect(upstream: string): void;
  /** The genesis block that every upstream must have from now on; without one, the first upstream's word counts. */
  pin(genesis: Hash): void;
  /** The genesis that upstreams are held to, once one has been verified. */
  genesis(): Hash | undefined;
  upstreams(): readonly UpstreamStatus[];
  close(): void;
}

export interface Question<T> {
  readonly method: string;
  readonly params: readonly unknown[];
  /** For each upstream tried, from the first byte sent to the last byte read. */
  readonly deadlineMs: number;
  readonly parse: (result: unknown) => T;
  /** The chain's head, where the answer tells it. */
  readonly head?: (value: T) => number;
}

export interface Answer<T> {
  readonly value: T;
  /** The name of the upstream that gave it. */
  readonly upstream: string;
}

export interface Choice {
  /** Any upstream but this one: a second witness. */
  readonly not?: string;
  readonly only?: string;
  readonly signal?: AbortSignal;
}

export interface UpstreamStatus {
  /** host[:port], with `#2` and so on where several share it. */
  readonly name: string;
  /** Serves our chain and contract, and its last request did not fail. */
  readonly healthy: boolean;
  /** Moving average; 0 before the first answer. */
  readonly latencyMs: number;
  readonly requests: number;
  readonly errors: Readonly<Record<TroubleKind, number>>;
  /** The last head that it told. */
  readonly headBlock: number | undefined;
  readonly inFlight: number;
  /** Why it is never asked: another chain, another genesis, or no contract. Checked again now and then. */
  readonly fault: Fault | undefined;
}

/** What changed about an upstream, for logs and the journal; told once per change. */
export type UpstreamChange =
  | { readonly kind: "failing"; readonly upstream: string; readonly trouble: TroubleKind; readonly problem: string }
  | { readonly kind: "recovered"; readonly upstream: string }
  | { readonly kind: "refused"; readonly upstream: string; readonly fault: Fault };

export interface Expected {
  readonly chainId: number;
  readonly genesis?: Hash;
  /** Left out where no contract is followed. */
  readonly contract?: Address;
}

export interface ConnectOptions {
  readonly urls: readonly URL[];
  readonly expect: Expected;
  readonly onChange?: (change: UpstreamChange) => void;
  /** 0 to 1, for jitter. */
  readonly random?: () => number;
}

export function connect(_options: ConnectOptions): Rpc {
  throw new Error("not yet");
}
