import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { lookup } from "node:dns/promises";
import { once } from "node:events";
import { type AddressInfo, createServer, isIP, type Server, type Socket } from "node:net";
import type { Endpoint } from "../model.ts";
import type { Figures } from "./figures.ts";
import { FrameReader } from "./frames.ts";
import type { Log } from "./log.ts";
import type { Tcp2UdpOptions } from "./options.ts";
import { Outbox } from "./outbox.ts";
import { toUdp, widen } from "./udp.ts";

/** Longer silence gives way to a new connection at the limit; WireGuard with keepalive is never silent for 30 s. */
const SILENT_MS = 120_000;
const KEEPALIVE_MS = 60_000;
/** A target's name is resolved again after an error, at most this often. */
const ASK_AGAIN_MS = 1_000;

interface Link {
  heardAt: number;
  readonly close: () => void;
}

/**
 * The server: for each TCP connection a UDP socket of its own towards the target, until TCP ends or `signal` does.
 * Resolves with the ports once it listens. @throws the error of listening
 */
export async function tcp2udp(
  options: Tcp2UdpOptions,
  figures: Figures,
  log: Log,
  signal: AbortSignal,
): Promise<readonly number[]> {
  const links = new Set<Link>();
  const servers: Server[] = [];
  signal.addEventListener("abort", () => {
    for (const server of servers) server.close();
    for (const link of links) link.close();
  });

  const accept = (tcp: Socket) => {
    if (links.size >= options.maxConnections && !makeRoom(links)) {
      figures.connectionsRefused++;
      log("connection.refused", { limit: options.maxConnections });
      tcp.destroy();
      return;
    }
    const link = join(tcp, options, figures, log, () => links.delete(link));
    links.add(link);
  };
  for (const { host, port } of options.tcpListen) {
    // Paused until its UDP socket is there: nothing that comes early is lost.
    const server = createServer({ pauseOnConnect: true, noDelay: options.nodelay }, accept);
    servers.push(server);
    server.listen({ host, port, backlog: 1024 });
    await once(server, "listening");
    // Out of descriptors: libuv closes the connection, the next one is accepted again.
    server.on("error", (error: NodeJS.ErrnoException) => log("listen.failed", { problem: error.code }));
  }
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  log("listening", { tcp: ports });
  return ports;
}

function makeRoom(links: ReadonlySet<Link>): boolean {
  const oldest = [...links].reduce((a, b) => (a.heardAt <= b.heardAt ? a : b));
  if (performance.now() - oldest.heardAt < SILENT_MS) return false;
  oldest.close();
  return true;
}

function join(tcp: Socket, options: Tcp2UdpOptions, figures: Figures, log: Log, closed: () => void): Link {
  const outbox = new Outbox(options.sendBufferBytes, figures.toTcp);
  const frames = new FrameReader();
  let udp: UdpSocket | undefined;
  let isOpen = true;
  let silence: NodeJS.Timeout | undefined;

  const link: Link = {
    heardAt: performance.now(),
    close: () => {
      if (!isOpen) return;
      isOpen = false;
      clearTimeout(silence);
      outbox.detach();
      tcp.destroy();
      udp?.close();
      figures.connections--;
      closed();
    },
  };
  figures.connections++;
  figures.connectionsTotal++;
  tcp.setKeepAlive(true, KEEPALIVE_MS);
  tcp.on("error", (error: NodeJS.ErrnoException) => log("tcp.failed", { problem: error.code }));
  // Not half-open: a peer that ended its side is gone, whatever still waits for it.
  tcp.on("end", link.close);
  tcp.on("close", link.close);
  if (options.tcpRecvTimeoutMs !== undefined) silence = setTimeout(link.close, options.tcpRecvTimeoutMs);

  const open = async () => {
    const aimed = await aim(options, figures, () => {
      log("target.moved", { host: options.udpForward.host });
      link.close();
    });
    if (!isOpen) return aimed.close();
    udp = aimed;
    udp.on("message", (datagram) => {
      if (!outbox.push(datagram)) figures.dropped.tcp_full++;
    });
    const send = toUdp(udp, options.recvBufferBytes, figures);
    outbox.attach(tcp);
    tcp.on("data", (chunk) => {
      link.heardAt = performance.now();
      silence?.refresh();
      frames.read(chunk, send);
    });
    tcp.resume();
  };
  open().catch((error: NodeJS.ErrnoException) => {
    figures.udpErrors++;
    log("udp.failed", { problem: error.code });
    link.close();
  });
  return link;
}

/** A UDP socket connected to the target; `moved` is called when an error shows that the target's name points elsewhere. */
async function aim(options: Tcp2UdpOptions, figures: Figures, moved: () => void): Promise<UdpSocket> {
  const target = options.udpForward;
  const { address, family } = await resolve(target, isIP(options.udpBind ?? ""));
  const udp = createSocket(family === 6 ? "udp6" : "udp4");
  let askedAt = performance.now();
  udp.on("error", () => {
    // A target that is not up yet refuses datagrams; that is its affair and no reason to drop the client.
    figures.udpErrors++;
    if (isIP(target.host) !== 0 || performance.now() - askedAt < ASK_AGAIN_MS) return;
    askedAt = performance.now();
    resolve(target, family).then(
      (found) => found.address !== address && moved(),
      () => undefined, // the next error asks again
    );
  });
  try {
    udp.bind({ port: 0, address: options.udpBind ?? (family === 6 ? "::" : "0.0.0.0") });
    await once(udp, "listening");
    widen(udp);
    udp.connect(target.port, address);
    await once(udp, "connect");
  } catch (error) {
    udp.close();
    throw error;
  }
  return udp;
}

function resolve({ host }: Endpoint, family: number): Promise<{ address: string; family: number }> {
  return isIP(host) === 0 ? lookup(host, { family }) : Promise.resolve({ address: host, family: isIP(host) });
}
