/**
 * `wg0.conf`: a complete file that `wg-quick up` starts without the agent, and that the agent reads back. Pure.
 * Strict on purpose: what does not end in its own digest is no generation, whoever cut, edited or flipped it.
 */
import { createHash } from "node:crypto";
import {
  type Cidr,
  type Peer,
  PrivateKey,
  parseCidr,
  parseEndpoint,
  parsePublicKey,
  type SocketAddress,
  socketAddress,
} from "../model.ts";

export interface Conf {
  readonly generation: number;
  /** Wall time in ms; the file keeps whole seconds. */
  readonly writtenAt: number;
  /** The block that the registry stood at. */
  readonly block: number;
  readonly privateKey: PrivateKey;
  readonly listenPort: number;
  readonly mtu: number;
  readonly addresses: readonly Cidr[];
}

/**
 * Without a hook: a file that a shell would run lines of is one more thing to trust; wg-quick routes AllowedIPs by itself.
 * In pieces of some hundred peers, so that a large file never holds the event loop.
 */
export function* renderConf(conf: Conf, peers: Iterable<Peer>): Generator<string, void> {
  const hash = createHash("sha256");
  let [piece, count] = [head(conf), 0];
  for (const peer of peers) {
    count++;
    piece += section(peer);
    if (piece.length < PIECE) continue;
    hash.update(piece);
    yield piece;
    piece = "";
  }
  hash.update(piece);
  yield `${piece}${trailer(conf.generation, count, hash.digest("hex"))}\n`;
}

const PIECE = 64 * 1024;

function head(conf: Conf): string {
  return [
    header(conf),
    "# dstack-vpn wrote this file and will write it again: edits are lost.",
    "[Interface]",
    `PrivateKey = ${conf.privateKey.reveal()}`,
    `ListenPort = ${conf.listenPort}`,
    `MTU = ${conf.mtu}`,
    ...conf.addresses.map((address) => `Address = ${address}`),
    "",
  ].join("\n");
}

/** How every generation begins. */
export const FIRST_LINE = "# Generation ";
const header = ({ generation, writtenAt, block }: Pick<Conf, "generation" | "writtenAt" | "block">) =>
  `${FIRST_LINE}${generation}, written ${new Date(writtenAt).toISOString().slice(0, 19)}Z at block ${block}.`;
const HEADER = /^# Generation ([0-9]{1,15}), written (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) at block ([0-9]{1,15})\.$/;

const trailer = (generation: number, peers: number, digest: string) =>
  `${TRAILER}${generation}: ${peers} peers, sha256 ${digest}`;
const TRAILER = "# End of generation ";

function section({ key, allowedIps, endpoint, keepalive }: Peer): string {
  let text = `[Peer]\nPublicKey = ${key}\n`;
  if (allowedIps.length > 0) text += `AllowedIPs = ${allowedIps.join(", ")}\n`;
  if (endpoint !== undefined) text += `Endpoint = ${endpoint}\n`;
  if (keepalive > 0) text += `PersistentKeepalive = ${keepalive}\n`;
  return text;
}

/** The file is no generation; the message has a line's number and never its text. */
export class ConfError extends Error {}

/**
 * Takes a file in pieces of any size and hands out its peers as they come; they count only once `end` has returned.
 * Both functions throw ConfError.
 */
export function confReader(onPeer: (peer: Peer) => void): { push: (piece: string) => void; end: () => Conf } {
  const hash = createHash("sha256");
  let [rest, number, peers] = ["", 0, 0];
  let named: readonly string[] = [];
  let conf: Conf | undefined;
  let last: string | undefined;
  let fields: Fields = new Map();
  const finishSection = () => {
    if (conf === undefined) conf = interfaceOf(named, fields, number);
    else {
      onPeer(peerOf(fields, number));
      peers++;
    }
    fields = new Map();
  };
  const take = (line: string) => {
    if (number === 1) named = HEADER.exec(line) ?? [];
    else if (number === 2) return;
    else if (number === 3 && line === "[Interface]") return;
    else if (line === "[Peer]") finishSection();
    else if (!addField(fields, line)) throw new ConfError(`line ${number} is none of ours`);
  };
  return {
    push(piece) {
      const text = rest + piece;
      let from = 0;
      for (let to = text.indexOf("\n", rest.length); to >= 0 && last === undefined; to = text.indexOf("\n", from)) {
        const line = text.slice(from, to);
        number++;
        if (line.startsWith(TRAILER)) {
          last = line;
          hash.update(text.slice(0, from));
        } else take(line);
        from = to + 1;
      }
      if (last === undefined) hash.update(text.slice(0, from));
      rest = text.slice(from);
      if (rest.length > MAX_LINE) throw new ConfError(`line ${number + 1} is too long`);
    },
    end() {
      if (last === undefined || rest !== "") throw new ConfError(`it does not end as it should (line ${number})`);
      finishSection();
      if (conf === undefined) throw new ConfError("it has no interface");
      if (last !== trailer(conf.generation, peers, hash.digest("hex")))
        throw new ConfError("its digest is another one");
      return conf;
    },
  };
}

const MAX_LINE = 256 * 1024;

/** By name, in the order of their lines. */
type Fields = Map<string, string[]>;

function addField(fields: Fields, line: string): boolean {
  const [, name = "", value = ""] = /^([A-Za-z]{1,20}) = (.+)$/.exec(line) ?? [];
  if (!NAMES.has(name)) return false;
  const values = fields.get(name);
  if (values === undefined) fields.set(name, [value]);
  else values.push(value);
  return true;
}

const INTERFACE_NAMES = new Set(["PrivateKey", "ListenPort", "MTU", "Address"]);
const PEER_NAMES = new Set(["PublicKey", "AllowedIPs", "Endpoint", "PersistentKeepalive"]);
const NAMES = new Set([...INTERFACE_NAMES, ...PEER_NAMES]);

function interfaceOf([, generation, writtenAt = "", block]: readonly string[], fields: Fields, line: number): Conf {
  const ends = `the interface that ends in line ${line}`;
  only(INTERFACE_NAMES, fields, ends);
  return {
    generation: whole(generation, "the header"),
    writtenAt: Date.parse(writtenAt),
    block: whole(block, "the header"),
    privateKey: parsed(PrivateKey.parse(one(fields, "PrivateKey", ends) ?? ""), "PrivateKey", ends),
    listenPort: whole(one(fields, "ListenPort", ends), ends),
    mtu: whole(one(fields, "MTU", ends), ends),
    addresses: (fields.get("Address") ?? []).map((value) => parsed(parseCidr(value), "Address", ends)),
  };
}

function peerOf(fields: Fields, line: number): Peer {
  const ends = `the peer that ends in line ${line}`;
  only(PEER_NAMES, fields, ends);
  const key = parsePublicKey(one(fields, "PublicKey", ends) ?? "");
  const endpoint = one(fields, "Endpoint", ends);
  const keepalive = one(fields, "PersistentKeepalive", ends);
  return {
    key: parsed(key.kind === "key" ? key.key : undefined, "PublicKey", ends),
    allowedIps: (one(fields, "AllowedIPs", ends)?.split(", ") ?? []).map((value) =>
      parsed(parseCidr(value), "AllowedIPs", ends),
    ),
    endpoint: endpoint === undefined ? undefined : parsed(dialled(endpoint), "Endpoint", ends),
    keepalive: keepalive === undefined ? 0 : whole(keepalive, ends),
  };
}

function dialled(text: string): SocketAddress | undefined {
  const { host, port } = parseEndpoint(text) ?? { host: "", port: 0 };
  return socketAddress(host, port);
}

function only(names: ReadonlySet<string>, fields: Fields, where: string): void {
  for (const name of fields.keys()) if (!names.has(name)) throw new ConfError(`${where} has a ${name}`);
}

function one(fields: Fields, name: string, where: string): string | undefined {
  const values = fields.get(name);
  if (values !== undefined && values.length > 1) throw new ConfError(`${where} has more than one ${name}`);
  return values?.[0];
}

function parsed<T>(value: T | undefined, name: string, where: string): T {
  if (value === undefined) throw new ConfError(`${where} has no ${name} that can be used`);
  return value;
}

function whole(text: string | undefined, where: string): number {
  if (text === undefined || !/^(0|[1-9][0-9]{0,14})$/.test(text)) throw new ConfError(`${where} lacks a number`);
  return Number(text);
}
