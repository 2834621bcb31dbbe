/** What `doctor` says of a host: a verdict for each thing that was looked at, and what mends it. Pure. */
import type { Settings } from "../config.ts";

export interface Finding {
  readonly topic: string;
  readonly verdict: "ok" | "warn" | "fail";
  readonly said: string;
  /** What to do, where something is to be done. */
  readonly mend?: string;
}

/** What the host shows; nothing was changed to find it out. */
export interface HostFacts {
  /** The effective set, as `/proc` has it; undefined where it has none. */
  readonly capabilities: bigint | undefined;
  /** The system's word for why it cannot be opened; undefined where it can. */
  readonly tunProblem: string | undefined;
  readonly missingPrograms: readonly string[];
  readonly kernelWireGuard: "loaded" | "loadable" | "absent";
  /** `WG_INTERFACE`, where it is up: kernel WireGuard or wireguard-go. */
  readonly running: "kernel" | "userspace" | undefined;
  /** The links that carry default routes. */
  readonly uplinks: readonly { readonly name: string; readonly mtu: number }[];
  readonly isUdpPortTaken: boolean;
  readonly tcpPort: "free" | "agent" | "taken";
  readonly folders: readonly Folder[];
  /** Undefined where there is none yet. */
  readonly keyMode: number | undefined;
}

export interface Folder {
  readonly setting: "STATE_DIR" | "WG_CONFIG_DIR";
  readonly path: string;
  readonly problem: string | undefined;
  readonly freeBytes: number;
}

export function hostFindings(facts: HostFacts, settings: Settings): Finding[] {
  return [
    ...privileges(facts),
    wireguard(facts),
    ...programs(facts),
    mtu(facts, settings),
    ...ports(facts, settings),
    ...facts.folders.map(disk),
    ...key(facts),
  ];
}

const ok = (topic: string, said: string): Finding => ({ topic, verdict: "ok", said });
const warn = (topic: string, said: string, mend: string): Finding => ({ topic, verdict: "warn", said, mend });
const fail = (topic: string, said: string, mend: string): Finding => ({ topic, verdict: "fail", said, mend });

// capabilities(7)
const NET_ADMIN = 12n;

function privileges({ capabilities }: HostFacts): Finding[] {
  if (capabilities === undefined) {
    return [fail("privileges", "this system shows no capabilities: it is no Linux", "run the node on Linux")];
  }
  if ((capabilities >> NET_ADMIN) & 1n) return [ok("privileges", "NET_ADMIN is there")];
  const mend =
    "run as root, or in a container with cap_add: NET_ADMIN, through docker exec CONTAINER dstack-vpn doctor";
  return [fail("privileges", "NET_ADMIN is missing: no interface can be made", mend)];
}

function wireguard({ kernelWireGuard, running, missingPrograms, tunProblem }: HostFacts): Finding {
  if (running !== undefined)
    return ok("wireguard", `the interface is up, by the ${running === "kernel" ? "kernel" : "userspace program"}`);
  if (kernelWireGuard === "loaded") return ok("wireguard", "the kernel's module is loaded");
  if (kernelWireGuard === "loadable")
    return ok("wireguard", "the kernel has the module, and loads it when it is asked");
  if (missingPrograms.includes("wireguard-go")) {
    return fail(
      "wireguard",
      "neither the kernel's module nor wireguard-go is here",
      "modprobe wireguard, or apt-get install wireguard-go",
    );
  }
  if (tunProblem !== undefined) {
    return fail(
      "wireguard",
      `wireguard-go needs /dev/net/tun (${tunProblem})`,
      "give the container devices: /dev/net/tun, or modprobe tun",
    );
  }
  return warn(
    "wireguard",
    "userspace, by wireguard-go: it works, with more CPU for each packet",
    "modprobe wireguard, where the kernel has it",
  );
}

const PACKAGES: Readonly<Record<string, string>> = {
  wg: "wireguard-tools",
  ip: "iproute2",
  nft: "nftables",
  conntrack: "conntrack",
};

function programs({ missingPrograms }: HostFacts): Finding[] {
  const missing = missingPrograms.filter((name) => name in PACKAGES);
  if (missing.length === 0) return [ok("programs", "wg, ip, nft and conntrack are there")];
  return missing.map((name) => {
    const mend = `apt-get install ${PACKAGES[name]}`;
    // Without it, only connections that the host's own NAT carries outlive a revoke.
    return (name === "conntrack" ? warn : fail)("programs", `${name} is missing`, mend);
  });
}

/** What WireGuard adds: 32 bytes of its own, 8 of UDP, and 20 or 40 of IP (WireGuard paper, section 5.4.6). */
const OVER_IPV4 = 60;
const OVER_IPV6 = 80;

function mtu({ uplinks }: HostFacts, { mtu: inner }: Settings): Finding {
  const narrowest = uplinks.toSorted((a, b) => a.mtu - b.mtu)[0];
  if (narrowest === undefined)
    return warn("mtu", "there is no default route to judge MTU by", "bring the network up, and look again");
  const { name, mtu: outer } = narrowest;
  const said = `MTU=${inner} inside, ${outer} on ${name}`;
  if (outer >= inner + OVER_IPV6) return ok("mtu", said);
  const over = outer >= inner + OVER_IPV4 ? "over IPv6 full packets are" : "full packets are";
  return warn(
    "mtu",
    `${said}: ${over} cut in two on the way, or lost`,
    `set MTU=${Math.max(1_280, outer - OVER_IPV6)} on every node`,
  );
}

function ports({ isUdpPortTaken, running, tcpPort }: HostFacts, { listenPort, httpPort }: Settings): Finding[] {
  const isOthers = isUdpPortTaken && running === undefined;
  return [
    isOthers
      ? fail("ports", `UDP ${listenPort} is taken by another program`, "free it, or set LISTEN_PORT")
      : ok("ports", `UDP ${listenPort} is ${isUdpPortTaken ? "in use by the interface" : "free"}`),
    tcpPort === "taken"
      ? fail("ports", `TCP ${httpPort} is taken by another program`, "free it, or set HEALTH_CHECK_PORT")
      : ok("ports", `TCP ${httpPort} is ${tcpPort === "agent" ? "answered by an agent" : "free"}`),
  ];
}

const LITTLE = 64 * 1024 * 1024;
const SOME = 512 * 1024 * 1024;

function disk({ setting, path, problem, freeBytes }: Folder): Finding {
  const free = `${Math.floor(freeBytes / 1024 / 1024)} MB free at ${setting} ${path}`;
  if (problem !== undefined) {
    return fail(
      "disk",
      `${setting} ${path} cannot be written (${problem})`,
      `make it writable for the agent's user, or set ${setting}`,
    );
  }
  if (freeBytes < LITTLE) return fail("disk", free, "free space: state can hardly be saved any more");
  return freeBytes < SOME ? warn("disk", free, "free space before it runs out") : ok("disk", free);
}

function key({ keyMode }: HostFacts): Finding[] {
  if (keyMode === undefined) return [];
  if ((keyMode & 0o077) === 0) return [ok("key", "private.key is its owner's alone")];
  return [warn("key", "private.key can be read by others", "chmod 600 private.key in STATE_DIR")];
}
