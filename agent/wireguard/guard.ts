/** What keeps packets in bounds around the interface: our nftables table, and the forwarding that waits for it. */
import { AgentError, type Fault } from "../errors.ts";
import { output } from "./commands.ts";
import type { Run } from "./device.ts";
import { FORMER_TABLE, tableOf } from "./firewall.ts";
import { kernelSetting, setKernelSetting } from "./host.ts";
import { routers } from "./link.ts";

export interface Guarded {
  /** As `firewall` renders it. */
  readonly firewall: string;
  /** This node passes packets on: it is a gateway or an exit. */
  readonly forwards: boolean;
}

export class Guard {
  readonly #name: string;
  readonly #run: Run;
  /** The table as we wrote it, and how nft prints that. */
  #firewall: { readonly text: string; readonly listing: string | undefined } | undefined;

  constructor(interfaceName: string, run: Run) {
    this.#name = interfaceName;
    this.#run = run;
  }

  /** Our table as nft prints it; undefined where there is none, or no nft. */
  listing(): Promise<string | undefined> {
    return this.#print(tableOf(this.#name));
  }

  /** The firewall, and only behind it the forwarding that it keeps in bounds. */
  async keep({ firewall: text, forwards }: Guarded, listing: string | undefined, repairs: string[]): Promise<Fault[]> {
    if (this.#firewall?.text !== text || this.#firewall.listing !== listing) {
      try {
        const input = this.#firewall === undefined ? text + (await this.#withoutFormer()) : text;
        output(await this.#run("nft", ["-f", "/dev/stdin"], { input }));
      } catch (error) {
        if (error instanceof AgentError) return [error.fault];
        throw error;
      }
      this.#firewall = { text, listing: await this.listing() };
      repairs.push("write the firewall");
    }
    return forwards ? this.#forward(repairs) : [];
  }

  /** What takes the table of an earlier agent of this interface away, in the transaction that puts ours in its place. */
  async #withoutFormer(): Promise<string> {
    const former = await this.#print(FORMER_TABLE);
    return former?.includes(`"${this.#name}"`) ? `delete table ${FORMER_TABLE}\n` : "";
  }

  async #forward(repairs: string[]): Promise<Fault[]> {
    const faults: Fault[] = [];
    for (const [family, path] of Object.entries(FORWARDING)) {
      if ([undefined, "1"].includes(await kernelSetting(path))) continue;
      if (family === "IPv6") await this.#keepRouters();
      const setting = `${path.replaceAll("/", ".")}=1`;
      if (await setKernelSetting(path, "1")) repairs.push(`set ${setting}`);
      else {
        const mend = `set ${setting} on the host, or as sysctls: of the container`;
        faults.push({ code: "device.missing-privilege", need: `${family} forwarding`, mend });
      }
    }
    return faults;
  }

  /** A host that forwards drops the default routes that routers advertised to it, unless told to go on listening. */
  async #keepRouters(): Promise<void> {
    const { exit, stdout } = await this.#run("ip", ["-j", "-6", "route", "show", "default", "proto", "ra"]);
    for (const dev of exit === 0 ? routers(stdout) : []) await setKernelSetting(`net/ipv6/conf/${dev}/accept_ra`, "2");
  }

  async remove(): Promise<void> {
    if (this.#firewall !== undefined) await this.#run("nft", ["delete", "table", ...tableOf(this.#name).split(" ")]);
  }

  async #print(table: string): Promise<string | undefined> {
    try {
      const { exit, stdout } = await this.#run("nft", ["-s", "list", "table", ...table.split(" ")]);
      return exit === 0 ? stdout : undefined;
    } catch (error) {
      if (error instanceof AgentError) return undefined;
      throw error;
    }
  }
}

const FORWARDING = { IPv4: "net/ipv4/ip_forward", IPv6: "net/ipv6/conf/all/forwarding" } as const;
