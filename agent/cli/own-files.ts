/** Files with a secret in them: 0600 from their first byte on. */
import {
  accessSync,
  closeSync,
  constants,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { PrivateKey } from "../model.ts";
import { EXIT, Failure } from "./failure.ts";

/** Never over anything that is there. @throws Failure */
export function createFile(path: string, text: string | Uint8Array): void {
  writeNew(path, text);
}

/**
 * Finds out before anything else is done whether `replaceFile` will be let.
 * @returns whether something else is there, and `agrees` said that it may go. @throws Failure
 */
export async function mayReplace(path: string, mark: string, agrees: () => Promise<boolean>): Promise<boolean> {
  try {
    accessSync(dirname(path), constants.W_OK);
  } catch (cause) {
    throw unwritable(path, cause);
  }
  const isOther = isElse(path, mark);
  if (isOther && !(await agrees())) throw left(path);
  return isOther;
}

/** Whole or not at all, and only over a file that starts with `mark` unless it is agreed. @throws Failure */
export function replaceFile(path: string, text: string, mark: string, isAgreed = false): void {
  if (!isAgreed && isElse(path, mark)) throw left(path);
  const draft = `${path}.${process.pid}.new`;
  writeNew(draft, text);
  try {
    renameSync(draft, path);
  } catch (cause) {
    rmSync(draft, { force: true });
    throw unwritable(path, cause);
  }
}

function isElse(path: string, mark: string): boolean {
  const present = readIfThere(path);
  return present !== undefined && !present.startsWith(mark);
}

function left(path: string): Failure {
  const why = "exists and is not a configuration of this token: it is left alone, name another";
  return new Failure(EXIT.failed, `${path} ${why}`);
}

/** @throws Failure */
export function readKey(path: string): PrivateKey {
  const text = readIfThere(path);
  if (text === undefined) throw new Failure(EXIT.failed, `there is no ${path}: make a key with dstack-vpn keys --out`);
  const key = PrivateKey.parse(text);
  if (key === undefined)
    throw new Failure(EXIT.failed, `${path} holds no WireGuard private key as wg genkey prints it`);
  return key;
}

/** A file that somebody else made. @throws Failure */
export function readText(path: string): string {
  const text = readIfThere(path);
  if (text === undefined) throw new Failure(EXIT.failed, `there is no ${path}`);
  return text;
}

function writeNew(path: string, text: string | Uint8Array): void {
  let isOurs = false;
  try {
    const file = openSync(path, "wx", 0o600);
    isOurs = true;
    try {
      writeFileSync(file, text);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  } catch (cause) {
    // Half a key would be in the way of the next try.
    if (isOurs) rmSync(path, { force: true });
    throw unwritable(path, cause);
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    if (codeOf(cause) === "ENOENT") return undefined;
    throw new Failure(EXIT.failed, `${path} cannot be read (${codeOf(cause)})`, { cause });
  }
}

function unwritable(path: string, cause: unknown): Failure {
  const isThere = codeOf(cause) === "EEXIST";
  const why = isThere
    ? "exists already and is never overwritten: name another"
    : `cannot be written (${codeOf(cause)})`;
  return new Failure(EXIT.failed, `${path} ${why}`, { cause });
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? "unknown error";
}
