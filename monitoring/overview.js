/** The network in one line and eight figures, and what changed for those who listen. */
import { byId, field, fill, make, stand } from "./dom.js";
import { count, counted, latency, rate } from "./format.js";
import { standing } from "./network.js";

/** Of more nodes than this the verdict tells the number. */
const NAMED_NODES = 3;

/**
 * @typedef {import("./network.js").Node} Node
 * @typedef {ReturnType<typeof import("./network.js").together>} Together
 */

/** Worst first: what an operator has to see before all else. */
const ORDER = /** @type {const} */ (["unreachable", "unhealthy", "degraded", "waiting"]);

/** @param {readonly Node[]} nodes @param {Together} all */
export function showOverview(nodes, all) {
  const verdict = byId("verdict", HTMLElement);
  const worst = ORDER.find((each) => nodes.some((node) => standing(node) === each)) ?? "healthy";
  stand(verdict, worst);
  fill(verdict, { text: verdictOn(nodes) });
  document.title = worst === "healthy" ? "dstack-vpn" : `${field(verdict, "text").textContent} · dstack-vpn`;
  const silent = all.nodes - all.answering;
  fill(byId("figures", HTMLElement), {
    healthy: `${count(all.healthy)} of ${count(all.nodes)}`,
    nodes: silent === 0 ? "all of them answer" : `${counted(silent, "node")} not answering, not counted`,
    connected: count(all.connected),
    configured: all.configured === null ? "" : `of ${count(all.configured)} on the devices`,
    rx: rate(all.rx),
    tx: rate(all.tx),
    latency: latency(all.latencyP99Ms),
    latencyNote: all.latencyP99Ms === null ? "no event yet" : `99 %; half within ${latency(all.latencyP50Ms)}`,
    head: count(all.headBlock),
    lag:
      all.lagBlocks === null
        ? ""
        : all.lagBlocks === 0
          ? "followed to the head"
          : `${counted(all.lagBlocks, "block")} behind`,
    admitted: count(all.admitted),
    tokens: all.tokens === null ? "" : `of ${count(all.tokens)} on the chain, besides each node's own`,
    quarantined: count(all.quarantined),
    quarantinedNote:
      all.quarantined === null ? "" : all.quarantined === 0 ? "every active token has a peer" : "reasons below",
  });
  field(byId("figures", HTMLElement), "quarantined").dataset["standing"] = (all.quarantined ?? 0) > 0 ? "degraded" : "";
}

/** Who stands how, each with a way to its card. @param {readonly Node[]} nodes */
function verdictOn(nodes) {
  const groups = ORDER.flatMap((each) => {
    const names = nodes.filter((node) => standing(node) === each).map(({ name }) => name);
    return names.length === 0 ? [] : [[...named(names), ` ${each}`]];
  });
  if (groups.length > 0) return groups.flatMap((group, index) => (index === 0 ? group : ["; ", ...group]));
  return [nodes.length === 1 ? "The node is healthy" : `All ${count(nodes.length)} nodes are healthy`];
}

/** @param {readonly string[]} names */
function named(names) {
  if (names.length > NAMED_NODES) return [counted(names.length, "node")];
  return names.flatMap((name, index) => [index === 0 ? "" : ", ", make("a", { href: `#node-${name}` }, name)]);
}

/** Says aloud what changed since the last time; the first time it only remembers. */
export function createAnnouncer() {
  const said = byId("said", HTMLElement);
  /** @type {Map<string, string>} */
  const before = new Map();
  /** @param {readonly Node[]} nodes */
  return (nodes) => {
    const news = nodes.flatMap((node) => {
      const now = standing(node);
      const last = before.get(node.name);
      before.set(node.name, now);
      const codes =
        node.failure === "" ? (node.health?.reasons ?? []).map(({ code }) => code).join(", ") : node.failure;
      return last === undefined || last === "waiting" || last === now
        ? []
        : [`${node.name} is ${now}${codes === "" ? "" : `: ${codes}`}.`];
    });
    if (news.length > 0) said.textContent = news.join(" ");
  };
}
