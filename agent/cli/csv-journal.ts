/**
 * What a batch has signed, on disk before it is sent: a crash between sending and hearing of it leaves the very bytes to
 * send again, which no chain takes twice. One line of JSON each, in a file beside the CSV.
 */
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { EXIT, Failure } from "./failure.ts";

export interface Attempt {
  readonly kind: "signed";
  /** Chain id, contract and genesis: a journal may be of several chains. */
  readonly chain: string;
  /** A hash of what the row says, wherever in the file it stands. */
  readonly row: string;
  readonly account: string;
  readonly nonce: number;
  readonly hash: string;
  readonly raw: string;
}

export interface Outcome {
  readonly kind: "granted" | "refused";
  readonly chain: string;
  readonly row: string;
  readonly hash: string;
  /** Of `granted`. */
  readonly tokenId?: string;
}

export type Entry = Attempt | Outcome;

export interface Journal {
  readonly entries: readonly Entry[];
  /** On the disk before it returns. @throws Failure, and then nothing may be sent */
  add(entry: Entry): void;
  close(): void;
}

/** One batch at a time. @throws Failure where it is in use, damaged, or cannot be written */
export function openJournal(path: string): Journal {
  const unlock = lock(`${path}.lock`);
  try {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW;
    const file = attempt(path, () => openSync(path, flags, 0o600));
    const entries = attempt(path, () => entriesIn(path, file));
    return {
      entries,
      add(entry) {
        attempt(path, () => {
          writeSync(file, `${JSON.stringify(entry)}\n`);
          fsyncSync(file);
        });
        entries.push(entry);
      },
      close() {
        closeSync(file);
        unlock();
      },
    };
  } catch (error) {
    unlock();
    throw error;
  }
}

/** For reading alone, as in a dry run: whatever is there, and nothing is made. */
export function readJournal(path: string): readonly Entry[] {
  try {
    const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      return entriesIn(path, file);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

function entriesIn(path: string, file: number): Entry[] {
  const text = readFileSync(file, "utf8");
  const whole = text.slice(0, text.lastIndexOf("\n") + 1);
  // A crash while a line was written: what it was to announce was not sent.
  if (whole.length < text.length && isWritable(file)) ftruncateSync(file, Buffer.byteLength(whole));
  return whole
    .split("\n")
    .slice(0, -1)
    .map((line, i) => {
      const entry = parsed(line);
      if (entry !== undefined) return entry;
      throw new Failure(
        EXIT.failed,
        `${path}, line ${i + 1}, is damaged: nothing is sent; mend it or name another --journal`,
      );
    });
}

function isWritable(file: number): boolean {
  try {
    ftruncateSync(file, fstatSync(file).size);
    return true;
  } catch {
    return false;
  }
}

function parsed(line: string): Entry | undefined {
  try {
    const { kind, chain, row, hash, raw, nonce, account, tokenId } = JSON.parse(line);
    const texts = [chain, row, hash].every((text) => typeof text === "string");
    if (
      kind === "signed" &&
      texts &&
      typeof raw === "string" &&
      Number.isSafeInteger(nonce) &&
      typeof account === "string"
    )
      return { kind, chain, row, hash, raw, nonce, account };
    if ((kind === "granted" || kind === "refused") && texts) {
      return { kind, chain, row, hash, ...(typeof tokenId === "string" ? { tokenId } : {}) };
    }
  } catch {
    // As below.
  }
  return undefined;
}

/** @returns what lets go of it */
function lock(path: string): () => void {
  for (let tries = 0; tries < 2; tries++) {
    try {
      writeFileSync(path, String(process.pid), { flag: "wx", mode: 0o600 });
      return () => rmSync(path, { force: true });
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== "EEXIST") throw unwritable(path, cause);
      const pid = attempt(path, () => Number(readFileSync(path, "utf8")));
      if (pid === 0 || isAlive(pid)) break;
      // Whoever held it died. Two who find that out at once: the second has the first one's lock in its hands.
      const taken = `${path}.${process.pid}`;
      attempt(path, () => renameSync(path, taken));
      const wasStale = Number(readFileSync(taken, "utf8")) === pid;
      if (wasStale) rmSync(taken);
      else {
        renameSync(taken, path);
        break;
      }
    }
  }
  throw new Failure(EXIT.failed, `another grant --csv is at work on this file; if none is, remove ${path}`);
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

function attempt<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    throw cause instanceof Failure ? cause : unwritable(path, cause);
  }
}

function unwritable(path: string, cause: unknown): Failure {
  const why = (cause as NodeJS.ErrnoException).code ?? "unknown error";
  return new Failure(
    EXIT.failed,
    `nothing more is sent: ${path} cannot be written (${why}), and without it a crash could send twice; name another place with --journal`,
    { cause },
  );
}
