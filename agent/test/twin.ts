/** What tests of two upstreams share: a chain that forks from the node's, and a moment without the other one. */
import { type Boot, NODE_KEY, ownerOf } from "./boot.ts";
import { type ChainOptions, ScriptedChain } from "./scripted-chain.ts";
import { type ContractOptions, ScriptedContract } from "./scripted-contract.ts";

/** The node's chain under the same hashes, but for what happened in its last block, with a future of its own. */
export function twinOf(
  { chain: { head } }: Boot,
  keys: readonly string[],
  options: ChainOptions & ContractOptions = {},
  last: (contract: ScriptedContract) => void = () => {},
): { chain: ScriptedChain; contract: ScriptedContract } {
  const chain = new ScriptedChain({ finalizedDepth: 60, ...options });
  const contract = new ScriptedContract(chain, options);
  contract.grant(ownerOf(0), "node-a", NODE_KEY.publicKey);
  for (const [i, key] of keys.entries()) contract.grant(ownerOf(i + 1), `m-${i}`, key);
  contract.mine();
  chain.mine(head - 1 - chain.head);
  last(contract);
  contract.mine();
  chain.reorg(0);
  return { chain, contract };
}

/** As if it was just limited. */
export async function withoutOther({ agent: { rpc } }: Boot, work: () => Promise<unknown>): Promise<void> {
  const { upstreams } = rpc;
  rpc.upstreams = () => upstreams().map((one) => (one.name === "other" ? { ...one, healthy: false } : one));
  await work();
  rpc.upstreams = upstreams;
}
