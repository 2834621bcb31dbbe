/**
 * Tending the device: the full pass, which reads it, mends what differs, verifies, and numbers a generation.
 * At start, every `SYNC_INTERVAL`, after a failure, soon after a hot change, and when the kernel tells of one.
 */
import { backoffMs, exclusively, settleWaiting } from "./access.ts";
import { type Agent, isSameSelf, place } from "./agent.ts";
import { attempt, auditAll, isMissingAny } from "./auditing.ts";
import type { Settings } from "./config.ts";
import { isHeldBack, mayJoin, noteNode } from "./deriving.ts";
import { adoptDoubted } from "./doubts.ts";
import { AgentError, describe, type FaultCode } from "./errors.ts";
import { mended, report } from "./faults.ts";
import { writeGeneration } from "./generations.ts";
import { hasUnjudged, mend } from "./mending.ts";
import { type Admitted, endpointText, type PublicKey } from "./model.ts";
import { Nudge } from "./nudge.ts";
import { read } from "./observe/readings.ts";
import { addresses } from "./registry/addresses.ts";
import { asVouched, mayBelieve, roleAsVouched } from "./unvouched.ts";
import { desired } from "./wireguard/desired.ts";
import type { DeviceState } from "./wireguard/dump.ts";
import { RETRY_AFTER_MS } from "./wireguard/endpoints.ts";
import { firewall } from "./wireguard/firewall.ts";
import { succeed, succession } from "./wireguard/gateways.ts";
import type { Ensured, WantedInterface } from "./wireguard/interface.ts";

/** Full passes until the signal aborts. A failure is told, remembered and tried again, sooner at first. */
export async function tendDevice(agent: Agent, signal: AbortSignal): Promise<void> {
  // Nobody can shorten it: a device that fails tells of changes all the time.
  const pause = new Nudge();
  let failures = 0;
  while (!signal.aborted) {
    if (failures > 0) await pause.sleep(backoffMs(failures), signal);
    else await agent.tend.sleep(intervalMs(agent), signal);
    if (signal.aborted) return;
    try {
      await fullPass(agent, signal);
      failures = 0;
      // A hot change may have failed since.
      if (agent.failures === 0) mended(agent, ...DEVICE_FAULTS);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof AgentError)) throw error;
      failures++;
      agent.isVerified = false;
      report(agent, error);
    }
  }
}

/** Whatever a full pass or a hot change fails with; a full pass that succeeds has refuted it. */
const DEVICE_FAULTS: readonly FaultCode[] = [
  "device.command-failed",
  "device.command-timeout",
  "device.unreadable",
  "device.unverified",
  "device.missing-privilege",
  "device.port-in-use",
  "device.foreign",
  "device.in-use",
  "key.interface-differs",
  "address.overlap",
];

/** A handshake that gets no answer is repeated after five seconds; whitepaper section 6.1. */
const RECOVERY_MS = 6_000;

/** A pass may cost one part in a hundred of the time. */
export function intervalMs({ settings, lastRead }: Agent): number {
  return Math.max(settings.syncIntervalMs, 100 * lastRead.tookMs);
}

export async function fullPass(agent: Agent, signal: AbortSignal): Promise<void> {
  const { self } = agent.roster;
  const { unsettled } = await reconcileInterface(agent);
  let flaw: AgentError | undefined;
  const startedMs = agent.now().steadyMs;
  agent.changedMeanwhile = new Set();
  try {
    const found = await agent.device.read(agent.running);
    // Of what comes again with every pass; what is mended is not.
    const tookMs = Math.min(agent.now().steadyMs - startedMs, slowestMs(found));
    if (agent.isCaughtUp && !agent.isTrusted && !agent.isRebuilding) await gainTrust(agent, found, signal);
    flaw = (await exclusively(agent, () => takeOver(agent, found))) ?? unsettled;
    // Names resolve anew, roles change: nodes and gateways are few.
    for (const id of agent.nodes.keys()) agent.waiting.add(id);
    const outcome = await settleWaiting(agent);
    // After that nobody knows what the device holds; the next pass reads it.
    if (outcome.kind === "failed") throw outcome.error;
    const after = await mend(agent, found, signal);
    if (outcome.kind === "rolled-back") throw outcome.error;
    // Ours may have become another token, whose addresses the interface does not have yet.
    const isSettled = flaw === undefined && isSameSelf(agent.roster.self, self);
    agent.isVerified = isSettled && !agent.hasCrowd && !hasUnjudged(agent, after);
    observe(agent, after, tookMs);
  } finally {
    agent.changedMeanwhile = undefined;
  }
  // Last: who may use the device does not wait for its port, nor for an address that the host refuses.
  if (flaw !== undefined) throw flaw;
  await writeGeneration(agent);
  void refreshEndpoints(agent);
}

/** A reading that took longer than this, by far too long for its size, met a busy moment: it does not put off the next. */
const slowestMs = ({ peers }: DeviceState) => 30 + peers.size / 50;

/** The interface as it was found becomes ours, with its peers the first time. @returns why its port is not */
async function takeOver(agent: Agent, found: DeviceState): Promise<AgentError | undefined> {
  let stolen: AgentError | undefined;
  try {
    tellReconciled(agent, await agent.device.restore(found, agent.settings.listenPort), agent.hasAdopted);
  } catch (error) {
    if (!(error instanceof AgentError) || error.fault.code !== "device.port-in-use") throw error;
    stolen = error;
  }
  if (!agent.hasAdopted) meetNodes(agent, found);
  chooseGateway(agent, found);
  if (!agent.hasAdopted) adopt(agent, found);
  agent.hasAdopted = true;
  return stolen;
}

/** Off the path: name servers may take as long as they like. */
async function refreshEndpoints(agent: Agent): Promise<void> {
  const endpoints = [...agent.nodes.values()].flatMap(({ endpoint }) => endpoint ?? []);
  const changed = await agent.endpoints.refresh(endpoints, agent.now().steadyMs);
  tellUndialled(agent);
  if (changed.size > 0) agent.tend.nudge();
  if (agent.endpoints.hasUnknown()) agent.tend.nudge(Math.max(RETRY_AFTER_MS, 100 * agent.lastRead.tookMs));
}

/** No address for its name, or one where nobody may be dialled: loopback, link-local, multicast, or behind the tunnel. */
function tellUndialled(agent: Agent): void {
  const undialled = new Set<string>();
  for (const { tokenId, endpoint } of agent.nodes.values()) {
    if (endpoint === undefined || agent.endpoints.resolve(endpoint) !== undefined) continue;
    const told = { tokenId: String(tokenId), endpoint: endpointText(endpoint) };
    undialled.add(`${told.tokenId} ${told.endpoint}`);
    if (!agent.undialled.has(`${told.tokenId} ${told.endpoint}`)) agent.log.warn(told, "endpoint.undialled");
  }
  agent.undialled = undialled;
}

async function reconcileInterface(agent: Agent): Promise<Ensured> {
  const { settings, roster, overlay } = agent;
  const { self } = roster;
  if (self.kind === "found") {
    const own = addresses(agent.rules.addresses, self.token.id);
    // A token of our name and key that one upstream makes up moves nothing.
    if (own.kind === "addresses" && mayBelieve(agent, self.token.id)) agent.ownAddresses = own.cidrs;
    agent.topology = { ...agent.topology, role: roleAsVouched(agent, self.token.id, roster.ownRole) };
  }
  const isGateway = agent.topology.role === "gateway";
  const rules = {
    ...{ interfaceName: settings.interfaceName, overlay, own: agent.ownAddresses, isGateway },
    ...{ isolation: settings.isolation, exit: settings.exit, httpPort: reachablePort(settings) },
    nodes: [...agent.nodes.values()].flatMap((node) => node.addresses),
  };
  const wanted: WantedInterface = {
    ...{ mtu: settings.mtu, addresses: agent.ownAddresses, routes: overlay, listenPort: settings.listenPort },
    ...{ firewall: firewall(rules), forwards: isGateway || settings.exit },
  };
  const ensured = await agent.device.ensure(wanted);
  const { isNew, repairs, faults } = ensured;
  for (const fault of faults) {
    if (agent.lacks.some(({ code }) => code === fault.code)) continue;
    agent.log.warn({ ...fault, detail: describe(fault) }, fault.code);
  }
  agent.lacks = faults;
  tellReconciled(agent, repairs, agent.isVerified || (isNew && agent.hasAdopted));
  // Who shakes hands on the new one is known again before that could be lost, too.
  if (isNew) agent.tend.nudge(RECOVERY_MS);
  return ensured;
}

function tellReconciled(agent: Agent, repairs: readonly string[], isDrift: boolean): void {
  if (repairs.length === 0) return;
  agent.log.info({ repairs }, "device.interface-reconciled");
  if (isDrift) agent.journal.add("drift-repair", { repairs: repairs.join("; ") });
}

/**
 * An interface that already runs keeps its peers: those of admitted tokens become ours as they are. What the registry
 * says beyond them is taken as applied, so that the mending of this pass adds it, where it was last seen.
 */
function adopt(agent: Agent, found: DeviceState): void {
  adoptDoubted(agent, found);
  for (const admitted of agent.roster.everybody()) {
    if (agent.doubtful.has(admitted.tokenId)) continue;
    const peer = desired(asVouched(agent, admitted), agent.topology);
    if (peer === undefined) continue;
    const before = found.peers.get(peer.key);
    const isFound = before !== undefined;
    if (isFound && peer.endpoint !== before.endpoint) agent.unasked.add(peer.key);
    const isFree = !isHeldBack(agent, peer.key);
    const isDenied = agent.unvouched.get(admitted.tokenId)?.isDenied === true;
    const isOurs = isFound || mayServe(agent, admitted);
    if (!isOurs || !isFree || isDenied) agent.waiting.add(admitted.tokenId);
    if (isOurs) {
      agent.running.set(peer.key, peer);
      place(agent, admitted.tokenId, peer.key);
    }
  }
}

/** In the middle of a history nobody joins, and whoever was served before goes on being served. */
function mayServe(agent: Agent, { tokenId, key }: Admitted): boolean {
  if (isHeldBack(agent, key)) return false;
  const wasServed = agent.inherited.has(key);
  return mayJoin(agent, tokenId) || (wasServed && !agent.unvouched.get(tokenId)?.isDenied);
}

/** Whoever carries the overlay on a device that already runs goes on carrying it. */
function meetNodes(agent: Agent, found: DeviceState): void {
  for (const admitted of agent.roster.everybody()) noteNode(agent, admitted.tokenId, asVouched(agent, admitted));
  const carries = (key: PublicKey) => agent.overlay.some((prefix) => found.peers.get(key)?.allowedIps.includes(prefix));
  const carrier = [...agent.nodes.values()].find(({ key }) => carries(key));
  agent.succession = succession(carrier?.tokenId, agent.now().wallMs);
}

function chooseGateway(agent: Agent, found: DeviceState): void {
  // One that we are not to have as a peer carries nothing.
  const isDirect = (node: Admitted) => desired(node, agent.topology) !== undefined;
  const isThere = (node: Admitted) => isDirect(node) && (found.peers.has(node.key) || mayServe(agent, node));
  const gateways = [...agent.nodes.values()].filter((node) => node.role === "gateway" && isThere(node));
  const handshakeAt = (key: PublicKey) => found.peers.get(key)?.latestHandshakeAt ?? 0;
  agent.succession = succeed(agent.succession, gateways, handshakeAt, agent.now().wallMs);
  const { primary } = agent.succession;
  const before = agent.topology.primary;
  if (primary === before) return;
  // Whoever is no node any more is among nobody that a pass derives anew.
  if (before !== undefined) agent.waiting.add(before);
  agent.topology = { ...agent.topology, primary };
  agent.journal.add("gateway", { tokenId: primary === undefined ? undefined : String(primary) });
}

/** A registry that was read from nothing may lack what the device knows: nobody goes before the state has been asked. */
async function gainTrust(agent: Agent, found: DeviceState, signal: AbortSignal): Promise<void> {
  const strangers = [...found.peers.keys()].filter((key) => !agent.running.has(key));
  await attempt(agent, signal, async () => {
    agent.isTrusted =
      strangers.length === 0 || ((await auditAll(agent, signal)).isWhole && !(await isMissingAny(agent, signal)));
  });
}

function observe(agent: Agent, { peers, listenPort }: DeviceState, tookMs: number): void {
  const { wallMs, steadyMs } = agent.now();
  const readings = read(agent.lastRead, peers, wallMs);
  agent.lastRead = { atMs: wallMs, steadyMs, tookMs, listenPort, peers, readings };
}

/** On loopback nobody in the tunnel reaches it, and the port is free for others at this node's overlay addresses. */
function reachablePort({ httpHost, httpPort }: Settings): number | undefined {
  return httpHost === "localhost" || httpHost === "::1" || httpHost.startsWith("127.") ? undefined : httpPort;
}
