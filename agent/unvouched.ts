/**
 * Nobody is let in by one upstream's word where there are several: a log can be altered where no bloom shows it, and a whole
 * head made up. Whom a step has touched waits here until somebody vouches for it; removals wait for nobody.
 */
import type { Agent, Parts } from "./agent.ts";
import type { UpstreamStatus } from "./chain/rpc.ts";
import { rowsIn } from "./doubts.ts";
import { type Admitted, parseTokenId, ROLES, type Role, type TokenId } from "./model.ts";
import { token } from "./registry/registry.ts";

export interface Unvouched {
  /** Since when nobody has vouched for it (steady time). */
  readonly sinceMs: number;
  /** An upstream tells otherwise: time alone does not let it in. */
  readonly isDisputed: boolean;
  /** An upstream whose fork tells it to be out: its peer goes until two tell otherwise. */
  readonly deniedBy: string | undefined;
}

/**
 * A first history longer than this is not asked about token by token, but for nodes and gateways: its fold is the audit's to
 * judge, which asks for no roles.
 */
const MANY = 400;

/** What was said of these tokens is one upstream's word until somebody vouches for it. */
export function mistrust(agent: Agent, ids: Iterable<TokenId>): void {
  if (agent.rpc.upstreams().length < 2) return;
  const unvouched = { sinceMs: agent.now().steadyMs, isDisputed: false, deniedBy: undefined };
  const { unvouched: all, isSettled } = agent;
  const isAsked = (id: TokenId) => isSettled || all.size < MANY || all.has(id) || isNode(agent, id);
  for (const id of ids) if (isAsked(id)) all.set(id, unvouched);
}

/** By the fork of an upstream that we do not follow. */
export function deny(agent: Agent, ids: Iterable<TokenId>, deniedBy: string): void {
  const denied = { sinceMs: agent.now().steadyMs, isDisputed: true, deniedBy };
  for (const id of ids) agent.unvouched.set(id, denied);
}

const isNode = ({ ledger }: Pick<Agent, "ledger">, id: TokenId) =>
  (token(ledger.registry, id)?.role ?? "member") !== "member";

/**
 * Whether nobody need vouch for the token any more. Where fewer than two upstreams are left, whoever is left is believed: a
 * node with one upstream works. What is disputed must be settled; and at a start nobody knows yet who is left.
 */
export function mayBelieve(agent: Agent, id: TokenId): boolean {
  const { unvouched, headSeenMs } = agent;
  const waiting = unvouched.get(id);
  return waiting === undefined || (!waiting.isDisputed && headSeenMs !== undefined && witnesses(agent).length < 2);
}

/**
 * What the token may be to others: until somebody vouches for it no more than it was before, and where it was. A role or an
 * endpoint is one upstream's word like a key; whatever takes these away acts at once.
 */
export function asVouched(agent: Agent, admitted: Admitted): Admitted {
  const { tokenId } = admitted;
  if (mayBelieve(agent, tokenId)) return admitted;
  const before = agent.nodes.get(tokenId);
  const role = roleAsVouched(agent, tokenId, admitted.role, before?.role ?? "member");
  return { ...admitted, role, endpoint: admitted.endpoint && before?.endpoint };
}

export function roleAsVouched(agent: Agent, id: TokenId, now: Role, before: Role): Role {
  return mayBelieve(agent, id) || ROLES.indexOf(now) < ROLES.indexOf(before) ? now : before;
}

/** The upstreams whose word counts. One that is behind may yet come to a block of ours and have another one there. */
export function witnesses({ rpc }: Pick<Agent, "rpc">): UpstreamStatus[] {
  return rpc.upstreams().filter(({ healthy }) => healthy);
}

/** Somebody waits who has not been asked about in vain, and has come no later than `untilMs`. */
export function isPressing({ unvouched }: Pick<Agent, "unvouched">, untilMs = Number.POSITIVE_INFINITY): boolean {
  return [...unvouched.values()].some(({ isDisputed, sinceMs }) => !isDisputed && sinceMs <= untilMs);
}

/** Tokens of which two upstreams tell differently. */
export function disputed({ unvouched }: Pick<Agent, "unvouched">): TokenId[] {
  return [...unvouched].filter(([, { isDisputed }]) => isDisputed).map(([id]) => id);
}

/**
 * What the database has to learn together with the ledger, in which their grants are: a restart lets nobody in, and makes
 * nobody a gateway. Whoever has the peer that the registry says was let in before.
 */
export function unvouchedNote({ unvouched, placed, ledger, store }: Agent): Record<string, string> {
  const isOut = (id: TokenId) => placed.get(id)?.key !== token(ledger.registry, id)?.claim?.key;
  const rows = [...unvouched]
    .filter(([id]) => isOut(id) || isNode({ ledger }, id))
    .map(([id, { isDisputed }]) => [String(id), isDisputed]);
  const text = rows.length === 0 ? "" : JSON.stringify(rows);
  return text === (store.note(NOTE) ?? "") ? {} : { [NOTE]: text };
}

/** As the agent before us left it. */
export function unvouchedBefore({ store, now }: Pick<Parts, "store" | "now">): Map<TokenId, Unvouched> {
  const sinceMs = now().steadyMs;
  const entries = rowsIn(store.note(NOTE)).flatMap(([text, isDisputed]): [TokenId, Unvouched][] => {
    const id = parseTokenId(String(text));
    return id === undefined ? [] : [[id, { sinceMs, isDisputed: isDisputed === true, deniedBy: undefined }]];
  });
  return new Map(entries);
}

const NOTE = "unvouched";
