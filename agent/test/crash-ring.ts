/** The crash ring: an agent is killed at a system call or at a moment, looked at, started again, and looked at again. */
import { setTimeout as sleep } from "node:timers/promises";
import { type Failing, fail } from "./crash-faults.ts";
import { Inspection } from "./crash-inspection.ts";
import { killUnderLoad } from "./crash-load.ts";
import { build, CrashNode } from "./crash-node.ts";
import { PHASES, type Phase, type Site } from "./crash-phases.ts";
import type { Point } from "./crash-points.ts";
import { GATE, inject, listen, threadsOf } from "./crash-strace.ts";
import { World } from "./crash-world.ts";
import { until } from "./lab/command.ts";
import type { Member } from "./lab/member.ts";
import { Pinging, type Pings, reaches } from "./lab/ping.ts";
import { Chance } from "./story-seeds.ts";

export interface Verdict {
  /** The call that it died of; undefined where it did not come so far. */
  readonly struck: string | undefined;
  /** What was wrong afterwards, as sentences. */
  readonly problems: readonly string[];
}

const PEERS = 60;
/** In blocks; anvil's. */
const FINALITY = 64;

export class Ring implements AsyncDisposable {
  readonly seed: number;
  readonly #world: World;
  /** One with a holder's session that must not notice anything, and one that nobody uses. */
  readonly #used: Site;
  readonly #bare: Site;
  readonly #session: Session;
  #present: CrashNode;

  private constructor(seed: number, world: World, used: Site, bare: Site, session: Session) {
    this.seed = seed;
    this.#world = world;
    this.#used = used;
    this.#present = used.node;
    this.#bare = bare;
    this.#session = session;
  }

  static async open(seed: number): Promise<Ring> {
    await build();
    const world = await World.open();
    const chance = new Chance(seed);
    await world.populate(PEERS, chance);
    // Half of it is final, and more becomes so with every block: an agent writes that down in another way.
    await world.chain.mine(FINALITY / 2);
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
      await this.#turnTo(site);
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
    let struck: string | undefined;
    const problems = await this.#problems(site, async () => {
      await phase.begin(site);
      const { agent } = site.node;
      const trap = await inject((await threadsOf(agent.pid))[point.thread], point, "signal=KILL");
      const led = phase.lead(site).catch(() => {});
      await Promise.race([agent.exited, led]);
      struck = await trap.end();
      await site.node.kill();
      // It may go on for a moment without its agent: its transactions belong to what follows.
      await led;
    });
    return { struck, problems };
  }

  /** The n-th random kill. @returns what was wrong, as sentences */
  async killUnderLoad(n: number): Promise<string[]> {
    const chance = new Chance(this.seed * 1_000 + n);
    const site = { ...this.#used, chance };
    return this.#problems(site, () => killUnderLoad(site));
  }

  /** @returns what was wrong, as sentences */
  async fail(failing: Failing): Promise<string[]> {
    return this.#problems(this.#used, () => fail(this.#used, failing));
  }

  /** The pings of all that time. */
  async pings(): Promise<Pings> {
    const { member, address, pinging } = this.#session;
    // Those after the last answer do not count: a session that has ended must not end unseen.
    await until("a last answer", 30_000, () => reaches(member.host, address));
    await sleep(500);
    return pinging.stop();
  }

  /**
   * One agent at a time. Whoever was away catches up first: of many removals at once, an agent has some witnessed before
   * it carries them out (DESIGN section 5), and is at no state of the chain meanwhile.
   */
  async #turnTo({ node }: Site): Promise<void> {
    if (this.#present === node) return;
    await this.#present.kill();
    this.#present = node;
    node.start(GATE.environment);
    await node.settled();
  }

  async #problems(site: Site, deed: () => Promise<void>): Promise<string[]> {
    const { node, inspection, chance } = site;
    const problems: string[] = [];
    await this.#turnTo(site);
    await deed().catch((error) => problems.push(String(error)));
    await node.kill();
    problems.push(...(await inspection.whileDead()));
    if (chance.happens(0.5)) await this.#world.cut(chance);
    await this.#world.populate(PEERS, chance);
    return [...problems, ...(await this.#putBack(site))];
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

interface Session {
  readonly member: Member;
  readonly address: string;
  readonly pinging: Pinging;
}

/** A holder with nothing but WireGuard, whose pings go on through all that happens to the node's agent. */
async function sessionWith(node: CrashNode): Promise<Session> {
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
  const pinging = new Pinging(member.host, ipv4, 50);
  await pinging.answered(3);
  return { member, address: ipv4, pinging };
}
