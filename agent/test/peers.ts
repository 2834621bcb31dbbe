/**
 * Peers and changes as drawings: `A@*,1!7~25` is the peer A with the overlay and the address 10.213.0.1/32, the endpoint
 * 192.0.2.7:51820 and a keepalive of 25 s; `^` marks a preshared key, `#30` a handshake 30 s ago, `?8` where it roamed to.
 */
import { type Cidr, type Peer, type PublicKey, parseCidr, parsePublicKey, type SocketAddress } from "../model.ts";
import type { RunningPeer } from "../wireguard/dump.ts";
import type { Change } from "../wireguard/plan.ts";

export const NOW_MS = Date.UTC(2026, 0, 2, 3, 4, 5);
export const OVERLAY = cidr("10.213.0.0/16");

export function cidr(text: string): Cidr {
  const parsed = parseCidr(text);
  if (parsed === undefined) throw new Error(`${text} is no prefix`);
  return parsed;
}

/** 32 bytes of the letter's code. */
export function keyOf(letter: string): PublicKey {
  const parsed = parsePublicKey(Buffer.alloc(32, letter).toString("base64"));
  if (parsed.kind === "refused") throw new Error(`${letter} makes no key`);
  return parsed.key;
}

export const letterOf = (key: PublicKey) => Buffer.from(key, "base64").toString("latin1", 0, 1);

export function peersOf(drawing: string): Map<PublicKey, RunningPeer> {
  const words = drawing.split(" ").filter((word) => word !== "");
  return new Map(words.map((word) => [keyOf(word.charAt(0)), peerOf(word)]));
}

export function peerOf(drawing: string): RunningPeer {
  const [, letter = "", addresses = "", ...rest] =
    /^([A-Z])@([0-9,*]*)(?:!([0-9]+))?(?:\?([0-9]+))?(?:~([0-9]+))?(\^)?(?:#([0-9]+))?$/.exec(drawing) ?? [];
  if (letter === "") throw new Error(`${drawing} is no drawing of a peer`);
  const [asked, roamed, keepalive, locked, age] = rest;
  const last = roamed ?? asked;
  return {
    key: keyOf(letter),
    allowedIps: addresses
      .split(",")
      .filter((address) => address !== "")
      .map((address) => (address === "*" ? OVERLAY : cidr(`10.213.0.${address}/32`)))
      .sort(),
    endpoint: last === undefined ? undefined : (`192.0.2.${last}:51820` as SocketAddress),
    keepalive: Number(keepalive ?? 0),
    hasPresharedKey: locked !== undefined,
    latestHandshakeAt: age === undefined ? 0 : NOW_MS - Number(age) * 1000,
    rxBytes: 0,
    txBytes: 0,
  };
}

export function drawn(peer: Peer, endpoint = peer.endpoint): string {
  const addresses = peer.allowedIps.map((ip) => (ip === OVERLAY ? "*" : (/\.([0-9]+)\/32$/.exec(ip)?.[1] ?? ip)));
  const dialled = endpoint === undefined ? "" : `!${/\.([0-9]+):/.exec(endpoint)?.[1]}`;
  return `${letterOf(peer.key)}@${addresses}${dialled}${peer.keepalive === 0 ? "" : `~${peer.keepalive}`}`;
}

/** `-A` removes, `+A@1` adds, `=A@1` changes; the endpoint is drawn only where it is written. */
export function drawnChanges(changes: readonly Change[]): string {
  return changes
    .map((change) => {
      if (change.kind === "remove") return `-${letterOf(change.key)}`;
      const { peer, before, endpoint, dropsPresharedKey, wakes } = change;
      const marks = `${dropsPresharedKey ? "^" : ""}${wakes ? "*" : ""}`;
      return `${before === undefined ? "+" : "="}${drawn({ ...peer, endpoint })}${marks}`;
    })
    .join(" ");
}
