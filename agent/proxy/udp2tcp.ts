import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { isIP } from "node:net";
import type { Figures } from "./figures.ts";
import { openLine } from "./line.ts";
import type { Log } from "./log.ts";
import type { Udp2TcpOptions } from "./options.ts";
import { Outbox } from "./outbox.ts";
import { serveSender } from "./sender.ts";
import { widen } from "./udp.ts";

/**
 * The client: one local UDP sender, the first that speaks, through one TCP connection to a `tcp2udp` server.
 * Resolves with the UDP port once it is bound. @throws the error of binding
 */
export async function udp2tcp(
  options: Udp2TcpOptions,
  figures: Figures,
  log: Log,
  signal: AbortSignal,
): Promise<number> {
  const { host, port } = options.udpListen;
  let udp = await bind(host, port);
  if (port === 0) {
    // Linux takes a port of its own choice back when the socket is disconnected (__udp_disconnect in net/ipv4/udp.c).
    const chosen = udp.address().port;
    udp.close();
    await once(udp, "close");
    udp = await bind(host, chosen);
  }
  widen(udp);

  const outbox = new Outbox(options.sendBufferBytes, figures.toTcp);
  const sender = serveSender(udp, options.recvBufferBytes, figures, (datagram) => {
    if (!outbox.push(datagram)) figures.dropped.tcp_full++;
    line.carry();
  });
  const line = openLine(options, outbox, figures, log, { take: sender.send, lost: sender.release });

  signal.addEventListener("abort", () => {
    line.close();
    sender.close();
  });
  log("listening", { udp: udp.address().port });
  return udp.address().port;
}

async function bind(host: string, port: number): Promise<Socket> {
  const udp = createSocket(isIP(host) === 6 ? "udp6" : "udp4");
  udp.bind({ port, address: host });
  await once(udp, "listening").catch((error) => {
    udp.close();
    throw error;
  });
  return udp;
}
