/**
 * A history is read from one upstream, which may have left a revoke out of it and deny it by its state. So another one is
 * asked to tell it again, beside the polls and once: whom its logs have otherwise is asked about like whoever is new
 * (`vouching.ts`), and loses the peer by its state, as far as one upstream's word goes.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Agent } from "./agent.ts";
import { attempt } from "./auditing.ts";
import { decodeLogs, TOPICS } from "./chain/events.ts";
import { blockByNumber, logs } from "./chain/questions.ts";
import { type AskRange, readRanges } from "./chain/ranges.ts";
import { newReach, type Reach } from "./chain/reach.ts";
import type { TokenId } from "./model.ts";
import { against, claimedWithin, confirm } from "./registry/retold.ts";
import type { Untold } from "./untold.ts";
import { isPressing, mistrust, witnesses } from "./unvouched.ts";
import { vouchSoon } from "./vouching.ts";

/** Until the signal aborts. */
export async function heedRetellings(agent: Agent, signal: AbortSignal): Promise<void> {
  const reaches = new Map<string, Reach>();
  let pauseMs = PAUSE_MS;
  while (!signal.aborted) {
    await sleep(pauseMs, undefined, { signal }).catch(() => {});
    pauseMs = PAUSE_MS;
    const { untold } = agent;
    if (untold === undefined || agent.isInHistory || agent.isRebuilding) continue;
    const startedMs = performance.now();
    for (const { name } of witnesses(agent)) {
      if (name === untold.by || signal.aborted) continue;
      const reach = reaches.get(name) ?? newReach();
      reaches.set(name, reach);
      await attempt(agent, signal, () => heed(agent, name, untold, reach, signal));
    }
    pauseMs = Math.max(PAUSE_MS, agent.untold === undefined ? 0 : SHARE * (performance.now() - startedMs));
  }
}

const PAUSE_MS = 1_000;
const SHARE = 10;

async function heed(agent: Agent, only: string, untold: Untold, reach: Reach, signal: AbortSignal): Promise<void> {
  const { rpc, settings, ledger } = agent;
  const { from, to } = untold;
  const choice = { only, signal };
  // On another chain it has nothing to say of ours, and one that is behind cannot know the end of it.
  if ((await rpc.ask(blockByNumber(to.number), choice)).value.hash !== to.hash) return;
  const filter = { address: settings.contract, topics: TOPICS };
  const ask: AskRange = (fromBlock, toBlock) => rpc.ask(logs({ ...filter, fromBlock, toBlock }), choice);
  const open = claimedWithin(ledger.registry, from, to.number);
  for await (const piece of readRanges(from, to.number, ask, reach)) {
    const events = decodeLogs(piece.logs);
    const { registry } = agent.ledger;
    for (const event of events) confirm(open, registry, event);
    await doubt(agent, new Set(events.flatMap((event) => against(registry, event))), signal);
  }
  await doubt(agent, open.keys(), signal);
  signal.throwIfAborted();
  if (agent.untold === untold) agent.untold = undefined;
  // After a first history additions may have waited for it.
  agent.poll.nudge();
}

/** Not so many at once that whoever is new waits behind them. */
async function doubt(agent: Agent, ids: Iterable<TokenId>, signal: AbortSignal): Promise<void> {
  const left = [...ids];
  while (left.length > 0 && !signal.aborted) {
    if (isPressing(agent)) await sleep(BREATH_MS, undefined, { signal }).catch(() => {});
    else mistrust(agent, left.splice(0, AT_ONCE));
    await vouchSoon(agent, signal);
  }
}

const AT_ONCE = 100;
const BREATH_MS = 250;
