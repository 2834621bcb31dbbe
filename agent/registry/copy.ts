/**
 * The ledger's file beside a running agent, which has it locked for itself: a copy that is consistent although SQLite
 * lets nobody else in, and a look at whose it is that changes nothing.
 */
import { closeSync, copyFileSync, existsSync, openSync, readSync, rmSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { type Address, type Hash, parseAddress, parseHash } from "../model.ts";

export interface Owner {
  readonly chainId: number;
  readonly contract: Address;
  readonly genesis: Hash | undefined;
}

export type Look =
  | { readonly kind: "absent" }
  /** An agent has it. */
  | { readonly kind: "locked" }
  | { readonly kind: "unreadable" }
  /** `owner` is undefined where nothing was ever saved in it. */
  | { readonly kind: "idle"; readonly owner: Owner | undefined };

const TRIES = 50;
const PAUSE_MS = 50;

/**
 * Writes a single whole file to `target`, which must not exist. @returns whose it is; undefined where it will not do
 *
 * The log of writes is copied after the file. What a checkpoint meanwhile moved into the file is in the log's copy too,
 * unless the log was begun anew, which changes its header (https://sqlite.org/fileformat2.html#walformat): then again.
 */
export async function copyStore(path: string, target: string): Promise<Owner | undefined> {
  for (let tries = 0; tries < TRIES; tries++) {
    const before = logHeader(path);
    copyFileSync(path, target);
    if (before !== "") copyIfThere(`${path}-wal`, `${target}-wal`);
    if (before === logHeader(path)) return folded(target);
    for (const end of ["", "-wal"]) rmSync(`${target}${end}`, { force: true });
    await sleep(PAUSE_MS);
  }
  return undefined;
}

/** Locked for as long as `work` runs, where it is idle: no agent starts meanwhile. */
export async function lookAt<T>(path: string, work: (look: Look) => Promise<T>): Promise<T> {
  if (!existsSync(path)) return work({ kind: "absent" });
  let db: DatabaseSync | undefined;
  let look: Look;
  try {
    db = new DatabaseSync(path, { timeout: 0 });
    db.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; ROLLBACK");
    look = { kind: "idle", owner: ownerIn(db) };
  } catch (error) {
    const { errcode = 0 } = error as { errcode?: number };
    look = { kind: (errcode & 0xff) === BUSY ? "locked" : "unreadable" };
  }
  try {
    return await work(look);
  } finally {
    db?.close();
  }
}

// https://sqlite.org/rescode.html
const BUSY = 5;

function folded(path: string): Owner | undefined {
  const db = new DatabaseSync(path);
  try {
    db.exec("PRAGMA journal_mode = DELETE");
    const isWhole = db.prepare("PRAGMA integrity_check(1)").get()?.["integrity_check"] === "ok";
    return isWhole ? ownerIn(db) : undefined;
  } finally {
    db.close();
  }
}

function ownerIn(db: DatabaseSync): Owner | undefined {
  const rows = db.prepare("SELECT name, value FROM meta").all();
  const meta = new Map(rows.map(({ name, value }) => [String(name), String(value)]));
  const contract = parseAddress(meta.get("contract") ?? "");
  if (!meta.has("final_number") || contract === undefined) return undefined;
  return { chainId: Number(meta.get("chain_id")), contract, genesis: parseHash(meta.get("genesis") ?? "") };
}

function copyIfThere(from: string, to: string): void {
  try {
    copyFileSync(from, to);
  } catch (error) {
    // The agent has stopped, and took it in.
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}

/** As hex; empty where there is no log. */
function logHeader(path: string): string {
  let file: number;
  try {
    file = openSync(`${path}-wal`, "r");
  } catch {
    return "";
  }
  try {
    const header = Buffer.alloc(32);
    return header.subarray(0, readSync(file, header)).toString("hex");
  } finally {
    closeSync(file);
  }
}
