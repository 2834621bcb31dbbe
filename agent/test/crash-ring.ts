/** The crash ring: an agent is killed at a system call or at a moment, looked at, started again, and looked at again. */
import { type Failing, fail } from "./crash-faults.ts";
import { Inspection } from "./crash-inspection.ts";
import { killUnderLoad } from "./crash-load.ts";
import { build, CrashNode } from "./crash-node.ts";
import { PHASES, type Phase, type Site } from "./crash-phases.ts";
import type { Point } from "./crash-points.ts";
import { GATE, inject, listen, threadsOf } from "./crash-strace.ts";
import { World } from "./crash-world.ts";
import { Pinging, type Pings } from "./lab/ping.ts";
import { Chance } from "./story-seeds.ts";

export interface Verdict {
  /** The call that it died of; undefined where it did not come so far. */
  readonly struck: string | undefined;
  /** What was wrong afterwards, as sentences. */
  readonly problems: readonly string[];
}

const PEERS = 60;

export class Ring implements AsyncDisposable {
  readonly seed: number;
  readonly #world: World;
  /** One with a holder's session that must not notice anything, and one that nobody uses. */
  readonly #used: Site;
  readonly #bare: Site;
  readonly #session: Pinging;

  private constructor(seed: number, world: World, used: Site, bare: Site, session: Pinging) {
    this.seed = seed;
    this.#world = world;
    this.#used = used;
    this.#bare = bare;
    this.#session = session;
  }

  static async open(seed: number): Promise<Ring> {
    await build();
    const world = await World.open();
    const chance = new Chance(seed);
    await world.populate(PEERS, chance);
    const site = async (name: string): Promise<Site> => {
      const node = await CrashNode.create(world, name);
      return { node, inspection: new Inspection(node), chance };
    };
    const [used, bare] = [await site("node-a"), await site("node-b")];
    used.node.start(GATE.environment);
    await used.node.settled();
    return new Ring(seed, world, used, bare, await sessionWith(used.node));
  }

  /** Every point that there is, in the order in which a phase comes to them: each phase is led through once and listened to. */
  async points(): Promise<Point[]> {
    const all: Point[] = [];
    for (const phase of PHASES) {
      const site = this.#siteOf(phase);
      await phase.begin(site);
      const heard = await listen(await threadsOf(site.node.agent.pid));
      await phase.lead(site);
      for (const call of await heard()) all.push({ ...call, phase: phase.name });
      await this.#putBack(site);
    }
    return all;
  }

  async killAt(point: Point): Promise<Verdict> {
    const phase = PHASES.find(({ name }) => name === point.phase);
    if (phase === undefined) throw new Error(`there is no phase ${point.phase}`);
    const site = this.#siteOf(phase);
    await phase.begin(site);
    const { agent } = site.node;
    const trap = await inject((await threadsOf(agent.pid))[point.thread], point, "signal=KILL");
    const led = phase.lead(site).catch(() => {});
    await Promise.race([agent.exited, led]);
    const struck = await trap.end();
    await site.node.kill();
    // It may go on for a moment without its agent: its transactions belong to what follows.
    await led;
    return { struck, problems: await this.#aftermath(site) };
  }

  /** The n-th random kill. @returns what was wrong, as sentences */
  async killUnderLoad(n: number): Promise<string[]> {
    const chance = new Chance(this.seed * 1_000 + n);
    await killUnderLoad(this.#used, chance);
    return this.#aftermath({ ...this.#used, chance });
  }

  /** @returns what was wrong, as sentences */
  async fail(failing: Failing): Promise<string[]> {
    try {
      await fail(this.#used, failing);
    } catch (error) {
      return [String(error), ...(await this.#aftermath(this.#used))];
    }
    await this.#used.node.kill();
    return this.#aftermath(this.#used);
  }

  /** How many packets the holder has lost in all that time. */
  async lost(): Promise<Pings> {
    return this.#session.stop();
  }

  async #aftermath(site: Site): Promise<string[]> {
    const { inspection, chance } = site;
    const found = await inspection.whileDead();
    if (chance.happens(0.5)) await this.#world.cut(chance);
    await this.#world.populate(PEERS, chance);
    return [...found, ...(await this.#putBack(site))];
  }

  async #putBack({ node, inspection }: Site): Promise<string[]> {
    await node.kill();
    node.start(GATE.environment);
    try {
      return await inspection.whenReady();
    } catch (error) {
      return [String(error), node.agent.log];
    }
  }

  #siteOf({ isBare }: Phase): Site {
    return isBare ? this.#bare : this.#used;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#world[Symbol.asyncDispose]();
  }
}

/** A holder with nothing but WireGuard, whose pings go on through all that happens to the node's agent. */
async function sessionWith(node: CrashNode): Promise<Pinging> {
  const { world, host, tokenId } = node;
  const member = await world.lab.member("alice");
  const id = await world.keep("alice", member.publicKey);
  const { ipv4, ipv6 } = world.chain.addresses(tokenId);
  const own = world.chain.addresses(id);
  const allowedIps = [`${ipv4}/32`, `${ipv6}/128`];
  const [publicKey, endpoint] = [node.privateKey()?.publicKey ?? "", `${host.address}:51820`];
  await node.hasApplied();
  await member.join({
    addresses: [`${own.ipv4}/32`, `${own.ipv6}/128`],
    routes: allowedIps,
    peers: [{ publicKey, endpoint, allowedIps }],
  });
  const pings = new Pinging(member.host, ipv4, 50);
  await pings.answered(3);
  return pings;
}
