/** A sleep that others may shorten; a nudge while awake shortens the next sleep. */
export class Nudge {
  #dueMs = Number.POSITIVE_INFINITY;
  /** The last that was asked for: what is due then may not be so at the first. */
  #lastMs = Number.NEGATIVE_INFINITY;
  #rearm: (() => void) | undefined;

  /** Ends a sleep in `afterMs`, and one before that where it was asked for; those in between are one with the last. */
  nudge(afterMs = 0): void {
    const dueMs = performance.now() + afterMs;
    this.#dueMs = Math.min(this.#dueMs, dueMs);
    this.#lastMs = Math.max(this.#lastMs, dueMs);
    this.#rearm?.();
  }

  /** Resolves after `ms`, when a nudge is due, or when the signal aborts. */
  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    const untilMs = performance.now() + ms;
    if (signal.aborted) return;
    await new Promise<void>((resolve) => {
      let timer: NodeJS.Timeout | undefined;
      this.#rearm = () => {
        clearTimeout(timer);
        timer = setTimeout(wake, Math.max(0, Math.min(untilMs, this.#dueMs) - performance.now()));
      };
      const wake = () => {
        clearTimeout(timer);
        // The signal lives as long as the agent, and would keep a listener of every sleep.
        signal.removeEventListener("abort", wake);
        resolve();
      };
      signal.addEventListener("abort", wake);
      this.#rearm();
    });
    this.#rearm = undefined;
    // Timers may be a moment early.
    this.#dueMs = this.#lastMs > performance.now() + 1 ? this.#lastMs : Number.POSITIVE_INFINITY;
  }
}
