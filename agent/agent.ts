/** One running agent: its parts, and all that changes while it runs. The corridor's files share it; no room sees it. */
import { auditedBefore } from "./audited.ts";
import { type Follower, newFollower, tipOf } from "./chain/follower.ts";
import type { Rpc } from "./chain/rpc.ts";
import type { Settings } from "./config.ts";
import { type Doubt, doubtedBefore } from "./doubts.ts";
import type { Fault, FaultCode } from "./errors.ts";
import { type Freshness, initialFreshness } from "./freshness.ts";
import type { Sighting } from "./missing.ts";
import {
  type Address,
  type Admitted,
  type Cidr,
  type Peer,
  type PrivateKey,
  type PublicKey,
  type TokenId,
  ZERO_ADDRESS,
  ZERO_HASH,
} from "./model.ts";
import { Nudge } from "./nudge.ts";
import type { Now } from "./observe/health.ts";
import type { Journal } from "./observe/journal.ts";
import type { Log } from "./observe/log.ts";
import type { Metrics } from "./observe/metrics.ts";
import { NO_READINGS, type Readings } from "./observe/readings.ts";
import type { Rules, Self } from "./registry/admission.ts";
import { type Ledger, trail } from "./registry/ledger.ts";
import { token } from "./registry/registry.ts";
import { type Roster, rosterOf } from "./registry/roster.ts";
import type { Store } from "./registry/store.ts";
import { type Untold, untoldBefore } from "./untold.ts";
import { type Unvouched, unvouchedBefore } from "./unvouched.ts";
import type { Topology } from "./wireguard/desired.ts";
import type { Device } from "./wireguard/device.ts";
import type { RunningPeer } from "./wireguard/dump.ts";
import type { Endpoints } from "./wireguard/endpoints.ts";
import type { Files, Generation } from "./wireguard/files.ts";
import { type Succession, succession } from "./wireguard/gateways.ts";
import type { Removals } from "./witness.ts";

export interface Parts {
  readonly settings: Settings;
  readonly version: string;
  readonly privateKey: PrivateKey;
  readonly overlay: readonly Cidr[];
  readonly rules: Rules;
  readonly rpc: Rpc;
  readonly store: Store;
  readonly device: Device;
  readonly files: Files;
  readonly endpoints: Endpoints;
  readonly journal: Journal;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly now: () => Now;
}

export interface Agent extends Parts {
  readonly startedMs: number;
  /** Wakes the chain loop. */
  readonly poll: Nudge;
  /** Wakes the device loop. */
  readonly tend: Nudge;
  /** Wakes the rolling audit. */
  readonly audit: Nudge;
  /** Wakes whoever asks witnesses about removals in doubt. */
  readonly doubt: Nudge;
  /** Wakes whoever listens to upstreams on other forks. */
  readonly contest: Nudge;

  // --- what the chain says
  follower: Follower;
  ledger: Ledger;
  savedLedger: Ledger | undefined;
  /** Steady time. */
  savedMs: number;
  /** The last entry of the journal that is on disk. */
  savedEntry: number;
  readonly roster: Roster;
  /** Tokens that the ledger's last steps touched and the roster has not judged yet. */
  readonly touched: Set<TokenId>;
  /** No rewind waits for the blocks that replace what it dropped. */
  isWhole: boolean;
  /** The ledger stands where a head stood once, and may be acted on; false on the way to one, over a restart too. */
  stoodAtHead: boolean;
  /** It has stood at a head before: what is read is no first history. */
  hasArrived: boolean;
  /** Additions may act: the ledger stands at a head as far as this start demands, and no history is being read. */
  readonly isSettled: boolean;
  /** History has been read since a head was reached, or is about to be. */
  isInHistory: boolean;
  /** This process has stood at the head. */
  isCaughtUp: boolean;
  /** The registry is known to be whole: it was loaded, or a full audit has found nothing more. */
  isTrusted: boolean;
  /** The history as far as it has been read again from its start; it takes the ledger's place when it is whole. */
  rebuilding: Ledger | undefined;
  /** Until that is whole, nobody is added and nobody cut because of it. */
  readonly isRebuilding: boolean;
  /** The next poll begins to read the history again. */
  isRebuildAsked: boolean;
  /** When an audit last asked for a history to be read again (steady time), and how long it waits until it does once more. */
  reread: { readonly atMs: number; readonly pauseMs: number };
  headSeenMs: number | undefined;
  /** When this process first stood at the head. */
  arrivedMs: number | undefined;
  followedMs: number | undefined;
  auditRepairs: number;
  /** Tokens that an audit took away by state alone, and no log has revoked since. */
  readonly auditedOut: Set<TokenId>;
  /** What audits have found missing and could not ask the final block about. */
  readonly sightings: Map<TokenId, Sighting>;

  // --- what the device holds
  /** Peers as they were last applied. */
  readonly running: Map<PublicKey, Peer>;
  /** What the last good file has, where the database is lost or ends within a history: it serves until the chain has been read. */
  inherited: ReadonlyMap<PublicKey, Peer>;
  /** On whose behalf each peer is there. */
  readonly placed: Map<TokenId, Placed>;
  /** The same by key: of several tokens that a peer was placed for, the last. */
  readonly holders: Map<PublicKey, TokenId>;
  /** Found at another endpoint than they should have: it changed while no agent ran, or they roamed before our time. */
  readonly unasked: Set<PublicKey>;
  /** Admitted nodes and gateways. */
  readonly nodes: Map<TokenId, Admitted>;
  /** Tokens whose peers may differ from what the registry says. */
  readonly waiting: Set<TokenId>;
  /** What was allowed when all who wait were last tried. */
  triedUnder: string;
  /** More of them than the hot path takes: the next full pass adds them, and nothing is verified before. */
  hasCrowd: boolean;
  /** Of these, removals that wait for a witness, those that have one, and those that were counted and are to be carried out. */
  doubtful: ReadonlyMap<TokenId, Doubt>;
  readonly witnessed: Set<TokenId>;
  readonly decided: Set<TokenId>;
  /** Whom one upstream has told of and no other has vouched for yet; nobody joins it where there is only one. */
  readonly unvouched: Map<TokenId, Unvouched>;
  /** Upstreams that were behind when they were last asked to vouch: their head, and since when it is there (steady time). */
  readonly laggards: Map<string, { readonly head: number; readonly sinceMs: number }>;
  /** `token endpoint` of the nodes that have one and cannot be dialled there: each was told once, until it can be. */
  undialled: ReadonlySet<string>;
  /** What of the history another upstream has not told yet; never where there is only one. */
  untold: Untold | undefined;
  /** The round of questions about `unvouched` that is under way. */
  vouching: Promise<void> | undefined;
  /** When peers were removed by what logs say, within the window of mass removal. */
  removals: Removals;
  /** What of them is on disk. */
  savedRemovals: Removals;
  /** After a failure nothing is tried again before this moment (steady time), but for what is new. */
  retryAtMs: number;
  failures: number;
  topology: Topology;
  succession: Succession;
  ownAddresses: readonly Cidr[];
  isVerified: boolean;
  /** The peers that ran before us were taken over. */
  hasAdopted: boolean;
  /** What the interface lacks, as the last pass found it. */
  lacks: readonly Fault[];
  /** `wg0.conf` is behind what was applied. */
  isUnwritten: boolean;
  /** A generation that is being written; still there at the end where a disk hangs. */
  writing: Promise<void> | undefined;
  lastRead: Reading;
  /** Keys that were changed while the device was being read; undefined when it is not. */
  changedMeanwhile: Set<PublicKey> | undefined;
  /** A generation was restored by hand: nobody else is added. */
  held: { readonly generation: number; readonly keys: ReadonlySet<PublicKey> } | undefined;
  /** No fresh chain for `MAX_STALENESS`: nobody has access. */
  isTooStale: boolean;
  freshness: Freshness;
  generation: number;
  lastAppliedAt: number | undefined;
  lastBackupAt: number | undefined;
  rollbacks: number;

  /** What is wrong at present, newest of each code. */
  readonly faults: Map<FaultCode, Fault>;
  /** The end of the line of those who change the device. */
  turn: Promise<void>;
}

export interface Placed {
  readonly key: PublicKey;
  /** The owner when the peer was placed. */
  readonly owner: Address;
}

export interface Reading {
  readonly atMs: number | undefined;
  readonly steadyMs: number | undefined;
  readonly tookMs: number;
  readonly listenPort: number;
  readonly peers: ReadonlyMap<PublicKey, RunningPeer>;
  readonly readings: Readings;
}

/** `lastGood` is the newest generation on disk; `isLoaded`: the ledger is what the store held. */
export function newAgent(parts: Parts, ledger: Ledger, lastGood: Generation | undefined, isLoaded: boolean): Agent {
  const { settings, now } = parts;
  // An agent that noted no such thing may have died in the middle of a history, where a revoke is yet to come.
  const head = isLoaded ? parts.store.note(AT_HEAD) : undefined;
  const [stoodAtHead, hasArrived] = [head === "yes", head === "yes" || head === "before"];
  const isLastGood = settings.bootPolicy === "last-good";
  return {
    ...parts,
    startedMs: now().steadyMs,
    poll: new Nudge(),
    tend: new Nudge(),
    audit: new Nudge(),
    doubt: new Nudge(),
    contest: new Nudge(),
    follower: followerAt(ledger, parts.store.note(BLOOMS) === "yes"),
    ledger,
    savedLedger: isLoaded ? ledger : undefined,
    savedMs: Number.NEGATIVE_INFINITY,
    savedEntry: 0,
    roster: rosterOf(parts.rules),
    ...{ stoodAtHead, hasArrived, isInHistory: !(stoodAtHead && isLastGood) },
    get isSettled() {
      return this.stoodAtHead && !this.isRebuilding && (isLastGood || this.arrivedMs !== undefined);
    },
    isCaughtUp: false,
    touched: new Set(),
    isWhole: true,
    isTrusted: isLoaded,
    rebuilding: undefined,
    get isRebuilding() {
      return this.rebuilding !== undefined;
    },
    isRebuildAsked: false,
    reread: { atMs: Number.NEGATIVE_INFINITY, pauseMs: 0 },
    headSeenMs: undefined,
    arrivedMs: undefined,
    followedMs: undefined,
    auditRepairs: 0,
    auditedOut: auditedBefore(parts),
    sightings: new Map(),
    running: new Map(),
    inherited: stoodAtHead || !isLastGood ? new Map() : peersOf(lastGood),
    unasked: new Set(),
    nodes: new Map(),
    ...doubtedBefore(parts),
    triedUnder: "",
    hasCrowd: false,
    witnessed: new Set(),
    decided: new Set(),
    unvouched: unvouchedBefore(parts),
    vouching: undefined,
    untold: untoldBefore(parts),
    laggards: new Map(),
    undialled: new Set(),
    retryAtMs: 0,
    failures: 0,
    topology: {
      ...{ role: "node", inbound: settings.inbound, overlay: parts.overlay, primary: undefined },
      resolve: (endpoint) => parts.endpoints.resolve(endpoint),
    },
    succession: succession(undefined, now().wallMs),
    ownAddresses: lastGood?.conf.addresses ?? [],
    isVerified: false,
    hasAdopted: false,
    lacks: [],
    isUnwritten: true,
    writing: undefined,
    lastRead: {
      ...{ atMs: undefined, steadyMs: undefined, tookMs: 0, listenPort: settings.listenPort },
      ...{ peers: lastSeen(lastGood), readings: NO_READINGS },
    },
    changedMeanwhile: undefined,
    held: undefined,
    isTooStale: false,
    freshness: initialFreshness({ ...parts, ledger }),
    generation: lastGood?.conf.generation ?? 0,
    lastAppliedAt: undefined,
    lastBackupAt: undefined,
    rollbacks: 0,
    faults: new Map(),
    turn: Promise.resolve(),
  };
}

/** The note that the ledger stood at a head. */
export const AT_HEAD = "atHead";
/** The note that this chain fills its blooms: until a block shows it again, an empty one could not rule anything out. */
export const BLOOMS = "blooms";

/** The peer is on the device on this token's behalf. */
export function place(agent: Agent, id: TokenId, key: PublicKey): void {
  agent.placed.set(id, { key, owner: token(agent.ledger.registry, id)?.owner ?? ZERO_ADDRESS });
  agent.holders.set(key, id);
  agent.witnessed.delete(id);
  agent.decided.delete(id);
}

/** The same record of our own token, or none both times. */
export function isSameSelf(a: Self, b: Self): boolean {
  return a.kind === b.kind && (a.kind === "no-token" || b.kind === "no-token" || a.token === b.token);
}

/** It has read as far as the ledger goes, whether or not the chain can be asked. */
function followerAt(ledger: Ledger, hasBlooms: boolean): Follower {
  const follower = newFollower(hasBlooms);
  if (ledger.final.hash === ZERO_HASH) return follower;
  follower.figures.finalizedBlock = ledger.final.number;
  follower.figures.cursorBlock = tipOf(trail(ledger)).number;
  return follower;
}

function peersOf(lastGood: Generation | undefined): Map<PublicKey, Peer> {
  return new Map(lastGood?.peers.map((peer) => [peer.key, peer]));
}

/** Where peers were when the last generation was written: a new interface finds them there. */
function lastSeen(lastGood: Generation | undefined): Map<PublicKey, RunningPeer> {
  const unknown = { hasPresharedKey: false, latestHandshakeAt: 0, rxBytes: 0, txBytes: 0 };
  return new Map(lastGood?.peers.map((peer) => [peer.key, { ...peer, ...unknown }]));
}
