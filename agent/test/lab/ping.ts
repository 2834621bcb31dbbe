/** Pings that count: what an unaffected member would have noticed. */
import type { Running } from "./command.ts";
import { until } from "./command.ts";
import type { Host } from "./host.ts";

export interface Pings {
  readonly sent: number;
  readonly received: number;
  readonly lost: number;
}

/** Pings `address` from `host` until stopped, every `intervalMs`. */
export class Pinging {
  readonly #ping: Running;
  constructor(host: Host, address: string, intervalMs = 10) {
    this.#ping = host.start(["ping", "-n", "-O", "-W", "2", "-i", String(intervalMs / 1000), address], {
      env: C_LOCALE,
    });
  }

  /** Resolves when `count` answers have come since the start. */
  async answered(count: number, deadlineMs = 30_000): Promise<void> {
    await until(`${count} answers to pings`, deadlineMs, () => answers(this.#ping.output) >= count);
  }

  /** Ends with ping's own count; the last one may still be under way, and is waited for by ping. */
  async stop(): Promise<Pings> {
    await this.#ping.end("SIGINT");
    return summary(this.#ping.output);
  }
}

/** One echo answered within `deadlineMs`. */
export async function reaches(host: Host, address: string, deadlineMs = 300): Promise<boolean> {
  const seconds = String(deadlineMs / 1000);
  const ping = host.start(["ping", "-n", "-q", "-c", "1", "-W", seconds, address], { env: C_LOCALE });
  return (await ping.exited).code === 0;
}

const C_LOCALE = { ...process.env, LC_ALL: "C" };

function answers(output: string): number {
  return output.match(/bytes from .* time=/g)?.length ?? 0;
}

function summary(output: string): Pings {
  const [, sent, received] = /([0-9]+) packets transmitted, ([0-9]+) received/.exec(output) ?? [];
  if (sent === undefined || received === undefined) throw new Error(`ping gave no summary:\n${output.slice(-2000)}`);
  return { sent: Number(sent), received: Number(received), lost: Number(sent) - Number(received) };
}
