/** The printed table: what was measured, what is asked of it, what stands beside it, and what changed since the last one. Pure. */
import { type Figure, quantity } from "./figure.ts";

/** By name, what the last table said. */
export type Last = ReadonlyMap<string, Pick<Figure, "value" | "unit">>;

export function table(figures: readonly Figure[], last: Last): string {
  const notes = [...new Set(figures.flatMap(({ note }) => note ?? []))];
  const rows = figures.map((row) => [
    row.note === undefined ? row.name : `${row.name} [${notes.indexOf(row.note) + 1}]`,
    quantity(row.value, row.unit),
    row.goal === null ? "" : `<= ${quantity(row.goal, row.unit)}`,
    row.met === null ? "" : row.met ? "met" : "MISSED",
    beside(row),
    change(row, last),
  ]);
  const head = ["figure", "value", "goal", "", "beside it, in the same run", "change"];
  const paragraphs = [aligned([head, ...rows]), notes.map((note, i) => `[${i + 1}] ${note}`), summary(figures)];
  return paragraphs.flatMap((lines) => (lines.length === 0 ? [] : `${lines.join("\n")}\n`)).join("\n");
}

function beside({ baseline, ours }: Figure): string {
  if (baseline === null) return "";
  const theirs = `${baseline.name} ${quantity(baseline.value, baseline.unit)}`;
  return ours === undefined ? theirs : `${quantity(ours, baseline.unit)} : ${theirs}`;
}

/** From the last table to this one. Below a hundredth of the value it is the same. */
export function change({ name, value, unit }: Figure, last: Last): string {
  const before = last.get(name);
  if (before === undefined || before.unit !== unit) return "new";
  if (value === before.value) return "same";
  if (before.value === 0) return `was ${quantity(0, unit)}`;
  const percent = (value / before.value - 1) * 100;
  if (Math.abs(percent) < 1) return "same";
  return `${percent > 0 ? "+" : ""}${percent.toFixed(0)} %`;
}

function summary(figures: readonly Figure[]): string[] {
  const asked = figures.filter(({ met }) => met !== null);
  const missed = asked.filter(({ met }) => met === false).map(({ name }) => name);
  const counts = `${figures.length} figures, ${asked.length - missed.length} of ${asked.length} goals met`;
  return missed.length === 0 ? [counts] : [`${counts}; missed:`, ...missed.map((name) => `  ${name}`)];
}

const NUMBERS = [1, 2, 5];

function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => [...(row[column] ?? "")].length)));
  const padded = (text: string, column: number) => {
    const space = " ".repeat((widths[column] ?? 0) - [...text].length);
    return NUMBERS.includes(column) ? space + text : text + space;
  };
  return rows.map((row) => row.map(padded).join("  ").trimEnd());
}
