/** Token id → overlay addresses, DESIGN section 7: nothing is assigned, so any holder computes the same offline. */
import { type Cidr, cidrOf, type Prefix, prefixOf, type TokenId } from "../model.ts";

export type Addresses =
  /** /32 first, then /128; never empty. */
  | { readonly kind: "addresses"; readonly cidrs: readonly Cidr[] }
  | { readonly kind: "refused"; readonly code: AddressRefusal };
export type AddressRefusal = "address.reserved" | "address.exhausted";

export function addresses(plan: AddressPlan, id: TokenId): Addresses {
  const code = addressRefusal(plan, id);
  if (code !== undefined) return { kind: "refused", code };
  const cidrs: Cidr[] = [];
  if (id < plan.ipv4End) cidrs.push(ipv4(plan.ipv4.base, id));
  if (plan.ipv6 !== undefined) cidrs.push(ipv6(plan.ipv6, plan.stem, id));
  return { kind: "addresses", cidrs };
}

/** The same answer without the addresses: what admission asks of every token. */
export function addressRefusal(plan: AddressPlan, id: TokenId): AddressRefusal | undefined {
  if (id === 0n) return "address.reserved";
  return id < (plan.ipv6 === undefined ? plan.ipv4End : IPV6_END) ? undefined : "address.exhausted";
}

export interface AddressPlan {
  readonly ipv4: Prefix;
  /** The first id without an IPv4 address: the pool's last address stays unused, as its first does. */
  readonly ipv4End: bigint;
  /** Undefined where the host has no IPv6. */
  readonly ipv6: Prefix | undefined;
  /** The /48 up to its `::`, as text. */
  readonly stem: string;
}

/** @param ipv6Prefix the contract's /48, derived from chain id and contract; @param overlayIpv4 `OVERLAY_IPV4`. */
export function addressPlan(
  overlay: { readonly ipv6Prefix: Cidr; readonly overlayIpv4: Cidr },
  host: { readonly ipv6: boolean },
): AddressPlan {
  const ipv4 = prefixOf(overlay.overlayIpv4);
  const ipv6 = prefixOf(overlay.ipv6Prefix);
  return {
    ipv4,
    ipv4End: (1n << BigInt(32 - ipv4.bits)) - 1n,
    ipv6: host.ipv6 ? ipv6 : undefined,
    stem: overlay.ipv6Prefix.slice(0, overlay.ipv6Prefix.indexOf("::")),
  };
}

/** Ids use the low 80 bits of a /48. */
const IPV6_END = 1n << 80n;

function ipv4(base: bigint, id: TokenId): Cidr {
  const value = Number(base + id);
  return `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}/32` as Cidr;
}

// Ids below 2^32 leave three zero groups or more behind the /48, always the longest run, so the canonical text needs no
// search for it; a node computes sixty thousand of these in one pass.
function ipv6({ base }: Prefix, stem: string, id: TokenId): Cidr {
  if (id >= 0x1_0000_0000n) return cidrOf(base + id, 128, 128);
  const value = Number(id);
  const low = (value & 0xffff).toString(16);
  return `${stem}::${value > 0xffff ? `${(value >>> 16).toString(16)}:` : ""}${low}/128` as Cidr;
}
