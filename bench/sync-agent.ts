/** The agent's parts as main.ts wires them, but for the device: without a token of its own a node adds nobody. */
import "../agent/heap.ts";
import { join } from "node:path";
import { type Agent, newAgent } from "../agent/agent.ts";
import { origin } from "../agent/chain/follower.ts";
import { overlayPrefix } from "../agent/chain/prefix.ts";
import { connect } from "../agent/chain/rpc.ts";
import { parseSettings } from "../agent/config.ts";
import { PrivateKey } from "../agent/model.ts";
import { createJournal } from "../agent/observe/journal.ts";
import { createLog } from "../agent/observe/log.ts";
import { createMetrics } from "../agent/observe/metrics.ts";
import { addressPlan } from "../agent/registry/addresses.ts";
import { emptyLedger } from "../agent/registry/ledger.ts";
import { openStore } from "../agent/registry/store.ts";
import { FakeDevice } from "../agent/test/fake-device.ts";
import { createEndpoints } from "../agent/wireguard/endpoints.ts";
import { openFiles } from "../agent/wireguard/files.ts";

/** Over an empty state in `directory`; nothing is asked yet. */
export function agentWithoutDevice(rpcUrl: string, directory: string): Agent {
  const parsed = parseSettings({ NODE_ID: "node-a", NETWORK: "devnet", RPC_URL: rpcUrl });
  if ("mistakes" in parsed) throw new Error("the benchmark's settings are wrong");
  const { settings } = parsed;
  const { chainId, contract, overlayIpv4, startBlock } = settings;
  const privateKey = PrivateKey.generate();
  const ipv6Prefix = overlayPrefix(chainId, contract);
  const overlay = [overlayIpv4, ipv6Prefix];
  const parts = {
    ...{ settings, version: "0", privateKey, overlay, device: new FakeDevice() },
    rpc: connect({ urls: settings.rpcUrls, expect: { chainId, contract } }),
    store: openStore(join(directory, "ledger.sqlite"), { chainId, contract }).store,
    rules: {
      ...{ nodeId: settings.nodeId, ownKey: privateKey.publicKey, confirmations: settings.grantConfirmations },
      ...{ maxTokensPerOwner: settings.maxTokensPerOwner, maxPeers: settings.maxPeers },
      ...{ gateways: new Set<string>(), peerEndpoints: new Map() },
      addresses: addressPlan({ ipv6Prefix, overlayIpv4 }, { ipv6: true }),
    },
    files: openFiles({ interfaceName: "wg0", configDir: join(directory, "config"), maxBackups: 1 }),
    endpoints: createEndpoints(async () => [], overlay),
    journal: createJournal({ now: Date.now }),
    metrics: createMetrics(),
    log: createLog({ level: "fatal" }),
    now: () => ({ wallMs: Date.now(), steadyMs: performance.now() }),
  };
  return newAgent(parts, emptyLedger(origin(startBlock)), undefined, false);
}
