/** The loop, read aloud: follow → fold → derive → plan → apply → record. */
import { setTimeout as sleep } from "node:timers/promises";
import { settle } from "./access.ts";
import { type Agent, isSameSelf } from "./agent.ts";
import { readKeys } from "./chain/audit.ts";
import { isInvalid, subjectOf } from "./chain/events.ts";
import { type FollowOptions, follow, tipOf } from "./chain/follower.ts";
import { rivals } from "./chain/rivals.ts";
import { RpcError } from "./chain/rpc.ts";
import { AgentError } from "./errors.ts";
import { mended, report, tellNotice } from "./faults.ts";
import { freshen, stalenessMs } from "./freshness.ts";
import {
  type AccessEvent,
  type Advance,
  AFTER_LOGS,
  comparePositions,
  eventsIn,
  type TokenId,
  ZERO_HASH,
} from "./model.ts";
import { narrate } from "./narrate.ts";
import { followed, replaceLedger, startOver } from "./rebuilding.ts";
import type { Self } from "./registry/admission.ts";
import { type Advanced, advance, observe, trail, unread } from "./registry/ledger.ts";
import { token } from "./registry/registry.ts";
import { isNews, isWorthSaving, save } from "./saving.ts";
import { isHalfTold, noteHistory } from "./untold.ts";
import { isPressing, mistrust } from "./unvouched.ts";
import { isNewlyTold, vouchSoon } from "./vouching.ts";

/** Follows the chain until the signal aborts. What fails is told, remembered as a fault, and tried again. */
export async function followChain(agent: Agent, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      const { steps } = await pass(agent, signal);
      mended(agent, "chain.request-failed", "chain.reply-refused", "chain.no-start-block", "chain.before-start");
      mended(agent, "chain.no-contract", "chain.wrong-network", "chain.other-genesis");
      // A poll without news proves nothing: an upstream that lags behind the fork is as quiet.
      if (steps > 0) mended(agent, "chain.fork-below-finality");
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof AgentError && isHopeless(agent, error)) throw ofAnotherChain(agent, error) ?? error;
      if (error instanceof AgentError) report(agent, error);
      else if (!(error instanceof RpcError)) throw error;
      else tellRefusal(agent, error);
    }
    await judgeStaleness(agent);
    await agent.poll.sleep(agent.settings.pollIntervalMs, signal);
  }
}

/** A node that has never run is told at once what is wrong with its settings; one that serves people goes on. */
function isHopeless(agent: Agent, { fault }: AgentError): boolean {
  if (fault.code === "store.other-chain") return true;
  // Before any head was seen it is not one upstream that has changed: the database is of another chain than all of them.
  // Where there is no database, upstreams tell differently from one another.
  if (fault.code === "chain.other-genesis") return agent.headSeenMs === undefined && agent.savedLedger !== undefined;
  const isFresh = agent.savedLedger === undefined && agent.running.size === 0;
  return isFresh && ["chain.no-contract", "chain.wrong-network", "chain.no-start-block"].includes(fault.code);
}

/** A block that is absent may be there with the next poll, where a provider's servers differ; any other refusal is news. */
function tellRefusal(agent: Agent, { kind, by, message: problem }: RpcError): void {
  const unfollowedMs = agent.now().steadyMs - (agent.followedMs ?? agent.startedMs);
  if (by === undefined || (kind === "absent" && unfollowedMs < ABSENT_MS)) return;
  report(agent, new AgentError({ code: "chain.request-failed", ...by, problem }));
}

const ABSENT_MS = 5_000;

function ofAnotherChain({ store, settings }: Agent, { fault }: AgentError): AgentError | undefined {
  if (fault.code !== "chain.other-genesis") return undefined;
  const [field, expected, got] = ["genesis block", "the chain's own", store.genesis ?? "another"];
  return new AgentError({ code: "store.other-chain", path: settings.stateDir, field, expected, got });
}

/** Beside the polls: one that waits for logs goes on for minutes, and nobody's access may go on with it. */
export async function watchStaleness(agent: Agent, signal: AbortSignal): Promise<void> {
  while (agent.settings.maxStalenessSeconds !== undefined && !signal.aborted) {
    await judgeStaleness(agent);
    await sleep(STALENESS_MS, undefined, { signal }).catch(() => {});
  }
}

const STALENESS_MS = 250;

/** Suspends everybody when the chain has not been fresh for `MAX_STALENESS`, and resumes. */
export async function judgeStaleness(agent: Agent): Promise<void> {
  const limitSeconds = agent.settings.maxStalenessSeconds;
  if (limitSeconds === undefined) return;
  const ageMs = stalenessMs(agent);
  const isTooStale = ageMs > limitSeconds * 1000;
  if (isTooStale === agent.isTooStale) return;
  agent.isTooStale = isTooStale;
  const seconds = Math.floor(ageMs / 1000);
  agent.log.warn({ seconds }, isTooStale ? "access.suspended" : "access.resumed");
  // An old head said again is no silence, and yet nobody is served: that is not ready.
  const upstreams = agent.settings.rpcUrls.length;
  if (isTooStale)
    report(agent, new AgentError({ code: "chain.unreachable", seconds, upstreams, maxStaleness: limitSeconds }));
  else mended(agent, "chain.unreachable");
  await settle(agent, isTooStale ? [...agent.placed.keys()] : []);
  // Peers that were not ours to place go by a full pass.
  agent.tend.nudge();
}

/** One poll: every step from where the ledger stands to the head, then the device, then the disk. */
export async function pass(agent: Agent, signal: AbortSignal): Promise<{ steps: number }> {
  if (agent.isRebuildAsked) startOver(agent);
  const seenMs = agent.now().steadyMs;
  let steps = 0;
  let toldMs = seenMs;
  let savedMs: number | undefined;
  try {
    for await (const step of follow(agent.rpc, trail(followed(agent)), followOptions(agent, signal), agent.follower)) {
      steps++;
      agent.headSeenMs = agent.now().steadyMs;
      takeStep(agent, step);
      record(agent, newsIn(agent, step));
      if (step.kind === "rewind") tellReorg(agent, step.to.number);
      if (step.kind !== "history") continue;
      toldMs = tellProgress(agent, step.to.number, toldMs);
      await settleJudged(agent, seenMs);
      if (agent.isRebuilding || !isWorthSaving(agent, savedMs)) continue;
      await save(agent);
      savedMs = agent.now().steadyMs;
    }
  } catch (error) {
    // What was read until then stands, and a revoke among it does not wait for the rest.
    await settleJudged(agent, seenMs);
    throw error;
  }
  agent.headSeenMs = agent.now().steadyMs;
  if (rivals(agent.rpc, trail(agent.ledger)).length > 0) agent.contest.nudge();
  if (!isAtHead(agent)) {
    await settleJudged(agent, seenMs);
    return { steps };
  }
  const before = agent.roster.self;
  const rebuilt = replaceLedger(agent);
  meetSelf(agent, before);
  const hasReadHistory = agent.isInHistory;
  agent.isInHistory = false;
  agent.hasArrived = agent.isWhole = true;
  agent.arrivedMs ??= agent.headSeenMs;
  agent.stoodAtHead = !isHalfTold(agent);
  const announced = new Set(unread(agent.ledger));
  // At the tip the read takes milliseconds, so that an owner's other tokens are spared the interruption.
  if (rebuilt.size > 0) await settle(agent, rebuilt.difference(announced));
  await settle(agent, judge(agent).difference(announced), seenMs);
  const unanswered = await readAnnouncedKeys(agent, [...announced], signal);
  if (announced.size > 0) await settle(agent, judge(agent).union(announced), seenMs);
  if (isNewlyTold(agent) || isPressing(agent)) await vouchSoon(agent, signal, seenMs);
  agent.followedMs = agent.now().steadyMs;
  freshen(agent);
  // Ready with everybody on the device, not before somebody has vouched for them; who comes meanwhile is not waited for.
  if (!agent.isCaughtUp && agent.isSettled && !isPressing(agent, agent.arrivedMs)) caughtUp(agent);
  // What is final when it is read is read from one upstream; the state shows sooner than a second telling what it left out.
  if (hasReadHistory) agent.audit.nudge();
  if (hasReadHistory || isNews(agent)) await save(agent);
  if (unanswered !== undefined) throw unanswered;
  return { steps };
}

/** Of a history that is read again, what came after our blocks; the rest was told before. A fork's is news from its start. */
function newsIn({ isRebuilding, ledger, faults }: Agent, step: Advance): readonly AccessEvent[] {
  const events = eventsIn(step);
  if (!isRebuilding || faults.has("chain.fork-below-finality")) return events;
  const { number } = tipOf(trail(ledger));
  return events.filter(({ at }) => at.block > number);
}

function tellReorg(agent: Agent, block: number): void {
  agent.journal.add("reorg", { block });
  agent.log.warn({ block }, "chain.reorg");
}

function takeStep(agent: Agent, step: Advance): void {
  if (step.kind === "history") {
    agent.isInHistory = true;
    noteHistory(agent, step);
  }
  for (const event of eventsIn(step)) if (event.kind === "revoke") agent.auditedOut.delete(event.tokenId);
  if (agent.rebuilding !== undefined) {
    agent.rebuilding = advance(agent.rebuilding, step).ledger;
    return;
  }
  if (step.kind === "rewind") agent.isWhole = false;
  take(agent, advance(agent.ledger, step));
  // Whoever was granted so far may be revoked before the head.
  if (step.kind === "history" || !isAtHead(agent)) agent.stoodAtHead = false;
}

function followOptions(agent: Agent, signal: AbortSignal): FollowOptions {
  const { contract, startBlock } = agent.settings;
  const now = () => agent.now().steadyMs;
  const wallMs = () => agent.now().wallMs;
  // After a restart the follower has forgotten what it told, and the ledger has not.
  const knows = (asked: AccessEvent) => {
    const isIt = (event: AccessEvent) =>
      comparePositions(event.at, asked.at) === 0 && (isInvalid(asked) || subjectOf(event) === subjectOf(asked));
    return followed(agent).unfinal.some(({ events }) => events.some(isIt));
  };
  return { contract, startBlock, signal, now, wallMs, knows, onNotice: (notice) => tellNotice(agent, notice) };
}

/** Not between a rewind and the head, where the ledger is on no head of any chain. */
export async function settleJudged(agent: Agent, seenMs?: number): Promise<void> {
  if (agent.isWhole) await settle(agent, judge(agent), seenMs);
}

/** A poll without a usable head ends as quietly as one without news. */
function isAtHead(agent: Agent): boolean {
  const { follower, rpc } = agent;
  const told = rpc.upstreams().flatMap(({ healthy, headBlock }) => (healthy ? (headBlock ?? []) : []));
  const head = follower.figures.headBlock ?? Math.min(...told);
  const tip = tipOf(trail(followed(agent)));
  return tip.hash !== ZERO_HASH && tip.number >= head;
}

/** Now and then while a long history is read. @returns when it was last told */
function tellProgress(agent: Agent, block: number, toldMs: number): number {
  const nowMs = agent.now().steadyMs;
  if (nowMs - toldMs < PROGRESS_MS) return toldMs;
  agent.log.info({ block, head: agent.follower.figures.headBlock }, "chain.catching-up");
  return nowMs;
}

const PROGRESS_MS = 5_000;

function caughtUp(agent: Agent): void {
  agent.isCaughtUp = true;
  agent.inherited = new Map();
  agent.log.info({ block: tipOf(trail(agent.ledger)).number, ...agent.roster.counts }, "chain.caught-up");
  agent.tend.nudge();
}

/** The ledger's next state; what it touched waits to be judged, however long that takes to come. */
export function take(agent: Agent, { ledger, touched }: Advanced): void {
  const tipBefore = tipOf(trail(agent.ledger)).number;
  agent.ledger = ledger;
  mistrust(agent, touched, { tipBefore });
  for (const id of touched) agent.touched.add(id);
}

/** Puts what was touched before the roster; the ids whose peer is another one now. */
function judge(agent: Agent): ReadonlySet<TokenId> {
  const before = agent.roster.self;
  const changed = agent.roster.update(agent.ledger.registry, agent.touched, tipOf(trail(agent.ledger)).number);
  for (const id of agent.touched) quarantined(agent, id);
  agent.touched.clear();
  meetSelf(agent, before);
  return changed;
}

/** The addresses of another self are not on the interface yet: not ready until a full pass has put them there. */
function meetSelf(agent: Agent, before: Self): void {
  if (isSameSelf(agent.roster.self, before)) return;
  agent.isVerified = false;
  agent.tend.nudge();
}

/**
 * An owner's announcement names no token: the contract says which one was meant. Until it has, the keys that may be
 * meant are off; their owner has said that one of them is no longer theirs. @returns why it did not say
 */
async function readAnnouncedKeys(agent: Agent, ids: readonly TokenId[], signal: AbortSignal): Promise<unknown> {
  if (ids.length === 0) return undefined;
  const block = tipOf(trail(agent.ledger));
  const keys: [TokenId, string][] = [];
  // What is left is asked with the next poll: a revoke must not wait for the keys of others. The first few are, so that a
  // slow upstream tells all of them in the end.
  const haste = AbortSignal.any([signal, AbortSignal.timeout(KEYS_MS)]);
  const ask = (some: readonly TokenId[], until: AbortSignal) =>
    readKeys(agent.rpc, agent.settings.contract, some, block, until);
  let unanswered: unknown;
  try {
    keys.push(...(await ask(ids.slice(0, FIRST_KEYS), signal)));
    for (let from = FIRST_KEYS; from < ids.length; from += KEYS_AT_ONCE) {
      keys.push(...(await ask(ids.slice(from, from + KEYS_AT_ONCE), haste)));
    }
  } catch (error) {
    if (signal.aborted || !haste.aborted) unanswered = error;
  }
  const at = { block: block.number, logIndex: AFTER_LOGS };
  const common = { at, blockHash: block.hash, transaction: ZERO_HASH };
  const reads = keys.map(([tokenId, key]): AccessEvent => ({ kind: "key-read", tokenId, key, ...common }));
  take(agent, observe(agent.ledger, reads));
  record(agent, reads);
  return unanswered;
}

const KEYS_MS = 4_000;
const FIRST_KEYS = 8;
const KEYS_AT_ONCE = 100;

/** What people want to know of these events: lines of the journal, and counters. */
export function record(agent: Agent, events: readonly AccessEvent[]): void {
  const nameOf = (id: TokenId) => token(agent.ledger.registry, id)?.nodeId;
  for (const { kind, fields } of narrate(events, nameOf, JOURNALLED)) agent.journal.add(kind, fields);
  for (const [kind, all] of Map.groupBy(events, (event) => event.kind)) agent.metrics.folded(kind, all.length);
}

/** Of one step; the journal keeps some thousand lines, and a long history would only push them out. */
const JOURNALLED = 500;

function quarantined(agent: Agent, id: TokenId): void {
  const verdict = agent.roster.verdict(id);
  if (verdict === "admitted" || verdict === "self" || verdict === "inactive" || agent.isInHistory) return;
  const nodeId = token(agent.ledger.registry, id)?.nodeId;
  agent.journal.add("quarantine", { tokenId: String(id), nodeId, code: verdict });
}
