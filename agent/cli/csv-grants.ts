/** The rows of `grant --csv`, and all that is wrong with them: in themselves, with one another, and with the chain. Pure. */
import { type Address, type TokenId, ZERO_ADDRESS } from "../model.ts";
import { claimants, named, type Registry } from "../registry/registry.ts";
import { type Mistake, plainCell, type Row, readCsv } from "./csv.ts";
import { shown } from "./output.ts";
import { typedAddress, typedKey, typedName } from "./typed.ts";

/** What `list --csv` writes; `grant --csv` reads `token_uri` as well. */
export const COLUMNS = ["to", "node_id", "key"] as const;
const OPTIONAL = ["key", "token_uri"];
const KNOWN: readonly string[] = [...COLUMNS, "token_uri"];

export interface Grant {
  readonly line: number;
  readonly to: Address;
  readonly nodeId: string;
  /** Empty: its holder registers one later. */
  readonly key: string;
  readonly tokenUri: string;
}

export interface Read {
  readonly grants: readonly Grant[];
  readonly mistakes: readonly Mistake[];
  readonly emptyRows: number;
}

export function grantsIn(bytes: Uint8Array): Read {
  const { rows, mistakes, emptyRows } = readCsv(bytes);
  const [header, ...body] = rows;
  const columns = header === undefined ? [] : columnsIn(header, mistakes);
  const seen: Seen[] = [];
  const grants = columns.length === 0 ? [] : body.flatMap((row) => grantIn(row, columns, mistakes, seen) ?? []);
  mistakes.push(...twice(seen));
  if (mistakes.length === 0 && body.length === 0) mistakes.push({ line: 1, problem: "there is no row to grant" });
  return { grants, mistakes: mistakes.toSorted((a, b) => a.line - b.line), emptyRows };
}

export interface Held {
  readonly grants: readonly Grant[];
  /** Rows that the chain has already, by their lines: a token of this name, owner and key. */
  readonly present: ReadonlyMap<number, TokenId>;
  readonly mistakes: readonly Mistake[];
}

/** Names and keys are unlike those of any active token, or the row is that very token. */
export function heldAgainst(registry: Registry, grants: readonly Grant[]): Held {
  const present = new Map<number, TokenId>();
  const mistakes: Mistake[] = [];
  const fresh: Grant[] = [];
  for (const grant of grants) {
    const [namesake] = named(registry, grant.nodeId);
    const [claimant] = grant.key === "" ? [] : claimants(registry, grant.key);
    const isSame = namesake?.owner === grant.to && (grant.key === "" || namesake.claim?.key === grant.key);
    if (namesake !== undefined && isSame) present.set(grant.line, namesake.id);
    else if (namesake !== undefined) {
      mistakes.push({
        line: grant.line,
        problem: `the name ${grant.nodeId} is taken: active token ${namesake.id} has it`,
      });
    } else if (claimant !== undefined) {
      mistakes.push({ line: grant.line, problem: `the key is taken: active token ${claimant.id} has it` });
    } else fresh.push(grant);
  }
  return { grants: fresh, present, mistakes };
}

function columnsIn({ line, cells }: Row, mistakes: Mistake[]): string[] {
  const names = cells.map((cell) => cell.trim().toLowerCase());
  const wrong = (problem: string) => mistakes.push({ line, problem });
  const expected = `the first row must name the columns ${COLUMNS.join(", ")} (and token_uri, if wanted)`;
  if (names.length === 1 && /[;\t]/.test(names[0] ?? "")) {
    wrong("columns must be separated by commas, not by semicolons or tabs");
    return [];
  }
  for (const name of COLUMNS) {
    if (!names.includes(name) && !OPTIONAL.includes(name)) wrong(`the column ${name} is missing: ${expected}`);
  }
  for (const [i, name] of names.entries()) {
    if (!KNOWN.includes(name)) wrong(`there is no column ${shown(name.slice(0, 40)) || "without a name"}: ${expected}`);
    else if (names.indexOf(name) < i) wrong(`the column ${name} is there twice`);
  }
  return mistakes.some((mistake) => mistake.line === line) ? [] : names;
}

/** What must be there only once, of every row that has it, whatever else is wrong with the row. */
type Seen = { readonly line: number; readonly nodeId: string | undefined; readonly key: string | undefined };

function grantIn(
  { line, cells }: Row,
  columns: readonly string[],
  mistakes: Mistake[],
  seen: Seen[],
): Grant | undefined {
  if (cells.length !== columns.length) {
    mistakes.push({ line, problem: `it has ${cells.length} cells, and the first row ${columns.length}` });
    return undefined;
  }
  const before = mistakes.length;
  const cell = (column: string) => plainCell(cells[columns.indexOf(column)] ?? "");
  const parsed = <T>(column: string, parse: (text: string) => T): T | undefined => {
    try {
      return parse(cell(column));
    } catch (error) {
      mistakes.push({ line, problem: `${column}: ${(error as Error).message}` });
      return undefined;
    }
  };
  const to = parsed("to", typedAddress);
  const nodeId = parsed("node_id", typedName);
  // Never quoted: whoever mistakes one key for the other has put a private one here.
  const key = parsed("key", (text) => (text === "" ? "" : typedKey(text)));
  if (to === ZERO_ADDRESS) mistakes.push({ line, problem: "to: the zero address can hold no token" });
  seen.push({ line, nodeId, key });
  if (to === undefined || nodeId === undefined || key === undefined || mistakes.length > before) return undefined;
  return { line, to, nodeId, key, tokenUri: cell("token_uri") };
}

function twice(seen: readonly Seen[]): Mistake[] {
  const mistakes: Mistake[] = [];
  for (const column of ["nodeId", "key"] as const) {
    const first = new Map<string, number>();
    for (const { line, [column]: text = "" } of seen) {
      const before = first.get(text);
      if (text === "") continue;
      if (before === undefined) first.set(text, line);
      else {
        const what = column === "key" ? "its key" : `the name ${text}`;
        mistakes.push({ line, problem: `${what} is on line ${before} already` });
      }
    }
  }
  return mistakes;
}
