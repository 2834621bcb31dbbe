/** A program, started by `corridor.ts` on a host of the lab: one agent's path to the device, told over IPC what to run next. */
import "../agent/heap.ts";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { newAgent, type Parts } from "../agent/agent.ts";
import { pass } from "../agent/bridge.ts";
import { origin, tipOf } from "../agent/chain/follower.ts";
import { overlayPrefix } from "../agent/chain/prefix.ts";
import type { Rpc } from "../agent/chain/rpc.ts";
import { parseSettings } from "../agent/config.ts";
import { preferSize } from "../agent/heap.ts";
import { type Address, PrivateKey, type TokenId } from "../agent/model.ts";
import { createJournal } from "../agent/observe/journal.ts";
import { createLog } from "../agent/observe/log.ts";
import { createMetrics } from "../agent/observe/metrics.ts";
import { addressPlan } from "../agent/registry/addresses.ts";
import { emptyLedger, trail } from "../agent/registry/ledger.ts";
import { openStore } from "../agent/registry/store.ts";
import { fullPass } from "../agent/tend.ts";
import { rpcOver } from "../agent/test/rpc-over.ts";
import { ScriptedChain } from "../agent/test/scripted-chain.ts";
import { ScriptedContract } from "../agent/test/scripted-contract.ts";
import { type Device, openDevice } from "../agent/wireguard/device.ts";
import { createEndpoints } from "../agent/wireguard/endpoints.ts";
import { openFiles } from "../agent/wireguard/files.ts";
import type { Answers, Step } from "./corridor.ts";
import { keyOf, ownerOf } from "./rpc.ts";

const PEERS = Number(process.argv[2]);
const PER_BLOCK = 100;
const DIRECTORY = mkdtempSync(join(process.env["BENCH_SCRATCH"] ?? tmpdir(), "corridor-"));
const CONF = "/run/bare.conf";
const { signal } = new AbortController();

const chain = new ScriptedChain({ finalizedDepth: 2 });
const contract = new ScriptedContract(chain);
const privateKey = PrivateKey.generate();
/** When the interface was there and when the last change was on it; how long the RPC was waited for. */
const times = { ensured: 0, applied: 0, waited: 0, waitedAtApplied: 0 };
const granted: TokenId[] = [];
let [members, foreign] = [0, 0];

grantAll();
const parts = openParts();
let agent = newAgent(parts, emptyLedger(origin(0)), undefined, false);
await fullPass(agent, signal);
await settled();

const STEPS: { readonly [S in Step]: () => Promise<Answers[S]> } = {
  grant,
  revoke,
  set,
  pass: idle,
  dump,
  fill,
  setconf,
};
process.on("message", (step: Step) => void STEPS[step]().then((answer) => process.send?.(answer)));
process.on("disconnect", () => process.exit());
process.send?.("ready");

async function grant(): Promise<Answers["grant"]> {
  granted.push(grantNext() as TokenId);
  contract.mine();
  return changed();
}

async function revoke(): Promise<Answers["revoke"]> {
  const id = granted.pop();
  if (id === undefined) throw new Error("nobody was granted yet");
  contract.revoke(id);
  contract.mine();
  return changed();
}

async function changed(): Promise<{ ms: number }> {
  // As it is with `main.ts` by then; while a device is filled at the start, not yet.
  preferSize();
  const [startedMs, waited] = [performance.now(), times.waited];
  await pass(agent, signal);
  if (times.applied < startedMs) throw new Error("the change did not reach the device");
  return { ms: times.applied - startedMs - (times.waitedAtApplied - waited) };
}

async function set(): Promise<Answers["set"]> {
  const peer = ["peer", keyOf(2 ** 31 + ++foreign)];
  const address = `172.30.${foreign >> 8}.${foreign & 255}/32,fd99::${foreign.toString(16)}/128`;
  const addMs = await timed("wg", ["set", "wg0", ...peer, "persistent-keepalive", "off", "allowed-ips", address]);
  return { addMs, removeMs: await timed("wg", ["set", "wg0", ...peer, "remove"]) };
}

async function idle(): Promise<Answers["pass"]> {
  preferSize();
  const before = times.applied;
  const delay = monitorEventLoopDelay({ resolution: 1 });
  // One turn of the loop, so that the histogram has begun.
  await sleep(5);
  delay.enable();
  const startedMs = performance.now();
  await fullPass(agent, signal);
  const ms = performance.now() - startedMs;
  await sleep(5);
  delay.disable();
  if (times.applied !== before) throw new Error("the pass found something to do");
  return { ms, blockedMs: delay.max / 1e6 };
}

async function dump(): Promise<Answers["dump"]> {
  return { ms: await timed("wg", ["show", "wg0", "dump"]) };
}

/** As after a start: the registry is in memory, nothing is known of the device, and there is none. */
async function fill(): Promise<Answers["fill"]> {
  await unmake("wg0");
  await timed("nft", ["delete", "table", "inet", "dstack_vpn_wg0"]);
  const { ledger } = agent;
  agent = newAgent({ ...parts, device: watched(openDevice(deviceOptions())) }, ledger, undefined, true);
  agent.roster.rebuild(ledger.registry, tipOf(trail(ledger)).number);
  await fullPass(agent, signal);
  const answer = { ms: times.applied - times.ensured, peers: agent.running.size };
  await settled();
  return answer;
}

async function setconf(): Promise<Answers["setconf"]> {
  writeFileSync(CONF, conf(), { mode: 0o600 });
  await timed("wireguard-go", ["bare0"]);
  await timed("ip", ["link", "set", "bare0", "mtu", "1420", "up"]);
  const ms = await timed("wg", ["setconf", "bare0", CONF]);
  await unmake("bare0");
  return { ms };
}

/** wireguard-go takes its time with many peers, and its socket is in the way of the next one. */
async function unmake(name: string): Promise<void> {
  await timed("ip", ["link", "del", name]);
  while (existsSync(`/run/wireguard/${name}.sock`)) await sleep(20);
}

function conf(): string {
  const peers = [...agent.running.values()].map(
    ({ key, allowedIps }) => `[Peer]\nPublicKey = ${key}\nAllowedIPs = ${allowedIps.join(", ")}\n`,
  );
  return `[Interface]\nPrivateKey = ${PrivateKey.generate().reveal()}\nListenPort = 51999\n${peers.join("")}`;
}

/** Caught up, verified, and `wg0.conf` written. */
async function settled(): Promise<void> {
  await pass(agent, signal);
  for (let i = 0; agent.isUnwritten || !agent.isVerified; i++) {
    if (i > 20) throw new Error("the agent does not settle");
    await fullPass(agent, signal);
    await sleep(100);
  }
}

function grantAll(): void {
  contract.grant(ownerOf(0), "node-a", privateKey.publicKey);
  for (let i = 1; i <= PEERS; i++) {
    grantNext();
    if (i % PER_BLOCK === 0) contract.mine();
  }
  contract.mine();
  chain.mine(8);
}

function grantNext(): bigint {
  const index = ++members;
  return contract.grant(ownerOf(index), `member-${index}`, keyOf(index));
}

/** A program that is nobody's but the benchmark's, its output thrown away: what it costs, started from here. */
async function timed(program: string, words: readonly string[]): Promise<number> {
  const startedMs = performance.now();
  const child = spawn(program, words, { stdio: ["ignore", "ignore", "pipe"] });
  const said: Buffer[] = [];
  child.stderr.on("data", (chunk: Buffer) => said.push(chunk));
  const [code] = await once(child, "exit");
  const ms = performance.now() - startedMs;
  if (code !== 0)
    throw new Error(`${program} ${words.slice(0, 3).join(" ")} ended with ${code}: ${Buffer.concat(said)}`);
  return ms;
}

function watched(device: Device): Device {
  return {
    ...device,
    async ensure(wanted) {
      const ensured = await device.ensure(wanted);
      times.ensured = performance.now();
      return ensured;
    },
    async apply(changes) {
      await device.apply(changes);
      times.applied = performance.now();
      times.waitedAtApplied = times.waited;
    },
  };
}

function heard(rpc: Rpc): Rpc {
  return {
    ...rpc,
    async ask(question, options) {
      const startedMs = performance.now();
      const answer = await rpc.ask(question, options);
      times.waited += performance.now() - startedMs;
      return answer;
    },
  };
}

function deviceOptions() {
  return { interfaceName: "wg0", privateKey, formerKeys: [] };
}

function openParts(): Parts {
  const parsed = parseSettings({
    ...{ NODE_ID: "node-a", NETWORK: "devnet", RPC_URL: "http://127.0.0.1:1", MAX_PEERS: "65000", START_BLOCK: "0" },
  });
  if ("mistakes" in parsed) throw new Error("the benchmark's settings are wrong");
  const settings = { ...parsed.settings, contract: contract.address as Address };
  const { chainId, overlayIpv4 } = settings;
  const ipv6Prefix = overlayPrefix(chainId, settings.contract);
  const overlay = [overlayIpv4, ipv6Prefix];
  const upstreams = () => [{ name: "scripted", headBlock: chain.head }];
  return {
    ...{ settings, version: "0", privateKey, overlay, device: watched(openDevice(deviceOptions())) },
    store: openStore(join(DIRECTORY, "ledger.sqlite"), { chainId, contract: settings.contract }).store,
    rpc: heard(rpcOver(upstreams, () => chain.answer)),
    rules: {
      ...{ nodeId: "node-a", ownKey: privateKey.publicKey, confirmations: settings.grantConfirmations },
      ...{ maxTokensPerOwner: 0, maxPeers: settings.maxPeers, gateways: new Set<string>(), peerEndpoints: new Map() },
      addresses: addressPlan({ ipv6Prefix, overlayIpv4 }, { ipv6: true }),
    },
    files: openFiles({ interfaceName: "wg0", configDir: join(DIRECTORY, "config"), maxBackups: 3 }),
    endpoints: createEndpoints(async () => [], overlay),
    journal: createJournal({ now: Date.now }),
    metrics: createMetrics(),
    log: createLog({ level: "fatal" }),
    now: () => ({ wallMs: Date.now(), steadyMs: performance.now() }),
  };
}
