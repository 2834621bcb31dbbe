/** How changes are spelled for `wg set`, and what a program meant that failed. Pure. */
import { AgentError, type Fault } from "../errors.ts";
import type { PublicKey } from "../model.ts";
import type { Change } from "./plan.ts";

/**
 * An eighth of what Linux lets an argument list hold beside an ordinary stack limit of 8 MB; enough for one slice of an
 * initial fill, whose speed is then that of one `wg setconf`.
 */
const MAX_BYTES = 256 * 1024;

/** The arguments of `wg set`, one chunk after the other and in order. */
export function* setArguments(interfaceName: string, changes: readonly Change[]): Generator<string[], void> {
  const start = ["set", interfaceName];
  let [chunk, bytes] = [[...start], 0];
  for (const change of changes) {
    const words = spelled(change);
    const length = words.reduce((sum, word) => sum + word.length + 1, 0);
    if (bytes > 0 && bytes + length > MAX_BYTES) {
      yield chunk;
      [chunk, bytes] = [[...start], 0];
    }
    chunk.push(...words);
    bytes += length;
  }
  if (bytes > 0) yield chunk;
}

function spelled(change: Change): string[] {
  if (change.kind === "remove") return ["peer", change.key, "remove"];
  const { peer, endpoint, dropsPresharedKey, wakes } = change;
  const words = ["peer", peer.key];
  if (dropsPresharedKey) words.push("preshared-key", "/dev/null");
  if (endpoint !== undefined) words.push("endpoint", endpoint);
  // Every field, because wg leaves out what is not named and Debian 12's keeps a keepalive that was dropped from a file.
  words.push("persistent-keepalive", keepalive(wakes ? WAKING_SECONDS : peer.keepalive));
  words.push("allowed-ips", peer.allowedIps.join(","));
  // Switching the keepalive on sends a packet at once, and with it a handshake.
  if (wakes && peer.keepalive !== WAKING_SECONDS) words.push(...asBefore(peer.key, peer.keepalive));
  return words;
}

const WAKING_SECONDS = 25;
const asBefore = (key: PublicKey, seconds: number) => ["peer", key, "persistent-keepalive", keepalive(seconds)];
const keepalive = (seconds: number) => (seconds === 0 ? "off" : String(seconds));

/** How a program ended. */
export interface Ended {
  readonly program: string;
  /** 128 and the signal's number where one ended it. */
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The output of a program that did what it should. @throws AgentError otherwise */
export function output(ended: Ended): string {
  if (ended.exit !== 0) throw new AgentError(failure(ended));
  return ended.stdout;
}

/** What to tell the operator. Standard error is quoted short, in one line, and without anything that might be a key. */
function failure({ program, exit, stdout, stderr: said }: Ended): Fault {
  // wireguard-go logs its errors on standard output, behind a banner on standard error; nothing it prints is secret.
  const stderr = program === "wireguard-go" ? `${said}\n${stdout}` : said;
  // Without the capability it is "not permitted"; this is the device's mode.
  if (/TUN device: permission denied/.test(stderr)) {
    return {
      code: "device.missing-privilege",
      need: "leave to open /dev/net/tun",
      mend: "chmod 0666 /dev/net/tun on the host: what may be done with it takes NET_ADMIN anyway",
    };
  }
  if (/Operation not permitted|Permission denied|not capable|must be root/i.test(stderr)) {
    return {
      code: "device.missing-privilege",
      need: `the capability NET_ADMIN for ${program}`,
      mend: "run as root, or in a container with cap_add: NET_ADMIN",
    };
  }
  if (/\/dev\/net\/tun/.test(stderr)) {
    return {
      code: "device.missing-privilege",
      need: "/dev/net/tun",
      mend: "give the container devices: /dev/net/tun, or load the kernel's tun or wireguard module",
    };
  }
  return { code: "device.command-failed", command: program, exit, problem: quoted(stderr) };
}

/** A program that is not there; the packages are Debian's. */
export function notInstalled(program: string): Fault {
  const mend = `apt-get install ${PACKAGES[program] ?? program}`;
  return { code: "device.missing-privilege", need: `the program ${program}`, mend };
}

const PACKAGES: Readonly<Record<string, string>> = { wg: "wireguard-tools", ip: "iproute2", nft: "nftables" };

/** That there is no such interface, or none that `wg` can talk to: no WireGuard, or a wireguard-go without its socket. */
export function isAbsent({ exit, stderr }: Ended): boolean {
  return (
    exit !== 0 &&
    /No such device|does not exist|Cannot find device|(Protocol|Operation) not supported|refused/i.test(stderr)
  );
}

export function isPortTaken({ exit, stderr }: Ended): boolean {
  return exit !== 0 && /Address already in use/i.test(stderr);
}

/** That another wireguard-go of this name still listens to `wg`. */
export function isSocketTaken({ exit, stdout, stderr }: Ended): boolean {
  return exit !== 0 && /unix socket in use/.test(`${stdout}${stderr}`);
}

/** That this kernel has no WireGuard of its own. */
export function isUnknownType({ exit, stderr }: Ended): boolean {
  return exit !== 0 && /Unknown device type|not supported/i.test(stderr);
}

function quoted(stderr: string): string {
  const line = stderr
    .replaceAll(/[A-Za-z0-9+/]{40,}=?/g, "[key]")
    .replaceAll(/[^\x20-\x7e]+/g, " ")
    .trim();
  return line === "" ? "it said nothing" : line.slice(-200);
}
