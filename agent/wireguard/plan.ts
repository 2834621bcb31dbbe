/**
 * What to change on the device, as a value: ordered, each change with what it replaces. Pure.
 *
 * Two askers: an event (`plan`, from what was last applied, without reading the device) and a full pass (`repair`, from
 * what the device says). Neither ever removes a peer to add it again: its client would lose ten seconds.
 */
import type { Cidr, Peer, PublicKey, SocketAddress } from "../model.ts";
import type { RunningPeer } from "./dump.ts";
import { STALE_AFTER_MS } from "./gateways.ts";

export type Change =
  | { readonly kind: "remove"; readonly key: PublicKey; readonly before: Peer | undefined }
  | {
      readonly kind: "set";
      readonly peer: Peer;
      /** Absent: the peer is new. */
      readonly before: Peer | undefined;
      /** What to write; absent leaves the device's own, which follows a peer that roams. */
      readonly endpoint: SocketAddress | undefined;
      /** Somebody gave it a preshared key, and with it no packet passes. */
      readonly dropsPresharedKey: boolean;
      /** Shake hands at once: its session was lost with the interface. */
      readonly wakes: boolean;
    };

/** `running` are the peers as they were last applied; `wanted` speaks of the touched ones only, undefined for none. */
export function plan(
  running: ReadonlyMap<PublicKey, Peer>,
  wanted: ReadonlyMap<PublicKey, Peer | undefined>,
): Change[] {
  const changes: Change[] = [];
  for (const [key, peer] of wanted) {
    const before = running.get(key);
    if (peer === undefined) {
      if (before !== undefined) changes.push({ kind: "remove", key, before });
      continue;
    }
    const endpoint = peer.endpoint === before?.endpoint ? undefined : peer.endpoint;
    if (before === undefined || endpoint !== undefined || !isSettled(before, peer)) {
      changes.push({ kind: "set", peer, before, endpoint, dropsPresharedKey: false, wakes: false });
    }
  }
  return ordered(changes);
}

export interface Repairs {
  /** The peers as they were last applied, by us or by the agent before us; knows which endpoint is a roamed one. */
  readonly asked: Pick<ReadonlyMap<PublicKey, Peer>, "get">;
  /** What the device said before the interface was lost. */
  readonly lastSeen: ReadonlyMap<PublicKey, RunningPeer>;
  /** Leave peers alone that nobody wants: while we do not know all that the chain says. */
  readonly keepsUnknown: boolean;
  readonly nowMs: number;
}

/** `found` is the whole device and `wanted` all of its peers. */
export function repair(
  found: ReadonlyMap<PublicKey, RunningPeer>,
  wanted: ReadonlyMap<PublicKey, Peer>,
  { asked, lastSeen, keepsUnknown, nowMs }: Repairs,
): Change[] {
  const changes: Change[] = [];
  for (const [key, before] of found) {
    const peer = wanted.get(key);
    if (peer === undefined) {
      if (!keepsUnknown) changes.push({ kind: "remove", key, before });
      continue;
    }
    const endpoint = endpointToWrite(before, peer, asked.get(key), nowMs);
    if (endpoint !== undefined || before.hasPresharedKey || !isSettled(before, peer)) {
      changes.push({ kind: "set", peer, before, endpoint, dropsPresharedKey: before.hasPresharedKey, wakes: false });
    }
  }
  for (const [key, peer] of wanted) if (!found.has(key)) changes.push(addition(peer, lastSeen.get(key), nowMs));
  return ordered(changes);
}

/** Everything but the endpoint. */
function isSettled(before: Peer, peer: Peer): boolean {
  return before.keepalive === peer.keepalive && isSameList(before.allowedIps, peer.allowedIps);
}

function isSameList(a: readonly Cidr[], b: readonly Cidr[]): boolean {
  return a === b || (a.length === b.length && a.every((cidr, i) => cidr === b[i]));
}

/** A peer that roamed is not drift: its endpoint is wherever its last valid packet came from. */
function endpointToWrite(
  found: RunningPeer,
  wanted: Peer,
  asked: Peer | undefined,
  nowMs: number,
): SocketAddress | undefined {
  if (wanted.endpoint === undefined || wanted.endpoint === found.endpoint) return undefined;
  if (found.endpoint === undefined) return wanted.endpoint;
  if (asked === undefined) return isAlive(found, nowMs) ? undefined : wanted.endpoint;
  if (asked.endpoint !== wanted.endpoint) return wanted.endpoint;
  // We dial this one and it no longer answers where it roamed to: back to where it says that it lives.
  const isLost = wanted.keepalive > 0 && found.latestHandshakeAt > 0 && !isAlive(found, nowMs);
  return isLost ? wanted.endpoint : undefined;
}

/** On a device that lost its peers, one that was alive is found where it was last, and woken. */
function addition(peer: Peer, seen: RunningPeer | undefined, nowMs: number): Change {
  // A zone is the name of an interface that may be gone, and then wg refuses the whole command.
  const last = seen?.endpoint?.includes("%") ? undefined : seen?.endpoint;
  const wakes = seen !== undefined && last !== undefined && isAlive(seen, nowMs);
  const endpoint = wakes ? last : (peer.endpoint ?? last);
  return { kind: "set", peer, before: undefined, endpoint, dropsPresharedKey: false, wakes };
}

function isAlive({ latestHandshakeAt }: RunningPeer, nowMs: number): boolean {
  return latestHandshakeAt > 0 && nowMs - latestHandshakeAt < STALE_AFTER_MS;
}

/**
 * Removals first: if we die half-way, the half that was done is the half that takes access away. For the same reason an
 * address leaves one peer before another gains it.
 */
function ordered(changes: readonly Change[]): Change[] {
  if (changes.length < 2) return [...changes];
  const groups: Change[][] = ORDER.map(() => []);
  for (const change of changes) groups[ORDER.indexOf(stepOf(change))]?.push(change);
  return groups.flat();
}

const ORDER = ["removes", "narrows", "swaps", "widens", "adds"] as const;

function stepOf(change: Change): (typeof ORDER)[number] {
  if (change.kind === "remove") return "removes";
  const { before, peer } = change;
  if (before === undefined) return "adds";
  if (less(before.allowedIps, peer.allowedIps).length === 0) return "widens";
  return less(peer.allowedIps, before.allowedIps).length === 0 ? "narrows" : "swaps";
}

/**
 * What puts the device back, last change first, however many of the changes were done. Removals stay, and are asked for
 * once more: access that the chain took is not given back, nor left, because something else failed.
 */
export function undone(changes: readonly Change[]): Change[] {
  const removals = changes.filter(({ kind }) => kind === "remove");
  return [...removals, ...changes.toReversed().flatMap(inverse)];
}

function inverse(change: Change): Change[] {
  if (change.kind === "remove") return [];
  const { peer, before, endpoint } = change;
  if (before === undefined) return [{ kind: "remove", key: peer.key, before: peer }];
  return [
    {
      ...{ kind: "set", peer: before, before: peer, dropsPresharedKey: false, wakes: false },
      endpoint: endpoint === undefined ? undefined : before.endpoint,
    },
  ];
}

/** For people. Keys are shortened to what tells them apart; nothing in it comes from the chain as text. */
export function sentence(change: Change): string {
  if (change.kind === "remove") return `remove peer ${short(change.key)}`;
  const { peer, before, endpoint, dropsPresharedKey, wakes } = change;
  const parts: string[] = [];
  if (before === undefined) parts.push(`addresses ${list(peer.allowedIps)}`);
  else {
    const [lost, gained] = [less(before.allowedIps, peer.allowedIps), less(peer.allowedIps, before.allowedIps)];
    if (lost.length > 0) parts.push(`loses ${list(lost)}`);
    if (gained.length > 0) parts.push(`gains ${list(gained)}`);
  }
  if (endpoint !== undefined) parts.push(`endpoint ${endpoint}`);
  if (peer.keepalive !== (before?.keepalive ?? 0)) parts.push(`keepalive ${peer.keepalive} s`);
  if (dropsPresharedKey) parts.push("preshared key dropped");
  if (wakes) parts.push("woken");
  return `${before === undefined ? "add" : "change"} peer ${short(peer.key)}: ${parts.join(", ")}`;
}

const short = (key: PublicKey) => `${key.slice(0, 8)}…`;
const list = (cidrs: readonly Cidr[]) => (cidrs.length === 0 ? "none" : cidrs.join(" "));
const less = (from: readonly Cidr[], what: readonly Cidr[]) => from.filter((cidr) => !what.includes(cidr));
