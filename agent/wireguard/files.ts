/**
 * The door to `wg0.conf` and its backups.
 * Whatever is on disk may have been cut, edited or replaced by somebody: it is read whole and checked, or not used.
 */
import { createHash } from "node:crypto";
import { constants, createReadStream } from "node:fs";
import { copyFile, lstat, open, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { AgentError } from "../errors.ts";
import type { Peer } from "../model.ts";
import { type Backup, backupName, kept, parseBackupName } from "./backups.ts";
import { type Conf, confReader, FIRST_LINE, renderConf } from "./conf.ts";
import { codeOf, create, flush, makeDirectory, problemOf, READABLE, TEMPORARY } from "./disk.ts";

export interface Generation {
  readonly conf: Conf;
  readonly peers: readonly Peer[];
  readonly path: string;
}

export interface Files {
  readonly path: string;
  /**
   * Writes the generation as `wg0.conf` and as a backup, in slices. A file that no agent wrote is copied beside it first,
   * and `onFound` told where.
   * @throws AgentError config.unwritten, and then the file that was there is still whole
   */
  write(conf: Conf, peers: Iterable<Peer>, onFound?: (copy: string) => void): Promise<void>;
  /** False when somebody changed or removed `wg0.conf` since we last wrote or read it, or took all of its backups away. */
  isIntact(): Promise<boolean>;
  /** The newest generation that is whole: `wg0.conf`, or else a backup. */
  newest(): Promise<Generation | undefined>;
  /** Newest first. */
  list(): Promise<Backup[]>;
  /** @throws AgentError config.no-generation, also for one that is not whole */
  read(generation: number): Promise<Generation>;
  /** Deletes what `kept` does not keep, and what a crash left half-written. */
  thin(): Promise<void>;
  /** A path that says that this node has run before; undefined on a fresh one. */
  evidence(): Promise<string | undefined>;
}

export interface FilesOptions {
  readonly interfaceName: string;
  readonly configDir: string;
  readonly maxBackups: number;
}

export function openFiles({ interfaceName, configDir, maxBackups }: FilesOptions): Files {
  const path = join(configDir, `${interfaceName}.conf`);
  const backupDir = join(configDir, "backups");
  const draftIn = (directory: string, of = "conf") => join(directory, `.${interfaceName}.${of}${TEMPORARY}`);
  let seen: string | undefined;
  let turn: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const done = turn.then(work);
    turn = done.catch(() => {});
    return done;
  };

  async function list(): Promise<Backup[]> {
    const names = await readdir(backupDir).catch((): string[] => []);
    const backups = names.flatMap((name) => parseBackupName(interfaceName, name) ?? []);
    return backups.sort((a, b) => b.generation - a.generation);
  }

  async function backUp(conf: Conf): Promise<void> {
    const draft = draftIn(backupDir);
    await makeDirectory(backupDir);
    try {
      // A name that is there may be a pipe, whose opening would never end.
      await rm(draft, { force: true });
      await copyFile(path, draft, constants.COPYFILE_EXCL);
      await flush(draft);
      await rename(draft, join(backupDir, backupName(interfaceName, conf)));
      await flush(backupDir);
    } finally {
      // Half a file would hold the very space that is missing.
      await rm(draft, { force: true });
    }
  }

  async function write(conf: Conf, peers: Iterable<Peer>, onFound: (copy: string) => void): Promise<void> {
    const draft = draftIn(configDir);
    let at = path;
    try {
      await makeDirectory(configDir);
      await create(draft, renderConf(conf, peers));
      // Also the disk's word: what cannot be read back is not put in place of what can.
      await parse(draft, () => {});
      if (seen === undefined || seen !== (await fingerprint(path))) {
        at = `${path}.found`;
        const copy = await setAside(path, draftIn(configDir, "found"));
        if (copy !== undefined) onFound(copy);
      }
      at = path;
      await replace(draft, path);
      seen = await fingerprint(path);
      // Second, so that no number is ever given twice: it goes on from the one in wg0.conf.
      at = backupDir;
      await backUp(conf);
      await thin().catch(() => {});
    } catch (cause) {
      await rm(draft, { force: true }).catch(() => {});
      throw new AgentError({ code: "config.unwritten", path: at, problem: problemOf(cause) }, { cause });
    }
  }

  async function thin(): Promise<void> {
    const backups = await list();
    const keep = new Set(kept(backups, maxBackups));
    for (const backup of backups) {
      if (!keep.has(backup)) await rm(join(backupDir, backupName(interfaceName, backup)), { force: true });
    }
  }

  async function read(generation: number): Promise<Generation> {
    const backup = (await list()).find((candidate) => candidate.generation === generation);
    const found = backup && (await usable(join(backupDir, backupName(interfaceName, backup))));
    if (found === undefined) throw new AgentError({ code: "config.no-generation", generation });
    return found;
  }

  async function newest(): Promise<Generation | undefined> {
    const mark = await fingerprint(path);
    const current = await usable(path);
    if (current !== undefined) {
      seen = mark;
      return current;
    }
    for (const backup of await list()) {
      const found = await usable(join(backupDir, backupName(interfaceName, backup)));
      if (found !== undefined) return found;
    }
    return undefined;
  }

  return {
    path,
    list,
    read,
    newest,
    write: (conf, peers, onFound = () => {}) => inTurn(() => write(conf, peers, onFound)),
    thin: () =>
      inTurn(async () => {
        const drafts = [draftIn(configDir), draftIn(configDir, "found"), draftIn(backupDir)];
        for (const draft of drafts) await rm(draft, { force: true });
        await thin();
      }),
    isIntact: async () => seen !== undefined && seen === (await fingerprint(path)) && (await list()).length > 0,
    async evidence() {
      if ((await fingerprint(path)) !== undefined) return path;
      return (await list()).length > 0 ? backupDir : undefined;
    },
  };
}

/** A file of 65,536 peers has 12 MB. */
const MAX_BYTES = 64 * 1024 * 1024;

/** A symbolic link at `path` is replaced and never followed: where it points is nothing of ours. */
async function replace(draft: string, path: string): Promise<void> {
  try {
    await rename(draft, path);
    await flush(dirname(path));
  } catch (error) {
    if (codeOf(error) !== "EBUSY") throw error;
    // Mounted as a single file: it cannot be renamed over, only written; a crash meanwhile leaves the backup.
    await overwrite(path, draft);
    await rm(draft);
  }
}

/** A file that has no agent's first line is somebody's own, such as another VPN's with its only key. One copy of each is kept. */
async function setAside(path: string, draft: string): Promise<string | undefined> {
  const found = await lstat(path).catch(() => undefined);
  if (!found?.isFile() || found.size === 0 || (await isGeneration(path))) return undefined;
  try {
    await rm(draft, { force: true });
    await copyFile(path, draft, constants.COPYFILE_EXCL);
    await flush(draft);
    const hash = createHash("sha256");
    await pipeline(createReadStream(draft), hash);
    const copy = `${path}.found-${hash.digest("hex").slice(0, 12)}`;
    await rename(draft, copy);
    return copy;
  } finally {
    await rm(draft, { force: true });
  }
}

async function isGeneration(path: string): Promise<boolean> {
  const file = await open(path, READABLE | constants.O_NOFOLLOW);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(FIRST_LINE.length));
    return buffer.toString("latin1", 0, bytesRead) === FIRST_LINE;
  } finally {
    await file.close();
  }
}

const WRITABLE = constants.O_WRONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

async function overwrite(path: string, from: string): Promise<void> {
  const [source, target] = [await open(from, "r"), await open(path, WRITABLE)];
  try {
    let length = 0;
    for await (const chunk of source.createReadStream({ autoClose: false })) {
      length += (await target.write(chunk, 0, chunk.length, length)).bytesWritten;
    }
    await target.truncate(length);
    await target.chmod(0o600);
    await target.sync();
  } finally {
    await Promise.all([source.close(), target.close()]);
  }
}

async function usable(path: string): Promise<Generation | undefined> {
  const peers: Peer[] = [];
  return parse(path, (peer) => peers.push(peer)).then(
    (conf) => ({ conf, peers, path }),
    () => undefined,
  );
}

/** Reads no link, no pipe and nothing endless. @throws ConfError, or the file system's error */
async function parse(path: string, onPeer: (peer: Peer) => void): Promise<Conf> {
  const reader = confReader(onPeer);
  const file = await open(path, READABLE | constants.O_NOFOLLOW);
  try {
    const { size } = await file.stat();
    if (size > MAX_BYTES) throw new Error("too long");
    for await (const chunk of file.createReadStream({ autoClose: false, end: MAX_BYTES })) {
      reader.push(chunk.toString("latin1"));
    }
    return reader.end();
  } finally {
    await file.close();
  }
}

/** What changes when somebody edits or replaces the file; undefined where there is none. */
async function fingerprint(path: string): Promise<string | undefined> {
  const stat = await lstat(path).catch(() => undefined);
  return stat && [stat.ino, stat.size, stat.mtimeMs, stat.mode].join(" ");
}
