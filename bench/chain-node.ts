/** A host of the lab whose agent follows a served chain, with every token's peer on its device. */
import { writeFileSync } from "node:fs";
import type { AgentProcess } from "../agent/test/lab/agent.ts";
import { until } from "../agent/test/lab/command.ts";
import type { Host } from "../agent/test/lab/host.ts";
import { LAB_ADDRESS, type Lab } from "../agent/test/lab/lab.ts";
import { type ServedChain, serveChain } from "./rpc.ts";

const KEY_FILE = "/run/node.key";

export interface ChainNode extends AsyncDisposable {
  readonly host: Host;
  readonly chain: ServedChain;
  readonly agent: AgentProcess;
}

/** `urlOf` chooses how the agent reaches the chain. Resolves when the agent is ready and its device full. */
export async function startNode(
  lab: Lab,
  peers: number,
  urlOf: (chain: ServedChain) => string = ({ url }) => url,
): Promise<ChainNode> {
  const host = await lab.host("node-a");
  const privateKey = await host.run(["wg", "genkey"]);
  writeFileSync(host.file(KEY_FILE), privateKey, { mode: 0o600 });
  const publicKey = (await host.run(["wg", "pubkey"], { stdin: privateKey })).trim();
  const chain = await serveChain({ tokens: peers, self: { nodeId: "node-a", publicKey }, host: LAB_ADDRESS });
  const agent = host.agent({ RPC_URL: urlOf(chain), WIREGUARD_PRIVATE_KEY_FILE: KEY_FILE });
  await agent.ready(120_000);
  const isFull = async () => (await agent.get("/stats")).peers.configured >= peers;
  await until(`${peers} peers on the device`, 120_000, isFull, 100);
  return { host, chain, agent, [Symbol.asyncDispose]: () => chain[Symbol.asyncDispose]() };
}
