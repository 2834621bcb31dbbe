/** One row of the table, and the arithmetic behind it. Pure. */

/** What users would have instead of it, or the limit that it is held against: measured in the same run. */
export interface Baseline {
  readonly name: string;
  readonly value: number;
  readonly unit: Unit;
}

/** As it stands in the JSON; `null` is what a row does not have. */
export interface Figure {
  /** With its size, such as `fill of 10,000 peers`; no other row has it, and the next run says it again. */
  readonly name: string;
  readonly value: number;
  readonly unit: Unit;
  /** At most, in the figure's own unit. */
  readonly goal: number | null;
  readonly met: boolean | null;
  readonly baseline: Baseline | null;
  /** Where the value is a ratio: what it was worked out from, in the baseline's unit. */
  readonly ours?: number;
  /** How it was taken, where the name does not say it. */
  readonly note?: string;
}

/** `×` is a ratio of two measurements of one run. */
export type Unit = "ms" | "s" | "MB" | "%" | "×" | "pings" | "calls" | "calls/token" | "tokens/s" | "answers/s";

export interface Measured {
  readonly name: string;
  readonly value: number;
  readonly unit: Unit;
  readonly goal?: number;
  readonly baseline?: Baseline;
  readonly note?: string;
}

/** @throws RangeError for a value that is no number: a row without a measurement is no row */
export function figure({ name, value, unit, goal, baseline, note }: Measured): Figure {
  if (!Number.isFinite(value)) throw new RangeError(`${name} was measured as ${value}`);
  return {
    ...{ name, value, unit, goal: goal ?? null, met: goal === undefined ? null : value <= goal },
    ...{ baseline: baseline ?? null, ...(note === undefined ? {} : { note }) },
  };
}

export interface Ratio {
  readonly name: string;
  /** In the baseline's unit. */
  readonly ours: number;
  readonly theirs: Baseline;
  readonly goal?: number;
  readonly note?: string;
}

/** Ours as a multiple of theirs. */
export function ratio({ name, ours, theirs, goal, note }: Ratio): Figure {
  const measured = { name, value: ours / theirs.value, unit: "×", baseline: theirs } as const;
  const asked = { ...(goal === undefined ? {} : { goal }), ...(note === undefined ? {} : { note }) };
  return { ...figure({ ...measured, ...asked }), ours };
}

/** @throws RangeError when there is none */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** The nearest rank: a value that was measured. @param at 0 to 1 @throws RangeError when there is none */
export function quantile(values: readonly number[], at: number): number {
  const ascending = values.toSorted((a, b) => a - b);
  const value = ascending[Math.max(0, Math.ceil(at * ascending.length) - 1)];
  if (value === undefined) throw new RangeError("nothing was measured");
  return value;
}

/** Three digits that count, and thousands apart: `1,310 ms`, `0.042 s`, `1.09 ×`. */
export function quantity(value: number, unit: Unit): string {
  const digits = value === 0 || Math.abs(value) >= 100 ? 0 : Math.min(4, 2 - Math.floor(Math.log10(Math.abs(value))));
  const rounded = Number(value.toFixed(digits));
  return `${rounded.toLocaleString("en-US", { maximumFractionDigits: 4 })} ${unit}`;
}
