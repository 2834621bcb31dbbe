/** What a backup is of: a node's key, its state and its generations, between its folders and an archive. */
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import type { Settings } from "../config.ts";
import { AgentError } from "../errors.ts";
import { type Address, type Hash, PrivateKey, parseAddress, parseHash } from "../model.ts";
import { copyStore, lookAt, type Owner } from "../registry/copy.ts";
import { openStore } from "../registry/store.ts";
import { parseBackupName } from "../wireguard/backups.ts";
import { confReader } from "../wireguard/conf.ts";
import { digest, type File, pack, unpack } from "./backup-archive.ts";
import { makeFolder } from "./cache.ts";
import { EXIT, Failure } from "./failure.ts";

export interface Manifest {
  readonly format: 1;
  readonly createdAt: string;
  readonly nodeId: string;
  readonly interfaceName: string;
  readonly publicKey: string;
  readonly chainId: number;
  readonly contract: Address;
  readonly genesis: Hash | undefined;
  /** The newest of the archive's; 0 without any. */
  readonly generation: number;
  readonly sha256: Readonly<Record<string, string>>;
}

export interface Archive {
  readonly manifest: Manifest;
  readonly files: readonly File[];
}

const MANIFEST = "manifest.json";
const KEY = "private.key";
const LEDGER = "ledger.sqlite";

/** While an agent runs, too. @throws Failure where there is nothing to back up, or it cannot be read */
export async function collected(settings: Settings, createdAt: Date): Promise<Buffer> {
  const { stateDir, configDir, interfaceName } = settings;
  const key = settings.privateKey ?? keyIn(join(stateDir, KEY));
  const { content: ledger, owner } = await ledgerIn(stateDir, settings);
  const conf = `${interfaceName}.conf`;
  const backups = namesIn(join(configDir, "backups")).filter((name) => parseBackupName(interfaceName, name));
  const files = [
    { name: KEY, content: Buffer.from(`${key.reveal()}\n`) },
    ...(ledger === undefined ? [] : [{ name: LEDGER, content: ledger }]),
    // Thinned while we read, an old one may be gone.
    ...[conf, ...backups.map((name) => `backups/${name}`)].flatMap((name) => {
      const content = readIfThere(join(configDir, name));
      return content !== undefined && generationIn(content) !== undefined ? [{ name, content }] : [];
    }),
  ];
  const manifest: Manifest = {
    ...{ format: 1, createdAt: createdAt.toISOString(), nodeId: settings.nodeId, interfaceName },
    ...{ publicKey: key.publicKey, chainId: owner.chainId, contract: owner.contract, genesis: owner.genesis },
    generation: Math.max(0, ...files.map(({ content }) => generationIn(content) ?? 0)),
    sha256: Object.fromEntries(files.map(({ name, content }) => [name, digest(content)])),
  };
  return pack(
    [{ name: MANIFEST, content: Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`) }, ...files],
    createdAt,
  );
}

/** @throws Failure where it is not whole, or holds what a backup does not hold */
export function archiveIn(bytes: Buffer): Archive {
  const unpacked = unpack(bytes);
  if (unpacked.kind === "refused") throw refused(unpacked.why);
  const [first, ...files] = unpacked.files;
  const manifest = first?.name === MANIFEST ? manifestIn(first.content) : undefined;
  if (manifest === undefined) throw refused("it has no manifest that can be read");
  const { interfaceName, sha256, publicKey } = manifest;
  if (
    Object.keys(sha256).toSorted().join() !==
    files
      .map(({ name }) => name)
      .toSorted()
      .join()
  ) {
    throw refused("its files are not those that its manifest names");
  }
  for (const { name, content } of files) {
    if (sha256[name] !== digest(content)) throw refused(`${name} in it is damaged`);
    const backup = name.startsWith("backups/") ? name.slice("backups/".length) : undefined;
    const isConf = name === `${interfaceName}.conf` || parseBackupName(interfaceName, backup ?? "") !== undefined;
    if (name !== KEY && name !== LEDGER && !isConf) throw refused("it holds a file under a name that is none of ours");
    if (isConf && generationIn(content) === undefined) throw refused(`${name} in it is no whole generation`);
  }
  const key = PrivateKey.parse(files.find(({ name }) => name === KEY)?.content.toString("latin1") ?? "");
  if (key?.publicKey !== publicKey) throw refused("its private key is not the one that its manifest names");
  return { manifest, files };
}

/**
 * All of it or nothing: every file is written beside its place first. What was there is moved to folders beside it.
 * @returns those folders
 */
export function put({ files }: Archive, { stateDir, configDir, interfaceName }: Settings, now: Date): string[] {
  const stamp = now.toISOString().slice(0, 19).replaceAll(/[-:]/g, "");
  const drafts: { readonly from: string; readonly to: string }[] = [];
  // The key comes last: without it an agent refuses to start, whatever a crash has left of the rest.
  const ordered = files.toSorted((a, b) => Number(a.name === KEY) - Number(b.name === KEY));
  try {
    for (const { name, content } of ordered) {
      const to = join(name === KEY || name === LEDGER ? stateDir : configDir, name);
      makeFolder(dirname(to));
      const from = `${to}.restore-${process.pid}`;
      drafts.push({ from, to });
      const file = openSync(from, "wx", 0o600);
      try {
        writeFileSync(file, content);
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
    }
  } catch (cause) {
    for (const { from } of drafts) rmSync(from, { force: true });
    const why = (cause as NodeJS.ErrnoException).code ?? "unknown error";
    const path = drafts.at(-1)?.to ?? stateDir;
    throw new Failure(EXIT.failed, `nothing was changed: ${path} cannot be written (${why})`, { cause });
  }
  const aside = new Set<string>();
  // A log beside a file that it is not of would be taken for that file's.
  const leftover = [`${LEDGER}-wal`].map((name) => ({ folder: stateDir, name }));
  const generations = generationsIn(configDir, interfaceName).map((name) => ({ folder: configDir, name }));
  for (const { folder, name } of [...leftover, ...generations]) keep(folder, name, stamp, aside, renameSync);
  for (const { from, to } of drafts) {
    const folder = to.startsWith(`${configDir}/`) ? configDir : stateDir;
    // Linked and not moved, so that there is a key at every moment: without one, a fresh host makes its own.
    keep(folder, to.slice(folder.length + 1), stamp, aside, linkSync);
    renameSync(from, to);
  }
  for (const folder of new Set(drafts.map(({ to }) => dirname(to)))) flush(folder);
  return [...aside];
}

/** What is at the places that a restore writes to. */
export function occupied({ stateDir, configDir, interfaceName }: Settings): string[] {
  const places = [join(stateDir, KEY), join(stateDir, LEDGER), join(configDir, `${interfaceName}.conf`)];
  return [...places, ...generationsIn(configDir, interfaceName).map((name) => join(configDir, name))].filter((path) =>
    existsSync(path),
  );
}

/** The ledger in the archive as the agent itself would open it. @throws Failure */
export async function checkLedger(
  { files, manifest }: Archive,
  { stateDir, chainId, contract }: Settings,
): Promise<void> {
  const ledger = files.find(({ name }) => name === LEDGER);
  if (ledger === undefined) return;
  const folder = inOwnFolder(stateDir);
  try {
    const path = join(folder, LEDGER);
    writeFileSync(path, ledger.content, { mode: 0o600 });
    const opened = openStore(path, { chainId, contract, genesis: manifest.genesis });
    await opened.store.close();
    if (opened.corrupt !== undefined) throw refused("the state in it cannot be read");
  } catch (error) {
    if (error instanceof AgentError) throw refused("the state in it is not what its manifest says");
    throw error;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export const ledgerPath = ({ stateDir }: Settings) => join(stateDir, LEDGER);

async function ledgerIn(stateDir: string, { chainId, contract }: Settings) {
  const path = join(stateDir, LEDGER);
  const settled: Owner = { chainId, contract, genesis: undefined };
  if (!existsSync(path)) return { content: undefined, owner: settled };
  const folder = inOwnFolder(stateDir);
  try {
    const copy = join(folder, LEDGER);
    const owner = await copyStore(path, copy);
    if (owner === undefined) {
      const isEmpty = await lookAt(copy, async (look) => look.kind === "idle" && look.owner === undefined);
      if (isEmpty) return { content: undefined, owner: settled };
      throw new Failure(EXIT.failed, `${path} cannot be copied whole: is its disk failing? Try again`);
    }
    return { content: readFileSync(copy), owner };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** On the same disk, and its owner's alone: what lies in it is as secret as what it is a copy of. */
function inOwnFolder(parent: string): string {
  try {
    makeFolder(parent);
    const folder = mkdtempSync(join(parent, ".backup-"));
    chmodSync(folder, 0o700);
    return folder;
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? "unknown error";
    throw new Failure(EXIT.failed, `${parent} cannot be written (${why}): run it as the agent's own user`, { cause });
  }
}

function keyIn(path: string): PrivateKey {
  const text = readIfThere(path)?.toString("latin1");
  if (text === undefined)
    throw new Failure(EXIT.failed, `there is no ${path}: no agent has run here, or STATE_DIR is elsewhere`);
  const key = PrivateKey.parse(text);
  if (key === undefined) throw new Failure(EXIT.failed, `${path} holds no WireGuard private key`);
  return key;
}

function generationIn(content: Buffer): number | undefined {
  try {
    const reader = confReader(() => {});
    reader.push(content.toString("latin1"));
    return reader.end().generation;
  } catch {
    return undefined;
  }
}

function manifestIn(content: Buffer): Manifest | undefined {
  try {
    const { format, createdAt, nodeId, interfaceName, publicKey, chainId, contract, genesis, generation, sha256 } =
      JSON.parse(content.toString("utf8"));
    const address = parseAddress(String(contract));
    const texts = [createdAt, nodeId, interfaceName, publicKey].every((text) => typeof text === "string");
    const isName = /^[A-Za-z0-9_][A-Za-z0-9_=+.-]{0,14}$/.test(interfaceName) && /^[a-z0-9-]{1,63}$/.test(nodeId);
    const isTime = !Number.isNaN(Date.parse(createdAt));
    if (format !== 1 || !texts || !isName || !isTime || address === undefined) return undefined;
    if (!Number.isSafeInteger(chainId) || !Number.isSafeInteger(generation)) return undefined;
    if (typeof sha256 !== "object" || sha256 === null) return undefined;
    const made = new Date(createdAt).toISOString();
    const known = genesis === undefined ? undefined : parseHash(String(genesis));
    return {
      ...{ format, createdAt: made, nodeId, interfaceName, publicKey, chainId, contract: address, generation, sha256 },
      genesis: known,
    };
  } catch {
    return undefined;
  }
}

function keep(
  folder: string,
  name: string,
  stamp: string,
  aside: Set<string>,
  how: (from: string, to: string) => void,
): void {
  const from = join(folder, name);
  if (!existsSync(from)) return;
  const kept = join(folder, `replaced-${stamp}`);
  makeFolder(dirname(join(kept, name)));
  how(from, join(kept, name));
  aside.add(kept);
}

function generationsIn(configDir: string, interfaceName: string): string[] {
  const names = namesIn(join(configDir, "backups")).filter((name) => parseBackupName(interfaceName, name));
  return names.map((name) => `backups/${name}`);
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function readIfThere(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? "unknown error";
    if (why === "ENOENT") return undefined;
    throw new Failure(EXIT.failed, `${path} cannot be read (${why}): run it as the agent's own user`, { cause });
  }
}

function flush(folder: string): void {
  const handle = openSync(folder, "r");
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

const refused = (why: string) => new Failure(EXIT.failed, `the archive is refused, and nothing was changed: ${why}`);
