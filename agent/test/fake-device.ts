/** A WireGuard device in memory: a fake with state. It fails when told to, also half-way through a change. */
import { setImmediate as turn } from "node:timers/promises";
import { AgentError } from "../errors.ts";
import type { Cidr, Peer, PublicKey, SocketAddress } from "../model.ts";
import type { Device } from "../wireguard/device.ts";
import type { RunningPeer } from "../wireguard/dump.ts";
import type { WantedInterface } from "../wireguard/interface.ts";
import type { Change } from "../wireguard/plan.ts";

export class FakeDevice implements Device {
  readonly peers = new Map<PublicKey, RunningPeer>();
  /** Every peer that came, each time: a live client that was taken away and came back would have lost its session. */
  readonly added: PublicKey[] = [];
  /** Who was removed, and how many others were there when it was. */
  readonly gone = new Map<PublicKey, number>();
  /** So many changes go through before one fails; no failure without it. */
  failsAfter: number | undefined;
  /** Fails whenever one of these peers is set. */
  readonly refuses = new Set<PublicKey>();
  /** Fails whenever a peer is to be removed. */
  refusesRemovals = false;
  /** Every reading and every change waits for it. */
  busy: Promise<void> | undefined;
  /** Whose an address is, or was last. */
  readonly #holders = new Map<Cidr, PublicKey>();
  /** How often it was asked for something. */
  readonly asked = { apply: 0, read: 0 };
  wanted: WantedInterface | undefined;

  async read() {
    await turn();
    // Together: whoever sees that it was asked knows what it waits for.
    this.asked.read++;
    await this.busy;
    return { publicKey: undefined, listenPort: 51820, isMarked: false, peers: new Map(this.peers) };
  }

  async apply(changes: readonly Change[]): Promise<void> {
    this.asked.apply++;
    for (const change of changes) {
      await turn();
      await this.busy;
      const isRefused = change.kind === "set" ? this.refuses.has(change.peer.key) : this.refusesRemovals;
      if (isRefused || (this.failsAfter !== undefined && this.failsAfter-- <= 0)) {
        throw new AgentError({ code: "device.command-failed", command: "wg", exit: 1, problem: "told to" });
      }
      if (change.kind === "remove") {
        this.peers.delete(change.key);
        this.gone.set(change.key, this.peers.size);
      } else this.#set(change.peer, change.endpoint);
    }
  }

  /** As `wg set` does: what is not named stays, and so does the session; an address belongs to one peer. */
  #set(peer: Peer, endpoint: SocketAddress | undefined): void {
    const before = this.peers.get(peer.key);
    for (const ip of peer.allowedIps) this.#take(ip, peer.key);
    if (before === undefined) this.added.push(peer.key);
    const { latestHandshakeAt, rxBytes, txBytes } = before ?? { latestHandshakeAt: 0, rxBytes: 0, txBytes: 0 };
    const counts = { hasPresharedKey: false, latestHandshakeAt, rxBytes, txBytes };
    this.peers.set(peer.key, { ...peer, endpoint: endpoint ?? before?.endpoint, ...counts });
  }

  #take(ip: Cidr, to: PublicKey): void {
    const from = this.#holders.get(ip);
    const loser = from === undefined || from === to ? undefined : this.peers.get(from);
    if (loser !== undefined) {
      this.peers.set(loser.key, { ...loser, allowedIps: loser.allowedIps.filter((other) => other !== ip) });
    }
    this.#holders.set(ip, to);
  }

  async ensure(wanted: WantedInterface) {
    await turn();
    this.wanted = wanted;
    return { isNew: false, repairs: [], faults: [] };
  }
  async restore() {
    return [];
  }
  async forget() {}
  watch(_onChange: () => void, _prefixes: unknown, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => signal.addEventListener("abort", () => resolve()));
  }
  async hasIpv6() {
    return true;
  }
  async remove() {
    this.peers.clear();
  }
}
