/**
 * Removals in doubt: of too many at once, the ledger says that these tokens are out, and no witness has spoken yet. That the
 * process dies must not decide it, so that the doubt is saved in one transaction with the ledger.
 */
import type { Agent, Parts } from "./agent.ts";
import {
  type Address,
  type PublicKey,
  parseAddress,
  parsePublicKey,
  parseTokenId,
  type Token,
  type TokenId,
} from "./model.ts";
import { noted, rowsIn } from "./notes.ts";
import { type Registry, token } from "./registry/registry.ts";
import type { Verdict } from "./registry/roster.ts";
import type { DeviceState } from "./wireguard/dump.ts";
import { beyondLimit, type Removals, withinWindow } from "./witness.ts";

export interface Doubt {
  /** Since when it waits for a witness (steady time). */
  readonly sinceMs: number;
  /** The upstream that told of the removal and is no witness of it. */
  readonly from: string | undefined;
}

/** Of the tokens that lose their peer by what logs say, those that must be proven by the contract's state first. */
export function unproven(agent: Agent, byLogs: readonly TokenId[]): TokenId[] {
  if (agent.isTooStale) return [];
  // Whom the operator's own rollback leaves out goes by that, whatever the logs say of them.
  const isLeftOut = (key: PublicKey | undefined) => key !== undefined && agent.held?.keys.has(key) === false;
  const candidates = byLogs.filter(
    (id) => !agent.witnessed.has(id) && !agent.decided.has(id) && !isLeftOut(agent.placed.get(id)?.key),
  );
  // What was in doubt before a restart stays so until the chain answers, however long ago the others went.
  const isKept = (id: TokenId) => !agent.isCaughtUp && agent.doubtful.has(id);
  const open = candidates.filter((id) => !isKept(id));
  const beyond = beyondLimit(open, agent.removals, agent.running.size, agent.now().steadyMs);
  return [...candidates.filter(isKept), ...beyond];
}

/** Before the device is asked: what it fails with changes nothing about who may go, nor how many of many they are. */
export function decide(
  agent: Agent,
  asked: ReadonlySet<TokenId>,
  { byLogs, doubtful }: { byLogs: readonly TokenId[]; doubtful: ReadonlyMap<TokenId, Doubt> },
): void {
  const counted = byLogs.filter((id) => !doubtful.has(id) && !agent.decided.has(id));
  for (const id of asked) agent.decided.delete(id);
  for (const id of byLogs) if (!doubtful.has(id)) agent.decided.add(id);
  const nowMs = agent.now().steadyMs;
  if (counted.length > 0) {
    agent.removals = [...withinWindow(agent.removals, nowMs), ...Array<number>(counted.length).fill(nowMs)];
  }
  if ([...doubtful.keys()].some((id) => !agent.doubtful.has(id))) agent.doubt.nudge();
  agent.doubtful = new Map([...[...agent.doubtful].filter(([id]) => !asked.has(id)), ...doubtful]);
}

type Doubted = Pick<Agent, "placed" | "holders" | "waiting" | "doubtful" | "removals" | "savedRemovals">;

/** As the agent before us left it; the wall clock is all that the two share. */
export function doubtedBefore({ store, now }: Pick<Parts, "store" | "now">): Doubted {
  const { steadyMs, wallMs } = now();
  const entries = rowsIn(store.note(DOUBTS)).flatMap(entryOf);
  const removals = rowsIn(store.note(REMOVALS)).flatMap(([second, count]) =>
    isWhole(second) && isWhole(count) && count <= MAX_PEERS
      ? Array<number>(count).fill(steadyMs - Math.max(0, wallMs - second * 1000))
      : [],
  );
  return {
    placed: new Map(entries.map(({ id, key, owner }) => [id, { key, owner }])),
    holders: new Map(entries.map(({ id, key }) => [key, id])),
    waiting: new Set(entries.map(({ id }) => id)),
    doubtful: new Map(entries.map(({ id, from }) => [id, { sinceMs: steadyMs, from }])),
    removals,
    savedRemovals: removals,
  };
}

/** The peers in doubt that are still on the device are ours; what is gone is in no doubt any more. */
export function adoptDoubted(agent: Agent, found: DeviceState): void {
  const left = new Map(agent.doubtful);
  for (const id of agent.doubtful.keys()) {
    const key = agent.placed.get(id)?.key;
    const peer = key && found.peers.get(key);
    if (peer === undefined) {
      left.delete(id);
      agent.placed.delete(id);
      if (key !== undefined && agent.holders.get(key) === id) agent.holders.delete(key);
    } else if (!agent.running.has(peer.key)) {
      const { key, allowedIps, keepalive } = peer;
      // Where it is now is for the device to know: it may have roamed there.
      agent.running.set(key, { key, allowedIps, endpoint: undefined, keepalive });
    }
  }
  agent.doubtful = left;
}

/**
 * What the database has to learn together with the ledger: at most one entry for each peer on the device, and one for each
 * second of the window. What was decided and not done yet is not among it: a restart carries that out.
 */
export function doubtsNote(agent: Agent): Record<string, string> {
  // While a first history is read, everybody waits and nobody has a peer yet.
  const ids = agent.placed.size === 0 ? [] : new Set([...agent.doubtful.keys(), ...agent.waiting, ...agent.touched]);
  const rows = [...ids].flatMap((id) => {
    const before = agent.placed.get(id);
    // A peer that is another token's by now stays with that one.
    if (before === undefined || agent.holders.get(before.key) !== id || !isUndecided(agent, id)) return [];
    return [[String(id), before.key, before.owner, agent.doubtful.get(id)?.from ?? agent.follower.heads.tipFrom ?? ""]];
  });
  const doubts = rows.length === 0 ? "" : JSON.stringify(rows);
  return {
    ...noted(agent.store, DOUBTS, doubts),
    ...(agent.removals === agent.savedRemovals ? {} : { [REMOVALS]: JSON.stringify(removalsBySecond(agent)) }),
  };
}

function isUndecided(agent: Agent, id: TokenId): boolean {
  return isLogsWord(agent, id) && !agent.witnessed.has(id) && !agent.decided.has(id);
}

/**
 * Inactive, another owner's, with another key, or with a key in question, on our chain or on an upstream's own: what a lying
 * upstream can make us believe, and what a state read refutes.
 */
export function isLogsWord(agent: Agent, id: TokenId): boolean {
  const { ledger, placed, roster, unvouched } = agent;
  if (takesAway(ledger.registry, id, placed.get(id)) || unvouched.get(id)?.isDenied) return true;
  return IN_QUESTION.has(roster.verdict(id));
}

/** Whose a token was, and with which key. */
export type Held = Pick<Token, "owner"> & { readonly key: string };

/** Whether the registry no longer has the token as it was. */
export function takesAway(registry: Registry, id: TokenId, before: Held | undefined): boolean {
  const now = token(registry, id);
  return !now?.active || now.owner !== before?.owner || now.claim?.key !== before.key;
}

/** Of an active token whose owner and key are what they were. */
const IN_QUESTION: ReadonlySet<Verdict> = new Set<Verdict>(["key.unread", "key.claimed", "grant.unconfirmed"]);

/** The wall clock's second, rounded up so that none is forgotten early, and how many went in it. */
function removalsBySecond({ removals, now }: { removals: Removals; now: Parts["now"] }): [number, number][] {
  const { steadyMs, wallMs } = now();
  const secondOf = (atMs: number) => Math.ceil((wallMs - (steadyMs - atMs)) / 1000);
  const all = Map.groupBy(withinWindow(removals, steadyMs), secondOf);
  return [...all].map(([second, { length }]) => [second, length]);
}

function entryOf([id, key, owner, from]: readonly unknown[]): Entry[] {
  const parsed = parsePublicKey(String(key));
  const entry = { id: parseTokenId(String(id)), owner: parseAddress(String(owner)) };
  if (parsed.kind !== "key" || entry.id === undefined || entry.owner === undefined) return [];
  return [{ id: entry.id, key: parsed.key, owner: entry.owner, from: String(from) || undefined }];
}

interface Entry {
  readonly id: TokenId;
  readonly key: PublicKey;
  readonly owner: Address;
  readonly from: string | undefined;
}

const isWhole = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
/** What a device holds, and so what may go in one second. */
const MAX_PEERS = 65_536;

const DOUBTS = "doubts";
const REMOVALS = "removals";
