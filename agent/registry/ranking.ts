/** A queue for a limited number of places: whoever stands within the limit has one. A change costs what it moves. */
export interface Ranking<T> {
  readonly order: (a: T, b: T) => number;
  readonly limit: number;
  ranked: T[];
  added: T[];
  removed: T[];
}

export function emptyRanking<T>(order: (a: T, b: T) => number, limit: number): Ranking<T> {
  return { order, limit, ranked: [], added: [], removed: [] };
}

/** Takes the additions and removals in. Returns every item in the queue that may have gained or lost its place. */
export function settled<T>(ranking: Ranking<T>): T[] {
  const { order, limit, added, removed } = ranking;
  const moves = added.length + removed.length;
  const wasFull = ranking.ranked.length > limit;
  if (moves > MANY) {
    const gone = new Set(removed);
    const stay = gone.size === 0 ? ranking.ranked : ranking.ranked.filter((item) => !gone.has(item));
    ranking.ranked = merged(stay, added.toSorted(order), order);
  } else {
    for (const item of removed) ranking.ranked.splice(indexOf(ranking, item), 1);
    for (const item of added) ranking.ranked.splice(indexOf(ranking, item), 0, item);
  }
  ranking.added = [];
  ranking.removed = [];
  if (!wasFull && ranking.ranked.length <= limit) return added;
  // Nobody further from the edge than there were moves can have crossed it.
  return [...added, ...ranking.ranked.slice(Math.max(0, limit - moves), limit + moves)];
}

/** As of the last `settled`. */
export function hasPlace<T>({ order, limit, ranked }: Ranking<T>, item: T): boolean {
  const last = ranked[limit - 1];
  return last === undefined || order(item, last) <= 0;
}

/** Of two ranked lists. A history that is read in order only ever adds at the end. */
function merged<T>(ranked: readonly T[], added: readonly T[], order: (a: T, b: T) => number): T[] {
  const [last, next] = [ranked.at(-1), added[0]];
  const all = ranked.concat(added);
  return last === undefined || next === undefined || order(last, next) <= 0 ? all : all.sort(order);
}

/** The index of the first item that is not before this one. */
function indexOf<T>({ order, ranked }: Ranking<T>, item: T): number {
  let [low, high] = [0, ranked.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    const other = ranked[middle];
    if (other !== undefined && order(other, item) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** From here on one sort is cheaper than moving each item by itself. */
const MANY = 200;
