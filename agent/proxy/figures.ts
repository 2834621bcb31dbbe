import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

/** What the proxy counts; the names of the reasons are a closed set. */
export interface Figures {
  connections: number;
  connectionsTotal: number;
  connectionsRefused: number;
  dialFailures: number;
  udpErrors: number;
  readonly toTcp: Flow;
  readonly toUdp: Flow;
  readonly dropped: Record<Drop, number>;
}

export interface Flow {
  datagrams: number;
  bytes: number;
}

export type Drop =
  /** The TCP reader does not keep up, or there is no connection yet. */
  | "tcp_full"
  /** The UDP socket's queue is full. */
  | "udp_full"
  /** A frame longer than any UDP datagram. */
  | "oversize"
  /** Came from another local sender than the one being served. */
  | "stranger"
  /** Nobody to send it to: no sender was seen yet, or no server was reached. */
  | "unreachable";

export function noFigures(): Figures {
  return {
    ...{ connections: 0, connectionsTotal: 0, connectionsRefused: 0, dialFailures: 0, udpErrors: 0 },
    toTcp: { datagrams: 0, bytes: 0 },
    toUdp: { datagrams: 0, bytes: 0 },
    dropped: { tcp_full: 0, udp_full: 0, oversize: 0, stranger: 0, unreachable: 0 },
  };
}

/** In Prometheus' text format, https://prometheus.io/docs/instrumenting/exposition_formats/. */
export function render(figures: Figures): string {
  const flows = { udp_to_tcp: figures.toTcp, tcp_to_udp: figures.toUdp };
  const perFlow = (of: keyof Flow) =>
    Object.entries(flows).map(([direction, flow]) => [`{direction="${direction}"}`, flow[of]] as const);
  const perReason = Object.entries(figures.dropped).map(([reason, n]) => [`{reason="${reason}"}`, n] as const);
  return [
    metric("connections", "gauge", "TCP connections open now.", [["", figures.connections]]),
    metric("connections_total", "counter", "TCP connections opened.", [["", figures.connectionsTotal]]),
    metric("connections_refused_total", "counter", "TCP connections over the limit.", [
      ["", figures.connectionsRefused],
    ]),
    metric("dial_failures_total", "counter", "TCP connections that could not be opened.", [["", figures.dialFailures]]),
    metric("udp_errors_total", "counter", "Errors of UDP sockets, refusals included.", [["", figures.udpErrors]]),
    metric("datagrams_total", "counter", "Datagrams forwarded.", perFlow("datagrams")),
    metric("bytes_total", "counter", "Payload bytes forwarded.", perFlow("bytes")),
    metric("dropped_total", "counter", "Datagrams dropped.", perReason),
  ].join("");
}

function metric(name: string, type: string, help: string, samples: readonly (readonly [string, number])[]): string {
  const full = `dstack_vpn_proxy_${name}`;
  const lines = samples.map(([labels, value]) => `${full}${labels} ${value}\n`);
  return `# HELP ${full} ${help}\n# TYPE ${full} ${type}\n${lines.join("")}`;
}

/** `GET /metrics` and `GET /live`, nothing else. Resolves with the port. @throws the error of listening */
export async function serveFigures(figures: Figures, at: { host: string; port: number }, signal: AbortSignal) {
  const server = createServer((request, response) => {
    const body = { "/metrics": render(figures), "/live": "" }[request.url ?? ""];
    const status = body === undefined ? 404 : request.method === "GET" ? 200 : 405;
    response.writeHead(status, { "content-type": "text/plain; version=0.0.4; charset=utf-8", connection: "close" });
    response.end(status === 200 ? body : undefined);
  });
  server.maxConnections = 16;
  server.requestTimeout = 5_000;
  server.listen(at.port, at.host);
  await once(server, "listening");
  signal.addEventListener("abort", () => server.close(), { once: true });
  return (server.address() as AddressInfo).port;
}
