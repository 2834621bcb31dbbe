/** The network interface around WireGuard: what `ip -j` says of it, and what to run so that it is as wanted. Pure. */
import { isIP } from "node:net";
import { AgentError } from "../errors.ts";
import { type Cidr, ipToBigInt, overlaps, parseCidr, prefixOf } from "../model.ts";

export interface Link {
  /** A new number is a new interface, whatever its name. */
  readonly index: number;
  readonly isUp: boolean;
  readonly mtu: number;
  /** As `ip` prints them, link-local ones left out: the kernel makes those. */
  readonly addresses: readonly string[];
  /** To this interface, in the main table. */
  readonly routes: readonly Route[];
  /** A note that goes with the interface; ours says who drives it. */
  readonly alias: string;
}

export interface Route {
  readonly to: string;
  /** Whose it is, as iproute2 prints it: a name of `rt_protos`, or the number. */
  readonly protocol: string;
}

/** A process, told apart from others that have had its number. */
export interface Driver {
  readonly pid: number;
  /** In clock ticks since the boot, as `/proc` has it. */
  readonly startedAt: string;
}

/** Kept on the interface itself, so that a crash leaves nothing to clean up and `ip link` shows it to people. */
export const aliasOf = ({ pid, startedAt }: Driver) => `dstack-vpn process ${pid} of ${startedAt}`;

export function driverOf(alias: string): Driver | undefined {
  const [, pid, startedAt] = /^dstack-vpn process ([0-9]{1,10}) of ([0-9]{1,20})$/.exec(alias) ?? [];
  return startedAt === undefined ? undefined : { pid: Number(pid), startedAt };
}

export interface WantedLink {
  readonly mtu: number;
  /** /32 and /128. */
  readonly addresses: readonly Cidr[];
  readonly routes: readonly Cidr[];
}

export interface Step {
  /** Arguments of `ip`. */
  readonly words: readonly string[];
  readonly sentence: string;
}

/** Differences only, in an order that works from any state: setting a link up brings back what setting it down took. */
export function linkSteps(name: string, link: Link, wanted: WantedLink): Step[] {
  const steps: Step[] = [];
  const step = (sentence: string, ...words: string[]) => steps.push({ words, sentence });
  if (link.mtu !== wanted.mtu) step(`set the MTU to ${wanted.mtu}`, "link", "set", "dev", name, "mtu", `${wanted.mtu}`);
  if (!link.isUp) step("set the interface up", "link", "set", "dev", name, "up");
  for (const address of wanted.addresses) {
    if (!link.addresses.includes(address)) step(`add address ${address}`, "address", "add", address, "dev", name);
  }
  // Behind the additions: with its last IPv4 address a device loses its IPv4 routes.
  for (const address of link.addresses) {
    if (!wanted.addresses.some((cidr) => cidr === address)) {
      step(`remove address ${address}`, "address", "del", address, "dev", name);
    }
  }
  for (const route of wanted.routes) {
    const isThere = link.routes.some(({ to, protocol }) => to === route && protocol !== UNTOLD);
    if (!isThere) step(`route ${route}`, "route", "replace", route, "dev", name, "proto", OURS);
  }
  for (const { to, protocol } of link.routes) {
    if (protocol !== OURS || wanted.routes.some((cidr) => cidr === to)) continue;
    step(`remove the route ${to}`, "route", "del", to, "dev", name, "proto", OURS);
  }
  return steps;
}

/**
 * Tells our routes from others': the 213 of the overlay's preset 10.213.0.0/16, which neither rtnetlink.h nor iproute2's
 * rt_protos give to anybody.
 */
const OURS = "213";
/** Added by hand, or by an agent that did not tell its routes from others' yet. */
const UNTOLD = "boot";

/**
 * From `ip -j -d -batch -`, which prints a line of JSON for each question: `address show dev X` and then
 * `route show table all dev X`, because only that speaks of both families. @throws AgentError device.unreadable
 */
export function parseLink(text: string): Link {
  const [address = "", ...routes] = text.split("\n");
  const [link] = array(json(address)).filter((entry) => Object.keys(entry).length > 0);
  const { ifindex: index, flags, mtu, addr_info: list, ifalias: alias = "" } = link ?? {};
  if (typeof index !== "number" || typeof mtu !== "number" || !Array.isArray(flags)) throw unexpected("link");
  return {
    index,
    isUp: flags.includes("UP"),
    mtu,
    addresses: array(list).flatMap(({ local, prefixlen, scope }) => {
      if (typeof local !== "string" || isIP(local) === 0 || typeof prefixlen !== "number") throw unexpected("address");
      return scope === "link" ? [] : [`${local}/${prefixlen}`];
    }),
    routes: routes
      .flatMap((line) => array(json(line)))
      .filter(({ table = "main" }) => table === "main")
      .map((route) => ({ to: destination(route), protocol: String(route["protocol"] ?? UNTOLD) })),
    alias: String(alias),
  };
}

/**
 * The first route of this host that shares addresses with the overlay, with its interface; `dev` is the one that may.
 * @param routes of `ip -j -4 route show`, as many answers as were asked for
 */
export function overlapping(overlay: Cidr, dev: string, routes: readonly string[]): string | undefined {
  for (const route of routes.flatMap((text) => array(json(text)))) {
    if (route["dev"] === dev || NOWHERE.has(String(route["type"]))) continue;
    const cidr = parseCidr(destination(route));
    // A default route, or the two halves of one, reaches everything and owns nothing.
    const isPart = cidr !== undefined && prefixOf(cidr).bits > 1 && overlaps(cidr, overlay);
    if (isPart) return `${cidr} of ${route["dev"] ?? "several interfaces"}`;
  }
  return undefined;
}

/** The interfaces with a default route that a router advertised; from `ip -j -6 route show default proto ra`. */
export function routers(text: string): string[] {
  return array(json(text)).flatMap(({ dev }) => (typeof dev === "string" && /^[^/]+$/.test(dev) ? [dev] : []));
}

const NOWHERE = new Set(["blackhole", "unreachable", "prohibit", "throw", "broadcast", "multicast", "anycast"]);

type Fields = Readonly<Record<string, unknown>>;

function destination({ dst }: Fields): string {
  if (typeof dst !== "string") throw unexpected("route");
  if (dst === "default") return "0.0.0.0/0";
  const value = ipToBigInt(dst);
  return value === undefined ? dst : `${dst}/${isIP(dst) === 4 ? 32 : 128}`;
}

/** No output at all is how `ip -j` prints an empty list. */
function json(text: string): unknown {
  try {
    return text.trim() === "" ? [] : JSON.parse(text);
  } catch (cause) {
    throw new AgentError({ code: "device.unreadable", problem: "ip printed something that is not JSON" }, { cause });
  }
}

function array(value: unknown): Fields[] {
  if (!Array.isArray(value) || value.some((entry) => typeof entry !== "object" || entry === null)) {
    throw unexpected("list");
  }
  return value;
}

const unexpected = (what: string) =>
  new AgentError({ code: "device.unreadable", problem: `ip printed an unexpected ${what}` });
