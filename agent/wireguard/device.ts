/**
 * The device's door, and the only file that starts processes: `wg`, `ip`, `nft`, `conntrack` and `wireguard-go`, by argument
 * array, with a deadline, bounded output and nothing of our environment. Kernel WireGuard and wireguard-go are driven alike.
 */
import { type ChildProcess, type StdioNull, spawn } from "node:child_process";
import { constants } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { AgentError } from "../errors.ts";
import { type Cidr, type Peer, type PublicKey, prefixOf } from "../model.ts";
import { type Ended, isAbsent, notInstalled, output, setArguments } from "./commands.ts";
import { type DeviceState, dumpReader } from "./dump.ts";
import { inputFile, kernelSetting } from "./host.ts";
import { type DeviceOptions, type Ensured, Interface, type WantedInterface } from "./interface.ts";
import type { Change } from "./plan.ts";

export interface Device {
  /**
   * Everything, as it arrives. @param known the peers that are expected; what equals them shares their texts
   * @throws AgentError device.unreadable, or what `wg` failed with
   */
  read(known: ReadonlyMap<PublicKey, Peer>): Promise<DeviceState>;
  /** As few `wg set` as hold the changes, one for one event; reads nothing. @throws AgentError, with any number of them done */
  apply(changes: readonly Change[]): Promise<void>;
  /**
   * Makes the interface, or adopts the one that is ours, and mends what differs around the peers: link, addresses, routes,
   * firewall, forwarding. @throws AgentError when there is no interface to work with; lesser things are in its result
   */
  ensure(wanted: WantedInterface): Promise<Ensured>;
  /**
   * Puts private key, port and mark back where `found` has others: of an interface that `ensure` has returned for.
   * @throws AgentError device.port-in-use where another has the port, and then the rest is back
   */
  restore(found: DeviceState, listenPort: number): Promise<string[]>;
  /** Forgets the connections of addresses that lost their peer, which the host's NAT might carry on. Never throws; slow. */
  forget(addresses: readonly Cidr[]): Promise<void>;
  /** Calls back when the kernel tells of a change near the interface or these prefixes. Resolves when aborted. */
  watch(onChange: () => void, prefixes: readonly Cidr[], signal: AbortSignal): Promise<void>;
  hasIpv6(): Promise<boolean>;
  /** Takes the interface and the firewall away; without it the tunnel outlives the agent. */
  remove(): Promise<void>;
}

export function openDevice(options: DeviceOptions): Device {
  const { interfaceName } = options;
  const held = new Interface(options, run);
  let forgetting: Promise<void> = Promise.resolve();
  return {
    async read(known) {
      const reader = dumpReader(known);
      const deadlineMs = DEADLINE_MS + known.size * PEER_MS;
      const ended = await run("wg", ["show", interfaceName, "dump"], { deadlineMs, onOutput: reader.push });
      if (isAbsent(ended)) held.noteUnreachable();
      output(ended);
      return reader.end();
    },
    async apply(changes) {
      for (const words of setArguments(interfaceName, changes)) {
        const peers = words.filter((word) => word === "peer").length;
        output(await run("wg", words, { deadlineMs: DEADLINE_MS + peers * PEER_MS }));
      }
    },
    ensure: (wanted) => held.ensure(wanted),
    restore: (found, listenPort) => held.restore(found, listenPort),
    forget(addresses) {
      forgetting = forgetting.then(() => forget(addresses)).catch(() => {});
      return forgetting;
    },
    watch: (onChange, prefixes, signal) => watch([interfaceName, ...prefixes], onChange, signal),
    async hasIpv6() {
      const names = ["all", "default"].map((scope) => kernelSetting(`net/ipv6/conf/${scope}/disable_ipv6`));
      return (await Promise.all(names)).every((value) => value === "0");
    },
    remove: () => held.remove(),
  };
}

const DEADLINE_MS = 3_000;
/** On top, for what touches many peers. */
const PEER_MS = 1;
const MAX_OUTPUT_BYTES = 4 * 1024 * 1024;
const MAX_ERROR_BYTES = 4 * 1024;

export interface RunOptions {
  readonly deadlineMs?: number;
  /** Standard input, as a file: `/dev/stdin` cannot be opened on Node's pipes. */
  readonly input?: string;
  /** Takes standard output in place of the result, and bounds it. */
  readonly onOutput?: (chunk: Buffer) => void;
}

export type Run = (program: string, words: readonly string[], options?: RunOptions) => Promise<Ended>;

/** Failing is a result. @throws AgentError when the program is not installed, or passes its deadline or its bounds */
async function run(program: string, words: readonly string[], options: RunOptions = {}): Promise<Ended> {
  const input = options.input === undefined ? undefined : await inputFile(options.input);
  try {
    const deadlineMs = Math.ceil(options.deadlineMs ?? DEADLINE_MS);
    return await ended(program, start(program, words, input?.fd ?? "ignore"), deadlineMs, options.onOutput);
  } finally {
    await input?.close();
  }
}

/** @throws AgentError where the kernel refuses: too many words, too little memory */
function start(program: string, words: readonly string[], stdin: StdioNull | number): ChildProcess {
  try {
    return spawn(program, words, {
      stdio: [stdin, "pipe", "pipe"],
      // Nothing of ours: LOG_LEVEL would make wireguard-go talk, and there are secrets.
      env: { PATH: `${process.env["PATH"] ?? ""}:${SYSTEM_PATH}`, LC_ALL: "C" },
      // A session of its own: neither Ctrl-C nor the end of ours ends wireguard-go, or a `wg set` half-way.
      detached: true,
      cwd: "/",
    });
  } catch (cause) {
    throw unstarted(program, cause);
  }
}

function unstarted(program: string, cause: unknown): AgentError {
  const { code = "it cannot be started" } = cause as NodeJS.ErrnoException;
  if (code === "ENOENT") return new AgentError(notInstalled(program), { cause });
  return new AgentError({ code: "device.command-failed", command: program, exit: 126, problem: code }, { cause });
}

const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

function ended(
  program: string,
  child: ChildProcess,
  deadlineMs: number,
  onOutput: ((chunk: Buffer) => void) | undefined,
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const [stdout, stderr]: [Buffer[], Buffer[]] = [[], []];
    let [outBytes, errBytes] = [0, 0];
    const giveUp = (error: unknown) => {
      clearTimeout(timer);
      // It may be beyond killing (in the kernel, or stopped): nobody waits for it.
      child.kill("SIGKILL");
      child.stdout?.destroy();
      child.stderr?.destroy();
      reject(error);
    };
    const timer = setTimeout(
      () => giveUp(new AgentError({ code: "device.command-timeout", command: program, timeoutMs: deadlineMs })),
      deadlineMs,
    );
    child.stdout?.on("data", (chunk: Buffer) => {
      outBytes += chunk.length;
      try {
        if (onOutput !== undefined) onOutput(chunk);
        else if (outBytes > MAX_OUTPUT_BYTES) giveUp(unreadable(program, outBytes));
        else stdout.push(chunk);
      } catch (error) {
        giveUp(error);
      }
    });
    child.stderr?.on("data", (chunk: Buffer) => {
      if (errBytes < MAX_ERROR_BYTES) stderr.push(chunk);
      errBytes += chunk.length;
    });
    child.on("error", (cause) => giveUp(unstarted(program, cause)));
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      const exit = code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
      const text = (chunks: readonly Buffer[]) => Buffer.concat(chunks).toString("latin1");
      resolve({ program, exit, stdout: text(stdout), stderr: text(stderr) });
    });
  });
}

const unreadable = (program: string, bytes: number) =>
  new AgentError({ code: "device.unreadable", problem: `${program} printed more than ${bytes} bytes` });

/** Two questions an address, one for each end of a connection. More than this is not worth anybody's wait. */
const MAX_FORGOTTEN = 512;

async function forget(addresses: readonly Cidr[]): Promise<void> {
  if (((await kernelSetting("net/netfilter/nf_conntrack_count")) ?? "0") === "0") return;
  // The overlay may be among them, which is nobody's address.
  const hosts = addresses.filter((cidr) => prefixOf(cidr).bits === prefixOf(cidr).width);
  for (const cidr of hosts.slice(0, MAX_FORGOTTEN)) {
    const family = prefixOf(cidr).width === 32 ? "ipv4" : "ipv6";
    const address = cidr.slice(0, cidr.indexOf("/"));
    // It ends with 1 when there was nothing to delete.
    for (const end of ["--orig-src", "--orig-dst"]) await run("conntrack", ["-D", "-f", family, end, address]);
  }
}

/** Changes come in flocks: a link that goes takes its addresses and routes along. */
const SETTLE_MS = 50;
const MAX_PAUSE_MS = 5_000;

async function watch(words: readonly string[], onChange: () => void, signal: AbortSignal): Promise<void> {
  let failures = 0;
  while (!signal.aborted) {
    const startedAt = performance.now();
    await monitor(words, onChange, signal).catch(() => {});
    if (signal.aborted) return;
    failures = performance.now() - startedAt > MAX_PAUSE_MS ? 0 : failures + 1;
    await sleep(Math.min(MAX_PAUSE_MS, 100 * 2 ** failures), undefined, { signal }).catch(() => {});
    // Nobody listened meanwhile.
    if (!signal.aborted) onChange();
  }
}

/** One `ip monitor`, until it ends or the signal aborts. */
async function monitor(words: readonly string[], onChange: () => void, signal: AbortSignal): Promise<void> {
  const child = start("ip", ["monitor", "link", "address", "route"], "ignore");
  // With all that it started: what is left of a wrapper would hold its output open, and a shutdown up.
  const stop = () => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    } catch {
      // It has ended by itself.
    }
  };
  signal.addEventListener("abort", stop, { once: true });
  let timer: NodeJS.Timeout | undefined;
  let tail = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    const text = tail + chunk.toString("latin1");
    tail = text.slice(-MAX_WORD);
    if (timer !== undefined || !words.some((word) => text.includes(word))) return;
    tail = "";
    timer = setTimeout(() => {
      timer = undefined;
      if (!signal.aborted) onChange();
    }, SETTLE_MS);
  });
  child.stderr?.resume();
  await new Promise<void>((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
      resolve();
    };
    child.on("error", end);
    child.on("close", end);
  });
}

/** As long as the longest name or prefix that may be cut in two by the end of a chunk. */
const MAX_WORD = 48;
