import { solidityPackedKeccak256 } from "ethers";
import { describe, expect, test } from "vitest";
import type { Address } from "../model.ts";
import { overlayPrefix } from "./prefix.ts";

describe("the overlay's IPv6 prefix", () => {
  test.each([
    ["on Base", 8453, "0x37d2106babdb01dd5be1926e45d172cb4203c4186".slice(0, 42)],
    ["on a devnet", 31337, "0x5fbdb2315678afecb367f032d93f642f64180aa3"],
    ["on a chain with a large id", 2 ** 48, `0x${"ff".repeat(20)}`],
  ])("is fd and the first 40 bits of Solidity's packed hash, %s", (_where, chainId, contract) => {
    const hash = solidityPackedKeccak256(["uint256", "address"], [chainId, contract]);
    const [a, b, c] = [`fd${hash.slice(2, 4)}`, hash.slice(4, 8), hash.slice(8, 12)].map((group) =>
      Number(`0x${group}`),
    );
    const groups = [a, b, c].map((group) => group?.toString(16)).join(":");
    expect(overlayPrefix(chainId, contract as Address)).toBe(`${groups}::/48`);
  });

  test("differs from contract to contract and from chain to chain", () => {
    const one = "0x5fbdb2315678afecb367f032d93f642f64180aa3" as Address;
    const other = "0x5fbdb2315678afecb367f032d93f642f64180aa4" as Address;
    expect(new Set([overlayPrefix(1, one), overlayPrefix(2, one), overlayPrefix(1, other)]).size).toBe(3);
  });
});
