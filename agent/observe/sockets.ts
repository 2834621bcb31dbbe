/** Keeps a server's sockets and requests bounded, whatever is done to it from outside. */
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";

const MAX_SOCKETS = 512;
/** Requests from one address: so many a second, and so many at once after a pause. */
const PER_SECOND = 1_000;
const BURST = 2_000;
const MAX_ADDRESSES = 1_000;

/** At most MAX_SOCKETS stay open: beyond it the one on which nothing was asked or answered the longest makes room. */
export function boundSockets(server: Server, isRefused: (localAddress: string) => boolean): void {
  /** In the order in which something last happened on them. */
  const open = new Set<Socket>();
  const happened = (socket: Socket) => {
    if (open.delete(socket)) open.add(socket);
  };
  server.on("connection", (socket: Socket) => {
    if (isRefused((socket.localAddress ?? "").replace(/^::ffff:/, ""))) {
      socket.destroy();
      return;
    }
    const [longest] = open;
    if (open.size >= MAX_SOCKETS && longest !== undefined) {
      longest.destroy();
      open.delete(longest);
    }
    open.add(socket);
    socket.once("close", () => open.delete(socket));
  });
  server.on("request", ({ socket }: IncomingMessage, response: ServerResponse) => {
    happened(socket);
    response.once("close", () => happened(socket));
  });
}

/** A bucket of requests per address; false when it is empty. */
export function createBudget(nowMs: () => number): (address: string) => boolean {
  const buckets = new Map<string, { left: number; at: number }>();
  return (address) => {
    const now = nowMs();
    const bucket = buckets.get(address) ?? { left: BURST, at: now };
    bucket.left = Math.min(BURST, bucket.left + ((now - bucket.at) / 1000) * PER_SECOND);
    bucket.at = now;
    // Put last, so that the first of the map is the one that has been silent the longest.
    buckets.delete(address);
    buckets.set(address, bucket);
    if (buckets.size > MAX_ADDRESSES) for (const silent of buckets.keys()) if (buckets.delete(silent)) break;
    if (bucket.left < 1) return false;
    bucket.left--;
    return true;
  };
}
