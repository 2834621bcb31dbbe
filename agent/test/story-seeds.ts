/** What the story's random walks share: where their seeds come from, how long they are, and their one source of chance. */

/** `FULL=true` (`scripts/test.sh --full`) walks ten times as far. */
export const TIMES = process.env["FULL"] === "true" ? 10 : 1;

/** The kept ones and a new one; `SEED=1,2,3` walks these alone. */
export function seeds(...kept: readonly number[]): readonly number[] {
  const asked = process.env["SEED"];
  return asked === undefined ? [...kept, Date.now() % 1_000_000] : asked.split(",").map(Number);
}

/** Draws that follow from the seed alone, so that a seed is the whole story. */
export class Chance {
  readonly seed: number;
  #state: number;

  constructor(seed: number) {
    this.seed = seed;
    this.#state = seed >>> 0;
  }

  /** 0 to 1; mulberry32. */
  readonly next = (): number => {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };

  happens(probability: number): boolean {
    return this.next() < probability;
  }

  /** 0 to `limit` − 1. */
  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  oneOf<T>(items: readonly T[]): T | undefined {
    return items[this.below(items.length)];
  }
}

/** How often each thing was done, for the line that a run ends with. */
export class Tally {
  readonly counts = new Map<string, number>();

  add(what: string, by = 1): void {
    this.counts.set(what, this.of(what) + by);
  }

  addAll(...others: readonly Tally[]): void {
    for (const { counts } of others) for (const [what, count] of counts) this.add(what, count);
  }

  of(what: string): number {
    return this.counts.get(what) ?? 0;
  }

  /** Most of all first. */
  toString(): string {
    const sorted = [...this.counts].sort(([, a], [, b]) => b - a);
    return sorted.map(([what, count]) => `${count.toLocaleString("en")} ${what}`).join(", ");
  }
}
