/** What of the history only one upstream has told: `retelling.ts` asks another one. A restart must not forget it. */
import type { Agent, Parts } from "./agent.ts";
import { type Advance, type BlockRef, parseHash, ZERO_HASH } from "./model.ts";
import { noted, rowsIn } from "./notes.ts";
import { followed } from "./rebuilding.ts";
import { size } from "./registry/registry.ts";
import { MANY, witnesses } from "./unvouched.ts";

/** Final blocks that only one upstream has told. */
export interface Untold {
  readonly from: number;
  readonly to: BlockRef;
  readonly by: string;
}

/** Before the ledger takes the step. */
export function noteHistory(agent: Agent, { to }: Extract<Advance, { kind: "history" }>): void {
  // The contract's first block is no history yet.
  if (agent.rpc.upstreams().length < 2 || to.hash === ZERO_HASH) return;
  const from = Math.min(agent.untold?.from ?? Number.POSITIVE_INFINITY, followed(agent).final.number + 1);
  agent.untold = { from, to, by: agent.follower.heads.tipFrom ?? "" };
}

/**
 * Of a first history of so many that not each of them is asked about, nobody is let in before another upstream has told it,
 * too, unless that takes very long.
 */
export function isHalfTold(agent: Agent): boolean {
  const { untold, ledger, running, arrivedMs, now } = agent;
  if (untold === undefined || running.size > 0 || size(ledger.registry) < MANY) return false;
  const isComing = witnesses(agent).some(({ name }) => name !== untold.by);
  return isComing && now().steadyMs - (arrivedMs ?? now().steadyMs) < PATIENCE_MS;
}

const PATIENCE_MS = 60_000;

/** What the database has to learn together with the ledger. */
export function untoldNote({ untold, store }: Agent): Record<string, string> {
  const text = untold === undefined ? "" : JSON.stringify([[untold.from, untold.to.number, untold.to.hash, untold.by]]);
  return noted(store, NOTE, text);
}

/** As the agent before us left it. */
export function untoldBefore({ store }: Pick<Parts, "store">): Untold | undefined {
  const [[from, number, hash, by] = []] = rowsIn(store.note(NOTE));
  const known = parseHash(String(hash));
  if (known === undefined || !Number.isSafeInteger(from) || !Number.isSafeInteger(number)) return undefined;
  return { from: Number(from), to: { number: Number(number), hash: known }, by: String(by) };
}

const NOTE = "untold";
