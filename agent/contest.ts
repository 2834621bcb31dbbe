/**
 * Of two upstreams on two forks one is wrong, and it may be the one that we follow. Whom the other one's fork tells to be
 * out goes, as far as one upstream's word goes (the limit of mass removal), until two tell otherwise: `vouching.ts`.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { settle } from "./access.ts";
import type { Agent } from "./agent.ts";
import { attempt } from "./auditing.ts";
import { readTokens } from "./chain/audit.ts";
import { newReach, type Reach } from "./chain/reach.ts";
import { forkOf, rivals } from "./chain/rivals.ts";
import { takesAway, unproven } from "./doubts.ts";
import type { TokenId } from "./model.ts";
import { refutes } from "./proving.ts";
import { foldAll } from "./registry/fold.ts";
import { trail } from "./registry/ledger.ts";
import { deny } from "./unvouched.ts";
import { wordsOf } from "./vouching.ts";
import { unwitnessedLimit } from "./witness.ts";

/** Whenever a poll has found that there are rivals, until the signal aborts. */
export async function heedRivals(agent: Agent, signal: AbortSignal): Promise<void> {
  // How wide a range each of them bears: two forks may stand for hours.
  const reaches = new Map<string, Reach>();
  while (!signal.aborted) {
    await agent.contest.sleep(60_000, signal);
    const startedMs = performance.now();
    for (const name of rivals(agent.rpc, trail(agent.ledger))) {
      const reach = reaches.get(name) ?? newReach();
      reaches.set(name, reach);
      if (!signal.aborted) await attempt(agent, signal, () => heed(agent, name, reach, signal));
    }
    const pauseMs = Math.max(PAUSE_MS, SHARE * (performance.now() - startedMs));
    await sleep(pauseMs, undefined, { signal }).catch(() => {});
  }
}

const PAUSE_MS = 2_000;
const SHARE = 10;

async function heed(agent: Agent, name: string, reach: Reach, signal: AbortSignal): Promise<void> {
  const { rpc, ledger, settings } = agent;
  if (!agent.isSettled || agent.isRebuilding) return;
  const fork = await forkOf(rpc, settings.contract, name, trail(ledger), reach, signal);
  if (fork === undefined) return;
  const { registry, touched } = foldAll(ledger.settled, fork.events);
  const ids = [...touched].filter((id) => agent.placed.has(id));
  const states = await readTokens(rpc, settings.contract, ids, fork.head, signal, { only: name });
  const isOut = (id: TokenId) => {
    const before = agent.placed.get(id);
    const state = states.get(id);
    return before !== undefined && (state === undefined ? takesAway(registry, id, before) : refutes(state, before));
  };
  const out = ids.filter(isOut);
  if (out.length === 0) return;
  const wordsOn = await wordsOf(agent, out, agent.ledger.registry, signal);
  const contested = out.filter((id) => wordsOn(id).filter((word) => word === "so").length < 2);
  const denied = affordable(agent, contested);
  if (denied.length === 0) return;
  deny(agent, denied, name);
  agent.log.warn({ upstream: name, denied: denied.length, left: contested.length - denied.length }, "chain.contested");
  await settle(agent, denied);
}

/** As many as one upstream's word may take: not the same number anew every ten minutes. */
function affordable(agent: Agent, ids: readonly TokenId[]): readonly TokenId[] {
  const already = [...agent.unvouched.values()].filter(({ deniedBy }) => deniedBy !== undefined).length;
  const room = unwitnessedLimit(agent.running.size + already) - already;
  const beyond = new Set(unproven(agent, ids));
  return ids.filter((id) => !beyond.has(id)).slice(0, Math.max(0, room));
}
