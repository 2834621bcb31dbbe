/**
 * Comma-separated values, RFC 4180, in UTF-8. A reader of our own, because every mistake is told at once and with its
 * line, where those to be had stop at the first or repair what they think was meant.
 */

export interface Row {
  /** Of its first character; 1 is the first line of the file. */
  readonly line: number;
  readonly cells: readonly string[];
}

export interface Mistake {
  readonly line: number;
  readonly problem: string;
}

/** Lines end with LF, CRLF or CR; a byte order mark is passed over; so are rows without a character in any cell. */
export function readCsv(bytes: Uint8Array): { rows: Row[]; mistakes: Mistake[]; emptyRows: number } {
  const decoded = decode(bytes);
  if (typeof decoded !== "string") return { rows: [], mistakes: [decoded], emptyRows: 0 };
  const mistakes: Mistake[] = [];
  const rows: Row[] = [];
  let emptyRows = 0;
  for (const row of rowsOf(decoded, mistakes)) {
    if (row.cells.some((cell) => cell !== "")) rows.push(row);
    else emptyRows++;
  }
  return { rows, mistakes, emptyRows };
}

/** The text that spreadsheets and `readCsv` take for these rows. */
export function writeCsv(rows: readonly (readonly string[])[]): string {
  return rows.map((cells) => `${cells.map((cell) => quoted(defused(cell))).join(",")}\r\n`).join("");
}

/** What a cell says that `writeCsv` wrote, or that a spreadsheet marked as text. */
export function plainCell(cell: string): string {
  const text = cell.trim();
  return text.startsWith("'") ? text.slice(1) : text;
}

// A cell that begins so is a formula to spreadsheets, and runs: https://owasp.org/www-community/attacks/CSV_Injection
function defused(cell: string): string {
  return /^\s*['=+\-@\t\r\n|%]/.test(cell) ? `'${cell}` : cell;
}

function quoted(cell: string): string {
  return /[",;\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}

function decode(bytes: Uint8Array): string | Mistake {
  const [first, second] = bytes;
  if ((first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff)) {
    return { line: 1, problem: "the file is UTF-16: save it as CSV UTF-8" };
  }
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    const nul = text.indexOf("\0");
    return nul < 0 ? text : { line: lineAt(text, nul), problem: "there is a zero byte: this is no text" };
  } catch {
    return { line: 1, problem: "the file is not UTF-8: save it as CSV UTF-8" };
  }
}

const lineAt = (text: string, at: number) => text.slice(0, at).split(/\r\n|[\r\n]/).length;

const CELL = /[^",\r\n]*/y;
const QUOTED = /"((?:[^"]|"")*)"/y;
const REST = /[^\r\n]*/y;
const END = /\r\n|\r|\n/y;

function* rowsOf(text: string, mistakes: Mistake[]): Generator<Row> {
  let [at, line] = [0, 1];
  const take = (pattern: RegExp) => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match !== null) at = pattern.lastIndex;
    return match;
  };
  while (at < text.length) {
    const start = line;
    const cells: string[] = [];
    let isSound = true;
    const wrong = (problem: string) => {
      mistakes.push({ line, problem });
      isSound = false;
      take(REST);
    };
    do {
      if (text[at] !== '"') {
        cells.push(take(CELL)?.[0] ?? "");
        if (text[at] === '"') wrong('a quote inside a cell that does not begin with one: write "…""…"');
        continue;
      }
      const cell = take(QUOTED)?.[1];
      if (cell === undefined) {
        mistakes.push({ line, problem: "a quote is opened and never closed" });
        return;
      }
      cells.push(cell.replaceAll('""', '"'));
      line += cell.split(/\r\n|[\r\n]/).length - 1;
      if (at < text.length && !/[,\r\n]/.test(text[at] ?? "")) wrong("there is text behind a closing quote");
    } while (text[at] === "," && ++at);
    if (isSound) yield { line: start, cells };
    if (take(END) !== null) line++;
  }
}
