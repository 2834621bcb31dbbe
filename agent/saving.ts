/** What outlives the agent: when the ledger and what is said beside it go to disk. */
import { type Agent, AT_HEAD, BLOOMS } from "./agent.ts";
import { auditedNote } from "./audited.ts";
import { doubtsNote } from "./doubts.ts";
import { AgentError } from "./errors.ts";
import { mended, report } from "./faults.ts";
import { freshnessNote } from "./freshness.ts";
import { holdNote } from "./hold.ts";
import { noted } from "./notes.ts";
import { untoldNote } from "./untold.ts";
import { unvouchedNote } from "./unvouched.ts";

/** Last, so that a crash repeats a pass and never skips one. Memory stays ahead of a disk that is full. */
export async function save(agent: Agent): Promise<void> {
  const { events, next } = agent.journal.after(agent.savedEntry);
  const fresh = freshnessNote(agent);
  const notes = { ...fresh, ...withLedger(agent) };
  if (agent.savedLedger === agent.ledger && events.length === 0 && Object.keys(notes).length === 0) return;
  const genesis = agent.rpc.genesis();
  if (genesis !== undefined) agent.store.bindGenesis(genesis);
  const startedMs = agent.now().steadyMs;
  const { ledger, freshness, removals } = agent;
  try {
    const blooms = agent.follower.habits.hasBlooms ? "yes" : "";
    await agent.store.save(ledger, {
      ...notes,
      ...(events.length > 0 ? { journal: JSON.stringify(agent.journal.tail().slice(-KEPT)) } : {}),
      ...holdNote(agent),
      ...noted(agent.store, BLOOMS, blooms),
    });
    agent.savedLedger = ledger;
    agent.savedMs = agent.now().steadyMs;
    agent.savedEntry = next;
    agent.savedRemovals = removals;
    if (Object.keys(fresh).length > 0) agent.freshness = { ...agent.freshness, notedMs: freshness.atMs };
    agent.metrics.committed(agent.now().steadyMs - startedMs);
    mended(agent, "store.unsaved", "store.corrupt");
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    report(agent, error);
  }
}

/** Of the journal, over a restart. */
const KEPT = 200;

/** What is said of the ledger's tokens and is no part of it. */
const withLedger = (agent: Agent) => ({
  ...{ ...doubtsNote(agent), ...unvouchedNote(agent), ...auditedNote(agent) },
  ...headNote(agent),
  ...untoldNote(agent),
});

function headNote({ stoodAtHead, hasArrived, store }: Agent): Record<string, string> {
  const text = stoodAtHead ? "yes" : hasArrived ? "before" : "";
  return noted(store, AT_HEAD, text);
}

/** What a crash loses of a long history is read again; what it has taken off the device must not come back for that long. */
export function isWorthSaving({ running, now }: Agent, savedMs = Number.NEGATIVE_INFINITY): boolean {
  return running.size > 0 || now().steadyMs - savedMs >= SAVED_EVERY_MS;
}

const SAVED_EVERY_MS = 1_000;

/** Blocks that changed nothing wait for one another: a restart reads them again, and the disk is spared a commit for each. */
export function isNews(agent: Agent): boolean {
  const { ledger, savedLedger, savedMs, faults, now } = agent;
  if (savedLedger === undefined || faults.has("store.unsaved") || now().steadyMs - savedMs >= QUIET_MS) return true;
  if (ledger.registry !== savedLedger.registry || ledger.settled !== savedLedger.settled) return true;
  const notes = { ...freshnessNote(agent), ...withLedger(agent) };
  return Object.keys(notes).length > 0 || agent.journal.after(agent.savedEntry).events.length > 0;
}

const QUIET_MS = 10_000;
