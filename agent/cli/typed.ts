/** What people type → values, or a sentence about what was expected; for commander's options and arguments. */
import { isIP } from "node:net";
import { InvalidArgumentError } from "commander";
import { WRITTEN_ADDRESS, writtenAddress } from "../checksum.ts";
import {
  type Address,
  parseEndpoint,
  parsePublicKey,
  parseTokenId,
  ROLES,
  socketAddress,
  type TokenId,
} from "../model.ts";

export function typedAddress(text: string): Address {
  const address = writtenAddress(text);
  if (address !== undefined) return address;
  throw new InvalidArgumentError(`It must be ${WRITTEN_ADDRESS}.`);
}

export function typedToken(text: string): TokenId {
  const id = parseTokenId(text);
  if (id === undefined) throw new InvalidArgumentError("It must be a token's number, such as 3.");
  return id;
}

export function typedKey(text: string): string {
  const parsed = parsePublicKey(text);
  if (parsed.kind === "key") return parsed.key;
  throw new InvalidArgumentError("It must be a public key as wg pubkey prints it: 44 base64 characters.");
}

export function typedName(text: string): string {
  if (/^[a-z0-9-]{1,63}$/.test(text)) return text;
  throw new InvalidArgumentError("It must be 1 to 63 characters of a-z 0-9 -.");
}

/** The place in the contract's order. */
export function typedRole(text: string): number {
  const role = (ROLES as readonly string[]).indexOf(text);
  if (role < 0) throw new InvalidArgumentError(`It must be one of ${ROLES.join(", ")}.`);
  return role;
}

/** Nodes dial no loopback, link-local or multicast address: it is refused before it is paid for. */
export function typedEndpoint(text: string): string {
  const { host = "", port = 0 } = parseEndpoint(text) ?? {};
  const isDialable = host !== "" && (isIP(host) === 0 || socketAddress(host, port) !== undefined);
  if (text === "" || isDialable) return text;
  throw new InvalidArgumentError(
    "It must be host:port as others can dial it, such as vpn.example.org:51820 or [2001:db8::1]:51820.",
  );
}

export function typedIp(text: string): string {
  if (isIP(text) !== 0 && !text.includes("%")) return text;
  throw new InvalidArgumentError("It must be an IP address.");
}

export function typedAgent(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isPlain = url !== undefined && url.username === "" && url.password === "" && url.search === "";
  if (isPlain && /^https?:$/.test(url.protocol)) return url.href.endsWith("/") ? url : new URL(`${url.href}/`);
  throw new InvalidArgumentError("It must be an agent's address, such as http://127.0.0.1:8080.");
}

/** For what can be named several times. */
export function typedAgents(text: string, before: readonly URL[] | undefined): URL[] {
  return [...(before ?? []), typedAgent(text)];
}

export function typedGeneration(text: string): number {
  if (/^[0-9]{1,15}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It must be a generation's number.");
}
