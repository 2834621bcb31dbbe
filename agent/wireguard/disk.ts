/** How a file comes onto the disk: whole, ours alone, and there after a power cut. */
import { constants } from "node:fs";
import { access, mkdir, open, rm } from "node:fs/promises";
import { dirname } from "node:path";

/** How the name of a draft ends. */
export const TEMPORARY = ".tmp";
/** Not blocking, for a pipe would wait for its writer. */
export const READABLE = constants.O_RDONLY | constants.O_NONBLOCK;

/** With those above it. Not by `recursive`, with which Node never comes back from a place like /proc, where none can be made. */
export async function makeDirectory(path: string): Promise<void> {
  if (await isThere(path)) return;
  await makeDirectory(dirname(path));
  await mkdir(path, { mode: 0o700 }).catch(async (error: unknown) => {
    // Somebody else was faster.
    if (!(await isThere(path))) throw error;
  });
}

const isThere = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );

/** A new file, mode 0600, on the disk before this returns. */
export async function create(path: string, pieces: Iterable<string>): Promise<void> {
  await rm(path, { force: true });
  const file = await open(path, "wx", 0o600);
  try {
    for (const piece of pieces) await file.writeFile(piece, "latin1");
    await file.sync();
  } finally {
    await file.close();
  }
}

export async function flush(path: string): Promise<void> {
  const handle = await open(path, "r");
  await handle.sync().finally(() => handle.close());
}

export const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code;
/** The system's word for it, or ours about what was read back; never what stands in a file. */
export const problemOf = (error: unknown) =>
  codeOf(error) ?? (error instanceof Error ? error.message : "unknown error");
