/**
 * Real WireGuard hosts in network namespaces: a bridge, hosts on it, and a chain that all of them reach.
 * Runs inside `enter.sh` only, whose PID namespace takes everything with it.
 */
import { readdirSync, readlinkSync } from "node:fs";
import { run } from "./command.ts";
import { Host } from "./host.ts";
import { Member } from "./member.ts";

/** This machine's address on the bridge; the chain listens there. */
export const LAB_ADDRESS = "10.77.0.1";
/** Of all labs of this process: the kernel takes its time to let go of a link whose namespace has ended. */
let links = 0;

export class Lab implements AsyncDisposable {
  readonly #hosts = new Map<string, Host>();

  private constructor() {}

  static async open(): Promise<Lab> {
    if (process.env["DSTACK_VPN_LAB"] === undefined)
      throw new Error("the lab opens inside agent/test/lab/enter.sh only");
    // A bridge without an address of its own takes its lowest port's, and changes it under hosts that remember it.
    await run(["ip", "link", "add", "lab0", "address", "02:00:00:00:00:01", "type", "bridge"]);
    await run(["ip", "addr", "add", `${LAB_ADDRESS}/24`, "dev", "lab0"]);
    await run(["ip", "link", "set", "lab0", "up"]);
    return new Lab();
  }

  /** A new machine on the bridge, with a network stack, a /run and state directories of its own. */
  async host(name: string): Promise<Host> {
    const host = await Host.boot(name, `10.77.0.${this.#hosts.size + 2}`, `lab${++links}`);
    this.#hosts.set(name, host);
    return host;
  }

  /** A host that joins with nothing but `wg` and `ip`, with a key pair of its own. */
  async member(name: string): Promise<Member> {
    return Member.create(await this.host(name));
  }

  /** Ends every process of every host; the chain and whatever else was started here has its own end. */
  async [Symbol.asyncDispose](): Promise<void> {
    const own = readlinkSync("/proc/self/ns/net");
    for (const pid of readdirSync("/proc").filter((entry) => /^[0-9]+$/.test(entry))) {
      try {
        if (readlinkSync(`/proc/${pid}/ns/net`) !== own) process.kill(Number(pid), "SIGKILL");
      } catch {
        // It ended between the listing and the signal.
      }
    }
    await Promise.all([...this.#hosts.values()].map((host) => host.exited));
    await run(["ip", "link", "del", "lab0"]);
  }
}
