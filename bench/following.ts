/** Following a contract at its head: the agent beside `contract.on` of ethers, and beside a scan that never ends. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Benchmark } from "./benchmark.ts";
import { type Figure, figure, median } from "./figure.ts";
import { arrived, Bed } from "./latency-bed.ts";
import type { Kind } from "./latency-deeds.ts";
import type { Tap } from "./latency-tap.ts";
import { type Counted, type Mined, serveChain } from "./rpc.ts";

/** In step with no poll, so that the waits for one are spread evenly. */
const EVERY_MS = 437;

export const following: Benchmark = {
  name: "following",
  about: "two changes a second, polled for every second, beside ethers and beside a scan",
  async run({ quick }) {
    const [peers, events] = quick ? [100, 10] : [1_000, 60];
    const [{ ours, theirs }, scan] = [await followed(peers, events), await scanned(peers, 3)];
    const at = `at ${peers.toLocaleString("en-US")} tokens`;
    const row = (name: string, value: number, what: string, other: number, note?: string): Figure =>
      figure({ name, value, unit: "ms", baseline: { name: what, value: other, unit: "ms" }, ...(note && { note }) });
    return [
      row(`one change ${at}, polling every second, p50`, ours.ms, "ethers contract.on and wg set", theirs.ms),
      row(
        ...[`one change ${at}, polling every second, against a scan`, ours.ms, "noticed by a scan that never ends"],
        ...[scan.ms, `the scan asks ${scan.callsPerSecond.toFixed(0)} calls a second, of a chain on this machine`],
      ),
      figure({
        ...{ name: `calls for ${events} changes ${at}, polling every second`, value: ours.calls, unit: "calls" },
        baseline: { name: "ethers contract.on", value: theirs.calls, unit: "calls" },
      }),
    ];
  },
};

interface Followed {
  readonly ms: number;
  readonly calls: number;
}

/** First the agent, then ethers with the same events on the bare device: together they would count one another's calls. */
async function followed(
  peers: number,
  events: number,
): Promise<{ readonly ours: Followed; readonly theirs: Followed }> {
  await using bed = await Bed.make(peers);
  const ours = await changes(bed, bed.ours, events);
  await bed.node.agent.end();
  const ethers = bed.start("following-ethers.ts");
  await once(ethers, "message");
  // It begins with the block after the one that its first poll finds.
  await sleep(2_000);
  return { ours, theirs: await changes(bed, bed.theirs, events) };
}

/** Grants, and then their revokes: both in one poll would be no change at all. */
async function changes({ chain }: Bed, tap: Tap, events: number): Promise<Followed> {
  await chain.counted();
  const done: { readonly block: Mined; readonly kind: Kind }[] = [];
  for (let i = 0; i < events; i++) {
    const granted = i < events / 2 ? undefined : done[i - Math.ceil(events / 2)]?.block.deeds;
    const block =
      granted === undefined ? await chain.grant(1) : await chain.revoke(granted.map(({ tokenId }) => tokenId));
    done.push({ block, kind: granted === undefined ? "grant" : "revoke" });
    await sleep(EVERY_MS);
  }
  const taken: number[] = [];
  for (const { block, kind } of done) taken.push(...(await arrived(tap, block, kind)));
  return { ms: median(taken), calls: total(await chain.counted()) };
}

/** Each change is of a token that the scan comes to after another part of its round: the median is half a round. */
async function scanned(
  tokens: number,
  changes: number,
): Promise<{ readonly ms: number; readonly callsPerSecond: number }> {
  await using chain = await serveChain({ tokens });
  const program = fileURLToPath(new URL("following-scan.ts", import.meta.url));
  const scan = fork(program, [chain.url, chain.contract, String(tokens)]);
  try {
    const taken: number[] = [];
    let last = 0;
    // The first change only tells where the scan is.
    for (let i = -1; i < changes; i++) {
      const ahead = i < 0 ? 1 : Math.ceil(((i + 0.5) / changes) * tokens);
      last = ((last + ahead - 1) % tokens) + 1;
      const { visibleMs } = await chain.revoke([String(last)]);
      const [{ atMs }] = (await once(scan, "message")) as [{ readonly atMs: number }];
      if (i >= 0) taken.push(atMs - visibleMs);
      else await chain.counted();
    }
    const seconds = taken.reduce((sum, ms) => sum + ms, 0) / 1000;
    return { ms: median(taken), callsPerSecond: total(await chain.counted()) / seconds };
  } finally {
    scan.kill("SIGKILL");
  }
}

const total = ({ calls }: Counted) => Object.values(calls).reduce((sum, count) => sum + count, 0);
