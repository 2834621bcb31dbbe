/** The journal: what happened lately, numbered, bounded, kept over restarts by whoever saves its tail. */

export const JOURNAL_KINDS = [
  "start",
  "grant",
  "revoke",
  "transfer",
  "key-update",
  "role",
  "endpoint",
  "quarantine",
  "admit",
  "apply",
  "rollback",
  "resync",
  "reorg",
  "upstream",
  "gateway",
  "audit-repair",
  "drift-repair",
  "invalid-log",
  "fault",
] as const;
export type JournalKind = (typeof JOURNAL_KINDS)[number];

/** Texts may come from the chain: they stay fields, and whoever shows them escapes them. */
export type Fields = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Entry {
  /** Ascending by one; never used twice while the tail is kept. */
  readonly id: number;
  /** ISO 8601, UTC. */
  readonly at: string;
  readonly kind: JournalKind;
  readonly [field: string]: string | number | boolean;
}

export interface Page {
  readonly events: readonly Entry[];
  /** What to ask for next. Smaller than what was asked for if the journal was lost: ask again from 0. */
  readonly next: number;
}

export interface Journal {
  add(kind: JournalKind, fields?: Fields): void;
  /** The entries above `id` that are still kept, oldest first. */
  after(id: number): Page;
  /** The newest entries for saving, oldest first: all that are kept, or those above `id`. */
  tail(id?: number): readonly Entry[];
}

export interface JournalOptions {
  /** Wall time in ms. */
  readonly now: () => number;
  readonly capacity?: number;
  /** What `tail` gave before the restart, as it was read back; entries that are not entries are passed over. */
  readonly restored?: readonly unknown[];
}

const FIELD_LENGTH = 300;

export function createJournal({ now, capacity = 1_000, restored = [] }: JournalOptions): Journal {
  let entries = restored.filter(isEntry).slice(-capacity);
  let last = entries.reduce((highest, { id }) => Math.max(highest, id), 0);
  entries = entries.filter(({ id }, index) => index === 0 || id > (entries[index - 1]?.id ?? 0));
  const after = (id: number) => {
    // Ids ascend, so the entries asked for are a tail.
    let start = entries.length;
    while (start > 0 && (entries[start - 1]?.id ?? 0) > id) start--;
    return entries.slice(start);
  };
  return {
    add(kind, fields = {}) {
      entries.push({ ...bounded(fields), id: ++last, at: new Date(now()).toISOString(), kind });
      // Let it grow by half before cutting, so that a burst costs no copy per entry.
      if (entries.length > capacity * 1.5) entries = entries.slice(-capacity);
    },
    after: (id) => ({ events: after(id).slice(-capacity), next: last }),
    tail: (id = 0) => after(id).slice(-capacity),
  };
}

function bounded(fields: Fields): Record<string, string | number | boolean> {
  const kept: Record<string, string | number | boolean> = {};
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined) kept[name] = typeof value === "string" ? cut(value) : value;
  }
  return kept;
}

/** Never half of a surrogate pair. */
function cut(text: string): string {
  return (text.length > FIELD_LENGTH ? `${text.slice(0, FIELD_LENGTH)}…` : text).toWellFormed();
}

function isEntry(value: unknown): value is Entry {
  if (typeof value !== "object" || value === null) return false;
  const { id, at, kind } = value as Partial<Record<string, unknown>>;
  const isKnown = (JOURNAL_KINDS as readonly unknown[]).includes(kind);
  return Number.isSafeInteger(id) && (id as number) > 0 && typeof at === "string" && isKnown;
}
