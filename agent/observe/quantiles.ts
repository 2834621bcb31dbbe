/** Quantiles of the last `size` values; exact, and sorted only when asked and something was added. */
export interface Quantiles {
  add(value: number): void;
  /** `q` from 0 to 1, nearest rank; undefined before the first value. */
  at(q: number): number | undefined;
  max(): number | undefined;
}

export function createQuantiles(size: number): Quantiles {
  const ring = new Float64Array(size);
  let [added, sorted] = [0, new Float64Array(0)];
  let isSorted = true;
  const ascending = () => {
    if (!isSorted) sorted = ring.slice(0, Math.min(added, size)).sort();
    isSorted = true;
    return sorted;
  };
  return {
    add(value) {
      ring[added++ % size] = value;
      isSorted = false;
    },
    at: (q) => ascending()[Math.max(0, Math.ceil(q * ascending().length) - 1)],
    max: () => ascending().at(-1),
  };
}
