/** Histories of which the upstream that tells them leaves out or makes up what another one has otherwise. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { auditRolling } from "./auditing.ts";
import { followChain } from "./bridge.ts";
import { TOPIC } from "./chain/events.ts";
import { heedRetellings } from "./retelling.ts";
import { Boot, keyOf, ownerOf } from "./test/boot.ts";
import { Forks, KEYS, replacing } from "./test/forks.ts";
import { strings, word } from "./test/scripted-contract.ts";
import { bloomed, both, changing, honest, stateAt, type Way } from "./test/ways.ts";
import { vouchAdditions } from "./vouching.ts";

const world = new Forks();
afterEach(() => world.end());

const without = (topic: string): Way =>
  both(
    changing((logs) => logs.filter(({ topics }) => topics[0] !== topic)),
    bloomed("f"),
  );
const serve = (name: string, way: Way) => world.serve(name, way(world.boot.chain.answer));

/** An outage in which one thing happens, and three hundred blocks more. */
function outage(deed: (contract: Boot["contract"]) => void): number {
  const { chain, contract } = world.boot;
  const before = chain.head;
  chain.mine(10);
  deed(contract);
  contract.mine();
  chain.mine(300);
  return before;
}

/** Half a minute by the agent's clock, a few seconds by ours. */
async function halfAMinute(): Promise<void> {
  for (let i = 0; i < 15; i++) {
    world.boot.chain.mine(1);
    world.boot.clockMs += 2_000;
    await world.patrol();
    await world.boot.poll();
    await sleep(100);
  }
}

describe("what one upstream leaves out of a history, and denies by its state", () => {
  it.each<[string, (contract: Boot["contract"]) => void, string]>([
    ["a revoke", (contract) => contract.revoke(2n), TOPIC.revoke],
    ["a transfer", (contract) => contract.transfer(2n, ownerOf(70)), TOPIC.transfer],
    ["a new key", (contract) => contract.updateKey(2n, keyOf(70)), TOPIC.keyUpdate],
  ])("%s reaches the device by the other one's word", async (_, deed, topic) => {
    await world.node(2);
    const before = outage(deed);
    serve("scripted", both(without(topic), without(TOPIC.ownerKeyUpdate), stateAt(before)));
    world.run(heedRetellings, vouchAdditions);
    await halfAMinute();
    expect(world.boot.agent.follower.heads.tipFrom).toBe("scripted");
    expect(world.boot.holds(...KEYS.slice(0, 3))).toEqual([false, true, true]);
  });

  it("is found by the agent that comes after one that died before it could ask", async () => {
    await world.node(2);
    const before = outage((contract) => contract.revoke(2n));
    serve("scripted", both(without(TOPIC.revoke), stateAt(before)));
    await halfAMinute();
    expect(world.boot.holds(...KEYS.slice(0, 2))).toEqual([true, true]);
    await world.boot.restart();
    await world.boot.fullPass();
    world.run(heedRetellings, vouchAdditions);
    await halfAMinute();
    expect(world.boot.holds(...KEYS.slice(0, 2))).toEqual([false, true]);
  });

  it("is found once the other upstream is there", async () => {
    await world.node(2);
    const before = outage((contract) => contract.revoke(2n));
    serve("scripted", both(without(TOPIC.revoke), stateAt(before)));
    world.run(heedRetellings, vouchAdditions);
    await world.withoutTheOther(halfAMinute);
    expect(world.boot.holds(...KEYS.slice(0, 2))).toEqual([true, true]);
    await halfAMinute();
    expect(world.boot.holds(...KEYS.slice(0, 2))).toEqual([false, true]);
  });
});

describe("revokes of everybody in a history that the other upstream makes up", () => {
  it.each<[string, number, Way]>([
    ["nobody, where its state tells the truth", 20, honest],
    ["a fifth at most, where its state has them, too", 15, stateAt(0)],
  ])("take %s", async (_, kept, way) => {
    await world.node(2);
    outage(() => {});
    const revokes = KEYS.map((_, i) => ({ topics: [TOPIC.revoke, word(BigInt(i + 2))], data: strings("x") }));
    serve("other", both(world.makingUp(100, ...revokes), way));
    world.run(heedRetellings, vouchAdditions);
    await halfAMinute();
    expect(world.boot.held().length).toBeGreaterThanOrEqual(kept);
  });
});

describe("a key that one upstream alters in a long first history", () => {
  it("is told by the other one, and mended by an audit", async () => {
    world.boot = new Boot({ finalizedDepth: 60 });
    const { boot } = world;
    boot.grant(...Array.from({ length: 450 }, (_, i) => keyOf(100 + i)));
    boot.chain.mine(200);
    const [theirs, mallory] = [keyOf(100 + 444), keyOf(9)];
    const altering: Way = (truth) => (method, params) =>
      (method === "eth_getLogs" ? replacing(truth, theirs, mallory) : truth)(method, params);
    serve("scripted", altering);
    serve("other", honest);
    world.run(heedRetellings, vouchAdditions, auditRolling);
    await boot.poll();
    await boot.until(() => boot.agent.auditRepairs > 0);
    await boot.poll();
    await boot.fullPass();
    expect(boot.holds(theirs, mallory)).toEqual([true, false]);
    expect(boot.device.added.includes(mallory)).toBe(false);
  });
});

describe("a long first history", () => {
  it("lets everybody in as soon as another upstream has told it, too, and not with the next poll", async () => {
    world.boot = new Boot({ finalizedDepth: 60, env: { POLL_INTERVAL: "60000" } });
    const { boot } = world;
    const keys = Array.from({ length: 450 }, (_, i) => keyOf(100 + i));
    boot.grant(...keys);
    boot.chain.mine(200);
    serve("other", honest);
    world.run(followChain, heedRetellings, vouchAdditions);
    await boot.until(() => boot.holds(...keys).every((isIn) => isIn));
  });
});
