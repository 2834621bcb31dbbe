/** What one upstream is asked at a time: slots in flight, and a token bucket that narrows when it complains. */

export interface Gate {
  /** Waits for a slot and a token, in order of arrival; gives back the slot when called. @throws the signal's reason */
  enter(signal: AbortSignal | undefined): Promise<() => void>;
  /** Fails everybody who still waits: better asked elsewhere. */
  turnAway(reason: Error): void;
  /**
   * The upstream says that it is asked too often: half the rate from here. Where nothing was answered since the last time
   * the rate is not the reason, and a lower one would only slow down whoever comes back.
   */
  narrow(): void;
  /** It answered: the rate grows back, by a hundredth each time, and faster where it is low. */
  widen(): void;
  inFlight(): number;
}

export interface GateLimits {
  readonly slots: number;
  /** Also the size of the bucket. */
  readonly perSecond: number;
}

interface Waiting {
  readonly admit: () => void;
  readonly refuse: (reason: unknown) => void;
}

const MIN_PER_SECOND = 4;
const STEP = 0.2;
/** Requests in flight are refused together; that is one complaint. */
const COMPLAINT_MS = 250;

export function gate({ slots, perSecond }: GateLimits): Gate {
  const waiting = new Set<Waiting>();
  let rate = perSecond;
  let tokens = perSecond;
  let filledAt = performance.now();
  let narrowedAt = Number.NEGATIVE_INFINITY;
  let hasAnswered = true;
  let inFlight = 0;
  let isTimed = false;

  function admitNext(): void {
    const now = performance.now();
    tokens = Math.min(rate, tokens + ((now - filledAt) / 1_000) * rate);
    filledAt = now;
    for (const next of waiting) {
      if (inFlight >= slots) return;
      if (tokens < 1) {
        if (!isTimed) setTimeout(retry, ((1 - tokens) / rate) * 1_000);
        isTimed = true;
        return;
      }
      tokens--;
      inFlight++;
      waiting.delete(next);
      next.admit();
    }
  }

  function retry(): void {
    isTimed = false;
    admitNext();
  }

  function release(): void {
    inFlight--;
    admitNext();
  }

  function enter(signal: AbortSignal | undefined): Promise<() => void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const leave = () => {
        waiting.delete(me);
        reject(signal?.reason);
      };
      const settle = () => signal?.removeEventListener("abort", leave);
      const me: Waiting = {
        admit: () => {
          settle();
          resolve(release);
        },
        refuse: (reason) => {
          settle();
          reject(reason);
        },
      };
      signal?.addEventListener("abort", leave, { once: true });
      waiting.add(me);
      admitNext();
    });
  }

  return {
    enter,
    turnAway(reason) {
      const all = [...waiting];
      waiting.clear();
      for (const { refuse } of all) refuse(reason);
    },
    narrow() {
      const now = performance.now();
      if (!hasAnswered || now - narrowedAt < COMPLAINT_MS) return;
      narrowedAt = now;
      hasAnswered = false;
      rate = Math.max(MIN_PER_SECOND, rate / 2);
      tokens = Math.min(tokens, 1);
    },
    widen() {
      hasAnswered = true;
      rate = Math.min(perSecond, rate * 1.01 + STEP);
    },
    inFlight: () => inFlight,
  };
}
