/** The printed table: what was measured, what is asked of it, what stands beside it, and what changed since the last one. Pure. */
import { type Figure, quantity } from "./figure.ts";

/** By name, what the last table said. */
export type Last = ReadonlyMap<string, Pick<Figure, "value" | "unit">>;

export function table(figures: readonly Figure[], last: Last): string {
  const rows = figures.map((row) => [
    row.name,
    quantity(row.value, row.unit),
    row.goal === null ? "" : `<= ${quantity(row.goal, row.unit)}`,
    row.met === null ? "" : row.met ? "met" : "MISSED",
    row.baseline === null ? "" : `${row.baseline.name} ${quantity(row.baseline.value, row.baseline.unit)}`,
    change(row, last),
    row.note ?? "",
  ]);
  const head = ["figure", "value", "goal", "", "beside it, in the same run", "change", "how"];
  return `${aligned([head, ...rows]).join("\n")}\n\n${summary(figures)}\n`;
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

function summary(figures: readonly Figure[]): string {
  const asked = figures.filter(({ met }) => met !== null);
  const missed = asked.filter(({ met }) => met === false).map(({ name }) => name);
  const counts = `${figures.length} figures, ${asked.length - missed.length} of ${asked.length} goals met`;
  return missed.length === 0 ? counts : `${counts}; missed:\n${missed.map((name) => `  ${name}`).join("\n")}`;
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
