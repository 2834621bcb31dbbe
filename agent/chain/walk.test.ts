/** A seeded random walk: whatever chain and upstreams did, once they behave again we hold what the chain holds. */
import { describe, expect, it } from "vitest";
import { DrawnChain, refusal, type Whim } from "../test/drawn-chain.ts";
import { Down } from "../test/rpc-over.ts";
import { Watcher } from "../test/watcher.ts";

const STEPS = 60;
const WALKS = 10;
/** Seeds that once found a fault stay here. */
const REMEMBERED: readonly number[] = [];
const FIRST = Number(process.env["WALK_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
console.log(`walk.test.ts: WALK_SEED=${FIRST}`);

describe("a random walk", () => {
  const seeds = [...REMEMBERED, ...Array.from({ length: WALKS }, (_, i) => FIRST + i)];

  it.each(seeds)("of one upstream that fails, lags and refuses ends on the chain: seed %d", async (seed) => {
    await walk(seed, ["one"], (random) => unreliable(random));
  });

  it.each(seeds)("beside an upstream that also leaves logs out ends on the chain: seed %d", async (seed) => {
    await walk(seed, ["bad", "good"], (random, upstream) => (upstream === "bad" ? lossy(random) : undefined));
  });

  it.each(seeds)("beside an upstream that lags, freezes and forks ends on the chain: seed %d", async (seed) => {
    await walk(seed, ["stray", "good"], (random, upstream) => (upstream === "stray" ? unreliable(random) : undefined));
  });
});

async function walk(
  seed: number,
  upstreams: readonly string[],
  whimOf: (random: Random, upstream: string) => Whim | undefined,
): Promise<void> {
  const random = generator(seed);
  const chain = new DrawnChain(...upstreams);
  const watcher = new Watcher(chain.rpc, 0);
  chain.finalDepth = 30;
  chain.bloom = (["exact", "full", "none"] as const)[seed % 3] ?? "exact";
  let path = ["a0"];
  let forks = 0;
  const mine = (count: number, fork = path.at(-1)?.replace(/\d.*/, "") ?? "a") => {
    for (let i = 0; i < count; i++) {
      const deeds = Array.from({ length: random() < 0.5 ? 0 : pick(random, 3) }, () => `+${pick(random, 99)}`);
      path.push(`${fork}${numberOf(path.at(-1)) + 1}${deeds.join("")}`);
    }
    chain.draw(path.slice(-count - 1).join("-"));
  };
  const lag = (upstream: string) =>
    chain.draw(plain(path.at(-1 - pick(random, Math.min(6, path.length - 1)))), upstream);

  const stray = (upstream: string) => {
    const known = [...chain.blocks.values()].filter(({ number }) => number > path.length - 25);
    const block = known[pick(random, known.length)];
    if (block !== undefined) chain.heads.set(upstream, block);
  };

  mine(3);
  for (let step = 0; step < STEPS; step++) {
    const what = random();
    if (what < 0.45) mine(1 + pick(random, 6));
    else if (what < 0.6) {
      const depth = 1 + pick(random, Math.min(25, path.length - 2));
      path = path.slice(0, -depth);
      mine(depth + pick(random, 3) - (random() < 0.1 && depth > 1 ? 1 : 0), letter(++forks));
    } else if (what < 0.7) {
      for (const upstream of upstreams) {
        const whim = random() < 0.5 ? whimOf(random, upstream) : undefined;
        if (whim === undefined) chain.whims.delete(upstream);
        else chain.whims.set(upstream, whim);
      }
    } else if (what < 0.75 && upstreams.length === 1) lag("one");
    else if (what < 0.8) watcher.restart();
    if (upstreams.includes("stray") && random() < 0.4) stray("stray");
    await watcher.poll().catch(() => {});
  }
  chain.whims.clear();
  for (let i = 0; i < 50; i++) {
    mine(1);
    await watcher.poll();
  }
  await watcher.polls(3);
  expect(watcher.told.words).toEqual(chain.truth());
  expect(watcher.follower.figures.cursorBlock).toBe(numberOf(path.at(-1)));
  expect(watcher.trail.final.number).toBeGreaterThan(path.length - 90);
}

type Random = () => number;

function unreliable(random: Random): Whim {
  const [failing, refusing, lossyTag] = [random() * 0.3, random() < 0.3, random() < 0.3];
  return ({ method, params }) => {
    if (random() < failing) throw new Down();
    if (lossyTag && params[0] === "finalized") return refusal("no such tag");
    const isByHash = method === "eth_getLogs" && "blockHash" in (params[0] as object);
    return refusing && isByHash ? refusal("invalid params", -32602) : undefined;
  };
}

function lossy(random: Random): Whim {
  const unsteady = unreliable(random);
  return (call, honest) => {
    const outcome = unsteady(call, honest) ?? honest();
    if (call.method !== "eth_getLogs" || !("result" in outcome) || random() < 0.5) return outcome;
    return { result: (outcome.result as unknown[]).filter(() => random() < 0.5) };
  };
}

function numberOf(name = "a0"): number {
  return Number(/\d+/.exec(name)?.[0]);
}

/** Without what happens in it. */
function plain(name = "a0"): string {
  return /^[a-z]\d+/.exec(name)?.[0] ?? name;
}

/** Forks are named by letters; after z they begin again, at heights where the old ones are long gone. */
function letter(fork: number): string {
  return String.fromCharCode(97 + (fork % 26));
}

function pick(random: Random, below: number): number {
  return Math.floor(random() * below);
}

/** mulberry32 */
function generator(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
