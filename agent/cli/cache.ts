/**
 * What was final when a command last read the chain, so that the next reads on from there: the agent's own store, in the
 * user's cache folder. It only saves time: whatever is wrong with it, commands work as if it were not there.
 */
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, readdirSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { AgentError } from "../errors.ts";
import { ZERO_HASH } from "../model.ts";
import type { Identity } from "../registry/file.ts";
import type { Ledger } from "../registry/ledger.ts";
import { type Opened, openStore } from "../registry/store.ts";

export interface Cache {
  /** Without unfinal blocks; undefined where nothing is known yet. */
  readonly ledger: Ledger | undefined;
  /** Keeps what is final of it. Never throws. */
  save(ledger: Ledger): Promise<void>;
  close(): Promise<void>;
}

/** Undefined where there is no place for it, or another command has it and does not let go. */
export async function openCache(identity: Identity, startBlock: number | undefined): Promise<Cache | undefined> {
  const path = pathOf(identity, startBlock);
  if (path === undefined) return undefined;
  const opened = await opening(path, identity).catch(() => undefined);
  if (opened === undefined) return undefined;
  const { store, ledger } = opened;
  return {
    ledger: ledger && settledOnly(ledger),
    async save(next) {
      if (next.final.hash !== ZERO_HASH) await store.save(settledOnly(next)).catch(() => {});
    },
    close: () => store.close().catch(() => {}),
  };
}

/** A start block set by hand may leave out history, so what was read from there is kept apart. */
function pathOf({ chainId, contract }: Identity, startBlock: number | undefined): string | undefined {
  const { XDG_CACHE_HOME: cache = "", HOME: home = "" } = process.env;
  // The base directory specification: a relative path is to be ignored.
  const base = cache.startsWith("/") ? cache : home === "" ? undefined : join(homedir(), ".cache");
  return base && join(base, "dstack-vpn", `${chainId}-${contract}-${startBlock ?? "first"}.sqlite`);
}

async function opening(path: string, identity: Identity): Promise<Opened> {
  makeFolder(dirname(path));
  // Made here, because SQLite would make it, and its log, as readable as the umask allows.
  closeSync(openSync(path, "a", 0o600));
  chmodSync(path, 0o600);
  try {
    const opened = await unlocked(path, identity);
    if (opened.corrupt !== undefined) removeCorrupt(path);
    return opened;
  } catch (error) {
    // Of a chain that had the same number, such as a devnet that was made anew.
    if (!(error instanceof AgentError) || error.fault.code !== "store.other-chain") throw error;
    for (const end of ["", "-wal", "-shm"]) rmSync(`${path}${end}`, { force: true });
    return opening(path, identity);
  }
}

/** Its parents too, for their owner alone. Not `recursive`: Node then tries for ever in a place such as /proc. */
export function makeFolder(path: string): void {
  if (existsSync(path)) return;
  makeFolder(dirname(path));
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

const TRIES = 20;
const PAUSE_MS = 100;

/** Another command has it for as long as it reads, which is short where there is something to go on from. */
async function unlocked(path: string, identity: Identity): Promise<Opened> {
  for (let tries = 1; ; tries++) {
    try {
      return openStore(path, identity);
    } catch (error) {
      const isLocked = error instanceof AgentError && error.fault.code === "store.locked";
      if (!isLocked || tries === TRIES) throw error;
      await sleep(PAUSE_MS);
    }
  }
}

/** The store sets such files aside; nobody will miss these. */
function removeCorrupt(path: string): void {
  for (const name of readdirSync(dirname(path))) {
    if (name.startsWith(`${basename(path)}.corrupt-`)) rmSync(join(dirname(path), name), { force: true });
  }
}

function settledOnly({ final, settled }: Ledger): Ledger {
  return { final, settled, unfinal: [], ahead: [], registry: settled };
}
