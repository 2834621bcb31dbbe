/** A member's WireGuard configuration (DESIGN section 7), for any standard app. Pure: the same chain, the same text. */

import { isIP } from "node:net";
import {
  type Admitted,
  type BlockRef,
  type Cidr,
  type Endpoint,
  overlaps,
  type PrivateKey,
  parseCidr,
  socketAddress,
  type TokenId,
} from "../model.ts";

/** How every configuration starts; names from the chain have no place in it. */
export const MARK = "# dstack-vpn: ";

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
}

/** @param key undefined for a text that may be seen; @param nodes the dialable ones, see `dialable` */
export function memberConf(
  membership: Membership,
  key: PrivateKey | undefined,
  nodes: readonly Admitted[],
  wishes: Wishes,
): string {
  const { tokenId, addresses, chainId, contract, block } = membership;
  const primary = primaryGateway(nodes);
  const lines = [
    `${MARK}token ${tokenId} of ${contract} on chain ${chainId}`,
    `# Computed at block ${block.number} (${block.hash}). Nodes that come or move later are not in it: make it anew then.`,
    "[Interface]",
    key === undefined ? "# PrivateKey is left out: --out FILE or --qr put it in." : `PrivateKey = ${key.reveal()}`,
    `Address = ${addresses.join(", ")}`,
  ];
  if (wishes.dns !== undefined) lines.push(`DNS = ${wishes.dns}`);
  for (const node of nodes.toSorted((a, b) => (a.tokenId < b.tokenId ? -1 : 1))) {
    if (node.endpoint === undefined) continue;
    const carriesOverlay = node.tokenId === primary;
    const isExit = node.tokenId === wishes.exit;
    const carried = [...(carriesOverlay ? membership.overlay : []), ...(isExit ? EVERYWHERE : [])];
    const tasks = [...(carriesOverlay ? ["primary gateway"] : []), ...(isExit ? ["exit"] : [])];
    lines.push(
      "",
      `# ${node.role} of token ${node.tokenId}${tasks.length === 0 ? "" : `: ${tasks.join(", ")}`}`,
      "[Peer]",
      `PublicKey = ${node.key}`,
      `AllowedIPs = ${[...node.addresses, ...carried].join(", ")}`,
      `Endpoint = ${endpointText(node.endpoint)}`,
      `PersistentKeepalive = ${KEEPALIVE_SECONDS}`,
    );
  }
  return `${lines.join("\n")}\n`;
}

const EVERYWHERE = ["0.0.0.0/0", "::/0"];
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

export function endpointText({ host, port }: Endpoint): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}
