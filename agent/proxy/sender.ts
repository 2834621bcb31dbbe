import type { RemoteInfo, Socket } from "node:dgram";
import type { Figures } from "./figures.ts";
import { toUdp } from "./udp.ts";

/** A sender silent for so long no longer keeps others out: no WireGuard session outlives it (REJECT_AFTER_TIME). */
const SILENT_MS = 180_000;

export interface LocalSender {
  /** Answers the sender; until anybody has sent there is nobody to answer. */
  readonly send: (datagram: Buffer) => void;
  /** The next one to send becomes the sender; until then answers go to the one before. */
  readonly release: () => void;
  readonly close: () => void;
}

/** The one local program being served: whoever sends first holds the place until it is silent, gone or released. */
export function serveSender(
  udp: Socket,
  queueBytes: number,
  figures: Figures,
  take: (datagram: Buffer) => void,
): LocalSender {
  let sender: RemoteInfo | undefined;
  let isHeld = false;
  let socket: "loose" | "connecting" | "connected" = "loose";
  const silence = setTimeout(() => release(), SILENT_MS).unref();
  const send = toUdp(udp, queueBytes, figures);

  const hold = (from: RemoteInfo) => {
    sender = from;
    isHeld = true;
    if (socket !== "loose") return;
    socket = "connecting";
    // Connected, the kernel drops what others send, and says when nobody listens at that port any more.
    udp.connect(from.port, from.address, (error?: Error) => {
      socket = error === undefined ? "connected" : "loose";
      if (!isHeld || sender !== from) loosen();
    });
  };
  const loosen = () => {
    if (socket !== "connected") return;
    udp.disconnect();
    socket = "loose";
  };
  const release = () => {
    isHeld = false;
    loosen();
  };

  udp.on("message", (datagram, from) => {
    if (!isHeld) hold(from);
    else if (from.port !== sender?.port || from.address !== sender.address) {
      figures.dropped.stranger++;
      return;
    }
    silence.refresh();
    take(datagram);
  });
  udp.on("error", () => {
    figures.udpErrors++;
    release();
  });

  return {
    release,
    send: (datagram) => {
      if (sender === undefined) figures.dropped.unreachable++;
      else send(datagram, socket === "connected" ? undefined : sender);
    },
    close: () => {
      clearTimeout(silence);
      udp.close();
    },
  };
}
