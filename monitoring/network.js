/** One node as it stands, and all of them together. Pure. */
import { added, EMPTY } from "./history.js";

/**
 * @typedef {import("./answers.js").Health} Health
 * @typedef {import("./answers.js").Stats} Stats
 * @typedef {import("./answers.js").Device} Device
 * @typedef {import("./answers.js").Entry} Entry
 * @typedef {import("./answers.js").Figure} Figure
 * @typedef {import("./history.js").History} History
 * @typedef {{ asOf: number, rxBytes: number, txBytes: number, rx: Figure, tx: Figure }} Traffic bytes so far and a second
 *
 * @typedef {object} Node
 * @property {string} name
 * @property {NonNullable<Health> | undefined} health of the last answer, like all that follows
 * @property {Stats | undefined} stats
 * @property {Device | undefined} device
 * @property {Traffic | undefined} traffic
 * @property {number | undefined} answeredMs when it last answered, steady time
 * @property {number} skewMs what its clock is ahead of this page's
 * @property {string} failure why the last question has no answer; empty where it has one
 * @property {readonly Entry[]} journal
 * @property {number} next the newest entry of the journal that is here
 *
 * @typedef {"healthy" | "degraded" | "unhealthy" | "unreachable" | "waiting"} Standing
 */

/** What is drawn over time. */
export const SERIES = /** @type {const} */ (["connected", "rx", "tx", "latencyP50Ms", "latencyP99Ms", "lagBlocks"]);
/** A minute's latency and lag are its worst. @type {readonly import("./history.js").Merge[]} */
const MERGES = ["mean", "mean", "mean", "max", "max", "max"];

/** @param {string} name @returns {Node} */
export function newNode(name) {
  const nothing = { health: undefined, stats: undefined, device: undefined, traffic: undefined, answeredMs: undefined };
  return { name, ...nothing, skewMs: 0, failure: "", journal: [], next: 0 };
}

/** @param {Node} node @returns {Standing} */
export function standing({ health, failure }) {
  if (failure !== "") return "unreachable";
  return health?.status ?? "waiting";
}

/**
 * Bytes a second between two readings of the device. Polls in between see the same reading, and change nothing, unless the
 * agent says that it cannot read the device any more.
 * @param {Traffic | undefined} before
 * @param {Device} device
 * @param {boolean} isReadable
 * @returns {Traffic | undefined}
 */
export function trafficOf(before, { asOf, rxBytes, txBytes }, isReadable) {
  if (asOf === null || rxBytes === null || txBytes === null) return undefined;
  if (before?.asOf === asOf) return isReadable ? before : { ...before, rx: null, tx: null };
  const seconds = (asOf - (before?.asOf ?? asOf)) / 1000;
  // Counters that fell are those of an agent that started anew.
  const isComparable = before !== undefined && seconds > 0 && rxBytes >= before.rxBytes && txBytes >= before.txBytes;
  if (!isComparable) return { asOf, rxBytes, txBytes, rx: null, tx: null };
  return { asOf, rxBytes, txBytes, rx: (rxBytes - before.rxBytes) / seconds, tx: (txBytes - before.txBytes) / seconds };
}

/** Clocks that run apart are no restart. */
const RESTART_SLACK_SECONDS = 5;

/**
 * The agent has started since it last answered: its entries may be counted from where its disk had them.
 * @param {Node} node @param {Figure} uptimeSeconds as it says now @param {number} steadyMs
 */
export function hasRestarted({ health, answeredMs }, uptimeSeconds, steadyMs) {
  if (health?.uptimeSeconds == null || answeredMs === undefined || uptimeSeconds === null) return false;
  const expected = health.uptimeSeconds + (steadyMs - answeredMs) / 1000;
  return uptimeSeconds < expected - RESTART_SLACK_SECONDS || uptimeSeconds < health.uptimeSeconds;
}

/** Values that nobody renewed for so long count no more: the page may have slept. @param {number} refreshMs */
const freshForMs = (refreshMs) => Math.max(3 * refreshMs, 15_000);

/** @param {Node} node @param {number} steadyMs @param {number} refreshMs */
export function isCurrent({ failure, answeredMs }, steadyMs, refreshMs) {
  return failure === "" && answeredMs !== undefined && steadyMs - answeredMs <= freshForMs(refreshMs);
}

/**
 * Figures of several nodes as one: what adds up is added, and of what does not, the worst.
 * @param {readonly Node[]} nodes
 * @param {(node: Node) => boolean} isCounted
 */
export function together(nodes, isCounted) {
  const answering = nodes.filter(isCounted);
  /** @param {(node: Node) => Figure | undefined} value */
  const known = (value) => answering.map(value).filter((each) => typeof each === "number");
  /** @param {(node: Node) => Figure | undefined} value */
  const sum = (value) => {
    const values = known(value);
    return values.length === 0 ? null : values.reduce((all, each) => all + each, 0);
  };
  /** @param {(node: Node) => Figure | undefined} value */
  const most = (value) => {
    const values = known(value);
    return values.length === 0 ? null : Math.max(...values);
  };
  const quarantined = (/** @type {Node} */ { stats }) =>
    stats?.quarantined === undefined ? null : Object.values(stats.quarantined).reduce((all, each) => all + each, 0);
  return {
    nodes: nodes.length,
    answering: answering.length,
    healthy: answering.filter(({ health }) => health?.status === "healthy").length,
    configured: sum(({ stats }) => stats?.configured),
    connected: sum(({ stats }) => stats?.connected),
    rx: sum(({ traffic }) => traffic?.rx),
    tx: sum(({ traffic }) => traffic?.tx),
    tokens: most(({ stats }) => stats?.tokens),
    admitted: most(({ stats }) => stats?.admitted),
    quarantined: most(quarantined),
    latencyP50Ms: most(({ stats }) => stats?.latencyP50Ms),
    latencyP99Ms: most(({ stats }) => stats?.latencyP99Ms),
    headBlock: most(({ health }) => health?.headBlock),
    lagBlocks: most(({ health }) => health?.lagBlocks),
  };
}

/**
 * One more sample of each node, and of all of them under the name "".
 * @param {ReadonlyMap<string, History>} histories
 * @param {readonly Node[]} nodes
 * @param {(node: Node) => boolean} isCounted
 * @param {number} at
 * @returns {Map<string, History>}
 */
export function sampled(histories, nodes, isCounted, at) {
  /** @type {[string, readonly Node[]][]} */
  const shares = [["", nodes], ...nodes.map((node) => /** @type {[string, Node[]]} */ ([node.name, [node]]))];
  return new Map(
    shares.map(([name, share]) => {
      const figures = together(share, isCounted);
      const values = SERIES.map((series) => figures[series]);
      return [name, added(histories.get(name) ?? EMPTY, { at, values }, MERGES)];
    }),
  );
}
