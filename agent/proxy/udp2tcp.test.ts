import { expect, it } from "vitest";
import { until } from "../test/lab/command.ts";
import { TcpPort, UdpEnd } from "../test/sockets.ts";
import { type Figures, noFigures } from "./figures.ts";
import type { Udp2TcpOptions } from "./options.ts";
import { udp2tcp } from "./udp2tcp.ts";

class Client implements AsyncDisposable {
  readonly figures: Figures = noFigures();
  readonly said: string[] = [];
  port = 0;
  readonly #stop = new AbortController();

  static async start(tcpPort: number, options: Partial<Udp2TcpOptions> = {}): Promise<Client> {
    const client = new Client();
    client.port = await udp2tcp(
      {
        program: "udp2tcp",
        udpListen: { host: "127.0.0.1", port: 0 },
        tcpForward: { host: "127.0.0.1", port: tcpPort },
        ...{ answerTimeoutMs: 180_000, sendBufferBytes: 262_144, recvBufferBytes: 262_144 },
        ...{ tcpRecvTimeoutMs: undefined, nodelay: true, metricsListen: undefined },
        ...options,
      },
      client.figures,
      (event) => client.said.push(event),
      client.#stop.signal,
    );
    return client;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
  }
}

it("dials on the first datagram and not before, and loses none of those that come while it dials", async () => {
  await using server = await TcpPort.open();
  await using client = await Client.start(server.port);
  await using sender = await UdpEnd.open();
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(server.connections).toHaveLength(0);
  for (const text of ["a", "", "bc"]) sender.send(text, client.port);
  await (await server.connection(1)).got("00016100000002" + "6263");
});

it("answers the sender", async () => {
  await using server = await TcpPort.open();
  await using client = await Client.start(server.port);
  await using sender = await UdpEnd.open();
  sender.send("hello", client.port);
  const tcp = await server.connection(1);
  tcp.socket.write(Buffer.from("00000001", "hex"));
  tcp.socket.write(Buffer.from("78", "hex"));
  await sender.got("x");
  expect(sender.received).toEqual(["", "x"]);
  expect(sender.from).toBe(client.port);
});

it("serves the first sender alone", async () => {
  await using server = await TcpPort.open();
  await using client = await Client.start(server.port);
  await using first = await UdpEnd.open();
  await using second = await UdpEnd.open();
  first.send("1", client.port);
  second.send("before the kernel knows whom to keep out", client.port);
  const tcp = await server.connection(1);
  second.send("2", client.port);
  first.send("3", client.port);
  await tcp.got("000131000133");
  tcp.socket.write(Buffer.from("000178", "hex"));
  await first.got("x");
  expect(second.received).toEqual([]);
});

it("serves the next sender when the first is gone from its port", async () => {
  await using server = await TcpPort.open();
  await using client = await Client.start(server.port);
  const first = await UdpEnd.open();
  first.send("1", client.port);
  const tcp = await server.connection(1);
  await tcp.got("000131");
  await first[Symbol.asyncDispose]();
  tcp.socket.write(Buffer.from("000178", "hex")); // refused by the empty port
  await until("the refusal to arrive", 5_000, () => client.figures.udpErrors > 0);
  await using second = await UdpEnd.open();
  second.send("2", client.port);
  await tcp.got("000131000132");
  tcp.socket.write(Buffer.from("000179", "hex"));
  await second.got("y");
});

it("dials again when the connection is lost, from a fresh frame", async () => {
  await using server = await TcpPort.open();
  await using client = await Client.start(server.port);
  await using sender = await UdpEnd.open();
  sender.send("1", client.port);
  const lost = await server.connection(1);
  await lost.got("000131");
  lost.socket.write(Buffer.from("0005ab", "hex")); // half a frame that the next connection must not continue
  lost.socket.resetAndDestroy();
  await until("the loss to be seen", 5_000, () => client.figures.connections === 0);
  sender.send("2", client.port);
  const next = await server.connection(2);
  await next.got("000132");
  next.socket.write(Buffer.from("000178", "hex"));
  await sender.got("x");
  expect(sender.received).toEqual(["x"]);
});

it("goes on dialling, with backoff, until the server is there", async () => {
  const gone = await TcpPort.open();
  await gone[Symbol.asyncDispose]();
  await using client = await Client.start(gone.port);
  await using sender = await UdpEnd.open();
  const talk = setInterval(() => sender.send("hello?", client.port), 10);
  try {
    await until("three failures", 8_000, () => client.figures.dialFailures >= 3);
    expect(client.said.filter((event) => event === "tcp.down").length).toBeLessThan(10);
    await using server = await TcpPort.open(gone.port);
    await until("the connection", 8_000, () => server.connections[0]);
  } finally {
    clearInterval(talk);
  }
  expect(client.figures.dropped.unreachable).toBeGreaterThan(0);
}, 20_000);

it("waits longer each time for a server that takes connections and closes them at once", async () => {
  await using server = await TcpPort.open();
  await using client = await Client.start(server.port);
  await using sender = await UdpEnd.open();
  const talk = setInterval(() => {
    sender.send("hello?", client.port);
    for (const { socket } of server.connections) socket.destroy();
  }, 5);
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  clearInterval(talk);
  expect(server.connections.length).toBeGreaterThan(1);
  expect(server.connections.length).toBeLessThan(7);
});

it("gives up a connection that no longer answers, and dials a new one", async () => {
  await using server = await TcpPort.open();
  await using client = await Client.start(server.port, { answerTimeoutMs: 100 });
  await using sender = await UdpEnd.open();
  const talk = setInterval(() => sender.send("hello?", client.port), 10);
  await server.connection(2).finally(() => clearInterval(talk));
  expect(client.said).toContain("tcp.unanswered");
});

it("drops for a server that does not read, and says so in its figures", async () => {
  await using server = await TcpPort.open();
  await using client = await Client.start(server.port);
  await using sender = await UdpEnd.open();
  sender.send("1", client.port);
  const tcp = await server.connection(1);
  await tcp.got("000131");
  tcp.socket.pause();
  for (let i = 0; i < 2_000 && client.figures.dropped.tcp_full === 0; i++) {
    sender.send(Buffer.alloc(60_000), client.port);
    if (i % 4 === 0) await new Promise(setImmediate);
  }
  expect(client.figures.dropped.tcp_full).toBeGreaterThan(0);
});

it("closes a connection that says nothing for longer than --tcp-recv-timeout and dials when there is something to say", async () => {
  await using server = await TcpPort.open();
  await using client = await Client.start(server.port, { tcpRecvTimeoutMs: 100 });
  await using sender = await UdpEnd.open();
  sender.send("1", client.port);
  await (await server.connection(1)).closed();
  await new Promise((resolve) => setTimeout(resolve, 600));
  expect(server.connections).toHaveLength(1);
  sender.send("2", client.port);
  await (await server.connection(2)).got("000132");
});
