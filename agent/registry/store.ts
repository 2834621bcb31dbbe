/**
 * The ledger on disk: one SQLite file, one transaction per save, one writer. What is read back is parsed as strictly as
 * anything from outside, and a file that cannot be used is set aside, never deleted.
 */
import { copyFileSync, existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { setImmediate as nextTurn } from "node:timers/promises";
import { AgentError } from "../errors.ts";
import type { Hash } from "../model.ts";
import {
  checkIdentity,
  connect,
  faultOf,
  type Identity,
  makeDirectory,
  otherChain,
  setAside,
  textsIn,
} from "./file.ts";
import { foldAll } from "./fold.ts";
import { type Ledger, registryAtTip, type Unfinal } from "./ledger.ts";
import { restored } from "./registry.ts";
import * as rows from "./rows.ts";
import { type Saved, savedOf, type Write, writes } from "./writes.ts";

export interface Store {
  /**
   * One transaction of all that differs from the last save that succeeded, so that a retry leaves nothing out. Many
   * rows go in slices between which the event loop turns; calls are carried out one after the other.
   * @throws AgentError `store.unsaved`; `store.corrupt`, after which the next save sets the file aside and writes everything into a new one
   */
  save(ledger: Ledger, notes?: Readonly<Record<string, string>>): Promise<void>;
  /** A small text kept beside the ledger, as last saved. */
  note(name: string): string | undefined;
  /** The genesis block that the file belongs to, once it is known. */
  readonly genesis: Hash | undefined;
  /** For when the genesis block was not known on opening; the next save writes it. @throws AgentError `store.other-chain` */
  bindGenesis(genesis: Hash): void;
  close(): Promise<void>;
}

export interface Opened {
  readonly store: Store;
  /** What the file holds; undefined where nothing was ever saved in it. */
  readonly ledger: Ledger | undefined;
  /** `store.corrupt`, where the file was unusable and an empty one has taken its place. */
  readonly corrupt: AgentError | undefined;
}

/** @throws AgentError `store.locked`, `store.other-chain`, `store.unsaved` (it can be neither read nor made) */
export function openStore(path: string, identity: Identity): Opened {
  try {
    const { held, ledger } = opened(path, identity);
    return { store: storeOf(held), ledger, corrupt: undefined };
  } catch (error) {
    const corrupt = faultOf(error, path, "opening");
    if (corrupt.fault.code !== "store.corrupt") throw corrupt;
    try {
      setAside(path);
      const { held, ledger } = opened(path, identity);
      return { store: storeOf(held), ledger, corrupt };
    } catch (again) {
      throw faultOf(again, path, "opening");
    }
  }
}

/**
 * For a node that must go on where `openStore` has failed with `store.unsaved`: what is on the disk, as far as it can be
 * read, and a store that opens the file with the first save that can. @throws AgentError `store.other-chain`
 */
export function openUnwritable(path: string, identity: Identity): Omit<Opened, "corrupt"> {
  const { genesis, notes, ledger } = readCopy(path, identity) ?? { notes: new Map() };
  const reached = { ...identity, genesis: identity.genesis ?? genesis };
  const nothing = { db: undefined, inode: undefined, saved: undefined };
  const held: Held = { path, identity: reached, isUnreached: true, notes, ...nothing };
  return { store: storeOf(held), ledger };
}

/** SQLite reads nothing where it may not write beside it; a copy elsewhere it does. */
function readCopy(path: string, identity: Identity) {
  let directory: string | undefined;
  try {
    directory = mkdtempSync(join(tmpdir(), "dstack-vpn-"));
    const copy = join(directory, "ledger.sqlite");
    for (const end of ["", "-wal"]) if (existsSync(path + end)) copyFileSync(path + end, copy + end);
    const { held, ledger } = opened(copy, identity);
    held.db?.close();
    return { genesis: held.identity.genesis, notes: held.notes, ledger };
  } catch (error) {
    if (error instanceof AgentError && error.fault.code === "store.other-chain") throw error;
    return undefined;
  } finally {
    if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
  }
}

function opened(path: string, identity: Identity): { held: Held; ledger: Ledger | undefined } {
  makeDirectory(dirname(path));
  const db = connect(path, identity);
  try {
    const genesis = checkIdentity(db, path, identity);
    const ledger = readLedger(db);
    const notes = textsIn(db, "notes");
    const file = { path, db, inode: inodeOf(path) };
    const saved = ledger && savedOf(ledger);
    return { held: { ...file, identity: { ...identity, genesis }, isUnreached: false, notes, saved }, ledger };
  } catch (error) {
    db.close();
    throw error;
  }
}

/** An open store's changing parts. */
interface Held {
  readonly path: string;
  identity: Identity;
  /** Undefined after corruption, until the next save has made a new file, and while the file is out of reach. */
  db: DatabaseSync | undefined;
  /** Of the file that `db` has open. */
  inode: number | undefined;
  /** What is there is none of the corrupt: it goes on once it can be opened. */
  isUnreached: boolean;
  notes: Map<string, string>;
  saved: Saved | undefined;
}

function storeOf(held: Held): Store {
  let turn: Promise<unknown> = Promise.resolve();
  const inTurn = (work: () => Promise<void>): Promise<void> => {
    const done = turn.then(work);
    turn = done.catch(() => undefined);
    return done;
  };
  return {
    save: (ledger, notes = {}) => inTurn(() => save(held, ledger, notes)),
    note: (name) => held.notes.get(name),
    get genesis() {
      return held.identity.genesis;
    },
    bindGenesis(genesis) {
      const known = held.identity.genesis ?? genesis;
      if (known !== genesis) throw otherChain(held.path, "genesis block", genesis, known);
      held.identity = { ...held.identity, genesis };
    },
    close: () => inTurn(async () => held.db?.close()),
  };
}

async function save(held: Held, ledger: Ledger, notes: Readonly<Record<string, string>>): Promise<void> {
  try {
    if (held.isUnreached) Object.assign(held, opened(held.path, held.identity).held);
    if (held.db !== undefined) checkPlace(held);
    held.db ??= renewed(held);
    // A new file has none of those that stay as they were.
    const all = held.saved === undefined ? { ...Object.fromEntries(held.notes), ...notes } : notes;
    await transact(held.db, writes(held.saved, ledger, held.identity.genesis, all));
  } catch (error) {
    const fault = faultOf(error, held.path, "saving");
    if (fault.fault.code === "store.corrupt") {
      held.isUnreached = false;
      abandon(held);
    }
    throw fault;
  }
  held.saved = savedOf(ledger);
  for (const [name, value] of Object.entries(notes)) held.notes.set(name, value);
}

/** SQLite goes on writing into a file that somebody has taken away, and that ends with us. @throws AgentError store.unsaved */
function checkPlace(held: Held): void {
  const inode = inodeOf(held.path);
  if (inode === held.inode) return;
  // Whose it is and what it holds is for a start to find out.
  const problem = "another file is in its place";
  if (inode !== undefined) throw new AgentError({ code: "store.unsaved", path: held.path, problem });
  abandon(held);
}

/** The next save writes everything into a new file. */
function abandon(held: Held): void {
  held.db?.close();
  held.db = undefined;
  held.saved = undefined;
}

function renewed(held: Held): DatabaseSync {
  if (existsSync(held.path)) setAside(held.path);
  makeDirectory(dirname(held.path));
  const db = connect(held.path, held.identity);
  held.inode = inodeOf(held.path);
  return db;
}

const inodeOf = (path: string) => statSync(path, { throwIfNoEntry: false })?.ino;

// 2,000 rows are some ten milliseconds.
const SLICE = 2_000;

async function transact(db: DatabaseSync, writes: Iterable<Write>): Promise<void> {
  const statements = new Map<string, ReturnType<DatabaseSync["prepare"]>>();
  db.exec("BEGIN IMMEDIATE");
  try {
    let count = 0;
    for (const [sql, values = []] of writes) {
      const statement = statements.get(sql) ?? db.prepare(sql);
      statements.set(sql, statement);
      statement.run(...values);
      if (++count % SLICE === 0) await nextTurn();
    }
    db.exec("COMMIT");
  } catch (error) {
    // Some failures have rolled back by themselves.
    if (db.isTransaction) db.exec("ROLLBACK");
    throw error;
  }
}

function readLedger(db: DatabaseSync): Ledger | undefined {
  const meta = textsIn(db, "meta");
  if (!meta.has("final_number")) return undefined;
  const final = { number: rows.decimal(meta.get("final_number")), hash: rows.hash(meta.get("final_hash")) };
  const settled = restored(tokensIn(db), db.prepare("SELECT * FROM announcements").all().map(rows.announcementOf));
  const unfinal: Unfinal[] = [];
  for (const { number, hash, events } of db.prepare("SELECT * FROM blocks ORDER BY number").all()) {
    const block = { number: rows.whole(number), hash: rows.hash(hash) };
    const known = rows.eventsOf(events);
    unfinal.push({ block, events: known, ...foldAll(registryAtTip({ settled, unfinal }), known) });
  }
  return { final, settled, unfinal, ahead: [], registry: registryAtTip({ settled, unfinal }) };
}

function* tokensIn(db: DatabaseSync) {
  for (const row of db.prepare("SELECT * FROM tokens").iterate()) yield rows.tokenOf(row);
}
