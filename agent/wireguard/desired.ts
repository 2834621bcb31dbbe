/** What one admitted token wants of this node's device: DESIGN.md section 7, "who is whose peer". Pure. */
import type { Admitted, Cidr, Endpoint, Peer, Role, SocketAddress, TokenId } from "../model.ts";

/** Often enough for the NAT mappings of UDP, which may end after 30 s; the interval that WireGuard's man page advises. */
export const KEEPALIVE_SECONDS = 25;

/** Where this node stands among the others. */
export interface Topology {
  /** This node's own. */
  readonly role: Role;
  /** Others can dial this node; without it, only those that can be dialled are direct. */
  readonly inbound: boolean;
  /** The whole overlay, one prefix per family; it goes to the primary gateway. */
  readonly overlay: readonly Cidr[];
  /** The gateway that carries everything that is not direct. */
  readonly primary: TokenId | undefined;
  /** The address that an endpoint stands for; undefined while its name is unknown or resolves to a refused range. */
  readonly resolve: (endpoint: Endpoint) => SocketAddress | undefined;
}

/** Undefined where this node and the token's holder can only meet through a gateway. */
export function desired(admitted: Admitted, topology: Topology): Peer | undefined {
  const { endpoint } = admitted;
  if (!topology.inbound && endpoint === undefined) return undefined;
  // A gateway gives the overlay to nobody: two of them would pass a stranger's packet to and fro.
  const carriesOverlay = topology.role !== "gateway" && admitted.tokenId === topology.primary;
  const isDialled = endpoint !== undefined && (!topology.inbound || admitted.role === "gateway");
  return {
    key: admitted.key,
    allowedIps: carriesOverlay ? [...admitted.addresses, ...topology.overlay].sort() : sorted(admitted.addresses),
    endpoint: endpoint === undefined ? undefined : topology.resolve(endpoint),
    keepalive: isDialled ? KEEPALIVE_SECONDS : 0,
  };
}

/** The same array where it is in order already: 60,000 copies would be 60,000 too many. */
function sorted(addresses: readonly Cidr[]): readonly Cidr[] {
  return addresses.every((address, i) => i === 0 || (addresses[i - 1] ?? "") <= address)
    ? addresses
    : addresses.toSorted();
}
