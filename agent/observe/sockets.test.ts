import { createServer, type ServerResponse } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { afterEach, describe, expect, it, vi } from "vitest";
import { boundSockets, createBudget } from "./sockets.ts";

/** The machine may be busy; what is waited for comes, and the time is not what is tested. */
const PATIENTLY = { timeout: 20_000 };
vi.setConfig({ testTimeout: 60_000 });

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const undo of cleanUp.splice(0).reverse()) await undo();
});

const ASK = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/** A server that answers only what `answer` says, and sockets that ask it. */
async function bounded(answer: (response: ServerResponse) => void) {
  let asked = 0;
  const server = createServer((_, response) => {
    asked++;
    answer(response);
  });
  boundSockets(server, () => false);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanUp.push(
    () => server.close(),
    () => server.closeAllConnections(),
  );
  const { port } = server.address() as AddressInfo;
  const open = (bytes: string) => {
    const socket = connect(port, "127.0.0.1").on("error", () => {});
    cleanUp.push(() => socket.destroy());
    socket.resume().write(bytes);
    return socket;
  };
  const connections = () => new Promise<number>((resolve) => server.getConnections((_, count) => resolve(count)));
  return { open, asked: () => asked, connections };
}

describe("sockets", () => {
  it("make room for new ones even if every one of them waits for its answer", async () => {
    const { open, asked, connections } = await bounded(() => {});
    const first = Array.from({ length: 512 }, () => open(ASK));
    await expect.poll(asked, PATIENTLY).toBe(512);
    const more = Array.from({ length: 50 }, () => open(ASK));
    await expect.poll(asked, PATIENTLY).toBe(562);
    await expect.poll(connections, PATIENTLY).toBe(512);
    expect([first, more].map((sockets) => sockets.filter(({ closed }) => closed).length)).toEqual([50, 0]);
  });

  it("stay open where something is asked now and then, among a thousand that stay silent", async () => {
    const { open, asked } = await bounded((response) => response.end());
    const busy = open(ASK);
    for (let round = 1; round <= 6; round++) {
      await expect.poll(asked, PATIENTLY).toBe(round);
      const silent = Array.from({ length: 200 }, () => open(""));
      await expect.poll(() => silent.every(({ connecting }) => !connecting), PATIENTLY).toBe(true);
      busy.write(ASK);
    }
    await expect.poll(asked, PATIENTLY).toBe(7);
    expect(busy.closed).toBe(false);
  });
});

describe("the budget", () => {
  it("is each address's own, and fills up again", () => {
    let now = 0;
    const hasBudget = createBudget(() => now);
    const granted = (address: string, count: number) =>
      Array.from({ length: count }, () => hasBudget(address)).filter(Boolean).length;
    expect([granted("a", 3_000), granted("b", 10)]).toEqual([2_000, 10]);
    now += 500;
    expect(granted("a", 3_000)).toBe(500);
    now += 60_000;
    expect(granted("a", 3_000)).toBe(2_000);
  });

  it("remembers a bounded number of addresses, those that ask", () => {
    const hasBudget = createBudget(() => 0);
    for (let i = 0; i < 2_000; i++) hasBudget("busy");
    for (let i = 0; i < 5_000; i++) {
      hasBudget(`address-${i}`);
      if (i % 500 === 0) expect(hasBudget("busy")).toBe(false);
    }
    for (let i = 5_000; i < 7_000; i++) hasBudget(`address-${i}`);
    expect(hasBudget("busy")).toBe(true);
  });
});
