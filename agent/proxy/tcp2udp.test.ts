import { readdirSync } from "node:fs";
import { expect, it, vi } from "vitest";
import { until } from "../test/lab/command.ts";
import { TcpEnd, UdpEnd } from "../test/sockets.ts";
import { type Figures, noFigures } from "./figures.ts";
import type { Tcp2UdpOptions } from "./options.ts";
import { tcp2udp } from "./tcp2udp.ts";

class Server implements AsyncDisposable {
  readonly figures: Figures = noFigures();
  readonly said: string[] = [];
  port = 0;
  readonly #stop = new AbortController();

  static async start(target: { host: string; port: number }, options: Partial<Tcp2UdpOptions> = {}): Promise<Server> {
    const server = new Server();
    const [port = 0] = await tcp2udp(
      {
        program: "tcp2udp",
        tcpListen: [{ host: "127.0.0.1", port: 0 }],
        udpForward: target,
        udpBind: undefined,
        ...{ maxConnections: 1024, sendBufferBytes: 262_144, recvBufferBytes: 262_144 },
        ...{ tcpRecvTimeoutMs: undefined, nodelay: true, metricsListen: undefined },
        ...options,
      },
      server.figures,
      (event) => server.said.push(event),
      server.#stop.signal,
    );
    server.port = port;
    return server;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await until("every connection to be closed", 5_000, () => this.figures.connections === 0);
  }
}

const local = (udp: UdpEnd) => ({ host: "127.0.0.1", port: udp.port });
const openDescriptors = () => readdirSync("/proc/self/fd").length;

it("forwards what comes by TCP and frames what comes back", async () => {
  await using target = await UdpEnd.open();
  await using server = await Server.start(local(target));
  await using client = await TcpEnd.dial(server.port);
  client.socket.write(Buffer.from("0003616263", "hex"));
  await target.got("abc");
  target.send("hello", target.from);
  target.send("", target.from);
  await client.got("000568656c6c6f0000");
});

it("forwards an empty datagram, and the largest there is, however they are cut", async () => {
  await using target = await UdpEnd.open();
  await using server = await Server.start(local(target));
  await using client = await TcpEnd.dial(server.port);
  const largest = "L".repeat(65_507);
  const stream = Buffer.concat([Buffer.from("0000ffe3", "hex"), Buffer.from(largest), Buffer.from("000178", "hex")]);
  for (const byte of stream.subarray(0, 40)) {
    client.socket.write(Buffer.of(byte));
    await new Promise(setImmediate);
  }
  client.socket.write(stream.subarray(40));
  await target.got("x");
  expect(target.received).toEqual(["", largest, "x"]);
});

it("passes over a frame that no datagram can hold, and goes on behind it", async () => {
  await using target = await UdpEnd.open();
  await using server = await Server.start(local(target));
  await using client = await TcpEnd.dial(server.port);
  client.socket.write(Buffer.concat([Buffer.from("ffff", "hex"), Buffer.alloc(65_535), Buffer.from("000178", "hex")]));
  await target.got("x");
  expect(target.received).toEqual(["x"]);
  expect(server.figures.dropped.oversize).toBe(1);
});

it("has a UDP socket for each connection", async () => {
  await using target = await UdpEnd.open();
  await using server = await Server.start(local(target));
  await using one = await TcpEnd.dial(server.port);
  await using other = await TcpEnd.dial(server.port);
  one.socket.write(Buffer.from("000131", "hex"));
  await target.got("1");
  const portOfOne = target.from;
  other.socket.write(Buffer.from("000132", "hex"));
  await target.got("2");
  expect(target.from).not.toBe(portOfOne);
  target.send("for one", portOfOne);
  await one.got(`0007${Buffer.from("for one").toString("hex")}`);
  expect(other.received).toHaveLength(0);
});

it("serves an IPv6 target, and a target by name", async () => {
  await using target = await UdpEnd.open("::1");
  await using server = await Server.start({ host: "::1", port: target.port });
  await using client = await TcpEnd.dial(server.port);
  client.socket.write(Buffer.from("000131", "hex"));
  await target.got("1");

  await using named = await UdpEnd.open();
  await using byName = await Server.start({ host: "localhost", port: named.port }, { udpBind: "127.0.0.1" });
  await using friend = await TcpEnd.dial(byName.port);
  friend.socket.write(Buffer.from("000132", "hex"));
  await named.got("2");
});

it("keeps a connection whose target is not up yet", async () => {
  const absent = await UdpEnd.open();
  const port = absent.port;
  await absent[Symbol.asyncDispose]();
  await using server = await Server.start({ host: "127.0.0.1", port });
  await using client = await TcpEnd.dial(server.port);
  client.socket.write(Buffer.from("000131", "hex"));
  await until("the refusal to arrive", 5_000, () => server.figures.udpErrors > 0);
  await using target = await UdpEnd.open("127.0.0.1", port);
  client.socket.write(Buffer.from("000132", "hex"));
  await target.got("2");
  expect(client.isClosed).toBe(false);
});

it("refuses connections over the limit and takes new ones when there is room again", async () => {
  await using target = await UdpEnd.open();
  await using server = await Server.start(local(target), { maxConnections: 2 });
  await using first = await TcpEnd.dial(server.port);
  await using _second = await TcpEnd.dial(server.port);
  await using third = await TcpEnd.dial(server.port);
  await third.closed();
  expect(server.figures).toMatchObject({ connections: 2, connectionsTotal: 2, connectionsRefused: 1 });
  first.socket.destroy();
  await until("the first to be gone", 5_000, () => server.figures.connections === 1);
  await using fourth = await TcpEnd.dial(server.port);
  fourth.socket.write(Buffer.from("000134", "hex"));
  await target.got("4");
});

it("makes room at the limit for a new connection when another has been silent for two minutes", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  try {
    await using target = await UdpEnd.open();
    await using server = await Server.start(local(target), { maxConnections: 2 });
    await using silent = await TcpEnd.dial(server.port);
    await using talker = await TcpEnd.dial(server.port);
    talker.socket.write(Buffer.from("000131", "hex"));
    await target.got("1");
    vi.advanceTimersByTime(121_000);
    talker.socket.write(Buffer.from("000132", "hex"));
    await target.got("2");
    await using third = await TcpEnd.dial(server.port);
    await silent.closed();
    await using fourth = await TcpEnd.dial(server.port);
    await fourth.closed();
    third.socket.write(Buffer.from("000133", "hex"));
    await target.got("3");
    expect(talker.isClosed).toBe(false);
  } finally {
    vi.useRealTimers();
  }
});

it("closes a connection that says nothing for longer than --tcp-recv-timeout, whatever it is told meanwhile", async () => {
  await using target = await UdpEnd.open();
  await using server = await Server.start(local(target), { tcpRecvTimeoutMs: 1_000 });
  await using silent = await TcpEnd.dial(server.port);
  silent.socket.write(Buffer.from("000131", "hex"));
  await target.got("1");
  const chatter = setInterval(() => target.send("still there?", target.from), 20);
  await silent.closed().finally(() => clearInterval(chatter));

  await using talker = await TcpEnd.dial(server.port);
  for (let i = 0; i < 70; i++) {
    talker.socket.write(Buffer.from("000132", "hex"));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  expect(talker.isClosed).toBe(false);
});

it("drops for a reader that does not read, and its memory does not grow", async () => {
  await using target = await UdpEnd.open();
  await using server = await Server.start(local(target));
  await using client = await TcpEnd.dial(server.port);
  client.socket.write(Buffer.from("000131", "hex"));
  await target.got("1");
  client.socket.pause();
  const datagram = Buffer.alloc(60_000);
  const flood = async (datagrams: number) => {
    for (let i = 0; i < datagrams; i++) {
      target.send(datagram, target.from);
      if (i % 4 === 0) await new Promise(setImmediate);
    }
  };
  await flood(400);
  await until("the kernel's buffers to be full", 5_000, () => server.figures.dropped.tcp_full > 0);
  const before = process.memoryUsage().rss;
  const dropped = server.figures.dropped.tcp_full;
  await flood(3_000);
  expect(server.figures.dropped.tcp_full - dropped).toBeGreaterThan(1_000);
  // 180 MB came in; the two buffers are 256 KB.
  expect(process.memoryUsage().rss - before).toBeLessThan(90_000_000);

  client.socket.resume();
  await until("whole frames of what was not dropped", 5_000, () => {
    const { length } = client.received;
    return length > 0 && length % 60_002 === 0 && server.figures.toTcp.datagrams * 60_002 === length;
  });
});

it("takes 1,000 connections, one after the other and many at once, without leaking a descriptor", async () => {
  await using target = await UdpEnd.open();
  await using server = await Server.start({ host: "localhost", port: target.port }, { udpBind: "127.0.0.1" });
  const before = openDescriptors();
  for (let round = 0; round < 10; round++) {
    const clients = await Promise.all(Array.from({ length: 100 }, () => TcpEnd.dial(server.port)));
    clients.forEach((client, i) => {
      if (i % 3 === 0)
        client.socket.destroy(); // some before their UDP socket is there
      else if (i % 3 === 1) client.socket.end(Buffer.from("00016162", "hex"));
      else client.socket.resetAndDestroy();
    });
    await until("all of them to be gone", 5_000, () => clients.every(({ isClosed }) => isClosed));
  }
  await until("the server to have closed them", 5_000, () => server.figures.connections === 0);
  await until("their descriptors to be gone", 5_000, () => openDescriptors() <= before);
  expect(server.figures.connectionsTotal).toBe(1_000);
});

it("leaves no socket behind when it is told to stop while connections are being opened", async () => {
  await using target = await UdpEnd.open();
  const before = openDescriptors();
  const server = await Server.start({ host: "localhost", port: target.port });
  await using client = await TcpEnd.dial(server.port);
  await until("the connection to be accepted", 5_000, () => server.figures.connections === 1, 0);
  await server[Symbol.asyncDispose]();
  await client.closed();
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(openDescriptors()).toBeLessThanOrEqual(before);
});
