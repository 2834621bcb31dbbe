/**
 * A program, started by `http.ts`: asks at a steady rate over kept-alive connections, whatever the answers take, and prints
 * how long each took from the moment at which it was due: `{paths: {"/health": [ms, …]}, bytes: {"/health": 1234}}`.
 */
import { Agent, get } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

const [base = "", paths = "", perSecond = "", seconds = ""] = process.argv.slice(2);
const all = paths.split(",");
const taken = new Map<string, number[]>(all.map((path) => [path, []]));
const bytes = new Map<string, number>();
const agent = new Agent({ keepAlive: true, maxSockets: 16 });

const count = Number(perSecond) * Number(seconds);
// Connections, and code that runs for the first time, are nobody's latency.
for (let i = 0; i < 20; i++) await asked(all[i % all.length] ?? "");
const startMs = performance.now();
const pending: Promise<void>[] = [];
for (let i = 0; i < count; i++) {
  const path = all[i % all.length] ?? "";
  const dueMs = startMs + (i * 1000) / Number(perSecond);
  const earlyMs = dueMs - performance.now();
  if (earlyMs > 0) await sleep(earlyMs);
  // What this process itself is late with is not the server's.
  const sentMs = performance.now();
  pending.push(asked(path).then(() => void taken.get(path)?.push(performance.now() - sentMs)));
}
await Promise.all(pending);
console.log(JSON.stringify({ taken: Object.fromEntries(taken), bytes: Object.fromEntries(bytes) }));
process.exit();

function asked(path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    get(`${base}${path}`, { agent }, (response) => {
      let length = 0;
      response.on("data", (chunk: Buffer) => {
        length += chunk.length;
      });
      response.on("end", () => {
        if (response.statusCode !== 200) return reject(new Error(`${path} answered ${response.statusCode}`));
        bytes.set(path, length);
        resolve();
      });
    }).on("error", reject);
  });
}
