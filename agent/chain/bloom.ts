/**
 * Pure: what a block's bloom filter says about our logs (Ethereum yellow paper, section 4.3.1).
 * It may claim a log that there is not, never deny one that there is: a hint against an upstream that forgets logs or
 * makes them up. Busy blocks fill it, and some chains leave it empty; then it says nothing.
 */
import { keccak256 } from "ethers/crypto";
import type { Address, Block, Hash } from "../model.ts";
import type { RawLog } from "./log-list.ts";

/** How far an empty answer can be believed. */
export type Emptiness = "sure" | "unlikely" | "unknown";

/** `unlikely` where the bloom holds the contract and one of `topics`; the false positives are few while it speaks at all. */
export function emptiness(block: Block, contract: Address, topics: readonly Hash[]): Emptiness {
  const bits = bitsOf(block);
  if (bits === undefined || isFull(bits)) return "unknown";
  return holds(bits, contract) && topics.some((topic) => holds(bits, topic)) ? "unlikely" : "sure";
}

/**
 * Whether the block's bloom rules one of its logs out. A blank one does so only on a chain that fills them, which `usesBlooms`
 * tells of an earlier block.
 */
export function denies(block: Block, logs: readonly RawLog[], hasBlooms: boolean): boolean {
  const bits = bitsOf(block);
  if (bits === undefined || isFull(bits) || (isBlank(bits) && !hasBlooms)) return false;
  const values = new Set(logs.flatMap(({ address, topics }) => [address, ...topics]));
  return ![...values].every((value) => holds(bits, value));
}

export function usesBlooms(block: Block): boolean {
  const bits = bitsOf(block);
  return bits !== undefined && !isBlank(bits);
}

const BYTES = 256;

function bitsOf({ logsBloom }: Block): Buffer | undefined {
  return logsBloom === undefined ? undefined : Buffer.from(logsBloom.slice(2), "hex");
}

function isFull(bits: Buffer): boolean {
  let set = 0;
  for (let byte of bits) for (; byte !== 0; byte &= byte - 1) set++;
  return set > (BYTES * 8) / 2;
}

function isBlank(bits: Buffer): boolean {
  return bits.every((byte) => byte === 0);
}

/** Three bits, each named by eleven bits of the hash: the low ones of its first three pairs of bytes. */
function holds(bits: Buffer, value: string): boolean {
  const hash = Buffer.from(keccak256(value).slice(2, 14), "hex");
  return [0, 2, 4].every((pair) => {
    const bit = hash.readUInt16BE(pair) % (BYTES * 8);
    return ((bits[BYTES - 1 - (bit >> 3)] ?? 0) >> (bit & 7)) & 1;
  });
}
