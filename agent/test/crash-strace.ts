/** Where in a running process to strike: system calls listed thread by thread, and a fault injected at one of them. */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { basename } from "node:path";
import { type Running, start, until } from "./lab/command.ts";

/** Whatever changes a file or a directory, makes it last, or starts a process. */
const CALLS = [
  ...["write", "writev", "pwrite64", "pwritev", "copy_file_range", "sendfile", "ftruncate", "fallocate"],
  ...["fsync", "fdatasync", "rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "mkdir"],
  ...["clone", "vfork"],
];

/** Node works on files in a thread beside the main one, where SQLite works and children are started. */
export type Thread = "main" | "files";

export interface Call {
  readonly thread: Thread;
  readonly name: string;
  /** The file; undefined where none is concerned, or where its name is drawn by lot and so no aim. */
  readonly path: string | undefined;
  /** Among the calls of this name and path, or else among all calls of this name by this thread; from 1. */
  readonly nth: number;
  /** What to call it in a table. */
  readonly what: string;
}

/** Why nothing can be injected on this machine; empty where it can. */
export function whyNoStrace(): string {
  try {
    execFileSync("strace", ["-qq", "-o", "/dev/null", "-e", "trace=none", "true"], { stdio: "pipe" });
    return "";
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return "strace is not installed (apt-get install strace)";
    return "a process may not be traced here (in a container: --cap-add SYS_PTRACE)";
  }
}

/** One thread for files, so that their order is the same each time; it exists, and waits, before anything of ours is read. */
export const GATE = {
  environment: { UV_THREADPOOL_SIZE: "1" },
  path: "/run/gate",
  flag: `--import=data:text/javascript,${encodeURIComponent(`
    import { existsSync } from "node:fs";
    import { stat } from "node:fs/promises";
    do { await stat("/"); await new Promise((wake) => setTimeout(wake, 5)); } while (!existsSync("/run/gate"));
  `)}`,
} as const;

export async function threadsOf(pid: number): Promise<Record<Thread, number>> {
  const files = await until("the thread that works on files", 10_000, () => {
    const ids = readdirSync(`/proc/${pid}/task`);
    const id = ids.find((id) => /^libuv-worker/.test(readFileSync(`/proc/${pid}/task/${id}/comm`, "utf8")));
    return id === undefined ? undefined : Number(id);
  });
  return { main: pid, files };
}

/** Listens until ended; then gives the calls that touch what is the agent's own. */
export async function listen(threads: Record<Thread, number>): Promise<() => Promise<Call[]>> {
  const traces = await Promise.all(
    (["main", "files"] as const).map(async (thread) => {
      const log = `/run/calls-${thread}`;
      rmSync(log, { force: true });
      return { thread, log, running: await attach(threads[thread], ["-y", "-o", log, "-e", `trace=${CALLS}`]) };
    }),
  );
  return async () => {
    for (const { running } of traces) await running.end("SIGINT");
    return traces.flatMap(({ thread, log }) => callsIn(thread, readFileSync(log, "latin1")));
  };
}

export interface Trap {
  /** Lets go. @returns the call that was struck with a signal, as strace shows it; undefined where none was */
  end(): Promise<string | undefined>;
}

/** @param how as strace spells it: `signal=KILL`, `error=EIO`; each time, where the call has no number. */
export async function inject(
  tid: number,
  { name, path, nth }: { readonly name: string; readonly path: string | undefined; readonly nth?: number },
  how: string,
): Promise<Trap> {
  const log = "/run/struck";
  rmSync(log, { force: true });
  const when = nth === undefined ? "" : `:when=${nth}`;
  const only = path === undefined ? [] : ["-P", path];
  const words = ["-y", "-o", log, ...only, "-e", `trace=${name}`, "-e", `inject=${name}:${how}${when}`];
  const running = await attach(tid, words);
  return {
    async end() {
      await running.end("SIGINT");
      const lines = readFileSync(log, "latin1").trim().split("\n");
      return lines.at(-1)?.startsWith("+++ killed") ? lines.findLast((line) => line.includes("(")) : undefined;
    },
  };
}

async function attach(tid: number, words: readonly string[]): Promise<Running> {
  const running = start(["strace", ...words, "-p", String(tid)]);
  await running.says(/attached/);
  return running;
}

/** The agent's files; `(deleted)` follows the name of one that has none any more. */
const OWN = /(?:[<"])(\/run\/(?:state|config)[^">]*|\/dev\/shm\/[^">]*)/;

/** Of names: random bytes, dates, and the number that stands for a file without one. */
const LOT = /[0-9a-f]{8,}|#[0-9]+/g;

function callsIn(thread: Thread, log: string): Call[] {
  const counts = new Map<string, number>();
  const count = (key: string) => {
    counts.set(key, (counts.get(key) ?? 0) + 1);
    return counts.get(key) ?? 0;
  };
  return log.split("\n").flatMap((line): Call[] => {
    const [, name = ""] = /^([a-z0-9_]+)\(/.exec(line) ?? [];
    // A thread of the same process is no child.
    if (name === "" || line.includes("CLONE_THREAD")) return [];
    const nth = count(name);
    const own = OWN.exec(line)?.[1];
    if (name === "clone" || name === "vfork") return [{ thread, name, path: undefined, nth, what: "spawn" }];
    if (own === undefined) return [];
    const what = `${name} ${basename(own).replaceAll(LOT, "…")}`;
    if (own.search(LOT) >= 0) return [{ thread, name, path: undefined, nth, what }];
    return [{ thread, name, path: own, nth: count(`${name} ${own}`), what }];
  });
}
