/**
 * The chain as we have seen it: the registry at the last final block, and for each unfinal block its events and the
 * registry after it. A reorg drops blocks and a late log folds them again, so no event needs an inverse.
 */
import {
  type AccessEvent,
  type Advance,
  AFTER_LOGS,
  type BlockRef,
  comparePositions,
  type Observed,
  type TokenId,
  type Trail,
} from "../model.ts";
import { foldAll } from "./fold.ts";
import { emptyRegistry, type Registry, unreadIds } from "./registry.ts";

export interface Ledger {
  readonly final: BlockRef;
  /** The registry after the final block and everything before it. */
  readonly settled: Registry;
  readonly unfinal: readonly Unfinal[];
  /** What a state read above the newest block has taken away, until the logs have come that far. */
  readonly ahead: readonly Observed[];
  /** The registry after the newest block, without what `ahead` has taken away. */
  readonly registry: Registry;
}

export interface Unfinal {
  readonly block: BlockRef;
  /** In the order of their positions. */
  readonly events: readonly AccessEvent[];
  readonly registry: Registry;
  readonly touched: ReadonlySet<TokenId>;
}

/** A ledger that has seen nothing yet; `final` is the last block before the contract's first. */
export function emptyLedger(final: BlockRef): Ledger {
  const registry = emptyRegistry();
  return { final, settled: registry, unfinal: [], ahead: [], registry };
}

export interface Advanced {
  readonly ledger: Ledger;
  /** The tokens whose record may be another one than before. */
  readonly touched: ReadonlySet<TokenId>;
}

export function advance(ledger: Ledger, step: Advance): Advanced {
  const { ahead } = ledger;
  if (ahead.length === 0) return advanced(ledger, step);
  const next = advanced(withoutAhead(ledger), step);
  const { number } = next.ledger.unfinal.at(-1)?.block ?? next.ledger.final;
  const left = ahead.filter(({ at }) => at.block > number);
  const again = foresee(next.ledger, left);
  const out = new Set(ahead.map(({ tokenId }) => tokenId));
  return { ledger: again.ledger, touched: union([next.touched, out]) };
}

function advanced(ledger: Ledger, step: Advance): Advanced {
  switch (step.kind) {
    case "history": {
      const { registry, touched } = foldAll(ledger.settled, step.events);
      const again = refolded({ ...ledger, final: step.to, settled: registry }, NOTHING_NEW, 0);
      return { ledger: again.ledger, touched: union([touched, again.touched]) };
    }
    case "extend": {
      const { number, hash } = step.block;
      const { registry, touched } = foldAll(ledger.registry, step.events);
      const unfinal = [...ledger.unfinal, { block: { number, hash }, events: step.events, registry, touched }];
      return { ledger: { ...ledger, unfinal, registry }, touched };
    }
    case "rewind": {
      const kept = countUpTo(ledger, step.to);
      const unfinal = ledger.unfinal.slice(0, kept);
      const dropped = ledger.unfinal.slice(kept);
      const rest = { ...ledger, unfinal, registry: registryAtTip({ ...ledger, unfinal }) };
      const again = inserted(rest, readsThatHold(rest, dropped), () => kept - 1);
      return { ledger: again.ledger, touched: union([...dropped.map(({ touched }) => touched), again.touched]) };
    }
    case "finalise": {
      const told = inserted(ledger, step.missed, (event) => placeOf(ledger, step.to, event));
      const count = countUpTo(told.ledger, step.to);
      const settled = told.ledger.unfinal[count - 1]?.registry ?? told.ledger.settled;
      const unfinal = told.ledger.unfinal.slice(count);
      return { ledger: { ...told.ledger, final: step.to, settled, unfinal }, touched: told.touched };
    }
  }
}

/**
 * Takes in what was read from the state after a block: `key-read` and `observed`. A read of a block that is neither
 * unfinal nor the final one is let go: the block may not be ours any more, and whoever asked asks again.
 */
export function observe(ledger: Ledger, reads: readonly AccessEvent[]): Advanced {
  const places = new Map(ledger.unfinal.map(({ block }, index): [string, number] => [block.hash, index]));
  places.set(ledger.final.hash, SETTLED);
  const next = inserted(withoutAhead(ledger), reads, ({ blockHash }) => places.get(blockHash));
  const again = foresee(next.ledger, ledger.ahead);
  return { ledger: again.ledger, touched: next.touched };
}

/**
 * Takes away what is gone by the state after a block that the logs have not come to. It is part of no block: what the logs
 * in between say is folded without it, for a transfer seen before its turn would lend the next owner what the last one set.
 */
export function foresee(ledger: Ledger, removals: readonly Observed[]): Advanced {
  if (removals.length === 0) return { ledger, touched: new Set() };
  const { registry, touched } = foldAll(ledger.registry, removals);
  return { ledger: { ...ledger, ahead: [...ledger.ahead, ...removals], registry }, touched };
}

function withoutAhead(ledger: Ledger): Ledger {
  return ledger.ahead.length === 0 ? ledger : { ...ledger, ahead: [], registry: registryAtTip(ledger) };
}

/** After the newest block, whatever may be ahead of it. */
export function registryAtTip({ unfinal, settled }: Pick<Ledger, "unfinal" | "settled">): Registry {
  return unfinal.at(-1)?.registry ?? settled;
}

/**
 * What was read of a key after a dropped block holds after the newest that stays, where nothing in between has to do with
 * its token: a reorg that leaves the announcement alone takes nobody's peer until the contract answers once more.
 */
function readsThatHold({ registry, unfinal, final }: Ledger, dropped: readonly Unfinal[]): AccessEvent[] {
  const open = new Map(unreadIds(registry).map((id) => [id, registry.maps.records.get(id)]));
  const { number, hash } = unfinal.at(-1)?.block ?? final;
  const reads: AccessEvent[] = [];
  for (const event of dropped.flatMap(({ events }) => events)) {
    // Whatever an unreadable one meant, the contract may have taken it.
    if (open.size === 0 || event.kind === "invalid") break;
    if (event.kind === "owner-key-update") {
      for (const [id, token] of open) if (token?.owner === event.owner) open.delete(id);
      continue;
    }
    const token = open.get(event.tokenId);
    open.delete(event.tokenId);
    if (token === undefined || event.kind !== "key-read") continue;
    // Neither announced nor the token's own, it answers nothing: that is asked again.
    const isAnswer = token.claim?.key === event.key || registry.maps.announced.get(token.owner)?.has(event.key);
    if (isAnswer) reads.push({ ...event, at: { block: number, logIndex: AFTER_LOGS }, blockHash: hash });
  }
  return reads;
}

/** What the chain room needs to go on. */
export function trail({ final, unfinal }: Ledger): Trail {
  return { final, unfinal: unfinal.map(({ block }) => block) };
}

/** The tokens whose key waits to be read from the contract, as of the newest block. */
export function unread({ registry }: Ledger): TokenId[] {
  return unreadIds(registry);
}

/** Where an event belongs: the index of an unfinal block, or the registry below them all. */
type Place = number;
const SETTLED: Place = -1;

// Blocks without events may be missing from the ledger, so a late log joins the next block that is there, and one that
// is final joins a block that becomes final with it: a reorg must not drop it with the block that it was put into.
function placeOf(ledger: Ledger, final: BlockRef, { at }: AccessEvent): Place {
  const count = countUpTo(ledger, final);
  const next = ledger.unfinal.findIndex(({ block }) => block.number >= at.block);
  if (at.block <= final.number) return next === -1 || next >= count ? count - 1 : next;
  return next === -1 ? ledger.unfinal.length - 1 : next;
}

/** Puts each event where `placeOf` says, in the order of positions there, and folds again from the first such place. */
function inserted(
  ledger: Ledger,
  events: readonly AccessEvent[],
  placeOf: (event: AccessEvent) => Place | undefined,
): Advanced {
  const added = Map.groupBy(events, placeOf);
  added.delete(undefined);
  if (added.size === 0) return { ledger, touched: new Set() };
  const { registry, touched } = foldAll(ledger.settled, (added.get(SETTLED) ?? []).toSorted(byPosition));
  const first = Math.max(0, Math.min(...[...added.keys()].map((place) => place ?? 0)));
  const again = refolded({ ...ledger, settled: registry }, added, first);
  return { ledger: again.ledger, touched: union([touched, again.touched]) };
}

function refolded(
  ledger: Ledger,
  added: ReadonlyMap<Place | undefined, readonly AccessEvent[]>,
  first: Place,
): Advanced {
  const unfinal = ledger.unfinal.slice(0, first);
  const again = ledger.unfinal.slice(first);
  for (const [index, { block, events: known }] of again.entries()) {
    const late = added.get(first + index);
    const events = late === undefined ? known : [...known, ...late].sort(byPosition);
    unfinal.push({ block, events, ...foldAll(registryAtTip({ ...ledger, unfinal }), events) });
  }
  const touched = union([...again, ...unfinal.slice(first)].map((block) => block.touched));
  return { ledger: { ...ledger, unfinal, registry: registryAtTip({ ...ledger, unfinal }) }, touched };
}

function countUpTo({ unfinal }: Ledger, { number }: BlockRef): number {
  const first = unfinal.findIndex(({ block }) => block.number > number);
  return first === -1 ? unfinal.length : first;
}

function byPosition(a: AccessEvent, b: AccessEvent): number {
  return comparePositions(a.at, b.at);
}

function union(sets: readonly ReadonlySet<TokenId>[]): ReadonlySet<TokenId> {
  const all = new Set<TokenId>();
  for (const set of sets) for (const id of set) all.add(id);
  return all;
}

const NOTHING_NEW: ReadonlyMap<Place, readonly AccessEvent[]> = new Map();
