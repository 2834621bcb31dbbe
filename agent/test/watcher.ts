/** A ledger's stand-in for tests of following: polls, and keeps what it was told. */
import { setImmediate as nextTurn } from "node:timers/promises";
import {
  type Follower,
  type FollowOptions,
  follow,
  type Notice,
  newFollower,
  origin,
  stepped,
} from "../chain/follower.ts";
import type { Rpc } from "../chain/rpc.ts";
import type { Address, Trail } from "../model.ts";
import { CONTRACT, drawn, Told } from "./drawn-chain.ts";

export class Watcher {
  trail: Trail;
  follower: Follower = newFollower();
  readonly told = new Told();
  readonly notices: Notice[] = [];
  readonly #rpc: Rpc;
  readonly #options: FollowOptions;
  /** How far the clock goes with every look at it. */
  tickMs = 1;
  #ms = 0;

  /** `startBlock` undefined: to be found. */
  constructor(rpc: Rpc, startBlock: number | undefined, contract: Address = CONTRACT) {
    this.#rpc = rpc;
    this.trail = { final: origin(startBlock), unfinal: [] };
    this.#options = {
      ...{ contract, startBlock, signal: new AbortController().signal, now: () => (this.#ms += this.tickMs) },
      wallMs: Date.now,
      onNotice: (notice) => this.notices.push(notice),
      knows: (event) => this.told.has(event),
    };
  }

  /** One poll's steps, drawn. */
  async poll(): Promise<string> {
    const steps: string[] = [];
    for await (const step of follow(this.#rpc, this.trail, this.#options, this.follower)) {
      this.trail = stepped(this.trail, step);
      this.told.take(step);
      steps.push(drawn(step));
    }
    // What was begun beside the poll is done by the next one, where nobody delays it.
    for (let i = 0; i < 3; i++) await nextTurn();
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
