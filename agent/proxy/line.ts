import { connect, type Socket } from "node:net";
import type { Figures } from "./figures.ts";
import { FrameReader } from "./frames.ts";
import type { Log } from "./log.ts";
import type { Udp2TcpOptions } from "./options.ts";
import type { Outbox } from "./outbox.ts";

const DIAL_MS = 10_000;
const KEEPALIVE_MS = 30_000;
const FIRST_WAIT_MS = 200;
const LONGEST_WAIT_MS = 5_000;
/** A connection that held for so long ends the backoff; one that is closed at once, as over a limit, does not. */
const HELD_MS = 10_000;

export interface Line {
  /** The outbox has something: dials where there is no connection, and gives one up that no longer answers. */
  readonly carry: () => void;
  readonly close: () => void;
}

/** The TCP connection to the server, dialled when there is something to carry, and again with backoff when it is lost. */
export function openLine(
  options: Udp2TcpOptions,
  outbox: Outbox,
  figures: Figures,
  log: Log,
  { take, lost }: { take: (datagram: Buffer) => void; lost: () => void },
): Line {
  const server = { host: options.tcpForward.host, port: options.tcpForward.port };
  let state: "idle" | "dialling" | "up" | "waiting" | "closed" = "idle";
  let socket: Socket | undefined;
  let failures = 0;
  let unansweredSince: number | undefined;
  let timer: NodeJS.Timeout | undefined;
  let silence: NodeJS.Timeout | undefined;

  const dial = () => {
    state = "dialling";
    const dialled = connect({
      ...server,
      noDelay: options.nodelay,
      keepAlive: true,
      keepAliveInitialDelay: KEEPALIVE_MS,
    });
    socket = dialled;
    timer = setTimeout(() => dialled.destroy(new Error("ETIMEDOUT")), DIAL_MS);
    let upAt: number | undefined;
    dialled.on("connect", () => {
      upAt = performance.now();
      up(dialled);
    });
    dialled.on("error", (error: NodeJS.ErrnoException) =>
      log("tcp.failed", { ...server, problem: error.code ?? error.message }),
    );
    // Not half-open: what it has not read yet will never be answered.
    dialled.on("end", () => dialled.destroy());
    dialled.on("close", () => down(upAt));
  };

  const up = (dialled: Socket) => {
    clearTimeout(timer);
    state = "up";
    unansweredSince = undefined;
    figures.connections = 1;
    figures.connectionsTotal++;
    log("tcp.connected", server);
    const frames = new FrameReader();
    if (options.tcpRecvTimeoutMs !== undefined) silence = setTimeout(() => dialled.destroy(), options.tcpRecvTimeoutMs);
    dialled.on("data", (chunk) => {
      unansweredSince = undefined;
      silence?.refresh();
      frames.read(chunk, take);
    });
    outbox.attach(dialled);
  };

  const down = (upAt: number | undefined) => {
    clearTimeout(timer);
    clearTimeout(silence);
    if (state === "closed") return;
    if (upAt === undefined) {
      figures.dialFailures++;
      // What waited for this dial is stale by the next; WireGuard sends its handshake again.
      figures.dropped.unreachable += outbox.clear();
    } else {
      figures.connections = 0;
      outbox.detach();
      lost();
    }
    failures = upAt !== undefined && performance.now() - upAt >= HELD_MS ? 0 : failures + 1;
    const waitMs = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(failures, 10)) * (0.5 + Math.random() / 2);
    log("tcp.down", { ...server, waitMs: Math.round(waitMs) });
    state = "waiting";
    timer = setTimeout(() => {
      state = "idle";
      if (!outbox.isEmpty) dial();
    }, waitMs);
  };

  return {
    carry: () => {
      if (state === "idle") dial();
      if (state !== "up" || options.answerTimeoutMs === 0) return;
      unansweredSince ??= performance.now();
      if (performance.now() - unansweredSince < options.answerTimeoutMs) return;
      // A path that swallows everything: the kernel alone would go on for a quarter of an hour.
      log("tcp.unanswered", server);
      unansweredSince = undefined;
      socket?.destroy();
    },
    close: () => {
      state = "closed";
      clearTimeout(timer);
      socket?.destroy();
      outbox.detach();
    },
  };
}
