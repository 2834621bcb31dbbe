/** How soon the agent answers over HTTP while its device is large, beside node:http with answers of the same size. */
import { fileURLToPath } from "node:url";
import { run } from "../agent/test/lab/command.ts";
import { Lab } from "../agent/test/lab/lab.ts";
import type { Benchmark } from "./benchmark.ts";
import { startNode } from "./chain-node.ts";
import { figure, quantile } from "./figure.ts";

const PATHS = ["/health", "/stats", "/metrics"] as const;
const PER_SECOND = 200;
const BARE_PORT = 8090;

/** What `http-load.ts` prints. */
interface Load {
  readonly taken: Readonly<Record<string, readonly number[]>>;
  readonly bytes: Readonly<Record<string, number>>;
}

export const http: Benchmark = {
  name: "http",
  about: "/health, /stats and /metrics of a large node under 200 requests a second",
  async run({ quick }) {
    const [peers, rounds, seconds] = quick ? [3_000, 2, 1] : [60_000, 4, 15];
    await using lab = await Lab.open();
    await using node = await startNode(lab, peers);
    const { host } = node;
    const { bytes } = await load(node.agent.url(""), 1);
    const bare = host.start([
      process.execPath,
      program("http-bare.ts"),
      host.address,
      String(BARE_PORT),
      JSON.stringify(bytes),
    ]);
    await bare.says(/listening/);
    const [ours, theirs]: [Load[], Load[]] = [[], []];
    for (let round = 0; round < rounds; round++) {
      ours.push(await load(node.agent.url(""), seconds));
      theirs.push(await load(`http://${host.address}:${BARE_PORT}`, seconds));
    }
    return PATHS.map((path) =>
      figure({
        ...{
          name: `${path} at ${peers.toLocaleString("en-US")} peers, p99`,
          value: at(ours, path, 0.99),
          unit: "ms",
          goal: 10,
        },
        baseline: { name: "node:http, as many bytes", value: at(theirs, path, 0.99), unit: "ms" },
        note: `p50 ${at(ours, path, 0.5).toFixed(2)} ms, bare ${at(theirs, path, 0.5).toFixed(2)} ms; ${bytes[path]} bytes`,
      }),
    );
  },
};

async function load(base: string, seconds: number): Promise<Load> {
  const words = [base, PATHS.join(","), String(PER_SECOND), String(seconds)];
  const deadlineMs = 30_000 + 1000 * seconds;
  return JSON.parse(await run([process.execPath, program("http-load.ts"), ...words], { deadlineMs })) as Load;
}

function at(loads: readonly Load[], path: string, rank: number): number {
  return quantile(
    loads.flatMap(({ taken }) => taken[path] ?? []),
    rank,
  );
}

const program = (name: string) => fileURLToPath(new URL(name, import.meta.url));
