/**
 * The chain room's door: asks one question of the healthiest upstream and fails over.
 * Nothing that leaves here names more of an upstream than host[:port].
 */
import { setTimeout as sleep } from "node:timers/promises";
import { AgentError, type Fault } from "../errors.ts";
import type { Address, Block, Hash } from "../model.ts";
import { newPin } from "./identity.ts";
import { blamesQuestion, type Read, RpcError, Trouble, type TroubleKind } from "./reply.ts";
import { stoppable, type Upstream, upstream } from "./upstream.ts";
import { alarm } from "./wakeup.ts";

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
  /** Who it is must be asked again before its next answer counts. */
  doubt(upstream: string): void;
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
  /** A longer reply is refused unread; 8 MB without it, and over a WebSocket always. */
  readonly maxBytes?: number;
  /** For replies that are long; `parse` is given what it makes of the result. */
  readonly read?: Read;
  readonly parse: (result: unknown) => T;
  /** The chain's head, where the answer tells it. */
  head?(value: T): Block;
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
  /** The last head that it told: its number, its hash and its parent's, and when it was made (seconds since the epoch). */
  readonly headBlock: number | undefined;
  readonly headHash: Hash | undefined;
  readonly headParent: Hash | undefined;
  readonly headTimestamp: number | undefined;
  /** Its head has risen within 45 s, or it told its first one then. */
  readonly isMoving: boolean;
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

export function connect({ urls, expect, onChange = () => {}, random = Math.random }: ConnectOptions): Rpc {
  const pin = newPin(urls.length, expect.genesis);
  const heads = alarm();
  const bestHead = () => {
    const known = all.map((one) => one.head(performance.now())).filter((head) => head !== undefined);
    return known.length === 0 ? undefined : Math.max(...known);
  };
  const names = uniqueNames(urls);
  const all: readonly Upstream[] = urls.map((url, i) =>
    upstream({ name: names[i] ?? "", url, expect, pin, random, onChange, onHead: heads.ring, bestHead }),
  );
  const preference: Preference = { last: undefined };
  let introduced: Promise<unknown> | undefined;

  /** Before anything is known of the chain, whoever answers first does not choose it. */
  async function introduction(signal: AbortSignal | undefined): Promise<void> {
    if (pin.genesis !== undefined || all.length < 2) return;
    introduced ??= Promise.race([
      Promise.allSettled(all.map(({ identity }) => identity.check())),
      sleep(INTRODUCTION_MS, undefined, { ref: false }),
    ]);
    await stoppable(introduced, signal);
  }

  return {
    async ask(question, choice = {}) {
      const { not, only, signal } = choice;
      await introduction(signal);
      const willing = all.filter(({ name }) => name !== not && (only === undefined || name === only));
      return failover(willing, all.length === 1, preference, question, choice);
    },
    nextHead: heads.next,
    doubt: (name) => all.find((one) => one.name === name)?.identity.doubt(),
    suspect: (name) => all.find((one) => one.name === name)?.blame(),
    genesis: () => pin.genesis,
    upstreams: () => all.map((one) => one.status()),
    close() {
      for (const one of all) one.close();
    },
  };
}

/** The upstream asked last keeps a head start, so that near equals do not take turns. */
interface Preference {
  last: Upstream | undefined;
}
const HEAD_START = 0.7;

/** How long a first start waits for upstreams to say which chain they serve. */
const INTRODUCTION_MS = 2_000;

/** Each upstream is tried at most this often for one question. */
const MAX_TRIES = 2;
/** A lone one deserves more: of a poll's sixty questions one fails even where three in four are answered. */
const LONE_TRIES = 6;
/** And no more time than a few of them take. */
const LONE_MS = 6_000;
/** Waiting this long for a second try is better than an error. */
const SHORT_WAIT_MS = 250;

async function failover<T>(
  willing: readonly Upstream[],
  isLone: boolean,
  preference: Preference,
  question: Question<T>,
  choice: Choice,
): Promise<Answer<T>> {
  const { signal } = choice;
  const tries = new Map<Upstream, number>();
  let trouble: { readonly upstream: string; readonly trouble: Trouble } | undefined;
  let refusal: RpcError | undefined;
  const startedMs = performance.now();
  const most = () => (isLone && performance.now() - startedMs < LONE_MS ? LONE_TRIES : MAX_TRIES);
  const isLeft = (one: Upstream) => one.identity.fault() === undefined && (tries.get(one) ?? 0) < most();
  await anyVerified(willing, signal);
  for (;;) {
    signal?.throwIfAborted();
    const now = performance.now();
    // Once somebody has spoken, whoever is down adds nothing.
    const left = willing.filter((one) => isLeft(one) && (refusal === undefined || one.identity.isKnown()));
    const ready = left.filter((one) => one.notBefore() <= now);
    const next = best(ready, tries, preference, now);
    if (next === undefined) {
      const wait = Math.min(...left.map((one) => one.notBefore() - now));
      const isWorthIt = tries.size === 0 || wait <= SHORT_WAIT_MS || trouble?.trouble.kind === "rate-limit";
      if (left.length === 0 || refusal !== undefined || !isWorthIt) break;
      await pause(wait, signal);
      continue;
    }
    tries.set(next, (tries.get(next) ?? 0) + 1);
    try {
      const value = await next.ask(question, signal);
      if (choice.not === undefined && choice.only === undefined) preference.last = next;
      return { value, upstream: next.name };
    } catch (error) {
      if (error instanceof Trouble) {
        trouble = { upstream: next.name, trouble: error };
        // Neither gets better by asking the same again.
        if (error.kind === "timeout" || error.kind === "oversize") tries.set(next, LONE_TRIES);
      } else if (error instanceof RpcError) {
        if (error.kind === "reverted" || error.kind === "limited") throw error;
        refusal = error;
        if (!isLone || error.kind !== "other" || !isStep(question)) tries.set(next, LONE_TRIES);
      } else if (!(error instanceof AgentError)) throw error;
    }
  }
  // That a block is absent must be the word of all who were asked: one who failed to answer may have it.
  if (refusal !== undefined && (trouble === undefined || refusal.kind !== "absent")) throw refusal;
  throw new AgentError(faultOf(willing, question.method, choice, trouble));
}

/** Every one of them leads to the head, and none may be missing. A range may be told in parts, and state be asked later. */
const isStep = ({ method, params }: Question<unknown>) =>
  method.startsWith("eth_getBlock") || (method === "eth_getLogs" && Object.hasOwn(params[0] as object, "blockHash"));

function best(
  ready: readonly Upstream[],
  tries: ReadonlyMap<Upstream, number>,
  preference: Preference,
  now: number,
): Upstream | undefined {
  const rank = (one: Upstream) =>
    1e6 * (tries.get(one) ?? 0) + one.cost(now) * (one === preference.last ? HEAD_START : 1);
  return ready.toSorted((a, b) => rank(a) - rank(b))[0];
}

/** While no upstream is known yet, the first to be verified is waited for: a dead one must not hold up the start. */
async function anyVerified(willing: readonly Upstream[], signal: AbortSignal | undefined): Promise<void> {
  if (willing.length < 2 || willing.some(({ identity }) => identity.isKnown())) return;
  const any = Promise.any(willing.map(({ identity }) => identity.check())).catch(() => {});
  await stoppable(any, signal);
}

/** Some that do not know a form of question say so by a status, or by a result of another shape. */
export function refusesForm(error: unknown): boolean {
  if (!(error instanceof AgentError)) return false;
  const { fault } = error;
  if (fault.code === "chain.reply-refused") return true;
  return fault.code === "chain.request-failed" && blamesQuestion(fault.problem);
}

function faultOf(
  willing: readonly Upstream[],
  method: string,
  { not, only }: Choice,
  failed: { readonly upstream: string; readonly trouble: Trouble } | undefined,
): Fault {
  if (failed !== undefined) {
    const { upstream, trouble } = failed;
    const isReply = trouble.kind === "malformed" || trouble.kind === "oversize";
    const code = isReply ? "chain.reply-refused" : "chain.request-failed";
    return { code, method, upstream, problem: trouble.message };
  }
  const refused = willing.map(({ identity }) => identity.fault()).find((fault) => fault !== undefined);
  if (refused !== undefined) return refused;
  const asked = only ?? willing[0]?.name ?? `any but ${not}`;
  const problem =
    willing.length === 0 ? "there is no such upstream" : "it is not asked for a moment after its last failures";
  return { code: "chain.request-failed", method, upstream: asked, problem };
}

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await sleep(Math.max(1, ms), undefined, signal === undefined ? {} : { signal }).catch(() => {});
  signal?.throwIfAborted();
}

function uniqueNames(urls: readonly URL[]): string[] {
  const seen = new Map<string, number>();
  return urls.map(({ host }) => {
    const count = (seen.get(host) ?? 0) + 1;
    seen.set(host, count);
    return count === 1 ? host : `${host}#${count}`;
  });
}
