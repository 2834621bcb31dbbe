import { isIP } from "node:net";
import { parseArgs } from "node:util";
import { type Endpoint, parseEndpoint } from "../model.ts";

export type Options = Tcp2UdpOptions | Udp2TcpOptions;

export interface Tcp2UdpOptions extends Shared {
  readonly program: "tcp2udp";
  readonly tcpListen: readonly Endpoint[];
  readonly udpForward: Endpoint;
  /** Absent: the unspecified address of the target's family. */
  readonly udpBind: string | undefined;
  readonly maxConnections: number;
}

export interface Udp2TcpOptions extends Shared {
  readonly program: "udp2tcp";
  readonly udpListen: Endpoint;
  readonly tcpForward: Endpoint;
  /** Datagrams sent for so long without one in return mean that the connection is dead; 0 is off. */
  readonly answerTimeoutMs: number;
}

interface Shared {
  /** How much may wait for a slow TCP reader, per connection. */
  readonly sendBufferBytes: number;
  /** How much of what came by TCP may wait for the UDP socket, per connection. */
  readonly recvBufferBytes: number;
  /** A TCP connection that says nothing for so long is closed; absent: never. */
  readonly tcpRecvTimeoutMs: number | undefined;
  readonly nodelay: boolean;
  readonly metricsListen: Endpoint | undefined;
}

export const USAGE = `UDP over TCP, wire-compatible with Mullvad's udp-over-tcp.

  tcp2udp --tcp-listen IP:PORT --udp-forward HOST:PORT [options]    the server
  udp2tcp --udp-listen IP:PORT --tcp-forward HOST:PORT [options]    the client, for one local sender

tcp2udp
  --tcp-listen IP:PORT       where to accept TCP; can be given several times
  --udp-forward HOST:PORT    where every datagram goes
  --udp-bind IP              local address of the UDP sockets (default 0.0.0.0, or :: for an IPv6 target)
  --max-connections N        at once (default 1024); over it the longest silent one makes room if it has been
                             silent for two minutes, else the new one is closed

udp2tcp
  --udp-listen IP:PORT       where the local sender sends to; the first one wins until it is gone
  --tcp-forward HOST:PORT    the tcp2udp server; dialled on the first datagram, again whenever it is lost
  --answer-timeout SECONDS   dial again when datagrams went unanswered for so long (default 180, 0 is never)

both
  --send-buffer BYTES        what may wait for a slow TCP reader before datagrams are dropped (default 262144;
                             at least two datagrams of the largest size fit whatever is said)
  --recv-buffer BYTES        what may wait for the UDP socket before datagrams are dropped (default 262144)
  --tcp-recv-timeout SECONDS close a TCP connection that says nothing for so long (default: never)
  --nodelay                  switch Nagle's algorithm off (TCP_NODELAY)
  --metrics-listen IP:PORT   serve /metrics and /live by HTTP (default: nowhere)
  --help

The buffers are the program's own, in front of the kernel's: Node cannot set SO_SNDBUF and SO_RCVBUF of a TCP socket.
Exit: 0 stopped by a signal, 1 a socket could not be opened, 2 wrong usage.
`;

/** All mistakes at once, each naming its option. */
export function parseOptions(argv: readonly string[]): Options | { readonly mistakes: readonly string[] } | "help" {
  const [program, ...rest] = argv;
  if (argv.includes("--help") || argv.includes("-h")) return "help";
  if (program !== "tcp2udp" && program !== "udp2tcp") return { mistakes: ["say tcp2udp or udp2tcp first"] };
  const mistakes: string[] = [];
  const given = read(rest, program, mistakes);
  if (given === undefined) return { mistakes };

  const one = <T>(name: string, parse: (text: string) => T | undefined, expected: string): T | undefined => {
    const [text, again] = given.get(name) ?? [];
    const value = text === undefined ? undefined : parse(text);
    if (text !== undefined && value === undefined) mistakes.push(`--${name} must be ${expected}`);
    if (again !== undefined) mistakes.push(`--${name} is given twice`);
    return value;
  };
  const required = <T>(name: string, parse: (text: string) => T | undefined, expected: string): T => {
    if (!given.has(name)) mistakes.push(`--${name} is required: ${expected}`);
    return one(name, parse, expected) as T; // never looked at when there are mistakes
  };
  const whole = (name: string, low: number, high: number) =>
    one(name, (text) => integer(text, low, high), `a whole number from ${low} to ${high}`);

  const timeout = whole("tcp-recv-timeout", 1, 1_000_000);
  const shared = {
    sendBufferBytes: whole("send-buffer", 1, 2 ** 30) ?? 262_144,
    recvBufferBytes: whole("recv-buffer", 1, 2 ** 30) ?? 262_144,
    tcpRecvTimeoutMs: timeout === undefined ? undefined : timeout * 1000,
    nodelay: given.has("nodelay"),
    metricsListen: one("metrics-listen", listenAddress, LISTEN),
  };
  let options: Options;
  if (program === "tcp2udp") {
    const tcpListen = (given.get("tcp-listen") ?? []).map(listenAddress);
    if (tcpListen.length === 0) mistakes.push(`--tcp-listen is required: ${LISTEN}`);
    if (tcpListen.includes(undefined)) mistakes.push(`--tcp-listen must be ${LISTEN}`);
    options = {
      ...{ program, ...shared, tcpListen: tcpListen as Endpoint[] },
      udpForward: required("udp-forward", parseEndpoint, TARGET),
      udpBind: one("udp-bind", (text) => (isIP(text) === 0 ? undefined : text), "an IP address"),
      maxConnections: whole("max-connections", 1, 1_000_000) ?? 1024,
    };
  } else {
    options = {
      ...{ program, ...shared },
      udpListen: required("udp-listen", listenAddress, LISTEN),
      tcpForward: required("tcp-forward", parseEndpoint, TARGET),
      answerTimeoutMs: (whole("answer-timeout", 0, 1_000_000) ?? 180) * 1000,
    };
  }
  return mistakes.length === 0 ? options : { mistakes };
}

const LISTEN = "an IP address and port such as 127.0.0.1:5001 or [::1]:5001";
const TARGET = "a host and port such as 127.0.0.1:51820, [::1]:51820 or vpn.example.org:51820";

const BOTH = ["send-buffer", "recv-buffer", "tcp-recv-timeout", "metrics-listen"];
const OWN = {
  tcp2udp: ["tcp-listen", "udp-forward", "udp-bind", "max-connections"],
  udp2tcp: ["udp-listen", "tcp-forward", "answer-timeout"],
};

function read(argv: readonly string[], program: keyof typeof OWN, mistakes: string[]) {
  const names = [...OWN[program], ...BOTH];
  const text = { type: "string", multiple: true } as const;
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: { ...Object.fromEntries(names.map((name) => [name, text])), nodelay: { type: "boolean" } },
    });
    return new Map(
      Object.entries(values).map(([name, value]) => [name, Array.isArray(value) ? value.map(String) : []]),
    );
  } catch (error) {
    mistakes.push(error instanceof Error ? (error.message.split(". ")[0] ?? "") : String(error));
    return undefined;
  }
}

function integer(text: string, low: number, high: number): number | undefined {
  const number = /^[0-9]{1,10}$/.test(text) ? Number(text) : Number.NaN;
  return number >= low && number <= high ? number : undefined;
}

/** Unlike a target it is an address of this machine, and port 0 lets the kernel choose. */
function listenAddress(text: string): Endpoint | undefined {
  const [, v6, v4, digits] = /^(?:\[([^\]]+)\]|([0-9.]+)):([0-9]{1,5})$/.exec(text) ?? [];
  const host = v6 ?? v4 ?? "";
  const port = Number(digits);
  return isIP(host) === (v6 === undefined ? 4 : 6) && port <= 65_535 ? { host, port } : undefined;
}
