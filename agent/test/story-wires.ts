/** A device in memory for the walk over the pure core. */
import { AgentError } from "../errors.ts";
import type { Cidr, Peer, PublicKey } from "../model.ts";
import type { Change } from "../wireguard/plan.ts";
import { peerLine } from "./story-fold.ts";

/** A device that does what `wg set` does, and fails half-way when told to. */
export class Wires {
  readonly #peers = new Map<PublicKey, Peer>();
  failsAfter: number | undefined;

  async apply(changes: readonly Change[]): Promise<void> {
    for (const change of changes) {
      if (this.failsAfter !== undefined && this.failsAfter-- <= 0) {
        throw new AgentError({ code: "device.command-failed", command: "wg", exit: 1, problem: "told to" });
      }
      if (change.kind === "remove") this.#peers.delete(change.key);
      else {
        const { peer, endpoint } = change;
        this.#peers.set(peer.key, { ...peer, endpoint: endpoint ?? this.#peers.get(peer.key)?.endpoint });
        // `wg` moves an address to whoever asks for it last.
        for (const other of this.#peers.values()) {
          if (other.key === peer.key || !other.allowedIps.some((ip) => peer.allowedIps.includes(ip))) continue;
          this.#peers.set(other.key, {
            ...other,
            allowedIps: other.allowedIps.filter((ip) => !peer.allowedIps.includes(ip)),
          });
        }
      }
    }
  }

  read() {
    const unknown = { hasPresharedKey: false, latestHandshakeAt: 0, rxBytes: 0, txBytes: 0 };
    return new Map([...this.#peers].map(([key, peer]) => [key, { ...peer, ...unknown }]));
  }

  /** Takes a peer away, or brings a stranger. */
  stray(where: number): void {
    const keys = [...this.#peers.keys()];
    const key = keys[Math.floor(where * keys.length)];
    if (where < 0.5 && key !== undefined) this.#peers.delete(key);
    else
      this.#peers.set(STRANGER, {
        key: STRANGER,
        allowedIps: ["10.9.9.9/32" as Cidr],
        endpoint: undefined,
        keepalive: 0,
      });
  }

  /** An endpoint that nobody wants stays where it is: `wg` has no way to take one away, and the peer's packets move it. */
  drawn(wanted: readonly string[]): string[] {
    const unasked = new Set(wanted.filter((line) => line.includes(" - ")).map((line) => line.slice(0, 44)));
    return [...this.#peers.values()]
      .map(({ key, allowedIps, endpoint, keepalive }) =>
        peerLine(key, allowedIps, unasked.has(key) ? undefined : endpoint, keepalive),
      )
      .sort();
  }
}

const STRANGER = Buffer.alloc(32, 99).toString("base64") as PublicKey;
