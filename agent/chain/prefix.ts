/** The overlay's IPv6 prefix, DESIGN section 7: `fd` and 40 bits of a hash, a unique local /48 (RFC 4193) per contract. */
import { keccak256 } from "ethers/crypto";
import { type Address, type Cidr, cidrOf } from "../model.ts";

/** `fd` + the first 40 bits of `keccak256(abi.encodePacked(uint256 chainId, address contract))`. */
export function overlayPrefix(chainId: number, contract: Address): Cidr {
  const digest = BigInt(keccak256(`0x${chainId.toString(16).padStart(64, "0")}${contract.slice(2)}`));
  const globalId = digest >> 216n;
  return cidrOf(((0xfdn << 40n) | globalId) << 80n, 48, 128);
}
