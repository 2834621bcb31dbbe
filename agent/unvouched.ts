/**
 * Nobody is let in by one upstream's word where there are several: a log can be altered where no bloom shows it, and a whole
 * head made up. Whom a step has touched waits here until somebody vouches for it; removals wait for nobody.
 */
import type { Agent, Parts } from "./agent.ts";
import type { UpstreamStatus } from "./chain/rpc.ts";
import { unproven } from "./doubts.ts";
import { type Admitted, endpointText, parseEndpoint, parseTokenId, ROLES, type Role, type TokenId } from "./model.ts";
import { noted, rowsIn } from "./notes.ts";
import { token } from "./registry/registry.ts";
import { unwitnessedLimit } from "./witness.ts";

export interface Unvouched {
  /** Since when nobody has vouched for it, nor an upstream been on the way to its block (steady time). */
  readonly sinceMs: number;
  /** Our newest block before or after it was touched, or last denied: whoever vouches for it must have come so far. */
  readonly sinceBlock: number;
  /** An upstream tells otherwise: time alone does not let it in. */
  readonly dispute: Dispute | undefined;
  /** And so it has no peer, though it had one. */
  readonly isDenied: boolean;
  /** What it was to others before: until somebody vouches for it, it is no more. */
  readonly was: Duty | undefined;
}

/** By its state of the token, or only by having another block in place of one of ours. */
export type Dispute = "state" | "block";
type Duty = Pick<Admitted, "role" | "endpoint">;

/**
 * A first history longer than this is not asked about token by token, but for nodes and gateways: another upstream tells it
 * again (`retelling.ts`).
 */
export const MANY = 400;

interface Told {
  /** By the whole history. */
  readonly isReread?: boolean;
  /** Our newest block before: a fork that goes back below it is vouched for by nobody who has not come so far. */
  readonly tipBefore?: number;
}

/** What was said of these tokens is one upstream's word until somebody vouches for it. */
export function mistrust(agent: Agent, ids: Iterable<TokenId>, { isReread = false, tipBefore = 0 }: Told = {}): void {
  if (agent.rpc.upstreams().length < 2) return;
  const { unvouched: all } = agent;
  const isFirst = agent.isInHistory && !agent.hasArrived;
  for (const id of ids) {
    const before = all.get(id);
    const isAsked = !isFirst || all.size < MANY || before !== undefined || isNode(agent, id);
    if (!isAsked) continue;
    // What the chain that we follow tells anew settles no dispute; a history that is read again does.
    const { dispute, isDenied = false } = isReread ? {} : (before ?? {});
    const was = before === undefined ? dutyOf(agent, id) : before.was;
    const { sinceMs, sinceBlock } = at(agent);
    all.set(id, { sinceMs, sinceBlock: Math.max(tipBefore, sinceBlock), dispute, isDenied, was });
  }
}

/**
 * Takes their peers from as many of these tokens as one upstream's word may take: not the same number anew every ten minutes.
 * @param witnessed those of them that another one denies, too
 * @returns those
 */
export function deny(agent: Agent, ids: readonly TokenId[], witnessed: readonly TokenId[] = []): readonly TokenId[] {
  for (const id of witnessed) agent.witnessed.add(id);
  const already = [...agent.unvouched.values()].filter(({ isDenied }) => isDenied).length;
  const room = unwitnessedLimit(agent.running.size + already) - already;
  const beyond = new Set(unproven(agent, ids));
  const alone = ids.filter((id) => !beyond.has(id) && !witnessed.includes(id));
  const denied = [...witnessed, ...alone.slice(0, Math.max(0, room))];
  for (const id of denied) {
    const before = agent.unvouched.get(id);
    const was = before === undefined ? dutyOf(agent, id) : before.was;
    agent.unvouched.set(id, { ...at(agent), dispute: before?.dispute ?? "block", isDenied: true, was });
  }
  return denied;
}

/** An upstream tells otherwise than our newest block. */
export function noteDispute(agent: Agent, id: TokenId, before: Unvouched, dispute: Dispute): void {
  agent.unvouched.set(id, { ...before, sinceBlock: at(agent).sinceBlock, dispute });
}

function at({ now, ledger }: Agent): Pick<Unvouched, "sinceMs" | "sinceBlock"> {
  return { sinceMs: now().steadyMs, sinceBlock: (ledger.unfinal.at(-1)?.block ?? ledger.final).number };
}

const isNode = ({ ledger }: Pick<Agent, "ledger">, id: TokenId) =>
  (token(ledger.registry, id)?.role ?? "member") !== "member";

function dutyOf({ roster: { self }, nodes, topology }: Agent, id: TokenId): Duty | undefined {
  if (self.kind === "found" && self.token.id === id) return { role: topology.role, endpoint: undefined };
  return nodes.get(id);
}

/** Whether nobody need vouch for the token any more. */
export function mayBelieve({ unvouched }: Pick<Agent, "unvouched">, id: TokenId): boolean {
  return !unvouched.has(id);
}

/**
 * What the token may be to others: until somebody vouches for it no more than it was before, and where it was. A role or an
 * endpoint is one upstream's word like a key; whatever takes these away acts at once.
 */
export function asVouched(agent: Agent, admitted: Admitted): Admitted {
  const { tokenId, endpoint } = admitted;
  if (mayBelieve(agent, tokenId)) return admitted;
  const role = roleAsVouched(agent, tokenId, admitted.role);
  return { ...admitted, role, endpoint: endpoint && agent.unvouched.get(tokenId)?.was?.endpoint };
}

export function roleAsVouched({ unvouched }: Pick<Agent, "unvouched">, id: TokenId, now: Role): Role {
  const was = unvouched.get(id)?.was?.role ?? "member";
  return mayBelieve({ unvouched }, id) || ROLES.indexOf(now) < ROLES.indexOf(was) ? now : was;
}

/** The upstreams whose word counts. One that is behind may yet come to a block of ours and have another one there. */
export function witnesses({ rpc }: Pick<Agent, "rpc">): UpstreamStatus[] {
  return rpc.upstreams().filter(({ healthy }) => healthy);
}

/** Somebody waits who is not disputed, and has come no later than `untilMs`. */
export function isPressing({ unvouched }: Pick<Agent, "unvouched">, untilMs = Number.POSITIVE_INFINITY): boolean {
  return [...unvouched.values()].some(({ dispute, sinceMs }) => dispute === undefined && sinceMs <= untilMs);
}

/** Tokens of which two upstreams tell differently. */
export function disputed({ unvouched }: Pick<Agent, "unvouched">): TokenId[] {
  return [...unvouched].filter(([, { dispute }]) => dispute !== undefined).map(([id]) => id);
}

/**
 * What the database has to learn together with the ledger, in which their grants are: a restart lets nobody in, and makes
 * nobody a gateway. Whoever has the peer that the registry says was let in before.
 */
export function unvouchedNote({ unvouched, placed, ledger, store }: Agent): Record<string, string> {
  const isOut = (id: TokenId) => placed.get(id)?.key !== token(ledger.registry, id)?.claim?.key;
  const rows = [...unvouched]
    .filter(([id]) => isOut(id) || isNode({ ledger }, id))
    .map(([id, { dispute = "", isDenied, sinceBlock, was }]) => {
      const endpoint = was?.endpoint === undefined ? "" : endpointText(was.endpoint);
      return [String(id), dispute, isDenied, sinceBlock, was?.role ?? "", endpoint];
    })
    .sort(([a = ""], [b = ""]) => (a < b ? -1 : 1));
  const text = rows.length === 0 ? "" : JSON.stringify(rows);
  return noted(store, NOTE, text);
}

/** As the agent before us left it. */
export function unvouchedBefore({ store, now }: Pick<Parts, "store" | "now">): Map<TokenId, Unvouched> {
  const sinceMs = now().steadyMs;
  const entries = rowsIn(store.note(NOTE)).flatMap((row): [TokenId, Unvouched][] => {
    const [id, role] = [parseTokenId(String(row[0])), ROLES.find((one) => one === row[4])];
    const was = role && { role, endpoint: parseEndpoint(String(row[5])) };
    // An agent before this one wrote whether there was a dispute.
    const dispute = row[1] === "block" ? "block" : row[1] ? "state" : undefined;
    const [isDenied, sinceBlock] = [row[2] === true, Number(row[3] ?? 0)];
    return id === undefined ? [] : [[id, { sinceMs, sinceBlock, dispute, isDenied, was }]];
  });
  return new Map(entries);
}

const NOTE = "unvouched";
