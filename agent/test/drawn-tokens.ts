/**
 * Events and registries as drawings. A script's blocks are parted by `|` and start at 1; its events by `;`:
 *
 *     grant 1 A k [name]   revoke 1   transfer 1 B   key 1 k   announce A k   role 1 gateway   endpoint 1 host:1
 *     read 1 k   see 1 A k [name]   see 1 off   see 1 missing      (what was read from the state after the block)
 *
 * Owners are capital letters, 0 is nobody; keys are small letters, `-` is none. A registry draws as its tokens:
 * `1 A k` is active, `(1 A k)` is not; `k!` is a lost claim, `k?` waits for a read; then role and endpoint, if any.
 */
import { createHash } from "node:crypto";
import {
  type AccessEvent,
  type Address,
  AFTER_LOGS,
  type Hash,
  type PublicKey,
  type Role,
  type Said,
  type Token,
  type TokenId,
  ZERO_ADDRESS,
  ZERO_HASH,
} from "../model.ts";
import type { Registry } from "../registry/registry.ts";

export const id = (text: string | number): TokenId => BigInt(text) as TokenId;

export function ownerOf(letter: string): Address {
  return letter === "0" ? ZERO_ADDRESS : (`0x${letter.charCodeAt(0).toString(16).padStart(40, "0")}` as Address);
}

/** A sound public key for each name; `-` is the empty text, and a name with a space in it stands for itself. */
export function keyOf(name: string): PublicKey {
  if (name === "-") return "" as PublicKey;
  const known = KEYS.get(name);
  if (known !== undefined) return known;
  const bytes = createHash("sha256").update(name).digest();
  bytes[31] = (bytes[31] ?? 0) & 0x7f;
  const key = bytes.toString("base64") as PublicKey;
  KEYS.set(name, key);
  NAMES.set(key, name);
  return key;
}
const KEYS = new Map<string, PublicKey>();
const NAMES = new Map<string, string>();

/** The same number of the same branch is the same block. */
export function hashOf(number: number, branch = ""): Hash {
  return `0x${createHash("sha256").update(`${branch}${number}`).digest("hex")}` as Hash;
}

export function events(script: string, first = 1, branch = ""): AccessEvent[] {
  return blocks(script, first, branch).flatMap((block) => block.events);
}

export function blocks(script: string, first = 1, branch = "") {
  return script.split("|").map((line, index) => {
    const number = first + index;
    const block = { number, hash: hashOf(number, branch) };
    const deeds = line
      .split(";")
      .map((deed) => deed.trim())
      .filter((deed) => deed !== "");
    return { block, events: deeds.map((deed, logIndex) => event(deed, block, logIndex)) };
  });
}

export function event(deed: string, block: { number: number; hash: Hash }, logIndex: number): AccessEvent {
  const said = saidBy(deed.split(/\s+/));
  const isRead = said.kind === "key-read" || said.kind === "observed";
  const at = { block: block.number, logIndex: isRead ? AFTER_LOGS : logIndex };
  return { at, blockHash: block.hash, transaction: ZERO_HASH, ...said };
}

function saidBy([verb = "", subject = "", one = "", two = "", three]: readonly string[]): Said {
  const tokenId = verb === "announce" || verb === "invalid" ? id(0) : id(subject);
  switch (verb) {
    case "grant":
      return { kind: "grant", tokenId, owner: ownerOf(one), key: keyOf(two), nodeId: three ?? `token-${subject}` };
    case "revoke":
      return { kind: "revoke", tokenId };
    case "transfer":
      return { kind: "transfer", tokenId, from: ZERO_ADDRESS, to: ownerOf(one) };
    case "key":
      return { kind: "key-update", tokenId, key: keyOf(one) };
    case "announce":
      return { kind: "owner-key-update", owner: ownerOf(subject), key: keyOf(one) };
    case "read":
      return { kind: "key-read", tokenId, key: keyOf(one) };
    case "role":
      return { kind: "role", tokenId, role: one as Role };
    case "endpoint":
      return { kind: "endpoint", tokenId, endpoint: one === "-" ? "" : one };
    case "see": {
      if (one === "missing") return { kind: "observed", tokenId, state: { kind: "missing" } };
      const seen = { kind: "present", nodeId: three ?? `token-${subject}` } as const;
      if (one === "off") {
        return { kind: "observed", tokenId, state: { ...seen, owner: ZERO_ADDRESS, key: "", active: false } };
      }
      return { kind: "observed", tokenId, state: { ...seen, owner: ownerOf(one), key: keyOf(two), active: true } };
    }
    case "invalid":
      return { kind: "invalid", reason: "drawn" };
    default:
      throw new Error(`no such deed: ${verb}`);
  }
}

/** Every record, also those that no grant has made a token yet, by id. */
export function drawn(registry: Registry): string {
  const records = [...registry.maps.records.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  return records.map(drawnToken).join(", ");
}

function drawnToken({ id, owner, active, claim, unreadSince, role, endpoint }: Token): string {
  const letter = owner === ZERO_ADDRESS ? "0" : String.fromCharCode(Number(owner));
  const key = claim === undefined ? "-" : (NAMES.get(claim.key) ?? claim.key);
  const marks = `${claim?.lost ? "!" : ""}${unreadSince === undefined ? "" : "?"}`;
  const words = [id, letter, `${key}${marks}`, role === "member" ? "" : role, endpoint].filter((word) => word !== "");
  return active ? words.join(" ") : `(${words.join(" ")})`;
}
