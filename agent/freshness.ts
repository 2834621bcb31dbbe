/**
 * `MAX_STALENESS`, the operator's own choice: without a fresh chain for so long, nobody has access. Fresh is what
 * brings a new head that was followed to its end: an upstream that repeats an old one is as blind as a silent one. A
 * devnet makes blocks only when asked, so there any complete poll counts.
 */
import type { Agent } from "./agent.ts";
import { tipOf } from "./chain/follower.ts";
import { noted } from "./notes.ts";
import { trail } from "./registry/ledger.ts";

export interface Freshness {
  /** Hash of the newest head that was followed to its end. */
  readonly tip: string;
  /** Steady time at which it was. */
  readonly atMs: number;
  /** The `atMs` that the database knows of, for a restart. */
  readonly notedMs: number;
}

/** As the agent before us left it; the wall clock is all that the two share. */
export function initialFreshness({
  settings,
  store,
  ledger,
  now,
}: Pick<Agent, "settings" | "store" | "ledger" | "now">): Freshness {
  const { steadyMs, wallMs } = now();
  const noted = Number(store.note(NOTE) || wallMs);
  const atMs = settings.maxStalenessSeconds === undefined ? steadyMs : steadyMs - Math.max(0, wallMs - noted);
  // One that was never noted is noted with the first save: whoever dies early must not begin anew each time.
  const notedMs = store.note(NOTE) ? atMs : Number.NEGATIVE_INFINITY;
  return { tip: tipOf(trail(ledger)).hash, atMs, notedMs };
}

/** A poll has reached the head. */
export function freshen(agent: Agent): void {
  const tip = tipOf(trail(agent.ledger)).hash;
  if (tip === agent.freshness.tip && agent.settings.network !== "devnet") return;
  agent.freshness = { ...agent.freshness, tip, atMs: agent.now().steadyMs };
}

/** How long ago the chain was fresh, in milliseconds. */
export const stalenessMs = ({ freshness, now }: Agent) => now().steadyMs - freshness.atMs;

/** What the database has to learn for a restart, a few times within the limit rather than with every poll. */
export function freshnessNote({ settings, freshness, store, now }: Agent): Record<string, string> {
  const { maxStalenessSeconds } = settings;
  // One that is kept no longer would cut everybody as soon as the setting is back.
  if (maxStalenessSeconds === undefined) return noted(store, NOTE, "");
  if (freshness.atMs - freshness.notedMs < (maxStalenessSeconds * 1000) / 20) return {};
  const { steadyMs, wallMs } = now();
  return { [NOTE]: String(wallMs - (steadyMs - freshness.atMs)) };
}

const NOTE = "freshAt";
