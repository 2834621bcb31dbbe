/** The overlay's IPv6 prefix, DESIGN section 7: `fd` and 40 bits of a hash, a unique local /48 (RFC 4193) per contract. */
import { solidityPackedKeccak256 } from "ethers";
import { type Address, type Cidr, cidrOf } from "../model.ts";

export function overlayPrefix(chainId: number, contract: Address): Cidr {
  const digest = solidityPackedKeccak256(["uint256", "address"], [chainId, contract]);
  const globalId = BigInt(digest) >> 216n;
  return cidrOf(((0xfdn << 40n) | globalId) << 80n, 48, 128);
}
