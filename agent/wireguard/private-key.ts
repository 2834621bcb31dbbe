/** The door to the node's private key. */
import { randomBytes } from "node:crypto";
import { link, readdir, readFile, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { AgentError } from "../errors.ts";
import { PrivateKey } from "../model.ts";
import { codeOf, create, flush, makeDirectory, problemOf, READABLE, TEMPORARY } from "./disk.ts";

/**
 * The node's key, made once. @param evidence names what shows that there was a key before, and makes a lost one an error
 * @throws AgentError key.unreadable | key.lost
 */
export async function loadPrivateKey(path: string, evidence: () => Promise<string | undefined>): Promise<PrivateKey> {
  const text = await readFile(path, { encoding: "latin1", flag: READABLE }).catch(absent).catch(unreadable(path));
  if (text !== undefined) {
    const key = PrivateKey.parse(text);
    const problem = text.trim() === "" ? "it is empty" : "it is not a WireGuard private key";
    if (key === undefined) throw new AgentError({ code: "key.unreadable", path, problem });
    await sweep(dirname(path), `${basename(path)}.`).catch(() => {});
    return key;
  }
  const known = await evidence();
  if (known !== undefined) throw new AgentError({ code: "key.lost", path, evidence: known });
  const draft = `${path}.${randomBytes(4).toString("hex")}${TEMPORARY}`;
  try {
    await makeDirectory(dirname(path));
    await create(draft, [`${PrivateKey.generate().reveal()}\n`]);
    // Unlike a rename, a link never replaces a key that somebody else has just made.
    await link(draft, path).catch((error: unknown) => {
      if (codeOf(error) !== "EEXIST") throw error;
    });
    await flush(dirname(path));
  } catch (cause) {
    unreadable(path)(cause);
  } finally {
    await rm(draft, { force: true }).catch(() => {});
  }
  return loadPrivateKey(path, evidence);
}

/** Takes away the drafts that a crash left. */
async function sweep(directory: string, prefix: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (name.startsWith(prefix) && name.endsWith(TEMPORARY)) await rm(join(directory, name), { force: true });
  }
}

function absent(error: unknown): undefined {
  if (codeOf(error) !== "ENOENT") throw error;
}

const unreadable =
  (path: string) =>
  (cause: unknown): never => {
    throw new AgentError({ code: "key.unreadable", path, problem: problemOf(cause) }, { cause });
  };
