/**
 * An interface's nftables table, as text: isolation, forwarding, NAT, and the agent's own port closed towards the tunnel.
 * Pure. Only typed values are rendered. Everything else on the host keeps its own tables; ours speaks of the overlay alone.
 */
import { type Cidr, prefixOf } from "../model.ts";

/** Of all interfaces, until each got its own. */
export const FORMER_TABLE = "inet dstack_vpn";

/** What an interface may have in its name and nft may not is written as hex behind a slash, which no interface may have. */
export function tableOf(interfaceName: string): string {
  const name = interfaceName.replaceAll(/[^A-Za-z0-9_.-]/g, (sign) => `/${sign.charCodeAt(0).toString(16)}`);
  return `inet dstack_vpn_${name}`;
}

export interface Rules {
  readonly interfaceName: string;
  /** One prefix per family. */
  readonly overlay: readonly Cidr[];
  /** This node's own, /32 and /128. */
  readonly own: readonly Cidr[];
  /** Of every admitted node and gateway: whom members may reach through a gateway. */
  readonly nodes: readonly Cidr[];
  readonly isGateway: boolean;
  readonly isolation: boolean;
  readonly exit: boolean;
  /** Of the agent, refused on the overlay; undefined where it listens on loopback only. */
  readonly httpPort: number | undefined;
}

/** For `nft -f`: replaces the table as one transaction. Adding first makes deleting right whether it was there or not. */
export function firewall(rules: Rules): string {
  const families = (["ip", "ip6"] as const).map((family) => familyOf(rules, family));
  const table = tableOf(rules.interfaceName);
  return [
    `add table ${table}`,
    `delete table ${table}`,
    `table ${table} {`,
    ...families.flatMap(({ family, nodes }) => set(`nodes_${family}`, family, nodes)),
    ...families.flatMap(({ family, closed }) => set(`closed_${family}`, family, closed)),
    ...chain("input", "type filter hook input priority filter; policy accept;", input(rules, families)),
    ...chain("forward", "type filter hook forward priority filter; policy accept;", forward(rules, families)),
    ...chain("postrouting", "type nat hook postrouting priority srcnat; policy accept;", masquerade(rules, families)),
    "}",
    "",
  ].join("\n");
}

interface Family {
  readonly family: "ip" | "ip6";
  readonly overlay: readonly Cidr[];
  readonly own: readonly Cidr[];
  readonly nodes: readonly Cidr[];
  /** Where nothing that comes out of the tunnel may go. */
  readonly closed: readonly Cidr[];
}

function familyOf({ overlay, own, nodes }: Rules, family: "ip" | "ip6"): Family {
  const width = family === "ip" ? 32 : 128;
  const only = (cidrs: readonly Cidr[]) => cidrs.filter((cidr) => prefixOf(cidr).width === width);
  return { family, overlay: only(overlay), own: only(own), nodes: only(nodes).toSorted(), closed: CLOSED[family] };
}

/** To this node itself: the overlay's addresses, and public ones as anybody else. */
function input({ interfaceName, httpPort, isolation }: Rules, families: readonly Family[]): string[] {
  const from = `iifname "${interfaceName}"`;
  const refused = httpPort === undefined ? [] : [`${from} tcp dport ${httpPort} reject with tcp reset`];
  if (!isolation) return refused;
  const behind = families.map(({ family, overlay }) =>
    [from, ...overlay.map((cidr) => `${family} daddr != ${cidr}`), `${family} daddr @closed_${family} drop`].join(" "),
  );
  return [...refused, ...behind];
}

/** Through this node: to the overlay only as a gateway, out of it only as an exit. */
function forward({ interfaceName, isolation, isGateway, exit }: Rules, families: readonly Family[]): string[] {
  const from = `iifname "${interfaceName}"`;
  const within = `${from} oifname "${interfaceName}"`;
  const toNodes = families.flatMap(({ family }) => [
    `${within} ${family} saddr @nodes_${family} accept`,
    `${within} ${family} daddr @nodes_${family} accept`,
  ]);
  const isolated = [...(isGateway ? toNodes : []), `${within} drop`];
  const published = families.flatMap(({ family, own }) =>
    // A service in a container of this host, which the host's own rules redirect from this node's address.
    own.map((address) => `${from} ct status dnat ct original ${family} daddr ${address} accept`),
  );
  const closed = families.map(({ family }) => `${from} ${family} daddr @closed_${family} drop`);
  const outwards = exit ? (isolation ? closed : []) : [`${from} drop`];
  return [
    ...(isolation ? isolated : [`${within} accept`]),
    `${from} ct state established,related accept`,
    ...published,
    ...outwards,
  ];
}

/**
 * A gateway sends on in its own name, because a node drops a member's packet that arrives by way of another peer. By
 * source, not by interface: what this host itself sends into the overlay has its own address already.
 */
function masquerade(rules: Rules, families: readonly Family[]): string[] {
  const lines: string[] = [];
  for (const { family, overlay, own } of families) {
    for (const cidr of overlay) {
      const stranger = [`${family} saddr ${cidr}`, ...own.map((address) => `${family} saddr != ${address}`)].join(" ");
      if (rules.isGateway) lines.push(`oifname "${rules.interfaceName}" ${stranger} masquerade`);
      if (rules.exit) lines.push(`oifname != { "${rules.interfaceName}", "lo" } ${stranger} masquerade`);
    }
  }
  return lines;
}

function set(name: string, family: "ip" | "ip6", elements: readonly Cidr[]): string[] {
  const type = family === "ip" ? "ipv4_addr" : "ipv6_addr";
  const body = elements.length === 0 ? [] : [`    elements = { ${elements.join(", ")} }`];
  return [`  set ${name} {`, `    type ${type}; flags interval;`, ...body, "  }"];
}

function chain(name: string, hook: string, rules: readonly string[]): string[] {
  // An empty NAT chain would still make the kernel track every connection.
  return rules.length === 0 ? [] : [`  chain ${name} {`, `    ${hook}`, ...rules.map((rule) => `    ${rule}`), "  }"];
}

// IANA special-purpose registries, RFC 6890: private, shared, link-local (with the clouds' metadata services, 169.254.169.254
// 192.0.0.192 and fd00:ec2::254), loopback, benchmarking, multicast, reserved; and IPv6 that carries IPv4 (RFC 6052, 4380, 3056).
const CLOSED = {
  ip: [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/3",
  ],
  ip6: [
    "::/96",
    "::ffff:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/32",
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
  ],
} as const as unknown as Readonly<Record<"ip" | "ip6", readonly Cidr[]>>;
