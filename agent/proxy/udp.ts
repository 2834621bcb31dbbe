import type { RemoteInfo, Socket } from "node:dgram";
import type { Figures } from "./figures.ts";

/**
 * How datagrams leave by `udp`, which is connected where no receiver is given: dropped and counted where they would have
 * to wait behind more than `queueBytes`.
 */
export function toUdp(udp: Socket, queueBytes: number, figures: Figures) {
  // A UDP length field of 65,535 minus its header of 8, and for IPv4 minus the IP header of 20.
  const longest = udp.address().family === "IPv6" ? 65_527 : 65_507;
  const limit = Math.max(queueBytes, longest);
  return (datagram: Buffer, to?: RemoteInfo): void => {
    if (datagram.length > longest) {
      figures.dropped.oversize++;
      return;
    }
    if (udp.getSendQueueSize() + datagram.length > limit) {
      figures.dropped.udp_full++;
      return;
    }
    figures.toUdp.datagrams++;
    figures.toUdp.bytes += datagram.length;
    if (to === undefined) udp.send(datagram);
    else udp.send(datagram, to.port, to.address);
  };
}

/** As much kernel buffer as an unprivileged socket may have; a burst waits there while the event loop is busy. */
export function widen(udp: Socket): void {
  udp.setRecvBufferSize(4_194_304);
  udp.setSendBufferSize(4_194_304);
}
