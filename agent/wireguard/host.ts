/** The door to the host, as far as it shows itself as files: kernel settings, processes, ports, and a place for a secret. */
import { constants } from "node:fs";
import { access, type FileHandle, open, readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { AgentError } from "../errors.ts";

/** A sysctl by its path below `/proc/sys`; undefined where this kernel has none. */
export async function kernelSetting(name: string): Promise<string | undefined> {
  return (await readFile(`/proc/sys/${name}`, "latin1").catch(() => undefined))?.trim();
}

/** False where it may not be written. */
export async function setKernelSetting(name: string, value: string): Promise<boolean> {
  const file = await open(`/proc/sys/${name}`, "w").catch(() => undefined);
  if (file === undefined) return false;
  return file
    .writeFile(value)
    .then(
      () => true,
      () => false,
    )
    .finally(() => file.close());
}

/** When a process was started, in clock ticks since the boot; undefined where it is gone, or dead and not yet buried. */
export async function processStart(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, "latin1").catch(() => "");
  // Behind the name in parentheses, which may hold anything: state is field 3 and starttime field 22; proc_pid_stat(5).
  const [state = "Z", ...rest] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return /^[ZX]/.test(state) ? undefined : rest[18];
}

/** Whether the file has gone, or goes within that time. */
export async function goes(path: string, withinMs: number): Promise<boolean> {
  const until = performance.now() + withinMs;
  const isThere = () =>
    access(path).then(
      () => true,
      () => false,
    );
  while (await isThere()) {
    if (performance.now() > until) return false;
    await sleep(20);
  }
  return true;
}

/** Whether a socket of this network namespace has the UDP port. */
export async function isUdpPortTaken(port: number): Promise<boolean> {
  const local = new RegExp(`^ *[0-9]+: [0-9A-F]+:${port.toString(16).toUpperCase().padStart(4, "0")} `, "m");
  const tables = ["/proc/net/udp", "/proc/net/udp6"].map((table) => readFile(table, "latin1").catch(() => ""));
  return (await Promise.all(tables)).some((text) => local.test(text));
}

/**
 * A file without a name that holds `text`, for a child's standard input: Node's pipes are sockets, which `/dev/stdin`
 * cannot open. In memory where there is such a place; a private key passes through it.
 */
export async function inputFile(text: string): Promise<FileHandle> {
  for (const directory of ["/dev/shm", "/run", "/tmp"]) {
    const file = await open(directory, UNNAMED, 0o600).catch(() => undefined);
    if (file === undefined) continue;
    try {
      // At a position, which leaves the offset at the start: not every program opens /dev/stdin anew.
      await file.write(text, 0);
      return file;
    } catch {
      await file.close();
    }
  }
  throw new AgentError({
    ...{ code: "device.missing-privilege", need: "a place for a temporary file" },
    mend: "mount a tmpfs at /dev/shm, /run or /tmp",
  });
}

/** `O_TMPFILE` of open(2), for which Node has no word: a name, even for an instant, is what a crash would leave behind. */
const UNNAMED = 0o20000000 | constants.O_DIRECTORY | constants.O_RDWR | constants.O_EXCL;
