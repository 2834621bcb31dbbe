/**
 * The interface around the peers: made once, ours or refused, and kept as wanted. Reconciles differences only, so that
 * on a settled host it changes nothing and disturbs nobody.
 */
import { AgentError, type Fault } from "../errors.ts";
import { type PrivateKey, type PublicKey, prefixOf } from "../model.ts";
import { type Ended, isAbsent, isPortTaken, isSocketTaken, isUnknownType, output } from "./commands.ts";
import type { Run } from "./device.ts";
import type { DeviceState } from "./dump.ts";
import { Guard, type Guarded } from "./guard.ts";
import { goes, isUdpPortTaken, processStart } from "./host.ts";
import { aliasOf, driverOf, type Link, linkSteps, overlapping, parseLink, type WantedLink } from "./link.ts";

export interface WantedInterface extends WantedLink, Guarded {
  readonly listenPort: number;
}

export interface Ensured {
  /** It is a new one, without peers. */
  readonly isNew: boolean;
  /** What was done, as sentences; empty on a settled host. */
  readonly repairs: readonly string[];
  /** What is lacking and leaves the tunnel working. */
  readonly faults: readonly Fault[];
  /** Why link, addresses or routes are not as wanted yet. Peers can be given and taken all the same. */
  readonly unsettled?: AgentError | undefined;
}

export interface DeviceOptions {
  readonly interfaceName: string;
  readonly privateKey: PrivateKey;
  /** What this node's files name as its key: tells an interface of ours with another key from a stranger's. */
  readonly formerKeys: readonly PublicKey[];
}

export class Interface {
  readonly #options: DeviceOptions;
  readonly #run: Run;
  readonly #guard: Guard;
  /** Of the interface that is known to be ours; one with another index is another one. */
  #index: number | undefined;
  #isUnreachable = false;
  /** It was adopted, and had an overlap when last asked; one that is made is not made with any. */
  #mayOverlap = false;

  constructor(options: DeviceOptions, run: Run) {
    this.#options = options;
    this.#run = run;
    this.#guard = new Guard(options.interfaceName, run);
  }

  /** `Device.ensure` */
  async ensure(wanted: WantedInterface): Promise<Ensured> {
    const [faults, repairs]: [Fault[], string[]] = [[], []];
    const [found, listing] = await Promise.all([this.#link(), this.#guard.listing()]);
    let link = found;
    if (link !== undefined) await this.#yield(link);
    if (link !== undefined && link.index === this.#index && this.#isUnreachable) {
      // wireguard-go runs on without its socket: only another one can be given peers.
      await this.#run("ip", ["link", "del", "dev", this.#name]);
      repairs.push("delete the interface that wg cannot reach");
      link = undefined;
    }
    const isNew = link === undefined;
    if (link === undefined) {
      link = await this.#make(wanted);
      repairs.push("make the interface");
    } else if (link.index !== this.#index) {
      await this.#adopt(link, wanted);
      this.#mayOverlap = true;
    }
    if (!isNew && this.#mayOverlap) {
      const overlap = await this.#overlap(wanted);
      // It runs already, and if we stopped here nobody would revoke.
      if (overlap !== undefined) faults.push(overlap);
      this.#mayOverlap = overlap !== undefined;
    }
    faults.push(...(await this.#guard.keep(wanted, listing, repairs)));
    const unsettled = await this.#settle(link, wanted, repairs).then(() => undefined, refusal);
    return { isNew, repairs, faults, unsettled };
  }

  /** `Device.restore` */
  async restore(found: DeviceState, listenPort: number): Promise<string[]> {
    const repairs: string[] = [];
    const isMoved = found.listenPort !== listenPort;
    // Asked first, because wireguard-go lets go of the port it has before it finds the other one taken.
    const isTaken = isMoved && (await isUdpPortTaken(listenPort));
    const words = isMoved && !isTaken ? ["listen-port", `${listenPort}`] : [];
    if (found.publicKey !== this.#options.privateKey.publicKey) {
      await this.#configure(words, listenPort);
      repairs.push("set the private key");
    } else if (words.length > 0) {
      const ended = await this.#run("wg", ["set", this.#name, ...words]);
      if (isPortTaken(ended)) throw portInUse({ listenPort });
      output(ended);
    }
    if (words.length > 0) repairs.push(`listen on port ${listenPort}`);
    if (found.isMarked) {
      output(await this.#run("wg", ["set", this.#name, "fwmark", "off"]));
      repairs.push("take the firewall mark off");
    }
    if (isTaken) throw portInUse({ listenPort });
    return repairs;
  }

  /** `wg` says that there is nothing behind the interface. */
  noteUnreachable(): void {
    this.#isUnreachable = true;
  }

  /** `Device.remove` */
  async remove(): Promise<void> {
    const link = await this.#link();
    if (link !== undefined && link.index !== this.#index) return;
    if (link !== undefined) output(await this.#run("ip", ["link", "del", "dev", this.#name]));
    await this.#guard.remove();
  }

  get #name(): string {
    return this.#options.interfaceName;
  }

  /** In one process, because starting one holds up everything else. */
  async #link(): Promise<Link | undefined> {
    const questions = ["address show dev", "route show table all dev"].map((words) => `${words} ${this.#name}\n`);
    // -d, because without it `address` leaves the alias out.
    const ended = await this.#run("ip", ["-j", "-d", "-batch", "-"], { input: questions.join("") });
    // It may go between the questions, too.
    return isAbsent(ended) ? undefined : parseLink(output(ended));
  }

  async #make(wanted: WantedInterface): Promise<Link> {
    const overlap = await this.#overlap(wanted);
    if (overlap !== undefined) throw new AgentError(overlap);
    // Asked first, so that there is nothing to take back.
    if (await isUdpPortTaken(wanted.listenPort)) throw portInUse(wanted);
    const ended = await this.#run("ip", ["link", "add", "dev", this.#name, "type", "wireguard"]);
    if (isUnknownType(ended)) await this.#makeInUserspace();
    else output(ended);
    try {
      await this.#configure(["listen-port", `${wanted.listenPort}`], wanted.listenPort);
      const link = await this.#link();
      if (link === undefined) throw new AgentError({ code: "device.unreadable", problem: "the new interface is gone" });
      await this.#claim(link);
      return link;
    } catch (error) {
      await this.#run("ip", ["link", "del", "dev", this.#name]);
      throw error;
    }
  }

  /** The wireguard-go of an interface that was just deleted keeps its socket while it frees its peers: seconds for 60,000. */
  async #makeInUserspace(): Promise<void> {
    const start = () => this.#run("wireguard-go", [this.#name]);
    const ended = await start();
    if (!isSocketTaken(ended)) output(ended);
    else if (await goes(`/var/run/wireguard/${this.#name}.sock`, SOCKET_MS)) output(await start());
    else output(ended);
  }

  async #configure(words: readonly string[], port: number): Promise<void> {
    const ended = await this.#run("wg", ["set", this.#name, ...words, "private-key", "/dev/stdin"], {
      input: `${this.#options.privateKey.reveal()}\n`,
    });
    if (isPortTaken(ended)) throw portInUse({ listenPort: port });
    output(ended);
  }

  /** Ours if its private key is ours, and changed in nothing by being adopted. */
  async #adopt(link: Link, { listenPort }: WantedInterface): Promise<void> {
    const { privateKey, formerKeys } = this.#options;
    const ended = await this.#run("wg", ["show", this.#name, "public-key"]);
    const foreign = new AgentError({ code: "device.foreign", interface: this.#name });
    if (isAbsent(ended)) throw foreign;
    const key = output(ended).trim();
    if (key === "(none)") {
      // Without a key and without peers it is nobody's: an agent may have died between making it and giving it ours.
      if (output(await this.#run("wg", ["show", this.#name, "peers"])).trim() !== "") throw foreign;
      await this.#configure(["listen-port", `${listenPort}`], listenPort);
    } else if (key !== privateKey.publicKey) {
      const wasOurs = formerKeys.some((former) => former === key);
      throw wasOurs ? new AgentError({ code: "key.interface-differs", interface: this.#name }) : foreign;
    }
    await this.#claim(link);
  }

  /** One agent an interface: what two of them do undoes the other's. */
  async #yield({ alias }: Link): Promise<void> {
    const driver = driverOf(alias);
    if (driver === undefined || driver.pid === process.pid) return;
    if ((await processStart(driver.pid)) !== driver.startedAt) return;
    throw new AgentError({ code: "device.in-use", interface: this.#name, pid: driver.pid });
  }

  /** Once, and never again: two agents that cannot see each other's processes would take it from one another for ever. */
  async #claim({ index }: Link): Promise<void> {
    const startedAt = await processStart(process.pid);
    if (startedAt !== undefined) {
      const alias = aliasOf({ pid: process.pid, startedAt });
      output(await this.#run("ip", ["link", "set", "dev", this.#name, "alias", alias]));
    }
    this.#index = index;
    this.#isUnreachable = false;
  }

  /** A network of this host inside the overlay, or around its IPv4; the IPv6 is ours alone, whatever is around it. */
  async #overlap({ routes }: WantedInterface): Promise<Fault | undefined> {
    for (const overlay of routes) {
      const [family, selectors] = prefixOf(overlay).width === 32 ? ["-4", ["root", "match"]] : ["-6", ["root"]];
      const questions = ["main", "local"].flatMap((table) => selectors.map((selector) => [selector, table]));
      const answers = await Promise.all(
        questions.map(async ([selector = "", table = ""]) =>
          output(await this.#run("ip", ["-j", family, "route", "show", selector, overlay, "table", table])),
        ),
      );
      const route = overlapping(overlay, this.#name, answers);
      if (route !== undefined) return { code: "address.overlap", overlay, route };
    }
    return undefined;
  }

  async #settle(found: Link, wanted: WantedInterface, repairs: string[]): Promise<void> {
    let link: Link | undefined = found;
    let failed: Ended | undefined;
    // A step may bring about the next: a link that comes up, an address that takes its routes along.
    for (let round = 0; round < 3 && link !== undefined; round++) {
      const steps = linkSteps(this.#name, link, wanted);
      if (steps.length === 0) return;
      for (const { words, sentence } of steps) {
        const ended = await this.#run("ip", words);
        if (isPortTaken(ended)) throw portInUse(wanted);
        if (ended.exit === 0) repairs.push(sentence);
        else failed = ended;
      }
      link = await this.#link();
    }
    if (link !== undefined && linkSteps(this.#name, link, wanted).length === 0) return;
    if (failed !== undefined) output(failed);
    throw new AgentError({ code: "device.unverified", differences: 1 });
  }
}

function refusal(error: unknown): AgentError {
  if (error instanceof AgentError) return error;
  throw error;
}

/** Longer, and the pass is tried again later. */
const SOCKET_MS = 2_000;

const portInUse = ({ listenPort }: { readonly listenPort: number }) =>
  new AgentError({ code: "device.port-in-use", port: listenPort });
