/**
 * `scripts/demo.sh`'s outer half: keeps the terminal, and listens on loopback. The story runs in the lab's namespaces,
 * where loopback is another one; so it is handed our listening sockets, and its URLs work from outside.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { fileURLToPath } from "node:url";
import { DOORS } from "./demo-story.ts";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const story = fork(here("demo-story.ts"), process.argv.slice(2), { execPath: here("lab/enter.sh") });
const ended = once(story, "exit");

// The story ends when this channel does. Ctrl-C reaches both of us, and only this one acts on it.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => story.connected && story.disconnect());
}
for (const [name, port] of Object.entries(DOORS)) {
  const server = (await listening(port)) ?? (await listening(0));
  if (server !== undefined && story.connected) story.send(name, server, () => server.close());
}

const [code] = (await ended) as [number | null];
process.exit(code ?? 1);

/** Undefined where the port is taken. */
async function listening(port: number): Promise<Server | undefined> {
  const server = createServer();
  return once(server.listen(port, "127.0.0.1"), "listening").then(
    () => server,
    () => undefined,
  );
}
