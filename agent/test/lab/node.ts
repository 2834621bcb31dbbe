/** A host that runs the agent, with a key of its own and a token that says so. */
import { writeFileSync } from "node:fs";
import type { AgentProcess } from "./agent.ts";
import type { Chain } from "./chain.ts";
import type { Host } from "./host.ts";
import type { Lab } from "./lab.ts";
import type { MemberConfig } from "./member.ts";

const KEY_FILE = "/run/node.key";
const PORT = 51820;

export class LabNode {
  readonly host: Host;
  readonly publicKey: string;
  readonly tokenId: bigint;
  readonly owner: string;
  readonly #chain: Chain;

  private constructor(host: Host, publicKey: string, tokenId: bigint, owner: string, chain: Chain) {
    this.host = host;
    this.publicKey = publicKey;
    this.tokenId = tokenId;
    this.owner = owner;
    this.#chain = chain;
  }

  /** Grants `name` to `owner`, and makes the node dialable where the contract knows endpoints. */
  static async create(lab: Lab, chain: Chain, name: string, owner: string): Promise<LabNode> {
    const host = await lab.host(name);
    const privateKey = await host.run(["wg", "genkey"]);
    writeFileSync(host.file(KEY_FILE), privateKey, { mode: 0o600 });
    const publicKey = (await host.run(["wg", "pubkey"], { stdin: privateKey })).trim();
    const tokenId = await chain.grant(owner, name, publicKey);
    if (chain.contractName === "DstackAccessNFT") {
      await chain.setRole(tokenId, 1);
      await chain.setEndpoint(tokenId, owner, `${host.address}:${PORT}`);
    }
    return new LabNode(host, publicKey, tokenId, owner, chain);
  }

  /** Starts the agent; on a contract without endpoints `settings` should hold `PEER_ENDPOINTS`. */
  agent(settings: Readonly<Record<string, string>> = {}, wrapper: readonly string[] = []): AgentProcess {
    const own = {
      RPC_URL: this.#chain.url,
      CONTRACT_ADDRESS: this.#chain.contract,
      WIREGUARD_PRIVATE_KEY_FILE: KEY_FILE,
    };
    return this.host.agent({ ...own, ...settings }, wrapper);
  }

  get endpoint(): string {
    return `${this.host.address}:${PORT}`;
  }

  get addresses(): { ipv4: string; ipv6: string } {
    return this.#chain.addresses(this.tokenId);
  }
}

/** What the holder of `tokenId` has in their WireGuard app: DESIGN section 7, worked out here once more. */
export function configOf(chain: Chain, tokenId: bigint, nodes: readonly LabNode[]): MemberConfig {
  const own = chain.addresses(tokenId);
  return {
    addresses: [`${own.ipv4}/32`, `${own.ipv6}/128`],
    routes: ["10.213.0.0/16", `${own.ipv6.slice(0, own.ipv6.indexOf("::"))}::/48`],
    peers: nodes.map(({ publicKey, endpoint, addresses }) => ({
      publicKey,
      endpoint,
      allowedIps: [`${addresses.ipv4}/32`, `${addresses.ipv6}/128`],
    })),
  };
}
