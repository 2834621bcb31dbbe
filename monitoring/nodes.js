/** A card for each node: how it stands, since when that is known, why, and its figures. */
import { copyOf, field, fill, foreign, icon, make, put, stand } from "./dom.js";
import { ago, bytes, count, counted, duration, latency, rate, UNKNOWN } from "./format.js";
import { standing } from "./network.js";

/** @typedef {import("./network.js").Node} Node */

const WORDS = {
  healthy: "Healthy",
  degraded: "Degraded",
  unhealthy: "Unhealthy",
  unreachable: "Unreachable",
  waiting: "Waiting",
};
const PARTS = /** @type {const} */ (["chain", "registry", "wireguard", "config"]);

/** @param {HTMLElement} list */
export function createCards(list) {
  /** @type {Map<string, HTMLElement>} */
  const cards = new Map();
  return {
    /** As many cards as nodes, in their order. @param {readonly Node[]} nodes */
    hold(nodes) {
      const names = new Set(nodes.map(({ name }) => name));
      for (const name of cards.keys()) if (!names.has(name)) cards.delete(name);
      for (const { name } of nodes) {
        if (cards.has(name)) continue;
        const card = copyOf("card");
        card.id = `node-${name}`;
        fill(card, { name, of: ` of ${name}` });
        cards.set(name, card);
      }
      const wanted = nodes.flatMap(({ name }) => cards.get(name) ?? []);
      // Putting a card where it is already would take the focus from what is in it.
      if (wanted.some((card, index) => list.children[index] !== card) || list.childElementCount !== wanted.length) {
        list.replaceChildren(...wanted);
      }
    },
    /** @param {Node} node */
    show(node) {
      const card = cards.get(node.name);
      if (card === undefined) return;
      const how = standing(node);
      stand(card, how);
      card.classList.toggle("old", node.failure !== "");
      fill(card, { word: WORDS[how] });
      showReasons(card, node);
      field(card, "values").hidden = node.health === undefined && how === "unreachable";
      if (node.health !== undefined) fill(card, { ...figures(node), ...details(node) });
      this.age(node);
    },
    /** @param {Node} node */
    age(node) {
      const card = cards.get(node.name);
      if (card !== undefined) fill(card, { age: ageOf(node) });
    },
  };
}

/** @param {HTMLElement} card @param {Node} node */
function showReasons(card, { health, failure, name }) {
  const list = field(card, "reasons");
  const reasons = (failure === "" ? (health?.reasons ?? []) : []).map(({ code, detail }) =>
    make("li", {}, make("code", {}, code), " ", foreign(detail)),
  );
  const other =
    health !== undefined && health.nodeId !== name ? [make("li", {}, `It calls itself ${health.nodeId}.`)] : [];
  const items = failure === "" ? [...reasons, ...other] : [make("li", {}, `It ${failure}.`)];
  list.hidden = items.length === 0;
  put(list, items);
}

/** @param {Node} node */
function ageOf({ health, answeredMs, failure }) {
  if (answeredMs === undefined || health === undefined)
    return failure === "" ? "Nothing heard yet." : "Nothing was ever heard of it.";
  const age = ago((performance.now() - answeredMs) / 1000);
  if (failure !== "") return `Last heard ${age}: the figures are old.`;
  return `${health.isReady ? "Ready" : "Not ready"}, heard ${age}`;
}

/** @param {Node} node */
function figures({ health, stats, traffic }) {
  return {
    connected: stats === undefined ? UNKNOWN : `${count(stats.connected)} of ${count(stats.configured)}`,
    rx: rate(traffic?.rx),
    tx: rate(traffic?.tx),
    block: count(health?.headBlock),
    lag: health?.lagBlocks == null ? UNKNOWN : counted(health.lagBlocks, "block"),
    latency: latency(stats?.latencyP99Ms),
  };
}

/** @param {Node} node */
function details({ health, stats, device, traffic, skewMs }) {
  const nowMs = Date.now() + skewMs;
  const since = (/** @type {number | null | undefined} */ at) => (at == null ? "never" : ago((nowMs - at) / 1000));
  const more = /** @type {const} */ ([
    ["Version", `${health?.version}, up ${duration(health?.uptimeSeconds)}`],
    ["Interface", `${health?.interface}, UDP port ${health?.listenPort ?? UNKNOWN}`],
    ["Addresses", device?.addresses.join(", ") || UNKNOWN],
    ["Public key", device?.publicKey || UNKNOWN],
    ["Tokens", `${count(stats?.tokens)}, ${count(stats?.admitted)} admitted`],
    ["Device read", since(device?.asOf)],
    ["Received, sent", traffic === undefined ? UNKNOWN : `${bytes(traffic.rxBytes)}, ${bytes(traffic.txBytes)}`],
    ["Newest block", health?.headAgeSeconds == null ? UNKNOWN : ago(health.headAgeSeconds)],
    ["Final block", count(health?.finalizedBlock)],
    ["Generation", `${count(health?.generation)}, applied ${since(health?.lastAppliedAt)}`],
    ["Backup", since(health?.lastBackupAt)],
    [
      "Applies",
      `${count(stats?.applies)}, ${count(stats?.failedApplies)} failed, ${count(health?.rollbacks)} rolled back`,
    ],
    [
      "Apply time",
      stats?.applyP50Ms == null ? UNKNOWN : `${latency(stats.applyP50Ms)}, 99 % ${latency(stats.applyP99Ms)}`,
    ],
    [
      "Event to device",
      stats?.latencyP50Ms == null
        ? UNKNOWN
        : `${latency(stats.latencyP50Ms)}, 99 % ${latency(stats.latencyP99Ms)}, slowest ${latency(stats.latencyMaxMs)}`,
    ],
    ["Reorgs", count(stats?.reorgs)],
    ["Invalid logs", count(stats?.invalidLogs)],
    ["Audit repairs", count(stats?.auditRepairs)],
  ]);
  return {
    more: more.map(([term, value]) => make("div", {}, make("dt", {}, term), make("dd", {}, value))),
    parts: PARTS.map((part) => partItem(part, health?.parts[part] ?? "waiting")),
    upstreams: (health?.upstreams ?? []).map(upstream),
  };
}

/** @param {string} part @param {"healthy" | "degraded" | "unhealthy" | "waiting"} how */
function partItem(part, how) {
  const item = make("li", {}, icon(how), `${part} ${how === "waiting" ? "unknown" : how}`);
  item.dataset["standing"] = how;
  return item;
}

/** @param {import("./answers.js").Upstream} upstream */
function upstream({ name, isHealthy, latencyMs, headBlock, errors }) {
  const how = isHealthy ? "healthy" : "unhealthy";
  const item = make(
    "li",
    {},
    icon(how),
    make(
      "span",
      {},
      make("b", {}, name),
      ` ${isHealthy ? "answers" : "does not answer"}, ${latency(latencyMs)}, block ${count(headBlock)}, ${counted(errors, "error")}`,
    ),
  );
  item.dataset["standing"] = how;
  return item;
}
