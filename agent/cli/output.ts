/** What commands write: plain ASCII, so that nothing from the chain moves a cursor or turns a line around. */
import { getAddress } from "ethers/address";

export function print(...lines: readonly string[]): void {
  process.stdout.write(lines.map((line) => `${line}\n`).join(""));
}

/** Progress and remarks, apart from what a script reads. */
export function remark(line: string): void {
  process.stderr.write(`${line}\n`);
}

export function printJson(value: unknown): void {
  const json = JSON.stringify(value, (_, each: unknown) => (typeof each === "bigint" ? String(each) : each), 2);
  print(json.replace(/[^\x20-\x7e\n]/g, escaped));
}

/** One of several objects, each on a line of its own. */
export function printLine(value: object): void {
  print(shown(JSON.stringify(value)));
}

/** A text that somebody else wrote, on one line. */
export function shown(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, escaped);
}

/** Addresses as EIP-55 writes them, whoever wrote the text. */
export function withChecksums(text: string): string {
  return text.replace(/\b0x[0-9a-f]{40}\b/g, (address) => getAddress(address));
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

const COLOURS = { red: 31, green: 32, yellow: 33 } as const;

/** In colour on a terminal, unless NO_COLOR is set and not empty (https://no-color.org). */
export function painted(text: string, colour: keyof typeof COLOURS): string {
  const isWanted = process.stdout.isTTY && !process.env["NO_COLOR"] && process.env["TERM"] !== "dumb";
  return isWanted ? `\u001b[${COLOURS[colour]}m${text}\u001b[0m` : text;
}

/** Columns as wide as their widest cell. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const width = (column: number) => Math.max(...rows.map((row) => row[column]?.length ?? 0));
  return rows.map((row) =>
    row
      .map((cell, i) => cell.padEnd(width(i)))
      .join("  ")
      .trimEnd(),
  );
}
