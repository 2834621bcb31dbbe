/** Pure: how an upstream has done lately, what it costs to prefer it, and when it may be asked again. Times are monotonic ms. */
import { TROUBLES, type Trouble, type TroubleKind } from "./reply.ts";

export interface Standing {
  /** Moving average over questions for the head, which every upstream is asked alike; 0 before the first. */
  readonly latencyMs: number;
  /** Recent failures, each halved every ten seconds since. */
  readonly failures: number;
  readonly failedAt: number;
  /** Failures since the last answer; requests that were in flight together count once. */
  readonly streak: number;
  /** When the last of them failed. */
  readonly brokenAt: number;
  /** Left alone until then. */
  readonly notBefore: number;
  /** How far its head was behind the best one known when it last told it. */
  readonly lag: number;
  readonly errors: Readonly<Record<TroubleKind, number>>;
}

export const NEWCOMER: Standing = {
  latencyMs: 0,
  failures: 0,
  failedAt: 0,
  streak: 0,
  brokenAt: 0,
  notBefore: 0,
  lag: 0,
  errors: Object.fromEntries(TROUBLES.map((kind) => [kind, 0])) as Record<TroubleKind, number>,
};

const HALF_LIFE_MS = 10_000;
const FIRST_BACKOFF_MS = 50;
/** With the question that ends it, an upstream that has come back is noticed within 5 s. */
const MAX_BACKOFF_MS = 4_000;
const RATE_BACKOFF_MS = 250;
/** Of block tips that are told at different moments. */
const USUAL_LAG = 2;

export function succeeded(was: Standing): Standing {
  return { ...was, streak: 0, notBefore: 0 };
}

export function toldHead(was: Standing, latencyMs: number, lag: number): Standing {
  const average = was.latencyMs === 0 ? latencyMs : was.latencyMs * 0.7 + latencyMs * 0.3;
  return { ...was, latencyMs: average, lag: Math.max(0, lag) };
}

/** `random` is 0 to 1, the jitter: full, so that agents cut off together do not return together. */
export function failed(was: Standing, trouble: Trouble, sentAt: number, at: number, random: number): Standing {
  const streak = sentAt >= was.brokenAt || was.streak === 0 ? was.streak + 1 : was.streak;
  const isRate = trouble.kind === "rate-limit";
  const step = isRate ? RATE_BACKOFF_MS : FIRST_BACKOFF_MS;
  const backoff = random * Math.min(MAX_BACKOFF_MS, step * 2 ** Math.min(streak - 1, 10));
  // Some say that they want no time at all: they get as much as those who say nothing.
  const until = at + Math.max(trouble.retryAfterMs ?? 0, isRate ? RATE_BACKOFF_MS + backoff : backoff);
  return { ...blamed(was, trouble.kind, 1, at), streak, brokenAt: at, notBefore: Math.max(was.notBefore, until) };
}

/** A fault that says nothing about reachability: others are preferred for a while, but it is not left alone. */
export function blamed(was: Standing, kind: TroubleKind, weight: number, at: number): Standing {
  const errors = { ...was.errors, [kind]: was.errors[kind] + 1 };
  return { ...was, failures: Math.min(8, recentFailures(was, at) + weight), failedAt: at, errors };
}

export function recentFailures(standing: Standing, at: number): number {
  return standing.failures * 2 ** ((standing.failedAt - at) / HALF_LIFE_MS);
}

/** Milliseconds, as if: one recent failure weighs a second, and more than any lag, which a liar ahead of all could pretend. */
export function cost(standing: Standing, at: number): number {
  const lagging = standing.lag > USUAL_LAG ? Math.min(800, 100 * standing.lag) : 0;
  return standing.latencyMs + 1_000 * recentFailures(standing, at) + lagging;
}
