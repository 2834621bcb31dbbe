/**
 * newHeads over a WebSocket, as a wake-up and nothing more: what a notice says is never believed beyond
 * "it may be worth asking now". A subscription that fails or falls silent costs latency; polling is the truth.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { RpcError } from "./reply.ts";
import type { SocketTransport } from "./socket.ts";

/** Rings that nobody waits for are kept, as one: a head that comes while the last one is being read is not slept through. */
export interface Alarm {
  ring(): void;
  /** Resolves at the next ring, at once where one was kept, or when the signal aborts. */
  next(signal: AbortSignal): Promise<void>;
}

export function alarm(): Alarm {
  const sleepers = new Set<() => void>();
  let kept = false;
  return {
    ring() {
      kept = sleepers.size === 0;
      for (const wake of [...sleepers]) wake();
    },
    next(signal) {
      if (kept || signal.aborted) {
        kept = false;
        return Promise.resolve();
      }
      return new Promise((resolve) => {
        const wake = () => {
          sleepers.delete(wake);
          signal.removeEventListener("abort", wake);
          resolve();
        };
        sleepers.add(wake);
        signal.addEventListener("abort", wake, { once: true });
      });
    },
  };
}

export interface Subscribing {
  readonly socket: SocketTransport;
  /** Sends the subscription over that socket. @throws as `Rpc.ask` does */
  readonly subscribe: () => Promise<unknown>;
  /** 0 to 1, for jitter. */
  readonly random: () => number;
  readonly signal: AbortSignal;
}

const FIRST_RETRY_MS = 100;
const MAX_RETRY_MS = 5_000;
/** A connection that lasted this long was a good one. */
const STEADY_MS = 10_000;
/** An upstream that knows no subscriptions is asked again only when it reconnects, or after this. */
const UNSUPPORTED_RETRY_MS = 60_000;

/**
 * Keeps one subscription until the signal aborts: connects, subscribes, waits for the end, backs off with full jitter.
 * Whoever aborts also closes the socket, which ends the wait for it.
 */
export async function keepSubscribed({ socket, subscribe, random, signal }: Subscribing): Promise<void> {
  for (let failures = 0; !signal.aborted; ) {
    const openedAt = performance.now();
    const ended = new AbortController();
    try {
      const { closed } = await socket.open();
      closed.then(() => ended.abort());
      await subscribe();
      await closed;
    } catch (error) {
      if (error instanceof RpcError) await rest(UNSUPPORTED_RETRY_MS, ended.signal);
    }
    failures = performance.now() - openedAt > STEADY_MS ? 0 : failures + 1;
    await rest(random() * Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(failures, 10)), signal);
  }
}

/** The head's number in a newHeads notice, NaN where it tells none; undefined for any other notice. */
export function headIn(notice: unknown): number | undefined {
  const { method, params } = notice as { method?: unknown; params?: unknown };
  if (method !== "eth_subscription" || typeof params !== "object" || params === null) return undefined;
  const { result } = params as { result?: unknown };
  if (typeof result !== "object" || result === null) return undefined;
  const { number } = result as { number?: unknown };
  return typeof number === "string" && /^0x[0-9a-fA-F]{1,13}$/.test(number) ? Number(number) : Number.NaN;
}

function rest(ms: number, signal: AbortSignal): Promise<void> {
  return sleep(ms, undefined, { signal, ref: false }).catch(() => {});
}
