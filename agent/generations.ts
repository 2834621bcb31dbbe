/** `wg0.conf` and its backups follow what was verified, and never delay the device. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Agent } from "./agent.ts";
import { tipOf } from "./chain/follower.ts";
import { AgentError } from "./errors.ts";
import { mended, report } from "./faults.ts";
import { type Peer, parseEndpoint, type SocketAddress, socketAddress } from "./model.ts";
import { trail } from "./registry/ledger.ts";
import { size } from "./registry/registry.ts";
import { isPressing } from "./unvouched.ts";

/** A disk that takes longer is waited for by nobody, but counts when it is done after all. */
const PATIENCE_MS = 3_000;

/**
 * Writes a generation where something was applied since the last one, or where somebody changed the file.
 * Never throws: a disk that fails or hangs leaves the agent degraded, and is asked again by the next pass. The end of the
 * agent shortens nothing: what is half-way through is finished first.
 */
export async function writeGeneration(agent: Agent): Promise<void> {
  if (agent.waiting.size > 0 && !agent.isSettled) return;
  // Nobody has been applied yet but whom this very file has.
  if (!agent.isCaughtUp && (agent.inherited.size > 0 || isPart(agent))) return;
  // What hangs cannot be called off and holds one of Node's four threads: it does not get a second one.
  if (agent.writing !== undefined) return;
  const written = write(agent).finally(() => {
    agent.writing = undefined;
  });
  agent.writing = written;
  const stop = new AbortController();
  const isLate = await Promise.race([
    written.then(() => false),
    sleep(PATIENCE_MS, true, { signal: stop.signal }).catch(() => false),
  ]);
  stop.abort();
  if (isLate) report(agent, unwritten(agent, `it has not answered for ${PATIENCE_MS / 1000} s`));
}

/** On the way to the first head, and while many wait for somebody to vouch, those on the device are not all. */
function isPart(agent: Agent): boolean {
  return size(agent.ledger.registry) > 0 && (agent.isInHistory || isPressing(agent));
}

/** On the way out: while no agent runs the file may serve, with whoever was revoked since it was written. */
export async function writeLast(agent: Agent): Promise<void> {
  // One that never was this agent's may know more than it has come to apply.
  if (agent.isUnwritten && agent.lastBackupAt !== undefined) await writeGeneration(agent);
}

async function write(agent: Agent): Promise<void> {
  const { settings, files, lastRead } = agent;
  if (!agent.isUnwritten && (await files.isIntact())) return;
  const { wallMs } = agent.now();
  const conf = {
    ...{ generation: agent.generation + 1, writtenAt: wallMs, block: Math.max(0, tipOf(trail(agent.ledger)).number) },
    ...{ privateKey: agent.privateKey, listenPort: settings.listenPort, mtu: settings.mtu },
    addresses: agent.ownAddresses,
  };
  const peers = [...agent.running.values()].map((peer): Peer => {
    return { ...peer, endpoint: dialled(lastRead.peers.get(peer.key)?.endpoint) ?? peer.endpoint };
  });
  agent.isUnwritten = false;
  // Also where it fails: part of it may be on the disk, and no number is given twice.
  agent.generation = conf.generation;
  try {
    await files.write(conf, peers, (path) => agent.log.warn({ path }, "config.found"));
    agent.lastBackupAt = wallMs;
    mended(agent, "config.unwritten");
  } catch (error) {
    agent.isUnwritten = true;
    agent.metrics.writeFailed();
    report(agent, error instanceof AgentError ? error : unwritten(agent, "unknown error", error));
  }
}

function unwritten({ files: { path } }: Agent, problem: string, cause?: unknown): AgentError {
  return new AgentError({ code: "config.unwritten", path, problem }, { cause });
}

/** Where a peer roamed to, unless it is where nobody can be dialled from elsewhere, such as a link-local address. */
function dialled(endpoint: SocketAddress | undefined): SocketAddress | undefined {
  const parsed = endpoint === undefined ? undefined : parseEndpoint(endpoint);
  return parsed && socketAddress(parsed.host, parsed.port);
}
