/** One upstream: its connection, its gate, who it claims to be and how it has done; it looks after itself between questions. */
import { setTimeout as sleep } from "node:timers/promises";
import { AgentError, type Fault } from "../errors.ts";
import type { Block } from "../model.ts";
import { type Gate, gate } from "./gate.ts";
import { type Identity, identity, type Pin } from "./identity.ts";
import { headOf, subscribeNewHeads } from "./questions.ts";
import { blamesQuestion, Malformed, RpcError, resultOf, Trouble } from "./reply.ts";
import type { Expected, Question, UpstreamChange, UpstreamStatus } from "./rpc.ts";
import { overWebSocket } from "./socket.ts";
import * as standing from "./standing.ts";
import { MAX_IN_FLIGHT, overHttp, type Transport } from "./transport.ts";
import { headIn, keepSubscribed } from "./wakeup.ts";

export interface Upstream {
  readonly name: string;
  readonly identity: Identity;
  /**
   * Asks once, and verifies whom it asks first where that is not known.
   * @throws RpcError | Trouble | AgentError chain.wrong-network | chain.other-genesis | chain.no-contract | the signal's reason
   */
  ask<T>(question: Question<T>, signal: AbortSignal | undefined): Promise<T>;
  cost(now: number): number;
  /** Monotonic ms; asked earlier only by those who do not mind a refusal. */
  notBefore(): number;
  /** The best head it told, while nothing speaks against it. */
  head(now: number): number | undefined;
  blame(): void;
  status(): UpstreamStatus;
  close(): void;
}

export interface UpstreamOptions {
  readonly name: string;
  readonly url: URL;
  readonly expect: Expected;
  readonly pin: Pin;
  readonly random: () => number;
  readonly onChange: (change: UpstreamChange) => void;
  readonly onHead: () => void;
  /** The best head that any upstream knows. */
  readonly bestHead: () => number | undefined;
}

/** A bound for the worst case on this machine or network; shared public endpoints allow some tens a second. */
const PRIVATE_PER_SECOND = 2_000;
const PUBLIC_PER_SECOND = 50;
/** How long an upstream goes unasked before it is asked for its head, so that a lag or a recovery shows. */
const IDLE_MS = 5_000;
/** DESIGN section 5, "Freshness", by our own steady clock. */
const STILL_MS = 45_000;
/** How often an upstream that fails is looked at, and one that does not: an idle agent would do little else than wake up. */
const PATROL_MS = { failing: 250, well: 1_000 };
const RECHECK_MS = 60_000;
/** An upstream that was another chain's for a while may be all there is, and has to serve within ten seconds of its return. */
const FAULT_RECHECK_MS = 5_000;
/** Shorter, for a contract that is just being deployed or a node that is still syncing. */
const NO_CONTRACT_RECHECK_MS = 3_000;
/** In a row: from here on someone else may be answering when it answers again. */
const DOUBTFUL_STREAK = 2;

export function upstream(options: UpstreamOptions): Upstream {
  const { name, url, random, onChange } = options;
  const stop = new AbortController();
  const door: Gate = gate({ slots: MAX_IN_FLIGHT, perSecond: isPrivate(url) ? PRIVATE_PER_SECOND : PUBLIC_PER_SECOND });
  const self: Identity = identity(name, options.expect, options.pin, (question) => twice(question));
  let record = standing.NEWCOMER;
  let requests = 0;
  let head: Block | undefined;
  let headAt = Number.NEGATIVE_INFINITY;
  let roseAt = Number.NEGATIVE_INFINITY;
  let toldFailing = false;
  let toldFault: Fault["code"] | undefined;
  const onRecord = new WeakSet<Trouble>();
  const transport = connected();

  function connected(): Transport {
    if (url.protocol === "http:" || url.protocol === "https:") return overHttp(url);
    const socket = overWebSocket(url, {
      onOpen: () => self.doubt(),
      onNotice: (notice) => {
        if (headIn(notice) !== undefined) options.onHead();
      },
    });
    keepSubscribed({ socket, subscribe: () => put(subscribeNewHeads(), stop.signal), random, signal: stop.signal });
    return socket;
  }

  async function ask<T>(question: Question<T>, signal: AbortSignal | undefined): Promise<T> {
    if (!self.isKnown()) await stoppable(verify(self.check), signal);
    const value = await put(question, signal);
    // A connection was lost meanwhile, and the answer came over the next one.
    if (!self.isKnown()) await stoppable(verify(self.check), signal);
    return value;
  }

  async function verify(check: () => Promise<void>): Promise<void> {
    const askedAt = performance.now();
    try {
      await check();
      if (toldFault !== undefined) onChange({ kind: "recovered", upstream: name });
      toldFault = undefined;
    } catch (error) {
      const fault = self.fault();
      // Each answer was well by itself, and only all of them together show the trouble.
      if (error instanceof Trouble && !onRecord.has(error) && !stop.signal.aborted) suffer(error, askedAt);
      if (error instanceof Trouble) doubtAfter(error);
      if (error instanceof AgentError && fault !== undefined && toldFault !== fault.code) {
        toldFault = fault.code;
        record = standing.blamed(record, "wrong-network", 1, performance.now());
        onChange({ kind: "refused", upstream: name, fault });
      }
      throw error;
    }
  }

  /** One request, whoever answers it; `isProof` where an answer shows that the upstream is of use again. */
  async function put<T>(question: Question<T>, signal: AbortSignal | undefined, isProof = true): Promise<T> {
    const { method, params, deadlineMs, maxBytes, read } = question;
    stop.signal.throwIfAborted();
    const release = await door.enter(signal);
    const sentAt = performance.now();
    try {
      const id = ++requests;
      const text = JSON.stringify({ jsonrpc: "2.0", id, method, params });
      const reply = await transport.exchange({ id, text, deadlineMs, maxBytes, read, signal });
      const value = parsed(question, resultOf(reply, id, method));
      if (question.head !== undefined) learnHead(question.head(value), sentAt);
      if (isProof) answered();
      return value;
    } catch (error) {
      if (error instanceof RpcError) error.by = { method, upstream: name };
      if (error instanceof RpcError && question.head === undefined) {
        if (error.kind === "other") record = standing.blamed(record, "rpc-error", 0.5, performance.now());
        else if (isProof) answered();
        throw error;
      }
      // A chain always has a head: an upstream that refuses to tell it is no use, whatever its reasons.
      const trouble = error instanceof RpcError ? new Trouble("rpc-error", error.message) : error;
      if (trouble instanceof Trouble && !stop.signal.aborted) {
        suffer(trouble, sentAt);
        // While it is asked who it is, only the outcome may cast a doubt: else there would be no end to the asking.
        if (isProof) doubtAfter(trouble);
      }
      throw trouble;
    } finally {
      release();
    }
  }

  async function twice<T>(question: Question<T>): Promise<T> {
    try {
      return await put(question, stop.signal, false);
    } catch (error) {
      // What blames the question is no better the second time.
      const isLasting = error instanceof Trouble && (error.kind === "malformed" || blamesQuestion(error.message));
      if (!(error instanceof Trouble) || isLasting || error.kind === "timeout" || error.kind === "rate-limit")
        throw error;
      return put(question, stop.signal, false);
    }
  }

  function learnHead(told: Block, sentAt: number): void {
    const lag = (options.bestHead() ?? told.number) - told.number;
    headAt = performance.now();
    if (told.number > (head?.number ?? -1)) roseAt = headAt;
    head = told;
    record = standing.toldHead(record, headAt - sentAt, lag);
  }

  function answered(): void {
    record = standing.succeeded(record);
    door.widen();
    if (!toldFailing) return;
    toldFailing = false;
    onChange({ kind: "recovered", upstream: name });
  }

  function suffer(trouble: Trouble, sentAt: number): void {
    onRecord.add(trouble);
    record = standing.failed(record, trouble, sentAt, performance.now(), random());
    if (trouble.kind === "rate-limit") door.narrow();
    door.turnAway(trouble);
    if (record.streak < DOUBTFUL_STREAK || toldFailing) return;
    toldFailing = true;
    onChange({ kind: "failing", upstream: name, trouble: trouble.kind, problem: trouble.message });
  }

  function doubtAfter({ kind }: Trouble): void {
    if (record.streak >= DOUBTFUL_STREAK && kind !== "rate-limit") self.doubt();
  }

  /** Until closed: verifies at once and now and then, asks for the head where nobody else does, notices recovery. */
  async function patrol(): Promise<void> {
    let checkedAt = Number.NEGATIVE_INFINITY;
    let askedAt = Number.NEGATIVE_INFINITY;
    while (!stop.signal.aborted) {
      const now = performance.now();
      const isCheckDue = now >= checkedAt + recheckMs();
      const isHeadDue =
        self.fault() === undefined && now >= Math.max(askedAt, headAt) + (record.streak > 0 ? 0 : IDLE_MS);
      try {
        if (record.notBefore > now) await rest(record.notBefore - now);
        if (isCheckDue) {
          checkedAt = now;
          await verify(self.recheck);
        }
        if (isHeadDue) {
          askedAt = now;
          await ask(headOf("latest"), stop.signal);
        }
      } catch {
        // On record already; the patrol goes on whatever happened.
      }
      await rest(record.streak > 0 ? PATROL_MS.failing : PATROL_MS.well);
    }
  }

  function rest(ms: number): Promise<void> {
    return sleep(ms, undefined, { signal: stop.signal, ref: false }).catch(() => {});
  }

  function recheckMs(): number {
    const fault = self.fault();
    if (fault === undefined) return RECHECK_MS;
    return fault.code === "chain.no-contract" ? NO_CONTRACT_RECHECK_MS : FAULT_RECHECK_MS;
  }

  function status(): UpstreamStatus {
    const fault = self.fault();
    return {
      name,
      healthy: fault === undefined && self.isKnown() && record.streak === 0,
      latencyMs: record.latencyMs,
      requests,
      errors: record.errors,
      headBlock: head?.number,
      headHash: head?.hash,
      headParent: head?.parentHash,
      headTimestamp: head?.timestamp,
      isMoving: performance.now() - roseAt < STILL_MS,
      inFlight: door.inFlight(),
      fault,
    };
  }

  void patrol();
  return {
    name,
    identity: self,
    ask,
    status,
    cost: (now) => standing.cost(record, now) + (self.isKnown() ? 0 : 10_000),
    notBefore: () => record.notBefore,
    head: (now) => (standing.recentFailures(record, now) < 0.5 && now - headAt < 60_000 ? head?.number : undefined),
    blame() {
      record = standing.blamed(record, "inconsistent", 3, performance.now());
    },
    close() {
      stop.abort(new Trouble("connect", "closed by us"));
      door.turnAway(new Trouble("connect", "closed by us"));
      transport.close();
    },
  };
}

/** Ends with the signal's reason; the work itself goes on, for others wait for it too. */
export function stoppable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

/** @throws RpcError as the parser does; Trouble malformed for whatever else it throws, in our own words only */
function parsed<T>(question: Question<T>, result: unknown): T {
  try {
    return question.parse(result);
  } catch (error) {
    if (error instanceof RpcError) throw error;
    throw new Trouble("malformed", error instanceof Malformed ? error.message : "its result has the wrong shape");
  }
}

/** Loopback, private ranges, and names of one label as containers have them. */
function isPrivate({ hostname }: URL): boolean {
  return (
    hostname === "[::1]" ||
    /^(127|10|192\.168|172\.(1[6-9]|2[0-9]|3[01]))\./.test(hostname) ||
    /^[a-z][a-z0-9_-]*$/i.test(hostname)
  );
}
