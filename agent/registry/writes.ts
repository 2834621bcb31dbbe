/** What a save writes: the tables, and the statements that bring them from what they hold to a ledger. Pure. */
import type { Hash } from "../model.ts";
import type { Ledger, Unfinal } from "./ledger.ts";
import { difference, type Registry } from "./registry.ts";
import { eventsText, positionText, TOKEN_COLUMNS, tokenRow } from "./rows.ts";

export type Write = readonly [sql: string, values?: readonly (string | number | null)[]];

/** What the file holds: of the ledger only as much as telling a difference takes, so that old versions can go. */
export interface Saved {
  readonly settled: Registry;
  readonly blocks: ReadonlyMap<number, Pick<Unfinal, "block" | "events">>;
}

export function savedOf({ settled, unfinal }: Ledger): Saved {
  return { settled, blocks: new Map(unfinal.map(({ block, events }) => [block.number, { block, events }])) };
}

/** @param saved undefined where nothing was ever saved: the tables are empty. */
export function* writes(
  saved: Saved | undefined,
  ledger: Ledger,
  genesis: Hash | undefined,
  notes: Readonly<Record<string, string>>,
): Generator<Write> {
  const { isPartial, records, announcements } = difference(saved?.settled, ledger.settled);
  if (!isPartial) for (const table of ["tokens", "announcements"]) yield [`DELETE FROM ${table}`];
  for (const [id, token] of records) {
    yield token === undefined ? ["DELETE FROM tokens WHERE id = ?", [String(id)]] : [PUT_TOKEN, tokenRow(token)];
  }
  for (const { owner, key, at } of announcements) {
    if (at === undefined) yield ["DELETE FROM announcements WHERE owner = ? AND key = ?", [owner, key]];
    else yield ["INSERT OR REPLACE INTO announcements VALUES (?, ?, ?)", [owner, key, positionText(at)]];
  }

  const blocks = savedOf(ledger).blocks;
  for (const number of saved?.blocks.keys() ?? []) {
    if (!blocks.has(number)) yield ["DELETE FROM blocks WHERE number = ?", [number]];
  }
  for (const [number, { block, events }] of blocks) {
    const before = saved?.blocks.get(number);
    if (before?.block.hash === block.hash && before.events === events) continue;
    yield ["INSERT OR REPLACE INTO blocks VALUES (?, ?, ?)", [number, block.hash, eventsText(events)]];
  }

  yield [PUT_META, ["final_number", String(ledger.final.number)]];
  yield [PUT_META, ["final_hash", ledger.final.hash]];
  if (genesis !== undefined) yield [PUT_META, ["genesis", genesis]];
  for (const [name, value] of Object.entries(notes))
    yield ["INSERT OR REPLACE INTO notes VALUES (?, ?)", [name, value]];
}

const PUT_TOKEN = `INSERT OR REPLACE INTO tokens VALUES (${TOKEN_COLUMNS.map(() => "?").join(", ")})`;
export const PUT_META = "INSERT OR REPLACE INTO meta VALUES (?, ?)";

export const SCHEMA = 1;
export const TABLES = `
  CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE tokens (${TOKEN_COLUMNS.join(", ")}) WITHOUT ROWID;
  CREATE TABLE announcements (owner TEXT, key TEXT, at TEXT NOT NULL, PRIMARY KEY (owner, key)) WITHOUT ROWID;
  CREATE TABLE blocks (number INTEGER PRIMARY KEY, hash TEXT NOT NULL, events TEXT NOT NULL);
  PRAGMA user_version = ${SCHEMA};
`;
