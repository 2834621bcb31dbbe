import { expect, it } from "vitest";
import { until } from "../test/lab/command.ts";
import { noFigures, render, serveFigures } from "./figures.ts";

it("renders what Prometheus reads: help, type and samples, labels from closed sets", () => {
  const figures = noFigures();
  figures.connections = 2;
  figures.toTcp.bytes = 1_500;
  figures.dropped.stranger = 3;
  const text = render(figures);
  expect(text).toContain("# TYPE dstack_vpn_proxy_connections gauge\ndstack_vpn_proxy_connections 2\n");
  expect(text).toContain('dstack_vpn_proxy_bytes_total{direction="udp_to_tcp"} 1500\n');
  expect(text).toContain('dstack_vpn_proxy_dropped_total{reason="stranger"} 3\n');
  for (const line of text.trimEnd().split("\n")) {
    expect(line).toMatch(
      /^(# (HELP|TYPE) dstack_vpn_proxy_[a-z_]+ .+|dstack_vpn_proxy_[a-z_]+(\{[a-z]+="[a-z_]+"\})? [0-9]+)$/,
    );
  }
});

it("serves /metrics and /live to GET, nothing else, until it is told to stop", async () => {
  const stop = new AbortController();
  const port = await serveFigures(noFigures(), { host: "127.0.0.1", port: 0 }, stop.signal);
  const status = async (path: string, method = "GET") =>
    fetch(`http://127.0.0.1:${port}${path}`, { method }).then(
      (response) => response.status,
      () => 0,
    );
  expect(await status("/metrics")).toBe(200);
  expect(await status("/live")).toBe(200);
  expect(await status("/")).toBe(404);
  expect(await status("/constructor")).toBe(404);
  expect(await status("/metrics", "POST")).toBe(405);
  stop.abort();
  await until("the port to close", 5_000, async () => (await status("/live")) === 0);
});
