/** Asks two upstreams whether the contract's state is as the registry has it, before anybody new is let in: `unvouched.ts`. */
import { setTimeout as sleep } from "node:timers/promises";
import { settle } from "./access.ts";
import type { Agent } from "./agent.ts";
import { compare, dutiesAgree, readTokens } from "./chain/audit.ts";
import { tipOf } from "./chain/follower.ts";
import { isRival } from "./chain/rivals.ts";
import { type Rpc, RpcError } from "./chain/rpc.ts";
import { AgentError } from "./errors.ts";
import type { Token, TokenId, Trail } from "./model.ts";
import { trail } from "./registry/ledger.ts";
import { type Registry, token } from "./registry/registry.ts";
import { isPressing, mayBelieve, witnesses } from "./unvouched.ts";

/** So many are asked about at once. */
const BATCH = 100;
/** An upstream that does not answer is not waited for any longer. */
const PATIENCE_MS = 5_000;
/** How long a poll waits for the answer, which takes milliseconds, before it goes on without. */
const HASTE_MS = 500;

/** Asks for those who wait, until the signal aborts. */
export async function vouchAdditions(agent: Agent, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    // What is disputed is settled by a new head or by the audit, not by haste.
    await sleep(isPressing(agent) ? HASTE_MS : PATIENCE_MS, undefined, { signal }).catch(() => {});
    // In the middle of a history nobody may be added, and hardly an upstream keeps the state of its blocks.
    if (agent.unvouched.size > 0 && agent.isSettled) await vouchSoon(agent, signal);
  }
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
  let vouched: readonly TokenId[];
  do {
    vouched = await vouchedNow(agent, signal);
    for (const id of vouched) agent.unvouched.delete(id);
    if (vouched.length > 0) await settle(agent, vouched, seenMs);
    // What this node may be itself shows on the interface.
    if (vouched.some((id) => isSelf(agent, id))) agent.tend.nudge();
  } while (vouched.length === BATCH);
}

const isSelf = ({ roster: { self } }: Agent, id: TokenId) => self.kind === "found" && self.token.id === id;

/** Of the next who wait; what is disputed among them is noted. */
async function vouchedNow(agent: Agent, signal: AbortSignal): Promise<readonly TokenId[]> {
  const { registry } = agent.ledger;
  // Whoever is active may get a peer yet, by a confirmation or because a rival goes.
  for (const id of agent.unvouched.keys()) if (!token(registry, id)?.active) agent.unvouched.delete(id);
  const order = [...agent.unvouched].sort(([, a], [, b]) => Number(a.isDisputed) - Number(b.isDisputed));
  const next = order.slice(0, BATCH);
  const others = witnesses(agent);
  const believed = next.filter(([id]) => mayBelieve(agent, id)).map(([id]) => id);
  const asked = next.filter(([id]) => !believed.includes(id));
  const ids = asked.map(([id]) => id);
  // Of an only upstream what was disputed is asked, too: whoever made it up may be the one that is gone.
  const quorum = Math.min(2, agent.rpc.upstreams().length);
  if (ids.length === 0 || others.length < quorum) return believed;
  const wordsOn = await wordsOf(agent, ids, registry, signal);
  const overdueMs = agent.now().steadyMs - PATIENCE_MS;
  const vouched = asked.flatMap(([id, before]) => {
    // Touched again meanwhile: what was read says nothing about what it has become.
    if (agent.unvouched.get(id) !== before) return [];
    const said = wordsOn(id);
    if (said.filter((word) => word === "so").length >= quorum) return id;
    if (!said.includes("otherwise")) {
      // Whoever denied it must have come round: that it does not answer takes nothing back.
      const isOpen = before.isDisputed && said.includes("unheard");
      return before.sinceMs <= overdueMs && !isOpen ? id : [];
    }
    if (!before.isDisputed) agent.audit.nudge();
    agent.unvouched.set(id, { ...before, isDisputed: true });
    return [];
  });
  return [...believed, ...vouched];
}

export type Word = "so" | "otherwise" | "behind" | "unheard";

/** What each upstream says of the tokens after our newest block, whose registry this is. */
export async function wordsOf(
  agent: Agent,
  ids: readonly TokenId[],
  registry: Registry,
  signal: AbortSignal,
): Promise<(id: TokenId) => readonly Word[]> {
  const held = trail(agent.ledger);
  const haste = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]);
  const unheard = () => {
    signal.throwIfAborted();
    return (): Word => "unheard";
  };
  const words = await Promise.all(
    witnesses(agent).map(({ name }) => wordOf(agent, name, ids, registry, held, haste).catch(unheard)),
  );
  return (id) => words.map((word) => word(id));
}

/** What an upstream says of the tokens after the tip of `held`, whose registry this is. */
async function wordOf(
  { rpc, settings: { contract } }: Agent,
  name: string,
  ids: readonly TokenId[],
  registry: Registry,
  held: Trail,
  signal: AbortSignal,
): Promise<(id: TokenId) => Word> {
  const tip = tipOf(held);
  const states = await readTokens(rpc, contract, ids, tip, signal, { only: name });
  const others = compare({ get: (id) => token(registry, id) }, states, tip, true);
  const otherwise = new Set(others.map(({ tokenId }) => tokenId));
  const said = [...states.keys()].flatMap((id) => token(registry, id) ?? []).filter(hasDuty);
  const duties = await dutiesAgree(rpc, contract, said, tip, signal, { only: name });
  for (const { id } of said) {
    if (duties.get(id) === false) otherwise.add(id);
    else if (!duties.has(id)) states.delete(id);
  }
  const untold = states.size < ids.length ? await wordOfBlocks(rpc, name, held, signal) : "unheard";
  return (id) => (otherwise.has(id) ? "otherwise" : states.has(id) ? "so" : untold);
}

/** Of which a log has told what it is to others; what settings say needs no witness. */
const hasDuty = ({ roleAt, endpointAt }: Token) => roleAt !== undefined || endpointAt !== undefined;

/** `otherwise` where it has another block in place of one of ours; whoever is only behind denies nothing yet. */
export async function wordOfBlocks(rpc: Rpc, name: string, held: Trail, signal: AbortSignal): Promise<Word> {
  try {
    return (await isRival(rpc, name, held, signal)) ? "otherwise" : "behind";
  } catch {
    signal.throwIfAborted();
    return "unheard";
  }
}
