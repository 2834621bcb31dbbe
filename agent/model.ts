/**
 * The vocabulary: what every room of the agent talks about, on one page, each parser beside its type.
 * A branded value is made only by its parser, so holding one proves that it was checked.
 */
import { createPrivateKey, createPublicKey, type KeyObject, randomBytes } from "node:crypto";
import { isIP, isIPv4 } from "node:net";
import { inspect } from "node:util";

declare const brand: unique symbol;
type Branded<T, Name extends string> = T & { readonly [brand]: Name };

// --- the chain -------------------------------------------------------------------------------

/** 20 bytes as lower-case hex with `0x`; checksummed only where a person reads it. */
export type Address = Branded<string, "Address">;
/** 32 bytes as lower-case hex with `0x`. */
export type Hash = Branded<string, "Hash">;
/** An ERC-721 token id, 0 to 2^256−1; a decimal string in JSON and SQLite. */
export type TokenId = Branded<bigint, "TokenId">;

export const ZERO_ADDRESS = `0x${"0".repeat(40)}` as Address;
export const ZERO_HASH = `0x${"0".repeat(64)}` as Hash;

export function parseAddress(text: string): Address | undefined {
  return /^0x[0-9a-fA-F]{40}$/.test(text) ? (text.toLowerCase() as Address) : undefined;
}

export function parseHash(text: string): Hash | undefined {
  return /^0x[0-9a-fA-F]{64}$/.test(text) ? (text.toLowerCase() as Hash) : undefined;
}

export function parseTokenId(value: string | bigint): TokenId | undefined {
  if (typeof value === "string" && !/^(0|[1-9][0-9]{0,77})$/.test(value)) return undefined;
  const id = BigInt(value);
  return id >= 0n && id < 1n << 256n ? (id as TokenId) : undefined;
}

export interface BlockRef {
  readonly number: number;
  readonly hash: Hash;
}

export interface Block extends BlockRef {
  readonly parentHash: Hash;
  /** Seconds since the epoch, as the block itself says. */
  readonly timestamp: number;
  /** 256 bytes of hex with `0x`; absent where the upstream sends none. */
  readonly logsBloom?: string;
}

/** Where in the chain something was said; the order of everything. */
export interface Position {
  readonly block: number;
  readonly logIndex: number;
}

/** The log index of what was read from the state after a block, behind every log of that block. */
export const AFTER_LOGS = 0x7fff_ffff;

export function comparePositions(a: Position, b: Position): number {
  return a.block - b.block || a.logIndex - b.logIndex;
}

/** One fact about access. All but `observed` and `key-read` are logs; these two are state reads pinned to a block. */
export type AccessEvent = {
  readonly at: Position;
  readonly blockHash: Hash;
  /** `ZERO_HASH` for state reads. */
  readonly transaction: Hash;
} & Said;

/** What a read of the contract's state showed otherwise than our logs. */
export type Observed = Extract<AccessEvent, { kind: "observed" }>;

export type Said =
  | {
      readonly kind: "grant";
      readonly tokenId: TokenId;
      readonly nodeId: string;
      readonly owner: Address;
      readonly key: string;
    }
  | { readonly kind: "revoke"; readonly tokenId: TokenId }
  | { readonly kind: "transfer"; readonly tokenId: TokenId; readonly from: Address; readonly to: Address }
  /** `TokenPublicKeyUpdated`: names the token. */
  | { readonly kind: "key-update"; readonly tokenId: TokenId; readonly key: string }
  /** `PublicKeyUpdated`: names an owner only; which token it was follows from a `key-read`. */
  | { readonly kind: "owner-key-update"; readonly owner: Address; readonly key: string }
  | { readonly kind: "role"; readonly tokenId: TokenId; readonly role: Role }
  | { readonly kind: "endpoint"; readonly tokenId: TokenId; readonly endpoint: string }
  /** `getPublicKeyByTokenId` at this block: settles the owner-key-updates up to here. */
  | { readonly kind: "key-read"; readonly tokenId: TokenId; readonly key: string }
  /** What the audit read at this block where it differs from the registry. */
  | { readonly kind: "observed"; readonly tokenId: TokenId; readonly state: TokenState }
  /** A log of the contract that does not decode: recorded, passed, never obeyed. */
  | { readonly kind: "invalid"; readonly reason: string };

/** `getNodeAccess` and `ownerOf` of one token at one block; `missing` where the contract reverts. */
export type TokenState =
  | { readonly kind: "missing" }
  | {
      readonly kind: "present";
      readonly nodeId: string;
      readonly owner: Address;
      readonly key: string;
      readonly active: boolean;
    };

/** The chain as followed so far. `unfinal` ascends and ends at the head; gaps are allowed only below its last 64 blocks. */
export interface Trail {
  readonly final: BlockRef;
  readonly unfinal: readonly BlockRef[];
}

/** One step of following: what the chain room yields and the ledger takes. */
export type Advance =
  /** Final blocks up to `to`, read by range: everything in `events` is final. Only while nothing is unfinal. */
  | { readonly kind: "history"; readonly to: BlockRef; readonly events: readonly AccessEvent[] }
  /** One more unfinal block, the new head. */
  | { readonly kind: "extend"; readonly block: Block; readonly events: readonly AccessEvent[] }
  /** The unfinal blocks above `to` are no longer canonical. */
  | { readonly kind: "rewind"; readonly to: BlockRef }
  /** Unfinal blocks up to `to` became final; `missed` are logs that only the second reading showed. */
  | { readonly kind: "finalise"; readonly to: BlockRef; readonly missed: readonly AccessEvent[] };

export function eventsIn(step: Advance): readonly AccessEvent[] {
  return step.kind === "rewind" ? [] : step.kind === "finalise" ? step.missed : step.events;
}

// --- tokens ----------------------------------------------------------------------------------

export type Role = "member" | "node" | "gateway";
/** In the contract's order: 0, 1, 2. */
export const ROLES: readonly Role[] = ["member", "node", "gateway"];

/** The key that a token's present owner registered, as the chain spells it (cut to 64 characters). */
export interface Claim {
  readonly key: string;
  readonly at: Position;
  /** Another owner's active token had set this key earlier: this claim is lost for good. */
  readonly lost: boolean;
}

/** A token as the registry folds it; immutable. Texts from the chain are cut at the decoder and never trusted. */
export interface Token {
  readonly id: TokenId;
  /** Empty until a grant names it. At most 128 characters, any Unicode. */
  readonly nodeId: string;
  readonly owner: Address;
  readonly active: boolean;
  readonly grantedAt: Position | undefined;
  readonly claim: Claim | undefined;
  readonly transferredAt: Position | undefined;
  /** Keys held before the last transfer: the audit never brings one back. */
  readonly formerKeys: readonly string[];
  /** The first owner-key-update that may concern this token and waits for a `key-read`; its key is off meanwhile. */
  readonly unreadSince: Position | undefined;
  readonly role: Role;
  readonly roleAt: Position | undefined;
  /** `host:port` as the chain spells it (cut to 280 characters), empty for none. */
  readonly endpoint: string;
  readonly endpointAt: Position | undefined;
}

/** Why an active token gets no peer: DESIGN section 6, in the order in which they are asked. */
export const REFUSALS = [
  "inactive",
  "grant.unconfirmed",
  "key.unread",
  "key.missing",
  "key.malformed",
  "key.weak",
  "key.own",
  "key.claimed",
  "address.reserved",
  "address.exhausted",
  "cap.owner",
  "cap.total",
] as const;
export type Refusal = (typeof REFUSALS)[number];

/** An admitted token, as the device's room needs it. */
export interface Admitted {
  readonly tokenId: TokenId;
  readonly key: PublicKey;
  /** /32 and /128, IPv4 first; never empty. */
  readonly addresses: readonly Cidr[];
  readonly role: Role;
  /** Present for nodes and gateways that others can dial. */
  readonly endpoint: Endpoint | undefined;
}

// --- WireGuard -------------------------------------------------------------------------------

/** 32 bytes of a Curve25519 public key in canonical base64 (44 characters), neither weak nor malformed. */
export type PublicKey = Branded<string, "PublicKey">;
/** An IPv4 or IPv6 prefix in canonical text, host bits zero: `10.213.0.7/32`, `fd00::7/128`. */
export type Cidr = Branded<string, "Cidr">;
/** `ip:port` or `[ip6]:port`, the only form that reaches `wg`. */
export type SocketAddress = Branded<string, "SocketAddress">;

/** Where a node can be dialled; the host is an IP address or a DNS name. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/** What we want of one entry on the WireGuard device. */
export interface Peer {
  readonly key: PublicKey;
  /** Sorted, so that equal peers are equal texts. */
  readonly allowedIps: readonly Cidr[];
  /** Absent: learned from the peer's own packets. */
  readonly endpoint: SocketAddress | undefined;
  /** Seconds; 0 is off. */
  readonly keepalive: number;
}

// The u-coordinates of low order and their non-canonical twins; RFC 7748 section 5, https://cr.yp.to/ecdh.html#validate.
const LOW_ORDER = [
  "00".repeat(32),
  `01${"00".repeat(31)}`,
  "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
  "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
  `ec${"ff".repeat(30)}7f`,
];
/** From the field's prime 2^255 − 19 up to 2^255 − 1; `wg pubkey` never prints one, nor one with the top bit set. */
const BEYOND_FIELD = Array.from({ length: 19 }, (_, i) => `${(0xed + i).toString(16)}${"ff".repeat(30)}7f`);
/** As they are spelt: canonical base64 has one way only. */
const WEAK = new Set([...LOW_ORDER, ...BEYOND_FIELD].map((bytes) => Buffer.from(bytes, "hex").toString("base64")));
/** Where the top bit of the last byte is set, in the last symbol but one that has bits of it. */
const TOP_BIT = /^.{41}[I-PY-Za-fo-v4-9+/]/;
/** 44 base64 characters whose last symbol carries no stray bits: exactly 32 bytes. */
const CANONICAL_KEY = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;

export type ParsedKey =
  | { readonly kind: "key"; readonly key: PublicKey }
  | { readonly kind: "refused"; readonly code: "key.missing" | "key.malformed" | "key.weak" };

export function parsePublicKey(text: string): ParsedKey {
  if (text === "") return { kind: "refused", code: "key.missing" };
  if (!CANONICAL_KEY.test(text)) return { kind: "refused", code: "key.malformed" };
  if (WEAK.has(text) || TOP_BIT.test(text)) return { kind: "refused", code: "key.weak" };
  return { kind: "key", key: text as PublicKey };
}

/** Text that must not be shown; prints as `[secret]` wherever it lands. */
export class Secret {
  readonly #text: string;
  constructor(text: string) {
    this.#text = text;
  }
  /** The one way out; its callers are the secret's only readers. */
  reveal(): string {
    return this.#text;
  }
  toString(): string {
    return "[secret]";
  }
  toJSON(): string {
    return "[secret]";
  }
  [inspect.custom](): string {
    return "[secret]";
  }
}

/** A WireGuard private key: `reveal()` gives the base64 that `wg` reads. */
export class PrivateKey extends Secret {
  readonly publicKey: PublicKey;
  private constructor(text: string, publicKey: PublicKey) {
    super(text);
    this.publicKey = publicKey;
  }
  /** Undefined unless `text` is 44 canonical base64 characters (surrounding white space allowed) of 32 bytes, not all zero. */
  static parse(text: string): PrivateKey | undefined {
    const trimmed = text.trim();
    if (!CANONICAL_KEY.test(trimmed) || /^A+=$/.test(trimmed)) return undefined;
    const derived = x25519(Buffer.from(trimmed, "base64"));
    const parsed = parsePublicKey(
      createPublicKey(derived).export({ format: "der", type: "spki" }).subarray(-32).toString("base64"),
    );
    return parsed.kind === "key" ? new PrivateKey(trimmed, parsed.key) : undefined;
  }
  /** A new key, clamped as `wg genkey` does. */
  static generate(): PrivateKey {
    const bytes = randomBytes(32);
    bytes[0] = (bytes[0] ?? 0) & 248;
    bytes[31] = ((bytes[31] ?? 0) & 127) | 64;
    const key = PrivateKey.parse(bytes.toString("base64"));
    if (key === undefined) throw new Error("a generated key must parse");
    return key;
  }
}

// The PKCS #8 header of a raw X25519 private key, RFC 8410 section 7.
const X25519_PKCS8 = Buffer.from("302e020100300506032b656e04220420", "hex");
function x25519(raw: Buffer): KeyObject {
  return createPrivateKey({ key: Buffer.concat([X25519_PKCS8, raw]), format: "der", type: "pkcs8" });
}

/** `a.b.c.d/n` or IPv6, host bits zero; the result is canonical text. */
export function parseCidr(text: string): Cidr | undefined {
  const match = /^([0-9a-fA-F.:]+)\/([0-9]{1,3})$/.exec(text);
  if (match === null) return undefined;
  const [, ip = "", digits = ""] = match;
  const value = ipToBigInt(ip);
  const width = isIPv4(ip) ? 32 : 128;
  const bits = Number(digits);
  if (value === undefined || bits > width || String(bits) !== digits) return undefined;
  if (value & ((1n << BigInt(width - bits)) - 1n)) return undefined;
  return `${bigIntToIp(value, width)}/${bits}` as Cidr;
}

export interface Prefix {
  readonly base: bigint;
  readonly bits: number;
  readonly width: 32 | 128;
}

export function prefixOf(cidr: Cidr): Prefix {
  const slash = cidr.indexOf("/");
  const ip = cidr.slice(0, slash);
  return { base: ipToBigInt(ip) ?? 0n, bits: Number(cidr.slice(slash + 1)), width: isIPv4(ip) ? 32 : 128 };
}

export function cidrOf(base: bigint, bits: number, width: 32 | 128): Cidr {
  return `${bigIntToIp(base, width)}/${bits}` as Cidr;
}

export function overlaps(a: Cidr, b: Cidr): boolean {
  const [left, right] = [prefixOf(a), prefixOf(b)];
  if (left.width !== right.width) return false;
  const shift = BigInt(left.width - Math.min(left.bits, right.bits));
  return left.base >> shift === right.base >> shift;
}

/** Undefined unless `ip` is plain dotted-quad IPv4 or IPv6 without a zone. */
export function ipToBigInt(ip: string): bigint | undefined {
  if (isIPv4(ip)) return ip.split(".").reduce((value, part) => (value << 8n) | BigInt(part), 0n);
  if (isIP(ip) !== 6 || ip.includes("%")) return undefined;
  const dotted = /^(.*:)([0-9.]+)$/.exec(ip);
  if (dotted?.[2]?.includes(".")) {
    const v4 = ipToBigInt(dotted[2]) ?? 0n;
    return ipToBigInt(`${dotted[1]}${(v4 >> 16n).toString(16)}:${(v4 & 0xffffn).toString(16)}`);
  }
  const [head = "", tail] = ip.split("::");
  const groups = (part: string) => (part === "" ? [] : part.split(":"));
  const [left, right] = [groups(head), groups(tail ?? "")];
  const zeros = tail === undefined ? [] : Array<string>(8 - left.length - right.length).fill("0");
  return [...left, ...zeros, ...right].reduce((value, group) => (value << 16n) | BigInt(`0x${group}`), 0n);
}

/** Canonical text, RFC 5952 for IPv6, as `wg` and the kernel print it. */
export function bigIntToIp(value: bigint, width: 32 | 128): string {
  if (width === 32) return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join(".");
  const groups = Array.from({ length: 8 }, (_, i) => ((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16));
  let [start, length] = [0, 1];
  for (let i = 0; i < 8; i++) {
    let run = 0;
    while (groups[i + run] === "0") run++;
    if (run > length) [start, length] = [i, run];
  }
  if (length < 2) return groups.join(":");
  return `${groups.slice(0, start).join(":")}::${groups.slice(start + length).join(":")}`;
}

/** `host:port` with a DNS name, an IPv4 or a bracketed IPv6 address; the port is 1 to 65535. */
export function parseEndpoint(text: string): Endpoint | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]{1,253})):([1-9][0-9]{0,4})$/.exec(text);
  if (match === null) return undefined;
  const [, v6, name = "", digits] = match;
  const port = Number(digits);
  if (port > 65535) return undefined;
  if (v6 !== undefined) return isIP(v6) === 6 ? { host: v6.toLowerCase(), port } : undefined;
  if (isIPv4(name)) return { host: name, port };
  // A last label of digits alone would be read as an address by some resolvers ("010.1", "1.2.3").
  const labels = name.toLowerCase().split(".");
  const isName =
    labels.every((label) => /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(label)) &&
    !/^[0-9]+$/.test(labels.at(-1) ?? "");
  return isName ? { host: name.toLowerCase(), port } : undefined;
}

/** As `parseEndpoint` reads it. */
export function endpointText({ host, port }: Endpoint): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** Undefined for a host name, and for addresses that no peer can live at: unspecified, loopback, link-local, multicast, broadcast. */
export function socketAddress(ip: string, port: number): SocketAddress | undefined {
  const value = ipToBigInt(ip);
  if (value === undefined || port < 1 || port > 65535) return undefined;
  const width = isIPv4(ip) ? 32 : 128;
  const host = cidrOf(value, width, width);
  if (UNDIALABLE.some((range) => overlaps(range, host))) return undefined;
  return (width === 32 ? `${bigIntToIp(value, 32)}:${port}` : `[${bigIntToIp(value, 128)}]:${port}`) as SocketAddress;
}

// IANA special-purpose registries, RFC 6890; IPv4-mapped IPv6 would smuggle any of the IPv4 ones.
const UNDIALABLE = [
  "0.0.0.0/8",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "224.0.0.0/3",
  // All of ::/96, IPv4-compatible and long dead, which wg prints in a spelling of its own.
  "::/96",
  "::ffff:0:0/96",
  "fe80::/10",
  "ff00::/8",
] as const as unknown as readonly Cidr[];
