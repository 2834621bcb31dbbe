/** The ledger's SQLite file: opened and locked, whose it is, set aside, and what went wrong with it. */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { AgentError } from "../errors.ts";
import type { Address, Hash } from "../model.ts";
import * as rows from "./rows.ts";
import { PUT_META, SCHEMA, TABLES } from "./writes.ts";

export interface Identity {
  readonly chainId: number;
  readonly contract: Address;
  /** Left out while the chain has not been asked: the last state serves before that. */
  readonly genesis?: Hash | undefined;
}

/** With those above it. Not by `recursive`, with which Node never comes back from a place like /proc, where none can be made. */
export function makeDirectory(path: string): void {
  if (existsSync(path)) return;
  makeDirectory(dirname(path));
  try {
    mkdirSync(path);
  } catch (error) {
    // Somebody else was faster.
    if (!existsSync(path)) throw error;
  }
}

/** Opens the file, or makes it; holds its lock until closed, and no crash leaves the lock behind. */
export function connect(path: string, identity: Identity): DatabaseSync {
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
export function checkIdentity(db: DatabaseSync, path: string, identity: Identity): Hash | undefined {
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

function writeIdentity(db: DatabaseSync, { chainId, contract }: Identity): void {
  db.prepare(PUT_META).run("chain_id", String(chainId));
  db.prepare(PUT_META).run("contract", contract);
}

/** @throws Unreadable */
export function textsIn(db: DatabaseSync, table: "meta" | "notes"): Map<string, string> {
  const all = db.prepare(`SELECT name, value FROM ${table}`).all();
  return new Map(all.map(({ name, value }) => [rows.text(name), rows.text(value)]));
}

export function otherChain(path: string, field: string, expected: string, got: string): AgentError {
  return new AgentError({ code: "store.other-chain", path, field, expected, got });
}

/** Its log needs no thought: SQLite has taken it in on closing, and removes one that is left over beside a new file. */
export function setAside(path: string): void {
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

export function faultOf(error: unknown, path: string, doing: "opening" | "saving"): AgentError {
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
