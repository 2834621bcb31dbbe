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
    await until(`${count} answers to pings`, deadlineMs, () => answers(this.#ping.output).length >= count);
  }

  /** Whatever was sent after the last answer was still under way, and is not counted. */
  async stop(): Promise<Pings> {
    await this.#ping.end("SIGINT");
    const received = unwrapped(answers(this.#ping.output));
    const sent = Math.max(0, ...received);
    return { sent, received: received.length, lost: sent - new Set(received).size };
  }
}

/** One echo answered within `deadlineMs`. */
export async function reaches(host: Host, address: string, deadlineMs = 300): Promise<boolean> {
  const seconds = String(deadlineMs / 1000);
  const ping = host.start(["ping", "-n", "-q", "-c", "1", "-W", seconds, address], { env: C_LOCALE });
  return (await ping.exited).code === 0;
}

const C_LOCALE = { ...process.env, LC_ALL: "C" };

function answers(output: string): number[] {
  return [...output.matchAll(/bytes from .*icmp_seq=([0-9]+) .*time=/g)].map(([, seq]) => Number(seq));
}

/** An echo's number has sixteen bits, and an hour of pings has more: each as it would be without that. */
export function unwrapped(numbers: readonly number[]): number[] {
  let [last = 0] = numbers;
  return numbers.map((number) => {
    // The nearest to the one before: late answers come a little out of order.
    const turns = Math.round((last - number) / 65_536);
    last = number + 65_536 * turns;
    return last;
  });
}
