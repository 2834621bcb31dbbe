/**
 * Ring 3 on a real chain: anvil with the real contract, before it two upstreams that misbehave in every way that the
 * proxy knows, and behind them the whole agent but for the device and the network. After each settle registry and device
 * are held against what anvil itself says.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ContractName } from "../../contracts/artifact.ts";
import { attempt, auditAll } from "../auditing.ts";
import { tipOf } from "../chain/follower.ts";
import { connect } from "../chain/rpc.ts";
import type { Address } from "../model.ts";
import { trail } from "../registry/ledger.ts";
import { tokens } from "../registry/registry.ts";
import { vouchSoon } from "../vouching.ts";
import { Boot, NODE_KEY } from "./boot.ts";
import { RpcProxy } from "./rpc-proxy.ts";
import { type Access, type Deed, StoryAnvil } from "./story-anvil.ts";
import { faults, type StoryFault } from "./story-faults.ts";
import { Chance, seeds, Tally, TIMES } from "./story-seeds.ts";

const EVENTS = 1_500 * TIMES;
const CONTRACTS: readonly ContractName[] = ["DstackAccessNFT", "PlainAccessNFT"];
/** Seeds that failed once stay here. */
const SEEDS = seeds(51_887);

describe("the story on anvil", () => {
  const done = new Tally();
  const faced = new Tally();
  beforeAll(() => console.info(`the story on anvil, seeds ${SEEDS.join(",")}`));

  it.each(CONTRACTS.flatMap((name) => SEEDS.map((seed) => [name, seed] as const)))(
    "%s: registry and device equal what the chain says after every fault, seed %i",
    async (name, seed) => {
      await using walk = await Walk.begin(name, new Chance(seed));
      try {
        while (walk.done.of("events") < EVENTS / CONTRACTS.length / SEEDS.length || walk.isUntried) await walk.round();
        await walk.settle({ isWhole: true });
      } catch (cause) {
        throw new Error(`SEED=${seed} vitest run agent/test/story.anvil.test.ts: …${walk.story()}`, { cause });
      } finally {
        done.addAll(walk.done);
        faced.addAll(walk.faced);
      }
    },
    300_000 * TIMES,
  );

  it(`has walked ${EVENTS.toLocaleString("en")} events`, () => {
    expect(done.of("events")).toBeGreaterThanOrEqual(EVENTS);
  });

  afterAll(() => console.info(`the story on anvil: ${done}; faults: ${faced}`));
});

/** The last account's is the node's own token; nobody touches it. */
const OWN = 1n;

class Walk implements AsyncDisposable {
  readonly done = new Tally();
  readonly faced = new Tally();
  readonly #chance: Chance;
  readonly #isPlain: boolean;
  readonly #chain: StoryAnvil;
  readonly #other: StoryAnvil;
  readonly #proxies: readonly RpcProxy[];
  readonly #boot: Boot;
  readonly #faults: readonly StoryFault[];
  #deck: StoryFault[] = [];
  readonly #steps: string[] = [];
  /** What the last look at the chain failed with. */
  #trouble: string | undefined;
  /** As of the last settle. */
  #tokens = new Map<bigint, Access>();
  /** Touched since. */
  #touched = new Set<bigint>();
  #keys = 0;
  #names = 0;

  static async begin(name: ContractName, chance: Chance): Promise<Walk> {
    const [chain, other] = await Promise.all([StoryAnvil.start(name), StoryAnvil.start(name)]);
    const proxies = await Promise.all([RpcProxy.open(chain.backend), RpcProxy.open(chain.backend)]);
    const walk = new Walk(name, chance, chain, other, proxies);
    await walk.#start();
    return walk;
  }

  private constructor(
    name: ContractName,
    chance: Chance,
    chain: StoryAnvil,
    other: StoryAnvil,
    proxies: readonly RpcProxy[],
  ) {
    this.#chance = chance;
    this.#isPlain = name === "PlainAccessNFT";
    this.#chain = chain;
    this.#other = other;
    this.#proxies = proxies;
    this.#faults = faults(other.backend);
    this.#boot = new Boot({ over: { rpc: () => this.#connected(), contract: chain.contract } });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#boot.end();
    await Promise.all(this.#proxies.map((proxy) => proxy.stop()));
    await this.#chain[Symbol.asyncDispose]();
    await this.#other[Symbol.asyncDispose]();
  }

  /** Not every fault has been faced yet. */
  get isUntried(): boolean {
    return this.#faults.some(({ name }) => this.faced.of(name) === 0);
  }

  story(): string {
    const { number } = tipOf(trail(this.#boot.agent.ledger));
    return `${this.#steps.slice(-25).join(", ")}; ledger at ${number}, last trouble: ${this.#trouble ?? "none"}`;
  }

  /** Deeds and a fault in any order, then peace. */
  async round(): Promise<void> {
    const chance = this.#chance;
    const added = this.#boot.device.added.length;
    const before = this.#boot.held();
    if (this.#deck.length === 0) this.#deck = shuffled(this.#faults, chance);
    const fault = this.#deck.pop() as StoryFault;
    this.#steps.push(fault.name);
    this.faced.add(fault.name);
    if (chance.happens(0.5)) await this.#deeds();
    await fault.begin(this.#proxies, chance);
    for (let turns = 1 + chance.below(2); turns > 0; turns--) {
      const luck = chance.next();
      if (luck < 0.25) await this.#reorg();
      else if (luck < 0.4) await this.#restart();
      else if (luck < 0.5) this.#breakDevice();
      else await this.#deeds();
      await this.#look();
    }
    await this.#heal();
    await this.settle();
    if (!fault.misleads) this.#expectNobodyInterrupted(before, added);
    this.#touched.clear();
  }

  async settle({ isWhole = false } = {}): Promise<void> {
    this.done.add("settles");
    this.#tokens = await this.#chain.read({ isWhole });
    const wanted = this.#wanted();
    const isThere = () => same(this.#boot.held(), wanted) && same(this.#registered(), this.#owned());
    for (let tries = 0; tries < 60; tries++) {
      // Removals in numbers wait for a witness; the walk is one, by letting the window pass.
      this.#boot.clockMs += 11 * 60_000;
      await this.#look();
      if (isThere()) break;
      // Logs that both left out are read again when their blocks become final, and the state is asked.
      if (tries > 2) await this.#chain.mine(8);
      if (tries > 2 && tries % 4 === 3) await attempt(this.#boot.agent, this.#boot.signal, () => this.#audit());
      await sleep(Math.min(50, 10 * tries));
    }
    expect(this.#boot.held()).toEqual(wanted);
    expect(this.#registered()).toEqual(this.#owned());
  }

  async #start(): Promise<void> {
    const own: Deed = { kind: "grant", to: this.#owners.at(-1) ?? "", name: "node-a", key: NODE_KEY.publicKey };
    await this.#chain.block([own]);
    // Out of every reorg's reach.
    await this.#chain.mine(60);
    // The other chain has tokens of the same ids, other owners and other keys, and then some.
    await this.#other.block(Array.from({ length: 40 }, () => this.#grant()));
    await this.settle();
  }

  get #owners(): readonly string[] {
    return this.#chain.holders;
  }

  async #deeds(): Promise<void> {
    for (let blocks = 1 + this.#chance.below(3); blocks > 0; blocks--) {
      const deeds = Array.from({ length: 1 + this.#chance.below(9) }, () => this.#deed());
      const happened = await this.#chain.block(deeds);
      this.done.add("events", happened.length);
      for (const { kind } of happened) this.done.add(EVENT_NAMES[kind]);
      for (const deed of happened) if ("id" in deed) this.#touched.add(deed.id);
    }
  }

  #deed(): Deed {
    const chance = this.#chance;
    const found = chance.oneOf([...this.#tokens].filter(([id, { isActive }]) => isActive && id !== OWN));
    const luck = chance.next();
    if (found === undefined || luck < 0.4) return this.#grant();
    const [id, { owner }] = found;
    if (luck < 0.6) return { kind: "revoke", id };
    if (luck < 0.75) return { kind: "transfer", id, from: owner, to: this.#anyone() };
    if (luck < 0.8 && !this.#isPlain) return { kind: "role", id, role: chance.below(2) };
    // Whose tokens may be meant, where the event names an owner alone.
    if (this.#isPlain) for (const [other, held] of this.#tokens) if (held.owner === owner) this.#touched.add(other);
    return { kind: "key", id, owner, key: this.#newKey() };
  }

  #grant(): Deed {
    const key = this.#isPlain && this.#chance.happens(0.1) ? "not a key" : this.#newKey();
    return { kind: "grant", to: this.#anyone(), name: `m-${++this.#names}`, key };
  }

  #anyone(): string {
    return this.#chance.oneOf(this.#owners.slice(0, -1)) ?? "";
  }

  async #reorg(): Promise<void> {
    const depth = 1 + this.#chance.below(20);
    this.#steps.push(`reorg ${depth}`);
    this.done.add("reorgs");
    await this.#chain.reorg(depth);
  }

  async #restart(): Promise<void> {
    this.#steps.push("restart");
    this.done.add("restarts");
    await this.#boot.restart();
    await this.#boot.fullPass();
  }

  #breakDevice(): void {
    this.#steps.push("broken device");
    this.done.add("failures of the device");
    this.#boot.device.failsAfter = this.#chance.below(4);
  }

  async #heal(): Promise<void> {
    this.#boot.device.failsAfter = undefined;
    for (const proxy of this.#proxies) {
      proxy.heal();
      await proxy.stop();
      await proxy.start();
    }
  }

  /** The loops run beside each other; the one that asks for those who are disputed, too, comes every five seconds. */
  async #look(): Promise<void> {
    const { agent, signal } = this.#boot;
    const troubles = await Promise.all([this.#boot.poll(), this.#boot.fullPass()]);
    if (agent.isSettled) await vouchSoon(agent, signal);
    troubles.push(await this.#boot.poll());
    this.#trouble = troubles.find((trouble) => trouble !== undefined)?.message;
  }

  async #audit(): Promise<void> {
    this.done.add("audits");
    await auditAll(this.#boot.agent, this.#boot.signal);
  }

  /** Whoever was there before and is there now, and was not touched in between, was there all the time. */
  #expectNobodyInterrupted(before: readonly string[], added: number): void {
    const now = new Set(this.#boot.held());
    const touched = new Set([...this.#touched].map((id) => this.#tokens.get(id)?.key));
    const kept = before.filter((line) => now.has(line) && !touched.has(line.slice(0, 44)));
    const again = new Set<string>(this.#boot.device.added.slice(added));
    this.done.add("peers never interrupted", kept.length);
    expect(kept.filter((line) => again.has(line.slice(0, 44)))).toEqual([]);
  }

  #wanted(): string[] {
    const peers = [...this.#tokens].filter(([id, { isActive, key }]) => id !== OWN && isActive && key.length === 44);
    return peers.map(([id, { key }]) => `${key} 10.213.${id >> 8n}.${id & 255n}/32`).sort();
  }

  #owned(): string[] {
    const active = [...this.#tokens].filter(([, { isActive }]) => isActive);
    return active.map(([id, { owner, key }]) => `${id} ${owner} ${key}`).sort();
  }

  #registered(): string[] {
    const active = tokens(this.#boot.agent.ledger.registry).filter((token) => token.active);
    return active.map(({ id, owner, claim }) => `${id} ${owner} ${claim?.key ?? ""}`).sort();
  }

  #connected() {
    const urls = this.#proxies.map((proxy) => proxy.url("/", this.#chance.happens(0.3) ? "ws" : "http"));
    const expected = { chainId: 31_337, contract: this.#chain.contract as Address };
    return connect({ urls, expect: expected, random: this.#chance.next });
  }

  #newKey(): string {
    const bytes = Buffer.alloc(32, 7);
    bytes.writeUInt32LE(++this.#keys, 8);
    return bytes.toString("base64");
  }
}

const EVENT_NAMES = { grant: "grants", revoke: "revokes", transfer: "transfers", key: "key updates", role: "roles" };

const same = (a: readonly string[], b: readonly string[]) => a.length === b.length && a.every((x, i) => x === b[i]);

function shuffled<T>(items: readonly T[], chance: Chance): T[] {
  const drawn = items.map((item) => [chance.next(), item] as const);
  return drawn.sort(([a], [b]) => a - b).map(([, item]) => item);
}
