/** What the last pass left behind, and what it means: ready or not, how well, and why. Pure; reads no clock and no device. */
import { describe, type Fault, type FaultCode } from "../errors.ts";
import type { Refusal } from "../model.ts";
import type { HandshakeAges } from "./readings.ts";

/** `wallMs` as `Date.now()`, for what others dated; `steadyMs` as `performance.now()`, for how long ago we saw it. */
export interface Now {
  readonly wallMs: number;
  readonly steadyMs: number;
}

/**
 * Everything that observation reads. Cheap to make and to read: figures only, never one entry per peer but through
 * `wireguard.listPeers`. Nothing in it is secret. `…At` is wall time, `…SteadyMs` is steady time, both in ms.
 */
export interface Snapshot {
  readonly nodeId: string;
  readonly version: string;
  readonly startedSteadyMs: number;
  /** What is wrong at present, each thing once; unreachable, stale and catching up are worked out from the figures. */
  readonly faults: readonly Fault[];
  readonly chain: {
    readonly pollIntervalMs: number;
    /** How old the head's block may be; undefined where blocks come only when asked for (devnet). */
    readonly headAgeLimitSeconds: number | undefined;
    /** The registry has once stood at the head since the start. Never becomes false again. */
    readonly caughtUp: boolean;
    readonly headBlock: number | undefined;
    /** The head's own timestamp. */
    readonly headAt: number | undefined;
    /** When an upstream last answered with a valid head. */
    readonly headSeenSteadyMs: number | undefined;
    readonly cursorBlock: number | undefined;
    /** When the registry last stood at the head that was known then. */
    readonly followedSteadyMs: number | undefined;
    readonly finalizedBlock: number | undefined;
    readonly upstreams: readonly UpstreamFigures[];
    readonly reorgs: number;
    /** Blocks, of the deepest reorg since the start. */
    readonly reorgDepth: number;
    readonly invalidLogs: number;
    readonly auditRepairs: number;
    /** Times that two readings of the same blocks differed. */
    readonly divergences: number;
  };
  readonly registry: {
    readonly tokens: number;
    readonly admitted: number;
    readonly quarantined: Readonly<Partial<Record<Refusal, number>>>;
    /** This node's own token. */
    readonly selfTokenId: string | undefined;
  };
  readonly wireguard: {
    readonly interface: string;
    readonly publicKey: string;
    readonly listenPort: number;
    readonly addresses: readonly string[];
    /** The last full pass read the device and found what was applied. Hot changes that `wg` accepted leave it true. */
    readonly verified: boolean;
    /** Changes that wait for the device. */
    readonly pending: number;
    /** Peers on the device. */
    readonly peers: number;
    /** When the device was last read, and how often a full pass reads it. */
    readonly readAt: number | undefined;
    readonly readSteadyMs: number | undefined;
    readonly readEveryMs: number;
    /** Of that reading, as `read` of readings.ts gives them. */
    readonly connected: number;
    readonly rxBytes: number;
    readonly txBytes: number;
    readonly handshakeAges: HandshakeAges;
    /** The administrator's view, made only when asked for, and walked over several turns of the event loop. */
    readonly listPeers: () => Iterable<PeerView>;
  };
  readonly config: {
    readonly generation: number;
    readonly lastAppliedAt: number | undefined;
    readonly lastBackupAt: number | undefined;
    readonly rollbacks: number;
  };
}

export interface UpstreamFigures {
  /** host[:port], from the settings. */
  readonly name: string;
  readonly healthy: boolean;
  readonly latencyMs: number;
  readonly headBlock: number | undefined;
  readonly inFlight: number;
  /** Since the start, by kind; the kinds are a closed set. */
  readonly errors: Readonly<Record<string, number>>;
}

export interface PeerView {
  readonly tokenId: string;
  readonly nodeId: string;
  readonly publicKey: string;
  readonly endpoint: string | null;
  readonly allowedIps: readonly string[];
  /** ISO 8601, null for never. */
  readonly latestHandshakeAt: string | null;
  readonly rxBytes: number;
  readonly txBytes: number;
}

export type Status = "healthy" | "degraded" | "unhealthy";
export type Component = "chain" | "registry" | "wireguard" | "config";

export interface Reason {
  readonly code: FaultCode;
  readonly detail: string;
}

export interface Health {
  readonly status: Status;
  readonly ready: boolean;
  /** What stands in the way of readiness first, then what merely lacks. Empty exactly when healthy. */
  readonly reasons: readonly Reason[];
  readonly components: Readonly<Record<Component, Status>>;
}

/**
 * Ready: caught up once, the chain fresh and followed, the device verified and read of late, its own token found, and
 * nothing in the way. Degraded: works with a lack. Unhealthy: cannot carry out what the chain says.
 */
export function health(snapshot: Snapshot, now: Now): Health {
  const reported = new Set(snapshot.faults.map(({ code }) => code));
  const faults = [...lacking(snapshot, now).filter(({ code }) => !reported.has(code)), ...snapshot.faults];
  const weighed = faults.map((fault) => ({ fault, ...WEIGHT[fault.code] }));
  const components: Record<Component, Status> = {
    chain: "healthy",
    registry: "healthy",
    wireguard: "healthy",
    config: "healthy",
  };
  for (const { component, status } of weighed) components[component] = worse(components[component], status);
  const reason = ({ fault }: { fault: Fault }): Reason => ({ code: fault.code, detail: describe(fault) });
  return {
    status: Object.values(components).reduce(worse, "healthy"),
    ready: !weighed.some(({ blocks }) => blocks),
    reasons: [...weighed.filter(({ blocks }) => blocks), ...weighed.filter(({ blocks }) => !blocks)].map(reason),
    components,
  };
}

const worse = (a: Status, b: Status): Status => (RANK[b] > RANK[a] ? b : a);
const RANK = { healthy: 0, degraded: 1, unhealthy: 2 } as const;

/** Readiness is never assumed: each thing that it needs and that is not there becomes a fault, whoever else reports one. */
function lacking(snapshot: Snapshot, now: Now): Fault[] {
  return [...chainLacks(snapshot, now), ...selfLacks(snapshot), ...deviceLacks(snapshot, now)];
}

function chainLacks({ chain, startedSteadyMs }: Snapshot, now: Now): Fault[] {
  const faults: Fault[] = [];
  const unseenMs = now.steadyMs - (chain.headSeenSteadyMs ?? startedSteadyMs);
  if (unseenMs > Math.max(5_000, 5 * chain.pollIntervalMs)) {
    faults.push({ code: "chain.unreachable", seconds: seconds(unseenMs), upstreams: chain.upstreams.length });
  }
  // Heads without logs are no chain either: a registry that stands still is as blind as one without a head.
  const unfollowedMs = now.steadyMs - (chain.followedSteadyMs ?? startedSteadyMs);
  if (!chain.caughtUp || unfollowedMs > Math.max(15_000, 5 * chain.pollIntervalMs)) {
    faults.push({ code: "chain.catching-up", block: chain.cursorBlock ?? 0, head: chain.headBlock ?? 0 });
  }
  const limitSeconds = chain.headAgeLimitSeconds;
  if (limitSeconds !== undefined && chain.headAt !== undefined) {
    const ageSeconds = seconds(now.wallMs - chain.headAt);
    if (ageSeconds > limitSeconds) faults.push({ code: "chain.stale", ageSeconds, limitSeconds });
  }
  return faults;
}

function selfLacks({ chain, registry, faults, nodeId, wireguard }: Snapshot): Fault[] {
  // Before the first catch-up nobody knows whether there is one.
  if (registry.selfTokenId !== undefined || !chain.caughtUp) return [];
  if (faults.some(({ code }) => code === "self.key-mismatch")) return [];
  return [{ code: "self.no-token", nodeId, publicKey: wireguard.publicKey }];
}

function deviceLacks({ wireguard, faults }: Snapshot, now: Now): Fault[] {
  const { readSteadyMs, readEveryMs } = wireguard;
  if (readSteadyMs !== undefined) {
    const unreadMs = now.steadyMs - readSteadyMs;
    if (unreadMs > 3 * readEveryMs + 10_000) {
      return [{ code: "device.unreadable", problem: `no full pass has finished for ${seconds(unreadMs)} s` }];
    }
  }
  if (wireguard.verified && readSteadyMs !== undefined) return [];
  if (faults.some(({ code }) => WEIGHT[code].component === "wireguard" && WEIGHT[code].blocks)) return [];
  return [{ code: "device.changing", pending: Math.max(1, wireguard.pending) }];
}

const seconds = (ms: number) => Math.max(0, Math.floor(ms / 1000));

interface Weight {
  readonly component: Component;
  readonly status: "degraded" | "unhealthy";
  /** Stands in the way of readiness. */
  readonly blocks: boolean;
}

const lack = (component: Component): Weight => ({ component, status: "degraded", blocks: false });
const wait = (component: Component): Weight => ({ component, status: "degraded", blocks: true });
const broken = (component: Component): Weight => ({ component, status: "unhealthy", blocks: true });

/** Restarting or replacing a node mends nothing that is only `wait`: the chain is silent, or somebody must act on it. */
const WEIGHT: Readonly<Record<FaultCode, Weight>> = {
  "config.invalid": broken("config"),
  "chain.unreachable": wait("chain"),
  "chain.stale": lack("chain"),
  "chain.catching-up": wait("chain"),
  // What one upstream does wrong is a lack; without a good one, the head stops and the chain is unreachable.
  "chain.wrong-network": lack("chain"),
  "chain.other-genesis": lack("chain"),
  "chain.no-contract": lack("chain"),
  "chain.request-failed": lack("chain"),
  "chain.reply-refused": lack("chain"),
  "chain.no-start-block": wait("chain"),
  "chain.before-start": wait("chain"),
  "chain.fork-below-finality": wait("chain"),
  "chain.mass-removal-held": lack("chain"),
  "chain.grant-disputed": lack("chain"),
  "self.no-token": wait("registry"),
  "self.key-mismatch": wait("registry"),
  "address.no-ipv6": lack("wireguard"),
  "address.overlap": broken("wireguard"),
  "store.other-chain": broken("registry"),
  "store.locked": broken("registry"),
  "store.corrupt": lack("registry"),
  "store.unsaved": lack("registry"),
  "key.unreadable": broken("wireguard"),
  "key.interface-differs": broken("wireguard"),
  "key.lost": broken("wireguard"),
  "device.missing-privilege": broken("wireguard"),
  "device.foreign": broken("wireguard"),
  "device.in-use": broken("wireguard"),
  "device.port-in-use": broken("wireguard"),
  "device.command-failed": broken("wireguard"),
  "device.command-timeout": broken("wireguard"),
  "device.unreadable": broken("wireguard"),
  "device.unverified": broken("wireguard"),
  "device.changing": wait("wireguard"),
  "config.unwritten": lack("config"),
  "config.no-generation": lack("config"),
  "config.held": lack("config"),
  "http.port-in-use": broken("config"),
};

/** Every code there is: the closed set of a metric's label, and the headings of the runbook. */
export const FAULT_CODES = Object.keys(WEIGHT) as readonly FaultCode[];
