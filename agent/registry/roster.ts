/** Everybody's present verdict, kept up to date by what a pass touched; at any time it is what `rebuild` would give. */
import type { AccessEvent, Address, Admitted, Endpoint, PublicKey, Refusal, Role, Token, TokenId } from "../model.ts";
import { addresses } from "./addresses.ts";
import {
  additions,
  byClaim,
  duty,
  judged,
  type Moment,
  nextConfirmation,
  type Rules,
  type Self,
  self,
} from "./admission.ts";
import { foldAll } from "./fold.ts";
import { emptyRanking, hasPlace, type Ranking, settled } from "./ranking.ts";
import { claimants, emptyRegistry, named, otherClaimant, type Registry, token, tokens } from "./registry.ts";

export type Verdict = "admitted" | "self" | Refusal;

export interface Roster {
  /** Judges what was touched and whoever depends on it. Returns the ids whose admitted peer is another one now. */
  update(registry: Registry, touched: Iterable<TokenId>, head: number): ReadonlySet<TokenId>;
  /** The same for every token there is. */
  rebuild(registry: Registry, head: number): ReadonlySet<TokenId>;
  /** The same for what was judged last, less what these take away. */
  less(removals: readonly AccessEvent[]): ReadonlySet<TokenId>;
  /** `inactive` also for an id that was never granted. */
  verdict(id: TokenId): Verdict;
  admitted(id: TokenId): Admitted | undefined;
  everybody(): Generator<Admitted>;
  readonly self: Self;
  /** What this node's own token is to others. */
  readonly ownRole: Role;
  /** Active tokens only, without this node's own; codes that nobody has are left out. */
  readonly counts: { readonly admitted: number; readonly quarantined: Readonly<Partial<Record<Refusal, number>>> };
}

export function rosterOf(rules: Rules): Roster {
  /** The active tokens. */
  const entries = new Map<TokenId, Entry>();
  const counts = new Map<Verdict, number>();
  /** The head that confirms something more of the token. */
  const unconfirmed = new Map<TokenId, number>();
  /** Each owner's tokens, where an owner may have only so many; whoever has a place there stands in `places`. */
  const queues = new Map<Address, Ranking<Entry>>();
  const places = emptyRanking(byRank, rules.maxPeers);
  let ours: Self = { kind: "no-token" };
  let lastHead = Number.NEGATIVE_INFINITY;
  let lastRegistry = emptyRegistry();

  return {
    update,
    less(removals) {
      const { registry, touched } = foldAll(lastRegistry, removals);
      return update(registry, touched, lastHead);
    },
    rebuild: (registry, head) => update(registry, [...entries.keys(), ...tokens(registry).map(({ id }) => id)], head),
    verdict: (id) => entries.get(id)?.verdict ?? "inactive",
    admitted: (id) => admitted(entries.get(id)),
    *everybody() {
      for (const entry of entries.values()) {
        const peer = admitted(entry);
        if (peer !== undefined) yield peer;
      }
    },
    get self() {
      return ours;
    },
    get ownRole() {
      return (ours.kind === "found" && entries.get(ours.token.id)?.role) || "member";
    },
    get counts() {
      const { admitted = 0, self: _, ...quarantined }: Partial<Record<Verdict, number>> = Object.fromEntries(counts);
      return { admitted, quarantined };
    },
  };

  function update(registry: Registry, touched: Iterable<TokenId>, head: number): ReadonlySet<TokenId> {
    const asked = new Set(touched);
    for (const id of reconsidered(head)) asked.add(id);
    lastHead = head;
    lastRegistry = registry;
    for (const id of dependants(registry, asked)) asked.add(id);
    const before = ours;
    ours = self(registry, rules.nodeId, rules.ownKey);
    for (const each of [before, ours]) if (each.kind === "found") asked.add(each.token.id);
    const moment: Moment = {
      registry,
      rules,
      head,
      self: ours.kind === "found" ? ours.token.id : undefined,
      winners: new Map(),
      firsts: new Map(),
    };

    const changed = new Set<TokenId>();
    const moved: Entry[] = [];
    const unsettled = new Set<Ranking<Entry>>();
    for (const id of asked) {
      const before = entries.get(id);
      const now = entered(moment, id, before);
      if (before?.key !== undefined) unsettled.add(left(before));
      if (now?.key !== undefined) unsettled.add(joined(now));
      if (now === undefined) {
        entries.delete(id);
        if (before !== undefined) pronounce(before, "inactive", changed);
      } else {
        entries.set(id, now);
        moved.push(now);
        if (before?.verdict === "admitted" && !isSamePeer(before, now)) changed.add(id);
      }
    }
    unsettled.delete(places);
    for (const queue of unsettled) {
      for (const entry of settled(queue)) {
        if (entry.isQueued === hasPlace(queue, entry)) continue;
        entry.isQueued = !entry.isQueued;
        (entry.isQueued ? places.added : places.removed).push(entry);
        moved.push(entry);
      }
    }
    for (const entry of settled(places)) moved.push(entry);
    for (const entry of moved) pronounce(entry, verdictOf(entry), changed);
    return changed;
  }

  /** Who leans on the touched: tokens with the same key, or the same name where a name counts. */
  function dependants(registry: Registry, touched: ReadonlySet<TokenId>): ReadonlySet<TokenId> {
    const leaning = new Set<TokenId>();
    const [keys, names] = [new Set<string>(), new Set<string>()];
    const lean = (id: TokenId, state: Token | undefined) => {
      if (state === undefined) return;
      const { claim, nodeId } = state;
      if (isNamedInSettings(rules, nodeId)) names.add(nodeId);
      if (claim !== undefined && otherClaimant(registry.maps, claim.key, id) !== undefined) keys.add(claim.key);
    };
    for (const id of touched) {
      lean(id, entries.get(id)?.token);
      lean(id, token(registry, id));
    }
    for (const key of keys) for (const rival of claimants(registry, key)) leaning.add(rival.id);
    for (const name of names) for (const namesake of named(registry, name)) leaning.add(namesake.id);
    return leaning;
  }

  /** The tokens of which the new head confirms something, or takes a confirmation back. */
  function reconsidered(head: number): TokenId[] {
    if (head === lastHead) return [];
    if (head > lastHead) return [...unconfirmed].filter(([, from]) => from <= head).map(([id]) => id);
    const confirmed = head - rules.confirmations + 1;
    const isDoubtful = ({ token }: Entry) => additions(token).some((at) => at !== undefined && at.block > confirmed);
    return [...entries.values()].filter(isDoubtful).map(({ token }) => token.id);
  }

  function entered(moment: Moment, id: TokenId, before: Entry | undefined): Entry | undefined {
    const state = token(moment.registry, id);
    const next = state?.active ? nextConfirmation(moment, state) : undefined;
    if (next === undefined) unconfirmed.delete(id);
    else unconfirmed.set(id, next);
    if (!state?.active) return undefined;
    const judgement = id === moment.self ? undefined : judged(moment, state);
    const { role, endpoint } = duty(moment, state);
    return {
      token: state,
      key: judgement?.kind === "key" ? judgement.key : undefined,
      refusal: judgement?.kind === "refused" ? judgement.code : undefined,
      role,
      endpoint,
      isQueued: rules.maxTokensPerOwner === 0,
      verdict: before?.verdict ?? "inactive",
    };
  }

  function joined(entry: Entry): Ranking<Entry> {
    const queue = queueOf(entry);
    queue.added.push(entry);
    return queue;
  }

  function left(entry: Entry): Ranking<Entry> {
    const queue = queueOf(entry);
    queue.removed.push(entry);
    if (queue !== places && entry.isQueued) places.removed.push(entry);
    return queue;
  }

  function queueOf({ token: { owner } }: Entry): Ranking<Entry> {
    if (rules.maxTokensPerOwner === 0) return places;
    const known = queues.get(owner);
    if (known !== undefined) return known;
    const queue = emptyRanking(byRank, rules.maxTokensPerOwner);
    queues.set(owner, queue);
    return queue;
  }

  function verdictOf(entry: Entry): Verdict {
    if (entry.refusal !== undefined) return entry.refusal;
    if (entry.key === undefined) return "self";
    if (!entry.isQueued) return "cap.owner";
    return hasPlace(places, entry) ? "admitted" : "cap.total";
  }

  function pronounce(entry: Entry, verdict: Verdict, changed: Set<TokenId>): void {
    if (verdict === entry.verdict) return;
    count(entry.verdict, -1);
    count(verdict, 1);
    if (verdict === "admitted" || entry.verdict === "admitted") changed.add(entry.token.id);
    entry.verdict = verdict;
  }

  function count(verdict: Verdict, by: 1 | -1): void {
    if (verdict === "inactive") return;
    const left = (counts.get(verdict) ?? 0) + by;
    if (left === 0) counts.delete(verdict);
    else counts.set(verdict, left);
  }

  function admitted(entry: Entry | undefined): Admitted | undefined {
    if (entry?.key === undefined || entry.verdict !== "admitted") return undefined;
    const { token, key, role, endpoint } = entry;
    const own = addresses(rules.addresses, token.id);
    return own.kind === "refused" ? undefined : { tokenId: token.id, key, addresses: own.cidrs, role, endpoint };
  }
}

interface Entry {
  readonly token: Token;
  /** Present where no rule but a cap can refuse the token. */
  readonly key: PublicKey | undefined;
  readonly refusal: Refusal | undefined;
  readonly role: Role;
  readonly endpoint: Endpoint | undefined;
  /** Within the owner's cap. */
  isQueued: boolean;
  verdict: Verdict;
}

function byRank(a: Entry, b: Entry): number {
  return byClaim(a.token, b.token);
}

function isNamedInSettings({ gateways, peerEndpoints }: Rules, nodeId: string): boolean {
  return gateways.has(nodeId) || peerEndpoints.has(nodeId);
}

function isSamePeer(a: Entry, b: Entry): boolean {
  const isSameEndpoint = a.endpoint?.host === b.endpoint?.host && a.endpoint?.port === b.endpoint?.port;
  return a.key === b.key && a.role === b.role && isSameEndpoint;
}
