/** Asks two upstreams whether the contract's state is as the registry has it, before anybody new is let in: `unvouched.ts`. */
import { setTimeout as sleep } from "node:timers/promises";
import { settle } from "./access.ts";
import type { Agent } from "./agent.ts";
import { compare, dutiesAgree } from "./chain/audit.ts";
import { tipOf } from "./chain/follower.ts";
import { untilEnough } from "./chain/parallel.ts";
import { hasStalled, type Place, placeOf } from "./chain/rivals.ts";
import { RpcError, type UpstreamStatus } from "./chain/rpc.ts";
import { AgentError } from "./errors.ts";
import type { Block, BlockRef, Token, TokenId } from "./model.ts";
import { refutes } from "./proving.ts";
import { type Ledger, registryAtTip, trail } from "./registry/ledger.ts";
import { type Registry, token } from "./registry/registry.ts";
import { readStates } from "./states.ts";
import { type Dispute, deny, noteDispute, type Unvouched, witnesses } from "./unvouched.ts";

/** So many are asked about at once: without Multicall3 they are two calls each, and slow upstreams answer in time. */
const BATCH = 25;
/** An upstream that does not answer is not waited for any longer. */
const PATIENCE_MS = 5_000;
/** How long a poll waits for the answer, which takes milliseconds, before it goes on without. */
const HASTE_MS = 500;

/** Asks for those who wait, until the signal aborts. */
export async function vouchAdditions(agent: Agent, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    // What is disputed needs no haste, nor does an upstream that is behind.
    await sleep(isNewlyTold(agent) ? HASTE_MS : PATIENCE_MS, undefined, { signal }).catch(() => {});
    // In the middle of a history nobody may be added, and hardly an upstream keeps the state of its blocks.
    if (agent.unvouched.size > 0 && agent.isSettled) await vouchSoon(agent, signal);
  }
}

/** Somebody waits of whom something was told within the time that an upstream is given to answer. */
export function isNewlyTold(agent: Agent): boolean {
  return [...agent.unvouched.values()].some((waiting) => !isOverdue(agent, waiting));
}

/** Goes on behind the caller's back where the answer takes longer; one question is under way at a time. */
export async function vouchSoon(agent: Agent, signal: AbortSignal, seenMs?: number): Promise<void> {
  agent.vouching ??= vouch(agent, signal, seenMs)
    .catch((error: unknown) => {
      if (!signal.aborted && !(error instanceof AgentError) && !(error instanceof RpcError)) throw error;
    })
    .finally(() => {
      agent.vouching = undefined;
    });
  const stop = new AbortController();
  const late = sleep(HASTE_MS, undefined, { signal: stop.signal }).catch(() => {});
  await Promise.race([agent.vouching, late]);
  stop.abort();
}

async function vouch(agent: Agent, signal: AbortSignal, seenMs: number | undefined): Promise<void> {
  let settled: readonly TokenId[];
  do {
    settled = await settledNow(agent, signal);
    if (settled.length > 0) await settle(agent, settled, seenMs);
    // What this node may be itself shows on the interface.
    if (settled.some((id) => isSelf(agent, id))) agent.tend.nudge();
  } while (settled.length === BATCH);
}

const isSelf = ({ roster: { self } }: Agent, id: TokenId) => self.kind === "found" && self.token.id === id;

/** Of the next who wait, those who may be in now and those who must go; what is disputed among them is noted. */
async function settledNow(agent: Agent, signal: AbortSignal): Promise<readonly TokenId[]> {
  const { unvouched, now } = agent;
  const asked = next(agent);
  // Of an only upstream what was disputed is asked, too: whoever made it up may be the one that is gone.
  const quorum = Math.min(2, agent.rpc.upstreams().length);
  if (asked.length === 0) return [];
  const isSilent = witnesses(agent).length < quorum;
  const ids = asked.map(([id]) => id);
  const wordsOn = isSilent ? () => [] : await wordsOf(agent, ids, signal);
  const [vouched, gone]: [TokenId[], TokenId[]] = [[], []];
  for (const [id, before] of asked) {
    // Touched again meanwhile: what was read says nothing about what it has become.
    if (unvouched.get(id) !== before) continue;
    // Set anew where it waits on, so that whoever is asked about in vain is asked about again after the others.
    unvouched.delete(id);
    const said = wordsOn(id);
    const judgement = isSilent
      ? withoutWords(agent, before)
      : judged(before, said, quorum, { isOverdue: isOverdue(agent, before), hasHalted: hasHalted(agent, said) });
    if (judgement === "vouched") {
      vouched.push(id);
    } else if (judgement === "waits") {
      unvouched.set(id, said.includes("behind") ? { ...before, sinceMs: now().steadyMs } : before);
    } else {
      noteDispute(agent, id, before, judgement);
      if (before.dispute === undefined) agent.audit.nudge();
      if (said.includes("gone")) gone.push(id);
    }
  }
  const denied = deny(agent, gone);
  if (denied.length > 0) {
    agent.log.warn({ denied: denied.length, left: gone.length - denied.length }, "chain.contested");
  }
  return [...vouched, ...denied];
}

/** The disputed after the others, and whoever has waited longest first: there may be many thousand. */
function next({ unvouched, ledger }: Agent): [TokenId, Unvouched][] {
  const open: [TokenId, Unvouched][] = [];
  const disputed: [TokenId, Unvouched][] = [];
  for (const [id, waiting] of unvouched) {
    // Whoever is active may get a peer yet, by a confirmation or because a rival goes.
    if (!token(ledger.registry, id)?.active) unvouched.delete(id);
    else (waiting.dispute === undefined ? open : disputed).push([id, waiting]);
    if (open.length === BATCH) break;
  }
  return [...open, ...disputed].slice(0, BATCH);
}

/**
 * Where nobody else can be asked, whoever is left is believed after a while, for a node with one upstream works; and a start is
 * not held up by one that is known to be down. What is disputed must be settled.
 */
function withoutWords(agent: Agent, before: Unvouched): "vouched" | "waits" {
  // Nobody is left whom to believe.
  if (before.dispute !== undefined || witnesses(agent).length === 0) return "waits";
  const isDown = (one: UpstreamStatus) =>
    one.fault !== undefined || Object.values(one.errors).some((count) => count > 0);
  const isComing = agent.rpc.upstreams().some((one) => !one.healthy && !isDown(one));
  return isOverdue(agent, before) || (!agent.isCaughtUp && !isComing) ? "vouched" : "waits";
}

function isOverdue({ now }: Agent, { sinceMs }: Unvouched): boolean {
  return sinceMs <= now().steadyMs - PATIENCE_MS;
}

/** Pure: what follows for a token from what each upstream says. */
function judged(
  before: Unvouched,
  said: readonly Word[],
  quorum: number,
  { isOverdue, hasHalted }: { isOverdue: boolean; hasHalted: boolean },
): "vouched" | Dispute | "waits" {
  const dispute: Dispute | "none" = before.dispute ?? "none";
  if (said.filter((word) => word === "so").length >= quorum) return "vouched";
  if (said.includes("otherwise") || said.includes("gone")) return "state";
  if (said.includes("elsewhere")) return dispute === "state" ? "state" : "block";
  if (before.dispute === undefined && hasHalted) return "waits";
  // Of an only upstream that reads no state nobody will ever hear more. Whom a fork has taken out needs two to be back.
  const kind = before.isDenied ? "state" : dispute;
  const awaited = AWAITED[quorum < 2 && kind === "state" ? "block" : kind];
  return isOverdue && !said.some((word) => awaited.has(word)) ? "vouched" : "waits";
}

/** What is waited for though time is up: whoever denied a token must have come round. */
const AWAITED: Readonly<Record<Dispute | "none", ReadonlySet<Word>>> = {
  none: new Set(["behind"]),
  block: new Set(["behind", "unheard"]),
  state: new Set(["behind", "stuck", "unheard", "mute"]),
};

/**
 * `so`, `otherwise`: by the contract's state; `gone`: and so the token may not have the peer that it has. `elsewhere`: the
 * upstream has another block in place of one of ours; `behind`: it is on our chain as far as it has come; `stuck`: elsewhere
 * or behind, with a head that is old or stands still. `mute`: it has our newest block, and tells no state.
 */
export type Word = "so" | "otherwise" | "gone" | "elsewhere" | "behind" | "stuck" | "mute" | "unheard";
type WordOn = (id: TokenId) => Word;

/** What each upstream says of the tokens after our newest block, or after one since which they have waited. */
export async function wordsOf(
  agent: Agent,
  ids: readonly TokenId[],
  signal: AbortSignal,
): Promise<(id: TokenId) => readonly Word[]> {
  const { ledger } = agent;
  const late = AbortSignal.timeout(PATIENCE_MS);
  const ask = ({ name }: UpstreamStatus, until: AbortSignal): Promise<WordOn> =>
    wordOf(agent, ledger, name, ids, AbortSignal.any([until, late])).catch(() => () => "unheard");
  const isSaidTwice = (words: readonly WordOn[]) =>
    ids.every((id) => words.filter((word) => word(id) === "so").length >= 2);
  const words = await untilEnough(witnesses(agent), ask, isSaidTwice, signal);
  return (id) => words.map((word) => word(id));
}

async function wordOf(
  agent: Agent,
  ledger: Ledger,
  name: string,
  ids: readonly TokenId[],
  signal: AbortSignal,
): Promise<WordOn> {
  const held = trail(ledger);
  const said = await readWords(agent, name, ids, { block: tipOf(held), registry: registryAtTip(ledger) }, signal);
  if (said.size === ids.length) return (id) => said.get(id) ?? "unheard";
  const place = await placeOf(agent.rpc, name, held, agent.follower.heads.tipFrom, signal);
  const last = place.kind === "behind" ? ledger.unfinal.find(({ block }) => block.hash === place.head.hash) : undefined;
  const hasCome = (id: TokenId) => place.head.number >= (agent.unvouched.get(id)?.sinceBlock ?? tipOf(held).number);
  if (last !== undefined) {
    const open = ids.filter((id) => !said.has(id) && hasCome(id));
    for (const [id, word] of await readWords(agent, name, open, last, signal)) said.set(id, word);
  }
  // Where its own chain has the token as ours has it, it does not matter whose blocks stay. Confirmations are counted in ours.
  if (place.kind === "elsewhere" && agent.settings.grantConfirmations === 1) {
    const open = ids.filter((id) => !said.has(id) && hasCome(id));
    const theirs = { block: place.head, registry: ledger.registry };
    for (const [id, word] of await readWords(agent, name, open, theirs, signal)) if (word === "so") said.set(id, word);
  }
  const untold = wordOfPlace(agent, name, place);
  return (id) => said.get(id) ?? untold;
}

/** Whether the contract's state has the tokens, their roles and their endpoints as the registry of that very block does. */
async function readWords(
  agent: Agent,
  name: string,
  ids: readonly TokenId[],
  { block, registry }: { readonly block: BlockRef; readonly registry: Registry },
  signal: AbortSignal,
): Promise<Map<TokenId, Word>> {
  if (ids.length === 0) return new Map();
  const { rpc, placed, settings } = agent;
  const reading = { only: name };
  const states = await readStates(agent, ids, block, signal, reading);
  const words = new Map([...states.keys()].map((id): [TokenId, Word] => [id, "so"]));
  for (const { tokenId } of compare({ get: (id) => token(registry, id) }, states, block, true)) {
    const [held, state] = [placed.get(tokenId), states.get(tokenId)];
    words.set(tokenId, held !== undefined && state !== undefined && refutes(state, held) ? "gone" : "otherwise");
  }
  const said = [...states.keys()].flatMap((id) => token(registry, id) ?? []).filter(hasDuty);
  const duties = await dutiesAgree(rpc, settings.contract, said, block, signal, reading);
  for (const { id } of said) {
    if (duties.get(id) === false) words.set(id, "otherwise");
    else if (!duties.has(id) && words.get(id) === "so") words.delete(id);
  }
  return words;
}

/** Of which a log has told what it is to others; what settings say needs no witness. */
const hasDuty = ({ roleAt, endpointAt }: Token) => roleAt !== undefined || endpointAt !== undefined;

/** Whoever is only behind denies nothing yet, and whoever has stalled nothing any more. */
function wordOfPlace(agent: Agent, name: string, { kind, head }: Place): Word {
  const isStill = kind === "behind" && standsStill(agent, name, head);
  if (kind === "level") return "mute";
  return isStill || hasStalled(head, agent.rpc, agent.now().wallMs) ? "stuck" : kind;
}

/** It is behind and has come no nearer since it was first seen there. */
function standsStill({ laggards, now }: Agent, name: string, { number }: Block): boolean {
  const { steadyMs } = now();
  const seen = laggards.get(name);
  if (seen?.head !== number) laggards.set(name, { head: number, sinceMs: steadyMs });
  return seen?.head === number && steadyMs - seen.sinceMs >= STILL_MS;
}

/** Two stand still at one block: the chain may have halted there, and whoever goes on alone makes up what follows. */
function hasHalted({ laggards, isCaughtUp }: Agent, said: readonly Word[]): boolean {
  const heads = [...laggards.values()].map(({ head }) => head);
  return isCaughtUp && said.filter((word) => word === "stuck").length > 1 && new Set(heads).size < heads.length;
}

/** Ten blocks of the chains that there are presets for; a missed slot of one with twelve seconds is no standstill yet. */
const STILL_MS = 20_000;
