/**
 * Reads `wg show <interface> dump` as it arrives: 60,000 lines without a pause that others would feel. Pure.
 * The text holds the private key, so it is never kept, and no message quotes it.
 */
import { AgentError } from "../errors.ts";
import { type Cidr, type Peer, type PublicKey, parseCidr, parsePublicKey, type SocketAddress } from "../model.ts";

/** A peer as the device has it; `endpoint` follows the peer when it roams. */
export interface RunningPeer extends Peer {
  readonly hasPresharedKey: boolean;
  /** Wall time in ms; 0 for never. */
  readonly latestHandshakeAt: number;
  readonly rxBytes: number;
  readonly txBytes: number;
}

export interface DeviceState {
  /** Absent where the interface has no private key yet. */
  readonly publicKey: PublicKey | undefined;
  readonly listenPort: number;
  /** Its packets carry a firewall mark, by which rules of the host may lead them astray. */
  readonly isMarked: boolean;
  readonly peers: ReadonlyMap<PublicKey, RunningPeer>;
}

/** 65,536 peers with two addresses each are 8 MB; beyond this it is not a dump. */
const MAX_BYTES = 64 * 1024 * 1024;
/** One peer with every address of an IPv4 pool of 65,536 and as many IPv6 ones has 4 MB. */
const MAX_LINE = 8 * 1024 * 1024;
const NONE = "(none)";

/**
 * `known` are the peers that are expected: what equals them shares their texts, so that an unchanged peer costs neither
 * parsing nor memory. @throws AgentError device.unreadable, from both of its functions.
 */
export function dumpReader(known: ReadonlyMap<PublicKey, Peer>): {
  push: (chunk: Buffer) => void;
  end: () => DeviceState;
} {
  let [rest, bytes, lines] = ["", 0, 0];
  let head: Omit<DeviceState, "peers"> | undefined;
  const peers = new Map<PublicKey, RunningPeer>();
  const line = (text: string) => {
    lines++;
    const fields = text.split("\t");
    if (head === undefined) {
      head = deviceLine(fields);
    } else {
      const peer = peerLine(fields, lines, known);
      peers.set(peer.key, peer);
    }
  };
  return {
    push(chunk) {
      bytes += chunk.length;
      if (bytes > MAX_BYTES) throw unreadable(`wg show dump is longer than ${MAX_BYTES} bytes`);
      const text = rest + chunk.toString("latin1");
      let from = 0;
      for (let to = text.indexOf("\n", rest.length); to >= 0; to = text.indexOf("\n", from)) {
        line(text.slice(from, to));
        from = to + 1;
      }
      rest = text.slice(from);
      if (rest.length > MAX_LINE) throw unreadable(`a line of wg show dump is longer than ${MAX_LINE} characters`);
    },
    end() {
      // A dump that was cut off reads as a device that lost its last peers, unless the line's end is asked for.
      if (rest !== "") throw unreadable("wg show dump ends in the middle of a line");
      if (head === undefined) throw unreadable("wg show dump is empty");
      return { ...head, peers };
    },
  };
}

/** private-key, public-key, listen-port, fwmark. */
function deviceLine(fields: readonly string[]): Omit<DeviceState, "peers"> {
  const [, key = "", port, mark = ""] = fields;
  if (fields.length !== 4) throw malformed(1, "fields");
  if (!/^(off|0x[0-9a-f]{1,8})$/.test(mark)) throw malformed(1, "firewall mark");
  return { publicKey: key === NONE ? undefined : anyKey(key, 1), listenPort: count(port, 1), isMarked: mark !== "off" };
}

/** public-key, preshared-key, endpoint, allowed-ips, latest-handshake, transfer-rx, transfer-tx, persistent-keepalive. */
function peerLine(fields: readonly string[], number: number, known: ReadonlyMap<PublicKey, Peer>): RunningPeer {
  const [text = "", presharedKey, endpoint = "", allowedIps = "", handshake, rx, tx, keepalive] = fields;
  if (fields.length !== 8) throw malformed(number, "fields");
  const expected = known.get(text as PublicKey);
  return {
    key: expected?.key ?? anyKey(text, number),
    allowedIps: sameAs(expected?.allowedIps, allowedIps) ?? addresses(allowedIps, number),
    endpoint: endpoint === NONE ? undefined : endpointOf(endpoint, expected?.endpoint, number),
    keepalive: keepalive === "off" ? 0 : count(keepalive, number),
    hasPresharedKey: presharedKey !== NONE,
    latestHandshakeAt: count(handshake, number) * 1000,
    rxBytes: count(rx, number),
    txBytes: count(tx, number),
  };
}

/** wg prints allowed IPs in an order of its own; the common cases are compared without taking the text apart. */
function sameAs(expected: readonly Cidr[] | undefined, text: string): readonly Cidr[] | undefined {
  if (expected === undefined) return undefined;
  const [a, b] = expected;
  if (expected.length === 1 && text === a) return expected;
  if (expected.length === 2 && (text === `${a},${b}` || text === `${b},${a}`)) return expected;
  return undefined;
}

function addresses(text: string, line: number): readonly Cidr[] {
  if (text === NONE) return [];
  return text
    .split(",")
    .map((item) => {
      const cidr = parseCidr(item);
      if (cidr === undefined) throw malformed(line, "allowed IPs");
      return cidr;
    })
    .sort();
}

/** Whatever a peer's packets came from, an address that we would refuse to dial included. */
function endpointOf(text: string, expected: SocketAddress | undefined, line: number): SocketAddress {
  if (text === expected) return expected;
  if (!/^([0-9.]{7,15}|\[[0-9a-fA-F:.]{2,45}(%[\w.-]{1,15})?\]):[0-9]{1,5}$/.test(text)) {
    throw malformed(line, "endpoint");
  }
  // A slice would keep the whole chunk alive for as long as the endpoint is.
  return Buffer.from(text, "latin1").toString("latin1") as SocketAddress;
}

/** Weak keys too: somebody may have put one on the device, and it must be seen to be removed. */
function anyKey(text: string, line: number): PublicKey {
  if (parsePublicKey(text).kind === "refused" && !/^[A-Za-z0-9+/]{43}=$/.test(text))
    throw malformed(line, "public key");
  return Buffer.from(text, "latin1").toString("latin1") as PublicKey;
}

function count(text: string | undefined, line: number): number {
  if (text === "0") return 0;
  if (text === undefined || !/^[0-9]{1,20}$/.test(text)) throw malformed(line, "number");
  return Number(text);
}

const unreadable = (problem: string) => new AgentError({ code: "device.unreadable", problem });
const malformed = (line: number, what: string) => unreadable(`line ${line} of wg show dump has unexpected ${what}`);
