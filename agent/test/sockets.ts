/** Sockets on loopback for the proxy's tests: they keep what they received. */
import { createSocket, type Socket as Udp } from "node:dgram";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket as Tcp } from "node:net";
import { until } from "./lab/command.ts";

export class UdpEnd implements AsyncDisposable {
  /** The first hundred. */
  readonly received: string[] = [];
  /** Who sent the last datagram. */
  from = 0;
  readonly socket: Udp;
  readonly port: number;

  private constructor(socket: Udp) {
    this.socket = socket;
    this.port = socket.address().port;
    socket.on("message", (datagram, { port }) => {
      this.from = port;
      if (this.received.length < 100) this.received.push(datagram.toString("latin1"));
    });
  }

  static async open(host = "127.0.0.1", port = 0): Promise<UdpEnd> {
    const socket = createSocket({ type: host.includes(":") ? "udp6" : "udp4", recvBufferSize: 4_194_304 });
    socket.bind(port, host);
    await once(socket, "listening");
    return new UdpEnd(socket);
  }

  send(text: string | Buffer, port: number): void {
    this.socket.send(text, port, this.socket.address().address);
  }

  /** @throws when nothing of the kind comes within five seconds */
  async got(text: string): Promise<void> {
    await until(`${JSON.stringify(text.slice(0, 40))} among ${this.received.length} datagrams`, 5_000, () =>
      this.received.includes(text),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.close();
  }
}

export class TcpEnd implements AsyncDisposable {
  received = Buffer.alloc(0);
  isClosed = false;
  readonly socket: Tcp;

  constructor(socket: Tcp) {
    this.socket = socket;
    socket.on("data", (chunk) => {
      this.received = Buffer.concat([this.received, chunk]);
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      this.isClosed = true;
    });
  }

  static async dial(port: number, host = "127.0.0.1"): Promise<TcpEnd> {
    const end = new TcpEnd(connect({ port, host, noDelay: true }));
    await once(end.socket, "connect");
    return end;
  }

  async got(hex: string): Promise<void> {
    await until(`${hex} on TCP`, 5_000, () => this.received.toString("hex") === hex);
  }

  async closed(deadlineMs = 5_000): Promise<void> {
    await until("TCP to be closed", deadlineMs, () => this.isClosed);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.destroy();
  }
}

/** A TCP server that keeps its connections and leaves the talking to the test. */
export class TcpPort implements AsyncDisposable {
  readonly connections: TcpEnd[] = [];
  readonly port: number;
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
    server.on("connection", (socket) => this.connections.push(new TcpEnd(socket)));
  }

  static async open(port = 0): Promise<TcpPort> {
    const server = createServer({ noDelay: true });
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    return new TcpPort(server);
  }

  async connection(number: number): Promise<TcpEnd> {
    return until(`connection ${number}`, 5_000, () => this.connections[number - 1]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { socket } of this.connections) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}
