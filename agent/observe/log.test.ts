import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { Secret } from "../model.ts";
import { createLog, type Level } from "./log.ts";
import { createOutput } from "./output.ts";

/** The machine may be busy; what is waited for comes, and the time is not what is tested. */
const PATIENTLY = { timeout: 20_000 };
vi.setConfig({ testTimeout: 60_000 });

const directory = mkdtempSync(join(tmpdir(), "log-"));
const cleanUp: (() => unknown)[] = [() => rmSync(directory, { recursive: true })];
afterEach(() => {
  for (const undo of cleanUp.splice(1).reverse()) undo();
});

let files = 0;
function file() {
  const path = join(directory, String(files++));
  const fd = openSync(path, "w");
  cleanUp.push(() => closeSync(fd));
  return { fd, lines: () => readFileSync(path, "utf8").split("\n").slice(0, -1) };
}

async function logged(level: Level, write: (log: ReturnType<typeof createLog>) => void) {
  const { fd, lines } = file();
  const log = createLog({ level, nodeId: "node-a", fd });
  write(log);
  await log.flush();
  return lines().map((line) => JSON.parse(line));
}

describe("log", () => {
  it("writes an event and its fields as one line", async () => {
    const [line] = await logged("info", (log) => log.info({ block: 7n, removed: ["x"] }, "pass.applied"));
    expect(line).toEqual({
      ...{ level: "info", time: expect.stringMatching(/^2.*Z$/), node: "node-a", event: "pass.applied" },
      ...{ block: "7", removed: ["x"] },
    });
  });

  it("writes what its level asks for and no more", async () => {
    const lines = await logged("warn", (log) => {
      for (const level of ["trace", "debug", "info", "warn", "error", "fatal"] as const) log[level]({}, level);
    });
    expect(lines.map(({ event }) => event)).toEqual(["warn", "error", "fatal"]);
  });

  it("lets no field pass for the line's own", async () => {
    const [line] = await logged("info", (log) => log.info({ event: "x", level: "fatal", time: 0, node: "b" }, "real"));
    expect(line).toMatchObject({ event: "real", level: "info", node: "node-a", event_: "x", node_: "b" });
  });

  it("shows no secret, however it is handed over", async () => {
    const { fd, lines } = file();
    const log = createLog({ level: "info", fd });
    const marker = new Secret("planted-marker");
    const error = Object.assign(new Error("x https://h.example/planted-marker"), { config: "planted-marker" });
    log.info({ marker, err: error, error, nested: { marker } }, "a");
    log.error(error as unknown as Record<string, unknown>, "b");
    await log.flush();
    expect(lines()).toHaveLength(2);
    expect(lines().join()).not.toContain("planted-marker");
  });

  it("keeps a hostile text inside its line and its quotes", async () => {
    const { fd, lines } = file();
    const log = createLog({ level: "info", fd });
    const nodeId = '\n{"level":"fatal"}\u202e</script>\u2028';
    log.info({ nodeId }, "a");
    await log.flush();
    expect(lines()).toHaveLength(1);
    expect(lines()[0]).toMatch(/^[\x20-\x7e]*$/);
    expect(JSON.parse(lines()[0] ?? "").nodeId).toBe(nodeId);
  });

  it("has written every line once flush resolves", async () => {
    const lines = await logged("info", (log) => {
      for (let i = 0; i < 5_000; i++) log.info({ i }, "x");
    });
    expect(lines.map(({ i }) => i)).toEqual(Array.from({ length: 5_000 }, (_, i) => i));
  });
});

describe("output", () => {
  /** A socket pair: what is written to `fd` is read only when the test reads `reader`. */
  async function pair() {
    const server: Server = createServer({ pauseOnConnect: true });
    const port = await new Promise<number>((resolve) => {
      server.listen(0, "127.0.0.1", () => resolve((server.address() as { port: number }).port));
    });
    const accepted = new Promise<Socket>((resolve) => server.once("connection", resolve));
    const writer = connect(port, "127.0.0.1");
    const reader = await accepted;
    cleanUp.push(
      () => server.close(),
      () => writer.destroy(),
      () => reader.destroy(),
    );
    const { fd } = (writer as unknown as { _handle: { fd: number } })._handle;
    return { fd, reader };
  }

  it("drops what nobody reads, goes on, and says how much when somebody does", async () => {
    const { fd, reader } = await pair();
    const output = createOutput(fd, 1_000_000, (lines) => `${lines} lost\n`);
    const line = `${"x".repeat(9_999)}\n`;
    for (let i = 0; i < 3_000; i++) {
      output.write(line);
      if (i % 100 === 0) await new Promise(setImmediate);
    }
    await output.flush(10);
    let text = "";
    reader.setEncoding("utf8").on("data", (piece) => {
      text += piece;
    });
    reader.resume();
    await output.flush(5_000);
    const lost = () => [...text.matchAll(/([0-9]+) lost\n/g)].reduce((sum, [, lines]) => sum + Number(lines), 0);
    await expect.poll(() => text.split(line).length - 1 + lost(), PATIENTLY).toBe(3_000);
    expect(lost()).toBeGreaterThan(0);
  });

  it("gives up without a word when there is nothing to write to", async () => {
    const output = createOutput(987_654, 1_000, () => "");
    output.write("x\n");
    output.write("y\n");
    await output.flush(600_000);
  });

  it("has nothing to wait for when nothing was written", async () => {
    await createOutput(1, 1_000, () => "").flush(600_000);
  });
});
