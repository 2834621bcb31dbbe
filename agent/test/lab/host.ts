/** One machine of the lab: a process that holds its namespaces, and what can be done in them. */
import { join } from "node:path";
import { AgentProcess } from "./agent.ts";
import { type Exit, type Options, type Running, run, start } from "./command.ts";

const HOLD =
  "mount -t tmpfs -o mode=755 host /run && mkdir /run/wireguard && ip link set lo up && echo up && exec sleep infinity";

export class Host {
  readonly name: string;
  /** Its address on the lab's bridge. */
  readonly address: string;
  readonly #holder: Running;

  private constructor(name: string, address: string, holder: Running) {
    this.name = name;
    this.address = address;
    this.#holder = holder;
  }

  static async boot(name: string, address: string, port: string): Promise<Host> {
    const holder = start(["unshare", "--net", "--mount", "--", "sh", "-c", HOLD]);
    await holder.says(/^up$/m);
    const host = new Host(name, address, holder);
    await run(["ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", String(holder.pid)]);
    await run(["ip", "link", "set", port, "master", "lab0", "up"]);
    await host.run(["ip", "addr", "add", `${address}/24`, "dev", "eth0"]);
    await host.run(["ip", "link", "set", "eth0", "up"]);
    await host.run(["ip", "route", "add", "default", "via", address.replace(/[0-9]+$/, "1")]);
    return host;
  }

  /** Runs a command to its end. @throws with its output when it fails. */
  run(argv: readonly string[], options: Options = {}): Promise<string> {
    return run(this.inside(argv), options);
  }

  start(argv: readonly string[], options: Options = {}): Running {
    return start(this.inside(argv), options);
  }

  /** `node agent/main.ts` on this host; `settings` come on top of what every agent of the lab has.
   *  `wrapper` is a command that starts another, such as `setpriv`. */
  agent(settings: Readonly<Record<string, string>>, wrapper: readonly string[] = []): AgentProcess {
    return new AgentProcess(this, settings, wrapper);
  }

  /** The file as seen from outside of the host's mount namespace. */
  file(path: string): string {
    return join(`/proc/${this.#holder.pid}/root`, path);
  }

  /** `wg show` of one field: the lines after the header, split at tabs. */
  async wg(field: "peers" | "endpoints" | "allowed-ips" | "latest-handshakes" | "transfer"): Promise<string[][]> {
    const output = await this.run(["wg", "show", "wg0", field]);
    return output.split("\n").flatMap((line) => (line === "" ? [] : [line.split("\t")]));
  }

  async hasPeer(publicKey: string): Promise<boolean> {
    return (await this.wg("peers")).some(([key]) => key === publicKey);
  }

  get exited(): Promise<Exit> {
    return this.#holder.exited;
  }

  /** The same command, started from anywhere in the lab. */
  inside(argv: readonly string[]): string[] {
    // Without --pid nsenter becomes the command, so that the pid we know is the pid to signal.
    return ["nsenter", `--target=${this.#holder.pid}`, "--net", "--mount", "--", ...argv];
  }
}
