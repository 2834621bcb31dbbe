/**
 * The agent's own path from the chain to the device, on a host of the lab, one step at a time: its real parts over a
 * scripted chain, in a process of its own (`corridor-agent.ts`), with nothing else of the agent running beside it.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Host } from "../agent/test/lab/host.ts";

/** Milliseconds of what ran, and what it was run against, in turns on the same host. */
export interface Answers {
  /** One granted token, from a poll to the end of `wg set`, less what the RPC was waited for. */
  readonly grant: { readonly ms: number };
  /** The newest granted token is revoked. */
  readonly revoke: { readonly ms: number };
  /** `wg set` of one peer and its removal. */
  readonly set: { readonly addMs: number; readonly removeMs: number };
  /** A full pass that finds nothing to do; the longest time for which the event loop stood still. */
  readonly pass: { readonly ms: number; readonly blockedMs: number };
  readonly dump: { readonly ms: number };
  /** A new agent over a new interface: from the interface to the last peer on it. */
  readonly fill: { readonly ms: number; readonly peers: number };
  /** The same peers by one `wg setconf` of a new interface. */
  readonly setconf: { readonly ms: number };
}

export type Step = keyof Answers;

export class Corridor implements AsyncDisposable {
  readonly #child: ReturnType<typeof fork>;

  private constructor(child: ReturnType<typeof fork>) {
    this.#child = child;
  }

  /** Caught up with a chain of so many tokens, the device filled; with `profile`, its CPU profile is left in that directory. */
  static async open(host: Host, peers: number, profile = process.env["BENCH_PROFILE"]): Promise<Corridor> {
    const program = fileURLToPath(new URL("corridor-agent.ts", import.meta.url));
    const profiling = profile === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profile}`];
    const [enter = "", ...words] = host.inside([process.execPath, ...profiling]);
    const child = fork(program, [String(peers)], { execPath: enter, execArgv: words });
    const corridor = new Corridor(child);
    await corridor.#answer();
    return corridor;
  }

  async step<S extends Step>(step: S): Promise<Answers[S]> {
    this.#child.send(step);
    return (await this.#answer()) as Answers[S];
  }

  async #answer(): Promise<unknown> {
    const ended = new AbortController();
    const failed = once(this.#child, "exit", { signal: ended.signal }).then(([code]) => {
      throw new Error(`the corridor's process ended with ${code}; what it said is above`);
    });
    failed.catch(() => {});
    try {
      const [answer] = await Promise.race([once(this.#child, "message", { signal: ended.signal }), failed]);
      return answer;
    } finally {
      ended.abort();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    // It ends by itself, so that a profile is written.
    this.#child.disconnect();
    await once(this.#child, "exit");
  }
}
