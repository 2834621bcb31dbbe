/** Addresses as people write them (EIP-55). */
import { getAddress } from "ethers/address";
import { type Address, parseAddress } from "./model.ts";

export const WRITTEN_ADDRESS = "0x and 40 hex digits, with the right checksum where upper and lower case are mixed";

/** One typing error would name a stranger: undefined also for a checksum that is wrong. */
export function writtenAddress(text: string): Address | undefined {
  try {
    return parseAddress(text) && parseAddress(getAddress(text));
  } catch {
    return undefined;
  }
}
