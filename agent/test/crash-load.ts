/** Random kills: everything goes on at once, and the agent dies in the middle of it. */
import { setTimeout as sleep } from "node:timers/promises";
import { PrivateKey } from "../model.ts";
import type { CrashNode } from "./crash-node.ts";
import type { Site } from "./crash-phases.ts";
import type { Chance } from "./story-seeds.ts";

const MAX_PEERS = 150;
/** Fewer than what makes an agent ask for a witness (DESIGN section 5), which would only cost time. */
const MAX_CUTS = 8;
/** What a start takes, more or less: a kill may come anywhere in it. */
const START_MS = 700;
const RUNNING_MS = 300;

/** The running agent is killed at a moment of its life under load, and, every other time, the next one while it starts. */
export async function killUnderLoad({ node, chance }: Site): Promise<void> {
  const end = new AbortController();
  const load = press(node, chance, end.signal);
  await sleep(chance.next() * RUNNING_MS);
  await node.kill();
  if (chance.happens(0.5)) {
    node.start();
    await sleep(chance.next() * START_MS);
    await node.kill();
  }
  end.abort();
  await load;
}

/** Grants, cuts, full passes and strangers on the device, one after the other and without a pause. */
async function press(node: CrashNode, chance: Chance, signal: AbortSignal): Promise<void> {
  let cuts = 0;
  while (!signal.aborted) {
    const draw = chance.below(10);
    if (draw === 0) await intrude(node);
    // An agent that is dead answers nothing.
    else if (draw === 1) await node.post("/resync").catch(() => {});
    else if (draw < 4 && ++cuts <= MAX_CUTS) await node.world.cut(chance);
    else if (node.world.history.peers(0n).size < MAX_PEERS) await node.world.grant(chance);
    else await sleep(10);
  }
}

/** A peer that nobody granted. */
export async function intrude(node: CrashNode): Promise<void> {
  const key = PrivateKey.generate().publicKey;
  await node.host.run(["wg", "set", "wg0", "peer", key, "allowed-ips", "192.0.2.7/32"]);
}
