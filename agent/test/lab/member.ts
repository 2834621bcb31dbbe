/** A holder's machine: standard WireGuard and no agent. */
import { writeFileSync } from "node:fs";
import type { Host } from "./host.ts";

export interface MemberConfig {
  /** Its own, as CIDRs: /32 and /128. */
  readonly addresses: readonly string[];
  readonly listenPort?: number;
  /** What it routes into the tunnel besides the peers' own addresses. */
  readonly routes: readonly string[];
  readonly peers: readonly {
    readonly publicKey: string;
    readonly endpoint: string;
    readonly allowedIps: readonly string[];
    readonly keepalive?: number;
  }[];
}

export class Member {
  readonly host: Host;
  readonly publicKey: string;
  readonly #privateKey: string;

  private constructor(host: Host, privateKey: string, publicKey: string) {
    this.host = host;
    this.#privateKey = privateKey;
    this.publicKey = publicKey;
  }

  static async create(host: Host): Promise<Member> {
    const privateKey = await host.run(["wg", "genkey"]);
    return new Member(host, privateKey, (await host.run(["wg", "pubkey"], { stdin: privateKey })).trim());
  }

  /** What wg-quick does: interface, keys, addresses, routes. May be called again with another config. */
  async join(config: MemberConfig): Promise<void> {
    const { host } = this;
    await host.run(["sh", "-c", "ip link show wg0 || ip link add wg0 type wireguard || exec wireguard-go wg0"]);
    const peers = config.peers.map(
      ({ publicKey, endpoint, allowedIps, keepalive }) =>
        `[Peer]\nPublicKey = ${publicKey}\nEndpoint = ${endpoint}\nAllowedIPs = ${allowedIps.join(", ")}\n` +
        `PersistentKeepalive = ${keepalive ?? 0}\n`,
    );
    const file = "/run/wg0.conf";
    const self = `[Interface]\nPrivateKey = ${this.#privateKey}\nListenPort = ${config.listenPort ?? 0}\n`;
    writeFileSync(host.file(file), self + peers.join(""), { mode: 0o600 });
    await host.run(["wg", "setconf", "wg0", file]);
    for (const address of config.addresses) await host.run(["ip", "addr", "replace", address, "dev", "wg0"]);
    await host.run(["ip", "link", "set", "wg0", "mtu", "1420", "up"]);
    for (const route of config.routes) await host.run(["ip", "route", "replace", route, "dev", "wg0"]);
  }
}
