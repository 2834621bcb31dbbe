import type { Socket } from "node:dgram";
import { fileURLToPath } from "node:url";
import { describe, expect, it, test } from "vitest";
import { type Running, start } from "../test/lab/command.ts";
import { TcpEnd, UdpEnd } from "../test/sockets.ts";

const MAIN = fileURLToPath(new URL("main.ts", import.meta.url));
const proxy = (...args: string[]): Running => start([process.execPath, MAIN, ...args]);
const portOf = async (running: Running, what: "tcp" | "udp") =>
  (await running.says(new RegExp(`"listening","${what}":\\[?([0-9]+)`)))[1] ?? "";

async function both(target: UdpEnd): Promise<{ server: Running; client: Running; port: number }> {
  const server = proxy("tcp2udp", "--tcp-listen=127.0.0.1:0", `--udp-forward=127.0.0.1:${target.port}`, "--nodelay");
  const at = await portOf(server, "tcp");
  const client = proxy("udp2tcp", "--udp-listen=127.0.0.1:0", `--tcp-forward=127.0.0.1:${at}`, "--nodelay");
  return { server, client, port: Number(await portOf(client, "udp")) };
}

describe("the program", () => {
  test.each([
    ["nothing", [], /^error: say tcp2udp or udp2tcp first$/m],
    [
      "an option of the other half",
      ["tcp2udp", "--udp-listen", "127.0.0.1:1"],
      /^error: Unknown option '--udp-listen'$/m,
    ],
    ["several mistakes", ["udp2tcp", "--udp-listen=x"], /--udp-listen must be .*\n.*--tcp-forward is required/],
  ])("says what is wrong with %s and exits with 2", async (_title, args, message) => {
    const running = proxy(...args);
    expect(await running.exited).toEqual({ code: 2, signal: null });
    expect(running.output).toMatch(message);
  });

  it("exits with 1 and names the address where it cannot listen", async () => {
    await using taken = await UdpEnd.open();
    const running = proxy("udp2tcp", `--udp-listen=127.0.0.1:${taken.port}`, "--tcp-forward=127.0.0.1:1");
    expect((await running.exited).code).toBe(1);
    expect(running.output).toContain(`cannot listen on 127.0.0.1 port ${taken.port}: EADDRINUSE`);
  });

  it("prints its usage for --help and exits with 0", async () => {
    const running = proxy("--help");
    expect((await running.exited).code).toBe(0);
    expect(running.output).toContain("--tcp-forward HOST:PORT");
  });

  it.each(["SIGTERM", "SIGINT"] as const)("ends at once and with 0 on %s, connections open or not", async (signal) => {
    await using target = await UdpEnd.open();
    await using sender = await UdpEnd.open();
    const { server, client, port } = await both(target);
    sender.send("x", port);
    await target.got("x");
    expect(await Promise.all([server.end(signal), client.end(signal)])).toEqual([
      { code: 0, signal: null },
      { code: 0, signal: null },
    ]);
  });
});

it("goes on when nobody reads its log any more", async () => {
  await using target = await UdpEnd.open();
  const pipe = `"$0" "$1" tcp2udp --tcp-listen=127.0.0.1:0 --udp-forward=127.0.0.1:${target.port} --max-connections=1`;
  // `head` ends after the first line; the second refusal is written to a closed pipe.
  const server = start(["bash", "-c", `exec ${pipe} > >(head -n 1)`, process.execPath, MAIN]);
  const port = Number(await portOf(server, "tcp"));
  await using only = await TcpEnd.dial(port);
  for (let i = 0; i < 5; i++) {
    await using refused = await TcpEnd.dial(port);
    await refused.closed();
  }
  only.socket.write(Buffer.from("000131", "hex"));
  await target.got("1");
  await server.end();
});

it("carries 50 MB in both directions through both halves, loses nothing, and says how fast", async () => {
  await using target = await UdpEnd.open();
  await using sender = await UdpEnd.open();
  const { server, client, port } = await both(target);
  sender.send("x", port);
  await target.got("x");
  const there = await carry(sender.socket, target.socket, port);
  const back = await carry(target.socket, sender.socket, target.from);
  console.log(`UDP over TCP, both halves and this test on this machine: ${there} Mbit/s there, ${back} Mbit/s back`);
  await Promise.all([server.end(), client.end()]);
}, 60_000);

/** Mbit/s of payload. A window in place of a clock: loopback UDP drops what nobody takes in time. */
function carry(from: Socket, to: Socket, port: number): Promise<number> {
  const datagram = Buffer.alloc(1_400, 1);
  const [total, window] = [36_000, 100];
  let [sent, taken] = [0, 0];
  const startedAt = performance.now();
  return new Promise((resolve, reject) => {
    const deadline = setTimeout(() => reject(new Error(`${taken} of ${sent} arrived`)), 20_000);
    const send = () => {
      while (sent < total && sent - taken < window) {
        from.send(datagram, port, "127.0.0.1");
        sent++;
      }
    };
    const take = () => {
      taken++;
      if (sent - taken < window / 2) send();
      if (taken < total) return;
      clearTimeout(deadline);
      to.off("message", take);
      resolve(Math.round((total * datagram.length * 8) / ((performance.now() - startedAt) * 1_000)));
    };
    to.on("message", take);
    send();
  });
}
