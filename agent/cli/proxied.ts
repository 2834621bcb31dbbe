/** A member behind a network that lets only TCP pass: WireGuard talks to `udp2tcp` on the same machine. Pure. */
import { isIP } from "node:net";
import { type Admitted, type Cidr, cidrOf, type Endpoint, ipToBigInt } from "../model.ts";

/** The node that the proxy's server stands before, and where that server listens. */
export interface Detour {
  readonly node: Admitted;
  readonly address: Endpoint;
}

/** Where `udp2tcp` listens; not 51820, which a node on the same machine would have. */
export const UDP2TCP: Endpoint = { host: "127.0.0.1", port: 51_821 };

/** What stands before the one peer. */
export function proxyLines({ node, address }: Detour): string[] {
  const listen = `--udp-listen ${UDP2TCP.host}:${UDP2TCP.port}`;
  const forward = `--tcp-forward ${address.host.includes(":") ? `[${address.host}]` : address.host}:${address.port}`;
  return [
    "# Goes by TCP. Start this first, in a checkout on this machine, and leave it running (Mullvad's udp2tcp takes the same options):",
    `#   npx node agent/proxy/main.ts udp2tcp ${listen} ${forward} --nodelay`,
    node.role === "gateway"
      ? "# Only this gateway is dialled; the other nodes are reached through it."
      : "# Only this node is dialled, and it is no gateway: the other nodes are not reached.",
  ];
}

/** All addresses but this one, which stays outside the tunnel: by prefixes alone, so that every app understands it. */
export function everywhereBut(ip: string): Cidr[] {
  const width = isIP(ip) === 4 ? 32 : 128;
  const value = ipToBigInt(ip) ?? 0n;
  const others = Array.from({ length: width }, (_, i) => {
    const low = BigInt(width - 1 - i);
    // The sibling at this depth: the same bits above, this one turned, none below.
    return cidrOf(((value >> low) ^ 1n) << low, i + 1, width);
  });
  return [...others, (width === 32 ? "::/0" : "0.0.0.0/0") as Cidr];
}
