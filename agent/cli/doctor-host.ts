/** What `doctor` finds out about this host by looking: files of the kernel, folders, and whoever has the ports. */
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  statfsSync,
  statSync,
} from "node:fs";
import { release } from "node:os";
import { dirname, join } from "node:path";
import type { Settings } from "../config.ts";
import { isUdpPortTaken } from "../wireguard/host.ts";
import { askAgent } from "./agent-http.ts";
import type { Folder, HostFacts } from "./doctor-findings.ts";

export async function hostFacts(settings: Settings): Promise<HostFacts> {
  const { interfaceName, listenPort, httpPort, stateDir, configDir } = settings;
  return {
    capabilities: capabilities(),
    tunProblem: tunProblem(),
    missingPrograms: ["wg", "ip", "nft", "conntrack", "wireguard-go"].filter((name) => !isInstalled(name)),
    kernelWireGuard: kernelWireGuard(),
    running: running(interfaceName),
    uplinks: uplinks(),
    isUdpPortTaken: await isUdpPortTaken(listenPort),
    tcpPort: await tcpPort(httpPort),
    folders: [folder("STATE_DIR", stateDir), folder("WG_CONFIG_DIR", configDir)],
    keyMode: attempt(() => statSync(join(stateDir, "private.key")).mode),
  };
}

function capabilities(): bigint | undefined {
  const [, set] = /^CapEff:\s*([0-9a-f]+)$/m.exec(text("/proc/self/status")) ?? [];
  return set === undefined ? undefined : BigInt(`0x${set}`);
}

/** Opening it makes nothing: an interface is made by what is said through it. */
function tunProblem(): string | undefined {
  try {
    closeSync(openSync("/dev/net/tun", constants.O_RDWR));
    return undefined;
  } catch (error) {
    return codeOf(error);
  }
}

function isInstalled(program: string): boolean {
  const places = `${process.env["PATH"] ?? ""}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`.split(":");
  return places.some((place) => attempt(() => accessSync(join(place, program), constants.X_OK) === undefined) ?? false);
}

function kernelWireGuard(): HostFacts["kernelWireGuard"] {
  if (existsSync("/sys/module/wireguard")) return "loaded";
  const modules = ["modules.dep", "modules.builtin"].map((name) => text(`/lib/modules/${release()}/${name}`));
  return modules.some((list) => /\/wireguard\.ko/.test(list)) ? "loadable" : "absent";
}

function running(interfaceName: string): HostFacts["running"] {
  const link = `/sys/class/net/${interfaceName}`;
  if (!existsSync(link)) return undefined;
  return existsSync(join(link, "tun_flags")) ? "userspace" : "kernel";
}

function uplinks(): HostFacts["uplinks"] {
  const ipv4 = text("/proc/net/route")
    .split("\n")
    .map((line) => line.split("\t"));
  const ipv6 = text("/proc/net/ipv6_route")
    .split("\n")
    .map((line) => line.trim().split(/\s+/));
  const names = new Set([
    ...ipv4.flatMap(([name, destination, , , , , , mask]) =>
      name !== undefined && destination === "00000000" && mask === "00000000" ? [name] : [],
    ),
    // Behind the prefix and its length; the loopback's is the one that refuses.
    ...ipv6.flatMap(([prefix, length, , , , , , , , name]) =>
      name !== undefined && length === "00" && /^0+$/.test(prefix ?? "") && name !== "lo" ? [name] : [],
    ),
  ]);
  return [...names].flatMap((name) => {
    const mtu = Number(text(`/sys/class/net/${name}/mtu`));
    return mtu > 0 ? [{ name, mtu }] : [];
  });
}

async function tcpPort(port: number): Promise<HostFacts["tcpPort"]> {
  // Local address and port, the other end, and 0A: it listens. proc(5), /proc/net/tcp.
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  const listening = new RegExp(`^ *[0-9]+: [0-9A-F]+:${hex} [0-9A-F]+:0000 0A `, "m");
  if (!["/proc/net/tcp", "/proc/net/tcp6"].some((table) => listening.test(text(table)))) return "free";
  const answer = await askAgent(new URL(`http://127.0.0.1:${port}`), "/live").catch(() => undefined);
  return answer?.status === 200 ? "agent" : "taken";
}

/** As it is, or as the folder above it is where it has yet to be made. */
function folder(setting: Folder["setting"], path: string): Folder {
  let place = path;
  while (!existsSync(place) && dirname(place) !== place) place = dirname(place);
  try {
    if (!statSync(place).isDirectory()) return { setting, path, problem: "ENOTDIR", freeBytes: 0 };
    accessSync(place, constants.W_OK | constants.X_OK);
    readdirSync(place);
    const { bavail, bsize } = statfsSync(place);
    return { setting, path, problem: undefined, freeBytes: bavail * bsize };
  } catch (error) {
    return { setting, path, problem: codeOf(error), freeBytes: 0 };
  }
}

const text = (path: string) => attempt(() => readFileSync(path, "latin1")) ?? "";
const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code ?? "unknown error";

function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}
