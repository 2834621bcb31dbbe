/**
 * Ring 3, the pure core: fold, ledger, roster, desired, plan and store, led through random histories of whatever any
 * contract may say, with reorgs, late logs, failures of the device and restarts. After each settle registry, verdicts
 * and device are held against a second fold.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { origin, tipOf } from "../chain/follower.ts";
import {
  type AccessEvent,
  type Address,
  type Advance,
  AFTER_LOGS,
  type BlockRef,
  type Cidr,
  type Endpoint,
  type Peer,
  type PublicKey,
  parseEndpoint,
  type SocketAddress,
  type Token,
  type TokenId,
  ZERO_ADDRESS,
  ZERO_HASH,
} from "../model.ts";
import { addresses, addressPlan } from "../registry/addresses.ts";
import type { Rules } from "../registry/admission.ts";
import { advance, emptyLedger, type Ledger, observe, trail, unread } from "../registry/ledger.ts";
import { tokens } from "../registry/registry.ts";
import { type Roster, rosterOf } from "../registry/roster.ts";
import { openStore, type Store } from "../registry/store.ts";
import { apply } from "../wireguard/apply.ts";
import { desired, type Topology } from "../wireguard/desired.ts";
import { type Change, plan, repair } from "../wireguard/plan.ts";
import { StoryChain } from "./story-chain.ts";
import { type Held, type House, peers, verdicts } from "./story-fold.ts";
import { Chance, seeds, Tally, TIMES } from "./story-seeds.ts";
import { Wires } from "./story-wires.ts";

const EVENTS = 20_000 * TIMES;
/** Seeds that failed once stay here. */
const SEEDS = seeds(1, 2, 3, 4, 5, 6, 7);

describe("the pure core", () => {
  const told = new Tally();
  let events = 0;
  beforeAll(() => console.info(`the pure story, seeds ${SEEDS.join(",")}`));

  it.each(SEEDS)(
    "equals a second fold of the canonical chain, seed %i",
    async (seed) => {
      const walk = new Walk(new Chance(seed));
      try {
        while (walk.chain.deeds < EVENTS / SEEDS.length) await walk.step();
        await walk.settle();
      } catch (cause) {
        throw new Error(`SEED=${seed} vitest run agent/test/story.pure.test.ts: …${walk.story()}`, { cause });
      } finally {
        await walk.end();
      }
      events += walk.chain.deeds;
      told.addAll(walk.chain.tally, walk.tally);
    },
    120_000 * TIMES,
  );

  it(`has walked ${EVENTS.toLocaleString("en")} events`, () => {
    expect(events).toBeGreaterThanOrEqual(EVENTS);
  });

  afterAll(() => console.info(`the pure story: ${events.toLocaleString("en")} events (${told})`));
});

const OWN_KEY = Buffer.alloc(32, 77).toString("base64") as PublicKey;
const CONTRACT = `0x${"c0".repeat(20)}` as Address;
const FINAL_DEPTH = 24;

/** The chain, and an agent's pure parts that follow it as the corridor does. */
class Walk {
  readonly chain: StoryChain;
  readonly tally = new Tally();
  readonly #chance: Chance;
  readonly #house: House;
  readonly #rules: Rules;
  readonly #topology: Topology;
  readonly #wires = new Wires();
  readonly #directory = mkdtempSync(join(tmpdir(), "story-"));
  readonly #steps: string[] = [];
  #store: Store;
  #ledger: Ledger;
  #roster: Roster;
  /** Which key is on the device for whom. */
  #placed = new Map<TokenId, PublicKey>();
  #holders = new Map<PublicKey, TokenId>();
  #running = new Map<PublicKey, Peer>();
  /** The same as it was last carried out, by this agent or the one before it; empty where nobody knows. */
  #asked = new Map<PublicKey, Peer>();
  #touched = new Set<TokenId>();
  /** The device is to be read before anything is planned. */
  #isAstray = false;

  constructor(chance: Chance) {
    this.#chance = chance;
    const plan = addressPlan(
      { ipv6Prefix: "fd00:1:2::/48" as Cidr, overlayIpv4: "10.213.0.0/16" as Cidr },
      { ipv6: true },
    );
    const dialled = new Map([
      ["fixed", "192.0.2.251:51820"],
      ["exit", "192.0.2.252:51820"],
    ]);
    const confirmations = chance.oneOf([1, 1, 3]) ?? 1;
    const [perOwner, total] = chance.oneOf([[0, 60_000], [0, 12], [5, 25]]) as [number, number]; // biome-ignore format: three houses
    const inbound = chance.happens(0.7);
    const addressesOf = (id: bigint) => {
      const own = addresses(plan, id as TokenId);
      return own.kind === "addresses" ? own.cidrs : [];
    };
    this.#house = {
      ...{ own: "node-a", ownKey: OWN_KEY, confirmations, perOwner, total, inbound, dialled, addressesOf },
      gateways: new Set(["exit"]),
    };
    this.#rules = {
      ...{ nodeId: "node-a", ownKey: OWN_KEY, confirmations, maxTokensPerOwner: perOwner, maxPeers: total },
      ...{ addresses: plan, gateways: new Set(["exit"]) },
      peerEndpoints: new Map([...dialled].map(([name, text]) => [name, parseEndpoint(text) as Endpoint])),
    };
    this.#topology = {
      ...{ role: "node", inbound, overlay: [], primary: undefined },
      resolve: ({ host, port }) => `${host}:${port}` as SocketAddress,
    };
    this.chain = new StoryChain(chance, OWN_KEY, ["node-a", "fixed", "exit"]);
    this.#roster = rosterOf(this.#rules);
    const opened = this.#open();
    this.#store = opened.store;
    this.#ledger = opened.ledger;
  }

  async end(): Promise<void> {
    await this.#store.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  story(): string {
    const tip = tipOf(trail(this.#ledger)).number;
    return `${this.#steps.slice(-30).join(", ")}; chain at ${this.chain.head.block.number}, ledger at ${tip}`;
  }

  async step(): Promise<void> {
    const chance = this.#chance;
    this.chain.mine(chance.below(6));
    const luck = chance.next();
    if (luck < 0.1) this.#reorg();
    else if (luck < 0.18) this.#wires.failsAfter = chance.below(4);
    else if (luck < 0.24) await this.#restart();
    else if (luck < 0.3) await this.#store.save(this.#ledger);
    else if (luck < 0.36) this.#meddle();
    if (chance.happens(0.2)) return;
    await this.#poll(chance.happens(0.15));
    if (chance.happens(0.5)) await this.settle();
  }

  async settle(): Promise<void> {
    this.tally.add("settles");
    this.#wires.failsAfter = undefined;
    await this.#poll(false);
    this.#tellLate();
    this.#readKeys();
    await this.#carryOut();
    if (this.#isAstray) await this.#carryOut();
    this.#compare();
  }

  #compare(): void {
    const { holdings, block } = this.chain.head;
    const judged = verdicts(holdings, this.#house, block.number);
    const registry = new Map(tokens(this.#ledger.registry).map((token) => [token.id, token]));
    expect(drawnTokens(registry.values())).toEqual(drawnHeld(holdings.values()));
    const verdictOf = (id: bigint) => this.#roster.verdict(id as TokenId);
    expect([...holdings.keys()].map((id) => `${id} ${verdictOf(id)}`)).toEqual(
      [...holdings.keys()].map((id) => `${id} ${judged.get(id)}`),
    );
    const wanted = peers(holdings, judged, this.#house, block.number);
    expect(this.#wires.drawn(wanted)).toEqual(wanted);
  }

  #reorg(): void {
    const depth = 1 + this.#chance.below(Math.min(FINAL_DEPTH - 4, this.chain.head.block.number - 1));
    this.#steps.push(`reorg ${depth}`);
    this.tally.add("reorgs");
    this.chain.drop(depth);
    for (let i = this.#chance.below(3) - 1; i < depth; i++) this.chain.mine(this.#chance.below(2));
  }

  /** What was not saved is lost, or nothing is. */
  async #restart(): Promise<void> {
    this.#steps.push("restart");
    this.tally.add("restarts");
    if (this.#chance.happens(0.5)) await this.#store.save(this.#ledger);
    await this.#store.close();
    const { store, ledger } = this.#open();
    [this.#store, this.#ledger] = [store, ledger];
    this.#roster = rosterOf(this.#rules);
    this.#roster.rebuild(ledger.registry, tipOf(trail(ledger)).number);
    this.#touched.clear();
    this.#isAstray = true;
  }

  /** Somebody else changes the device. */
  #meddle(): void {
    this.tally.add("strays on the device");
    this.#wires.stray(this.#chance.next());
    this.#isAstray = true;
  }

  /** To the head as the follower would, with some logs left out; or only part of the way. */
  async #poll(isBroken: boolean): Promise<void> {
    const { blocks } = this.chain;
    const isOurs = ({ number, hash }: BlockRef) => number < 0 || blocks[number]?.block.hash === hash;
    const shared = [this.#ledger.final, ...this.#ledger.unfinal.map(({ block }) => block)].findLast(isOurs);
    if (shared === undefined) throw new Error("a reorg below finality is not of this story");
    if (tipOf(trail(this.#ledger)) !== shared) this.#take({ kind: "rewind", to: shared });
    const fresh = blocks.slice(shared.number + 1);
    if (fresh.length > 2 * FINAL_DEPTH && this.#ledger.unfinal.length === 0) {
      const final = fresh.splice(0, fresh.length - FINAL_DEPTH);
      this.#take({ kind: "history", to: refOf(final.at(-1)), events: final.flatMap(({ events }) => events) });
    }
    const until = isBroken ? this.#chance.below(fresh.length + 1) : fresh.length;
    for (const { block, events } of fresh.slice(0, until)) {
      this.#take({ kind: "extend", block, events: events.filter(() => this.#isTold()) });
      this.#finalise(block.number);
    }
    if (until < fresh.length) {
      this.tally.add("polls that broke off");
      return;
    }
    if (!this.#chance.happens(0.2)) this.#readKeys();
    await this.#carryOut();
  }

  #isTold(): boolean {
    const isTold = !this.#chance.happens(0.03);
    if (!isTold) this.tally.add("late logs");
    return isTold;
  }

  /** The second reading of what has become final. */
  #finalise(head: number): void {
    const to = head - FINAL_DEPTH;
    if (to - this.#ledger.final.number < 8) return;
    const missed = this.#untold().filter(({ at }) => at.block <= to);
    this.#take({ kind: "finalise", to: refOf(this.chain.blocks[to]), missed });
  }

  #tellLate(): void {
    const missed = this.#untold();
    if (missed.length > 0) this.#take({ kind: "finalise", to: this.#ledger.final, missed });
  }

  /** Canonical logs above the final block that the ledger lacks. */
  #untold(): AccessEvent[] {
    const { final, unfinal } = this.#ledger;
    const known = new Set(unfinal.flatMap(({ events }) => events));
    const places = new Set([...known].map(({ at }) => `${at.block}.${at.logIndex}`));
    const tip = tipOf(trail(this.#ledger)).number;
    const seen = this.chain.blocks.slice(final.number + 1, tip + 1).flatMap(({ events }) => events);
    return seen.filter(({ at }) => !places.has(`${at.block}.${at.logIndex}`));
  }

  #readKeys(): void {
    const { number, hash } = tipOf(trail(this.#ledger));
    if (number !== this.chain.head.block.number) return;
    const common = { at: { block: number, logIndex: AFTER_LOGS }, blockHash: hash, transaction: ZERO_HASH };
    const reads = unread(this.#ledger).map((tokenId): AccessEvent => {
      return { kind: "key-read", tokenId, key: this.chain.shown(tokenId), ...common };
    });
    if (reads.length === 0) return;
    this.tally.add("keys read", reads.length);
    this.#ledger = this.#noted(observe(this.#ledger, reads));
  }

  #take(step: Advance): void {
    this.#ledger = this.#noted(advance(this.#ledger, step));
  }

  #noted({ ledger, touched }: { ledger: Ledger; touched: ReadonlySet<TokenId> }): Ledger {
    for (const id of touched) this.#touched.add(id);
    return ledger;
  }

  /** Of those that changed alone, as a hot pass does; of all against what the device says after a failure or a restart. */
  async #carryOut(): Promise<void> {
    const changed = this.#roster.update(this.#ledger.registry, this.#touched, tipOf(trail(this.#ledger)).number);
    this.#touched.clear();
    const changes = this.#isAstray ? this.#mending() : this.#planned(changed);
    const { kind } = await apply(this.#wires, changes);
    this.#isAstray = kind !== "applied";
    this.#asked = new Map(this.#isAstray ? [] : this.#running);
    if (kind === "applied") this.tally.add("changes of the device", changes.length);
    else this.tally.add("failures of the device");
  }

  #planned(changed: ReadonlySet<TokenId>): Change[] {
    const wanted = new Map<PublicKey, Peer | undefined>();
    const now = [...changed].map((id) => [id, this.#peerOf(id)] as const);
    for (const [id, peer] of now) {
      const key = this.#placed.get(id);
      if (key === undefined || key === peer?.key) continue;
      this.#placed.delete(id);
      if (this.#holders.get(key) === id) wanted.set(key, undefined);
    }
    for (const [id, peer] of now) {
      if (peer === undefined) continue;
      wanted.set(peer.key, peer);
      this.#placed.set(id, peer.key);
      this.#holders.set(peer.key, id);
    }
    const changes = plan(this.#running, wanted);
    for (const [key, peer] of wanted) {
      if (peer === undefined) this.#running.delete(key);
      else this.#running.set(key, peer);
    }
    return changes;
  }

  #mending(): Change[] {
    this.tally.add("full passes");
    this.#placed = new Map();
    this.#running = new Map();
    for (const { tokenId } of this.#roster.everybody()) {
      const peer = this.#peerOf(tokenId);
      if (peer === undefined) continue;
      this.#placed.set(tokenId, peer.key);
      this.#running.set(peer.key, peer);
    }
    this.#holders = new Map([...this.#placed].map(([id, key]) => [key, id]));
    const beside = { asked: this.#asked, lastSeen: new Map(), keepsUnknown: false, nowMs: 0 };
    return repair(this.#wires.read(), this.#running, beside);
  }

  #peerOf(id: TokenId): Peer | undefined {
    const admitted = this.#roster.admitted(id);
    return admitted && desired(admitted, this.#topology);
  }

  #open(): { store: Store; ledger: Ledger } {
    const { store, ledger } = openStore(join(this.#directory, "ledger.sqlite"), { chainId: 1, contract: CONTRACT });
    return { store, ledger: ledger ?? emptyLedger(origin(0)) };
  }
}

const refOf = (at: { readonly block: BlockRef } | undefined): BlockRef => {
  if (at === undefined) throw new Error("there is no such block");
  return { number: at.block.number, hash: at.block.hash };
};

function drawnTokens(all: Iterable<Token>): string[] {
  return [...all]
    .map(({ id, owner, active, claim }) => `${id} ${owner} ${active ? (claim?.key ?? "-") : "off"}`)
    .sort();
}

function drawnHeld(all: Iterable<Held>): string[] {
  return [...all]
    .map(({ id, owner, isActive, key }) => `${id} ${owner || ZERO_ADDRESS} ${isActive ? key || "-" : "off"}`)
    .sort();
}
