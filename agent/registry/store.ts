/**
 * The ledger on disk: one SQLite file, one transaction per save, one writer. What is read back is parsed as strictly as
 * anything from outside, and a file that cannot be used is set aside, never deleted.
 */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setImmediate as nextTurn } from "node:timers/promises";
import { AgentError } from "../errors.ts";
import type { Address, Hash } from "../model.ts";
import { foldAll } from "./fold.ts";
import type { Ledger, Unfinal } from "./ledger.ts";
import { restored } from "./registry.ts";
import * as rows from "./rows.ts";
import { PUT_META, type Saved, SCHEMA, savedOf, TABLES, type Write, writes } from "./writes.ts";

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

export interface Identity {
  readonly chainId: number;
  readonly contract: Address;
  /** Left out while the chain has not been asked: the last state serves before that. */
  readonly genesis?: Hash | undefined;
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
  const held: Held = { path, identity: reached, db: undefined, isUnreached: true, notes, saved: undefined };
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
  mkdirSync(dirname(path), { recursive: true });
  const db = connect(path, identity);
  try {
    const genesis = checkIdentity(db, path, identity);
    const ledger = readLedger(db);
    const notes = textsIn(db, "notes");
    const saved = ledger && savedOf(ledger);
    return { held: { path, identity: { ...identity, genesis }, db, isUnreached: false, notes, saved }, ledger };
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
    held.db ??= renewed(held);
    await transact(held.db, writes(held.saved, ledger, held.identity.genesis, notes));
  } catch (error) {
    const fault = faultOf(error, held.path, "saving");
    if (fault.fault.code === "store.corrupt") {
      held.isUnreached = false;
      held.db?.close();
      held.db = undefined;
      held.saved = undefined;
    }
    throw fault;
  }
  held.saved = savedOf(ledger);
  for (const [name, value] of Object.entries(notes)) held.notes.set(name, value);
}

function renewed({ path, identity }: Held): DatabaseSync {
  if (existsSync(path)) setAside(path);
  return connect(path, identity);
}

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
    unfinal.push({ block, events: known, ...foldAll(unfinal.at(-1)?.registry ?? settled, known) });
  }
  return { final, settled, unfinal, registry: unfinal.at(-1)?.registry ?? settled };
}

function textsIn(db: DatabaseSync, table: "meta" | "notes"): Map<string, string> {
  const all = db.prepare(`SELECT name, value FROM ${table}`).all();
  return new Map(all.map(({ name, value }) => [rows.text(name), rows.text(value)]));
}

function* tokensIn(db: DatabaseSync) {
  for (const row of db.prepare("SELECT * FROM tokens").iterate()) yield rows.tokenOf(row);
}

// --- the file --------------------------------------------------------------------------------

/** Opens the file, or makes it; holds its lock until closed, and no crash leaves the lock behind. */
function writeIdentity(db: DatabaseSync, { chainId, contract }: Identity): void {
  db.prepare(PUT_META).run("chain_id", String(chainId));
  db.prepare(PUT_META).run("contract", contract);
}

function connect(path: string, identity: Identity): DatabaseSync {
  const db = new DatabaseSync(path, { timeout: 0 });
  try {
    // Exclusive, and said before the log is first used: nobody else can open the file, and no index file is needed
    // beside it, which a full disk would not give.
    db.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
    db.exec(`PRAGMA journal_size_limit = ${4 << 20}`);
    writePid(path);
    const isNew = db.prepare("SELECT 1 FROM sqlite_schema").get() === undefined;
    if (isNew) {
      db.exec(`BEGIN; ${TABLES}`);
      writeIdentity(db, identity);
      db.exec("COMMIT");
    }
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** @returns the genesis that holds: the one given, or else the one that was written. */
function checkIdentity(db: DatabaseSync, path: string, identity: Identity): Hash | undefined {
  const version = rows.whole(db.prepare("PRAGMA user_version").get()?.["user_version"]);
  if (version > SCHEMA) throw otherChain(path, "schema", String(SCHEMA), String(version));
  if (db.prepare("PRAGMA quick_check(1)").get()?.["quick_check"] !== "ok") throw new rows.Unreadable("a page");
  const meta = textsIn(db, "meta");
  const genesis = meta.has("genesis") ? rows.hash(meta.get("genesis")) : undefined;
  // Nothing was ever saved in it: a first start with a wrong address does not bind the file to that address.
  if (!meta.has("final_number")) {
    writeIdentity(db, identity);
    return identity.genesis;
  }
  const { chainId, contract } = identity;
  const [writtenId, writtenContract] = [rows.decimal(meta.get("chain_id")), rows.address(meta.get("contract"))];
  if (writtenId !== chainId) throw otherChain(path, "chain id", String(chainId), String(writtenId));
  if (writtenContract !== contract) throw otherChain(path, "contract", contract, writtenContract);
  if (identity.genesis !== undefined && genesis !== undefined && identity.genesis !== genesis) {
    throw otherChain(path, "genesis block", identity.genesis, genesis);
  }
  return identity.genesis ?? genesis;
}

function otherChain(path: string, field: string, expected: string, got: string): AgentError {
  return new AgentError({ code: "store.other-chain", path, field, expected, got });
}

// Its log needs no thought: SQLite has taken it in on closing, and removes one that is left over beside a new file.
function setAside(path: string): void {
  let n = 1;
  while (existsSync(`${path}.corrupt-${n}`)) n++;
  renameSync(path, `${path}.corrupt-${n}`);
}

function writePid(path: string): void {
  try {
    writeFileSync(`${path}.pid`, String(process.pid));
  } catch {
    // Only the message of whoever finds the file locked is the poorer for it.
  }
}

function readPid(path: string): number {
  try {
    return Number.parseInt(readFileSync(`${path}.pid`, "utf8"), 10) || 0;
  } catch {
    return 0;
  }
}

// https://sqlite.org/rescode.html
const [ERROR, BUSY, CORRUPT, NOTADB] = [1, 5, 11, 26];

function faultOf(error: unknown, path: string, doing: "opening" | "saving"): AgentError {
  if (error instanceof AgentError) return error;
  const { errcode = 0, message = "unknown error" } = error as { errcode?: number; message?: string };
  const primary = errcode & 0xff;
  const options = { cause: error };
  if (doing === "opening" && primary === BUSY) {
    return new AgentError({ code: "store.locked", path, pid: readPid(path) }, options);
  }
  // A table or column that is not there, in a file that was not made just now.
  const isForeign = doing === "opening" && primary === ERROR;
  if (error instanceof rows.Unreadable || primary === CORRUPT || primary === NOTADB || isForeign) {
    return new AgentError({ code: "store.corrupt", path, problem: message }, options);
  }
  return new AgentError({ code: "store.unsaved", path, problem: message }, options);
}
