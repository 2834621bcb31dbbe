/** A sleep that others may shorten; a nudge while awake shortens the next sleep. */
export class Nudge {
  #dueMs = Number.POSITIVE_INFINITY;
  #rearm: (() => void) | undefined;

  /** Ends the sleep in `afterMs`, or earlier where that was asked for already. */
  nudge(afterMs = 0): void {
    this.#dueMs = Math.min(this.#dueMs, performance.now() + afterMs);
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
    this.#dueMs = Number.POSITIVE_INFINITY;
  }
}
