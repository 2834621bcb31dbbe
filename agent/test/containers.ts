/** The images under test: what testcontainers starts, hardened as docker-compose.yml has it, one privilege less where asked. */
import { GenericContainer, type StartedNetwork, type StartedTestContainer, Wait } from "testcontainers";

/** Of the Dockerfiles. */
const USER = 51820;

/** What a container may lack, by the names of a compose file. */
export type Lack = "tun" | "NET_ADMIN" | "SETUID" | "ip_forward";

class Hardened extends GenericContainer {
  constructor(image: string, name: string, network: StartedNetwork) {
    super(image);
    this.withNetwork(network).withNetworkAliases(name).withNoPull();
    Object.assign(this.hostConfig, {
      ...{ ReadonlyRootfs: true, CapDrop: ["ALL"], SecurityOpt: ["no-new-privileges:true"], PidsLimit: 256 },
      Tmpfs: { "/run": `rw,nosuid,nodev,noexec,size=16m,uid=${USER},gid=${USER}`, "/tmp": "rw,nosuid,nodev,size=64m" },
    });
  }

  withNoPull(): this {
    this.pullPolicy = { shouldPull: () => false };
    return this;
  }

  asNode(tunOnHost: string, lacks: readonly Lack[]): this {
    const capabilities = ["NET_ADMIN", "SETUID", "SETGID", "SETPCAP"].filter((name) => !lacks.includes(name as Lack));
    const tun = { PathOnHost: tunOnHost, PathInContainer: "/dev/net/tun", CgroupPermissions: "rwm" };
    const sysctls = {
      "net.ipv6.conf.all.disable_ipv6": "0",
      "net.ipv6.conf.all.forwarding": "1",
      "net.ipv4.ip_forward": lacks.includes("ip_forward") ? "0" : "1",
    };
    Object.assign(this.hostConfig, {
      ...{ CapAdd: capabilities, Devices: lacks.includes("tun") ? [] : [tun], Sysctls: sysctls },
    });
    return this;
  }
}

export function startChain(network: StartedNetwork, nodes: string): Promise<StartedTestContainer> {
  return new Hardened("dstack-vpn-devnet:latest", "devnet", network)
    .withEnvironment({ DEVNET_NODES: nodes })
    .withWaitStrategy(Wait.forHealthCheck())
    .start();
}

export interface NodeOptions {
  /** The device node that becomes the container's /dev/net/tun. */
  readonly tun: string;
  readonly lacks: readonly Lack[];
  readonly settings: Readonly<Record<string, string>>;
}

/** Started, not waited for: what lacks something never gets ready. */
export function startNode(
  network: StartedNetwork,
  name: string,
  { tun, lacks, settings }: NodeOptions,
): Promise<StartedTestContainer> {
  return (
    new Hardened("dstack-vpn-node:latest", name, network)
      .asNode(tun, lacks)
      .withEnvironment({
        ...{ NODE_ID: name, NETWORK: "devnet", RPC_URL: "http://devnet:8545", ALLOWED_HOSTS: name },
        ...settings,
      })
      // A container that ends at once never has its ports.
      .withExposedPorts(...(lacks.includes("SETUID") ? [] : [8080]))
      .withWaitStrategy(Wait.forLogMessage(/"agent.starting"|missing CAP_/))
      .start()
  );
}

export interface Ready {
  readonly status: "ready" | "not-ready" | "unreachable";
  readonly reasons: readonly { readonly code: string; readonly detail: string }[];
}

export async function ready(node: StartedTestContainer): Promise<Ready> {
  try {
    const response = await fetch(`http://${node.getHost()}:${node.getMappedPort(8080)}/ready`);
    return (await response.json()) as Ready;
  } catch {
    return { status: "unreachable", reasons: [] };
  }
}
