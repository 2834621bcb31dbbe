/** A member's WireGuard configuration (DESIGN section 7), for any standard app. Pure: the same chain, the same text. */

import { isIP } from "node:net";
import {
  type Admitted,
  type BlockRef,
  type Cidr,
  type Endpoint,
  endpointText,
  overlaps,
  type PrivateKey,
  parseCidr,
  socketAddress,
  type TokenId,
} from "../model.ts";
import { type Detour, everywhereBut, proxyLines, UDP2TCP } from "./proxied.ts";

export interface Membership {
  readonly tokenId: TokenId;
  readonly addresses: readonly Cidr[];
  readonly chainId: number;
  /** Checksummed. */
  readonly contract: string;
  readonly block: BlockRef;
  readonly overlay: readonly Cidr[];
}

export interface Wishes {
  /** The gateway that everything else goes through too. */
  readonly exit: TokenId | undefined;
  /** An IP address. */
  readonly dns: string | undefined;
  /** The one node is dialled by TCP then, and no other. */
  readonly proxy?: Detour | undefined;
}

/** How every configuration of this token starts; names from the chain have no place in it. */
export function headLine({ tokenId, contract, chainId }: Membership): string {
  return `# dstack-vpn: token ${tokenId} of ${contract} on chain ${chainId}`;
}

/** @param key undefined for a text that may be seen; @param nodes the dialable ones, see `dialable` */
export function memberConf(
  membership: Membership,
  key: PrivateKey | undefined,
  nodes: readonly Admitted[],
  wishes: Wishes,
): string {
  const { addresses, block } = membership;
  const { proxy } = wishes;
  const dialled = proxy === undefined ? nodes : [proxy.node];
  const primary = primaryGateway(dialled);
  const lines = [
    headLine(membership),
    `# Computed at block ${block.number} (${block.hash}). Nodes that come or move later are not in it: make it anew then.`,
    "[Interface]",
    key === undefined ? "# PrivateKey is left out: --out FILE or --qr put it in." : `PrivateKey = ${key.reveal()}`,
    `Address = ${addresses.join(", ")}`,
  ];
  if (wishes.dns !== undefined) lines.push(`DNS = ${wishes.dns}`);
  for (const node of dialled.toSorted((a, b) => (a.tokenId < b.tokenId ? -1 : 1))) {
    if (node.endpoint === undefined) continue;
    const carriesOverlay = node.tokenId === primary;
    const isExit = node.tokenId === wishes.exit;
    const carried = [...(carriesOverlay ? membership.overlay : []), ...(isExit ? everywhere(proxy) : [])];
    const tasks = [...(carriesOverlay ? ["primary gateway"] : []), ...(isExit ? ["exit"] : [])];
    lines.push(
      "",
      `# ${node.role} of token ${node.tokenId}${tasks.length === 0 ? "" : `: ${tasks.join(", ")}`}`,
      ...(proxy === undefined ? [] : proxyLines(proxy)),
      "[Peer]",
      `PublicKey = ${node.key}`,
      `AllowedIPs = ${[...node.addresses, ...carried].join(", ")}`,
      `Endpoint = ${endpointText(proxy === undefined ? node.endpoint : UDP2TCP)}`,
      `PersistentKeepalive = ${KEEPALIVE_SECONDS}`,
    );
  }
  return `${lines.join("\n")}\n`;
}

/** The tunnel would swallow what carries it: WireGuard marks its own packets, and udp2tcp's have no mark. */
function everywhere(proxy: Detour | undefined): string[] {
  return proxy === undefined ? ["0.0.0.0/0", "::/0"] : everywhereBut(proxy.address.host);
}
/** As the nodes keep one another alive, for the NAT mappings of UDP. */
const KEEPALIVE_SECONDS = 25;

/** Whom this member dials: admitted nodes and gateways at an address where a peer can live. */
export function dialable(everybody: Iterable<Admitted>, self: TokenId, overlay: readonly Cidr[]): Admitted[] {
  return [...everybody].filter(
    ({ tokenId, role, endpoint }) =>
      tokenId !== self && role !== "member" && endpoint !== undefined && canLive(endpoint, overlay),
  );
}

/** A name is looked up by the member's own device, where it may stand for whatever its resolver says. */
function canLive({ host, port }: Endpoint, overlay: readonly Cidr[]): boolean {
  const family = isIP(host);
  if (family === 0) return host !== "localhost" && !host.endsWith(".localhost");
  const address = parseCidr(`${host}/${family === 4 ? 32 : 128}`);
  if (address === undefined || socketAddress(host, port) === undefined) return false;
  return !overlay.some((prefix) => overlaps(prefix, address));
}

export function primaryGateway(nodes: readonly Admitted[]): TokenId | undefined {
  let primary: TokenId | undefined;
  for (const { tokenId, role } of nodes) {
    if (role === "gateway" && (primary === undefined || tokenId < primary)) primary = tokenId;
  }
  return primary;
}
