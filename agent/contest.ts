/**
 * Of two upstreams on two forks one is wrong, and it may be the one that we follow. Whom the other one's fork tells to be
 * out goes, as far as one upstream's word goes (the limit of mass removal), until two tell otherwise: `vouching.ts`. Whom two
 * tell to be out alike goes beyond it.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { settle } from "./access.ts";
import type { Agent } from "./agent.ts";
import { attempt } from "./auditing.ts";
import { readTokens } from "./chain/audit.ts";
import { subjectOf } from "./chain/events.ts";
import { newReach, type Reach } from "./chain/reach.ts";
import { forkOf, rivals } from "./chain/rivals.ts";
import { takesAway } from "./doubts.ts";
import { type AccessEvent, AFTER_LOGS, type BlockRef, type TokenId } from "./model.ts";
import { refutes } from "./proving.ts";
import { foldAll } from "./registry/fold.ts";
import { type Ledger, registryAtTip, trail } from "./registry/ledger.ts";
import { claimants, token } from "./registry/registry.ts";
import { deny } from "./unvouched.ts";
import { wordsOf } from "./vouching.ts";

/** While there are rivals, until the signal aborts. A poll that ends looks for them, and one may go on for minutes. */
export async function heedRivals(agent: Agent, signal: AbortSignal): Promise<void> {
  // How wide a range each of them bears: two forks may stand for hours.
  const reaches = new Map<string, Reach>();
  while (!signal.aborted) {
    await agent.contest.sleep(LOOK_MS, signal);
    const startedMs = performance.now();
    const told = new Set<TokenId>();
    for (const name of rivals(agent.rpc, trail(agent.ledger))) {
      const reach = reaches.get(name) ?? newReach();
      reaches.set(name, reach);
      if (!signal.aborted) await attempt(agent, signal, () => heed(agent, { name, reach, told }, signal));
    }
    const pauseMs = Math.max(PAUSE_MS, SHARE * (performance.now() - startedMs));
    await sleep(pauseMs, undefined, { signal }).catch(() => {});
  }
}

/** What upstreams told last is looked at; nobody is asked. */
const LOOK_MS = 5_000;
const PAUSE_MS = 2_000;
const SHARE = 10;

interface Rival {
  readonly name: string;
  readonly reach: Reach;
  /** Whom others have told to be out in this round. */
  readonly told: Set<TokenId>;
}

async function heed(agent: Agent, { name, reach, told }: Rival, signal: AbortSignal): Promise<void> {
  const { rpc, ledger, settings } = agent;
  const followed = agent.follower.heads.tipFrom;
  if (agent.isInHistory || agent.isRebuilding) return;
  const fork = await forkOf(rpc, settings.contract, name, trail(ledger), followed, reach, signal);
  if (fork === undefined) return;
  const ours = upTo(ledger, fork.head);
  const ids = [...differing(ours, fork.events)].filter((id) => agent.placed.has(id));
  const states = await readTokens(rpc, settings.contract, ids, fork.head, signal, { only: name });
  const theirs = foldAll(ledger.settled, fork.events).registry;
  const isOut = (id: TokenId) => {
    const { active, owner, claim } = token(ours.registry, id) ?? {};
    if (!active || owner === undefined || claim === undefined) return false;
    const before = { owner, key: claim.key };
    // Where the other fork has it with another token of its owner, nobody has lost it.
    if (claimants(theirs, claim.key).some((one) => one.id !== id && one.owner === owner)) return false;
    const state = states.get(id);
    return state === undefined ? takesAway(theirs, id, before) : refutes(state, before);
  };
  const out = ids.filter(isOut);
  if (out.length === 0) return;
  const wordsOn = await wordsOf(agent, out, signal);
  const contested = out.filter((id) => wordsOn(id).filter((word) => word === "so").length < 2);
  const witnessed = contested.filter((id) => told.has(id));
  for (const id of contested) told.add(id);
  const denied = deny(agent, contested, witnessed);
  if (denied.length === 0) return;
  agent.log.warn({ upstream: name, denied: denied.length, left: contested.length - denied.length }, "chain.contested");
  await settle(agent, denied);
}

/** What came later than the other one's head it cannot know. */
function upTo(ledger: Ledger, { number }: BlockRef): Ledger {
  const unfinal = ledger.unfinal.filter(({ block }) => block.number <= number);
  return { ...ledger, unfinal, ahead: [], registry: registryAtTip({ ...ledger, unfinal }) };
}

/** The tokens of which one of the two chains has an event that the other has not. */
function differing({ settled, unfinal }: Ledger, events: readonly AccessEvent[]): ReadonlySet<TokenId> {
  const ours = new Set(unfinal.flatMap((block) => block.events.map(identityOf)));
  const theirs = new Set(events.map(identityOf));
  const isShared = (event: AccessEvent) => ours.has(identityOf(event));
  // What was read of the contract is no event of a chain.
  const isOurs = (event: AccessEvent) => event.at.logIndex !== AFTER_LOGS && !theirs.has(identityOf(event));
  const untold = unfinal.filter((block) => block.events.some(isOurs)).flatMap(({ touched }) => [...touched]);
  const { registry } = foldAll(settled, events.filter(isShared));
  const { touched } = foldAll(
    registry,
    events.filter((event) => !isShared(event)),
  );
  return new Set([...touched, ...untold]);
}

const identityOf = (event: AccessEvent) => [event.blockHash, event.at.logIndex, subjectOf(event)].join();
