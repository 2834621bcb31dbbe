/** Notes: what the agent remembers beside the ledger, as texts in its database. */
import type { Store } from "./registry/store.ts";

/** The note as the database has to learn it, and nothing where it says so already; empty for what is no more. */
export function noted(store: Pick<Store, "note">, name: string, text: string): Record<string, string> {
  return text === (store.note(name) ?? "") ? {} : { [name]: text };
}

/** Written by an agent like this one; but SQLite does not see a bit that a disk has flipped within a text. */
export function rowsIn(note: string | undefined): readonly (readonly unknown[])[] {
  try {
    const rows: unknown = JSON.parse(note || "[]");
    return Array.isArray(rows) ? rows.filter((row) => Array.isArray(row)) : [];
  } catch {
    return [];
  }
}
