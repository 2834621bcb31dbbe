import { describe, expect, it } from "vitest";
import { AgentError } from "../errors.ts";
import type { Trail } from "../model.ts";
import { CONTRACT, DrawnChain, drawn, Told } from "../test/drawn-chain.ts";
import { type Follower, type FollowOptions, follow, type Notice, newFollower, origin, stepped } from "./follower.ts";

/** A ledger's stand-in: polls, and keeps what it was told. */
class Watcher {
  trail: Trail;
  follower: Follower = newFollower();
  readonly told = new Told();
  readonly notices: Notice[] = [];
  readonly #chain: DrawnChain;
  readonly #options: FollowOptions;
  #ms = 0;

  constructor(chain: DrawnChain, startBlock: number | undefined = 0) {
    this.#chain = chain;
    this.trail = { final: origin(startBlock), unfinal: [] };
    this.#options = {
      ...{ contract: CONTRACT, startBlock, signal: new AbortController().signal, now: () => this.#ms++ },
      onNotice: (notice) => this.notices.push(notice),
    };
  }

  /** One poll's steps, drawn. */
  async poll(): Promise<string> {
    const steps: string[] = [];
    for await (const step of follow(this.#chain.rpc, this.trail, this.#options, this.follower)) {
      this.trail = stepped(this.trail, step);
      this.told.take(step);
      steps.push(drawn(step));
    }
    return steps.join(" ");
  }

  async polls(count: number): Promise<string> {
    const steps: string[] = [];
    for (let i = 0; i < count; i++) steps.push(await this.poll());
    return steps.filter((text) => text !== "").join(" ");
  }

  /** A new process with the trail that the old one saved. */
  restart(): void {
    this.follower = newFollower();
  }
}

describe("a poll", () => {
  it.each([
    ["a first block", "", "a1", "..a0 a1"],
    ["one more block", "a1", "a2+7", "a2+7"],
    ["several blocks", "a1", "a2+7-a3-a4-7+8", "a2+7 a3 a4-7+8"],
    ["nothing new", "a1-a2", "", ""],
    ["another block at the same height", "a1-a2+7", "a1-b2+8", "<a1 b2+8"],
    ["a longer fork", "a1-a2+7-a3", "a1-b2-b3+8-b4", "<a1 b2 b3+8 b4"],
    ["a fork from genesis", "a1-a2", "b1-b2-b3", "<a0 b1 b2 b3"],
    ["a deep fork", "a1-a2+7-a3..a61", "a1-b2-b3..b61-b62+7", `<a1 ${range("b", 2, 61)} b62+7`],
    ["a fork that is left again", "a1-a2-a3 | a1-b2-b3-b4", "a1-a2-a3-a4-a5", "<a1 a2 a3 a4 a5"],
  ])("tells %s", async (_, before, after, expected) => {
    const chain = new DrawnChain();
    const watcher = new Watcher(chain);
    if (before !== "") await watcher.poll();
    for (const path of before.split("|").filter((text) => text !== "")) {
      chain.draw(path);
      await watcher.poll();
    }
    if (after !== "") chain.draw(after);
    expect(await watcher.poll()).toBe(expected);
    expect(watcher.told.words).toEqual(chain.truth());
  });

  it("costs one question where nothing is new, and two for one more block", async () => {
    const chain = new DrawnChain().draw("a1..a10");
    const watcher = new Watcher(chain);
    await watcher.poll();
    chain.calls.length = 0;
    await watcher.polls(3);
    expect(chain.calls.map(({ method }) => method)).toEqual(Array(3).fill("eth_getBlockByNumber"));
    chain.calls.length = 0;
    chain.draw("a10-a11+7");
    await watcher.poll();
    expect(chain.calls.map(({ method }) => method)).toEqual(["eth_getBlockByNumber", "eth_getLogs"]);
  });
});

function range(fork: string, from: number, to: number): string {
  return Array.from({ length: to - from + 1 }, (_, i) => `${fork}${from + i}`).join(" ");
}
void AgentError;
