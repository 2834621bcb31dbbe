/** Asks one node, through this page's own web server and nobody else. The only file that fetches. */
import { readDevice, readEvents, readHealth, readNodes, readStats } from "./answers.js";
import { hasRestarted, trafficOf } from "./network.js";

/**
 * @typedef {import("./network.js").Node} Node
 * @typedef {{ status: number, json: unknown, dateMs: number }} Answer
 * @typedef {{ kind: "peers", peers: readonly import("./answers.js").Peer[], tookMs: number } | { kind: "refused" | "failed", why: string }} Listing `refused`: asking again changes nothing
 */

const DEADLINE_MS = 4_000;
/** A list of 60,000 peers is some 20 MB. */
const LISTING_DEADLINE_MS = 30_000;
/** The agent keeps as many; what is older is let go. */
const JOURNAL_LENGTH = 1_000;

/** @returns {Promise<string[]>} @throws Error with a sentence */
export async function askNodes() {
  const { status, json } = await ask("nodes.json");
  const names = readNodes(json);
  if (status !== 200 || names.length === 0) throw new Error(`nodes.json names no node (HTTP ${status})`);
  return names;
}

/**
 * The node as it is after one more round. Its health first: a node that hangs holds one connection of the browser's six.
 * @param {Node} node
 * @returns {Promise<Node>}
 */
export async function polled(node) {
  try {
    const at = (/** @type {string} */ path) => `api/${node.name}/${path}`;
    const first = await ask(at("health"));
    const health = readHealth(first.json);
    if (health === undefined) return { ...node, failure: whyNot(first) };
    const isAnew = hasRestarted(node, health.uptimeSeconds, performance.now());
    const [stats, device, events] = await Promise.all([
      ask(at("stats")),
      ask(at("wireguard")),
      ask(at(`events?after=${isAnew ? 0 : node.next}`)),
    ]);
    const wrong = [stats, device, events].find(({ status }) => status !== 200);
    if (wrong !== undefined) return { ...node, failure: whyNot(wrong) };
    const read = readDevice(device.json);
    const isReadable = !health.reasons.some(({ code }) => code === "device.unreadable");
    return {
      ...node,
      ...{ health, stats: readStats(stats.json), device: read, traffic: trafficOf(node.traffic, read, isReadable) },
      ...journalAfter(node, events.json, isAnew),
      answeredMs: performance.now(),
      skewMs: Number.isFinite(first.dateMs) ? first.dateMs - Date.now() : 0,
      failure: "",
    };
  } catch (error) {
    return { ...node, failure: sentenceOf(error) };
  }
}

/**
 * The peers, for whoever has the admin token; it goes to this path of this origin alone.
 * @param {string} name
 * @param {string} token
 * @returns {Promise<Listing>}
 */
export async function askPeers(name, token) {
  const startedMs = performance.now();
  try {
    const { status, json } = await ask(
      `api/${name}/wireguard`,
      { Authorization: `Bearer ${token}` },
      LISTING_DEADLINE_MS,
    );
    if (status === 401) return { kind: "refused", why: `${name} refuses this token.` };
    if (status === 429) return { kind: "refused", why: `${name} was sent too many wrong tokens: wait a minute.` };
    if (status !== 200) return { kind: "failed", why: `${name} ${whyNot({ status, json, dateMs: 0 })}.` };
    const { peers, isPublic } = readDevice(json);
    if (isPublic) return { kind: "refused", why: `${name} has no ADMIN_TOKEN, so it lists its peers to nobody.` };
    if (peers === undefined) return { kind: "failed", why: `${name} ${whyNot({ status, json, dateMs: 0 })}.` };
    return { kind: "peers", peers, tookMs: performance.now() - startedMs };
  } catch (error) {
    return { kind: "failed", why: `${name} ${sentenceOf(error)}.` };
  }
}

/** @param {Node} node @param {unknown} json @param {boolean} isWhole it is all that the node has @returns {Pick<Node, "journal" | "next">} */
function journalAfter({ journal, next }, json, isWhole) {
  const read = readEvents(json);
  if (read.next === undefined) return { journal, next };
  if (isWhole) {
    const first = read.events[0]?.id ?? 0;
    return { journal: [...journal.filter(({ id }) => id < first), ...read.events], next: read.next };
  }
  // The node lost its journal and counts from one again: the next round asks for all of the new one.
  if (read.next < next) return { journal: [], next: 0 };
  return {
    journal: read.events.length === 0 ? journal : [...journal, ...read.events].slice(-JOURNAL_LENGTH),
    next: read.next,
  };
}

/**
 * @param {string} path of this origin
 * @param {Record<string, string>} headers
 * @param {number} deadlineMs
 * @returns {Promise<Answer>}
 */
async function ask(path, headers = {}, deadlineMs = DEADLINE_MS) {
  const response = await fetch(path, {
    headers,
    cache: "no-store",
    credentials: "omit",
    mode: "same-origin",
    redirect: "error",
    signal: AbortSignal.timeout(deadlineMs),
  });
  const body = await response.text();
  return { status: response.status, json: parsed(body), dateMs: Date.parse(response.headers.get("Date") ?? "") };
}

/** @param {string} body @returns {unknown} */
function parsed(body) {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

/** @param {Answer} answer */
function whyNot({ status }) {
  if (status === 502 || status === 504) return "does not answer the dashboard's web server";
  if (status === 404) return "is not known to the dashboard's web server";
  if (status === 429) return "answers that it is asked too often";
  return `answers with something that is no agent's (HTTP ${status})`;
}

/** @param {unknown} error */
function sentenceOf(error) {
  const isLate = error instanceof DOMException && error.name === "TimeoutError";
  return isLate ? "does not answer in time" : "cannot be asked: the dashboard's web server does not answer";
}
