/** The page: asks every node each few seconds, and shows what they said and how old that is. */
import { createAdmin } from "./admin.js";
import { createCharts } from "./charts.js";
import { byId, offer, put } from "./dom.js";
import { isCurrent, newNode, sampled, together } from "./network.js";
import { createCards } from "./nodes.js";
import { createAnnouncer, showOverview } from "./overview.js";
import { askNodes, polled } from "./poll.js";
import { createJournal, createQuarantine } from "./tables.js";

/** @typedef {import("./network.js").Node} Node */

/** The list of nodes is read again so often: a deployment may have got another. */
const NODES_EVERY_MS = 60_000;
/** A browser opens six connections: nodes that do not answer, which keep one each for seconds, get two of them. */
const DOUBTFUL_AT_ONCE = 2;

const refresh = byId("refresh", HTMLSelectElement);
const notice = byId("notice", HTMLElement);
const cards = createCards(byId("nodes", HTMLElement));
const [charts, journal, admin] = [createCharts(), createJournal(), createAdmin(() => all())];
const [showQuarantine, announce] = [createQuarantine(), createAnnouncer()];

/** @type {Map<string, Node>} */
let nodes = new Map();
/** @type {Map<string, import("./history.js").History>} */
let histories = new Map();
let listedMs = Number.NEGATIVE_INFINITY;
/** Nodes that were asked and have not answered. @type {Set<string>} */
const asked = new Set();
/** @type {Map<string, number>} */
const lastAsked = new Map();

const refreshMs = () => Number(refresh.value) * 1000;
const isCounted = (/** @type {Node} */ node) => isCurrent(node, performance.now(), refreshMs());
const all = () => [...nodes.values()];

async function tick() {
  if (performance.now() - listedMs > NODES_EVERY_MS || nodes.size === 0) await list();
  const due = all().filter(({ name }) => !asked.has(name));
  // Who was asked longest ago comes first, so that of many silent nodes each has its turn.
  due.sort((a, b) => (lastAsked.get(a.name) ?? 0) - (lastAsked.get(b.name) ?? 0));
  let doubtful = all().filter(({ name, failure }) => asked.has(name) && failure !== "").length;
  const round = due.filter(({ failure }) => failure === "" || ++doubtful <= DOUBTFUL_AT_ONCE);
  // With the answers and not before: a tab that nobody looks at may run once a minute, when the last ones are old.
  void Promise.all(round.map(ask)).then(sample);
  admin.tick();
}

function sample() {
  if (all().every(({ answeredMs, failure }) => answeredMs === undefined && failure === "")) return;
  histories = sampled(histories, all(), isCounted, Date.now());
  charts.show(histories);
}

/** @param {Node} node */
async function ask(node) {
  const { name } = node;
  asked.add(name);
  lastAsked.set(name, performance.now());
  const now = await polled(node);
  asked.delete(name);
  if (!nodes.has(name)) return;
  nodes.set(name, now);
  cards.show(now);
  show();
}

async function list() {
  try {
    const names = await askNodes();
    nodes = new Map(names.map((name) => [name, nodes.get(name) ?? newNode(name)]));
    listedMs = performance.now();
    notice.hidden = true;
  } catch (error) {
    notice.hidden = false;
    const why =
      error instanceof TypeError
        ? "the dashboard's web server does not answer"
        : `${error instanceof Error ? error.message : error}`;
    put(notice, `The list of nodes cannot be read: ${why}. Trying again.`);
    return;
  }
  cards.hold(all());
  for (const id of ["charts-node", "journal-node"]) offer(byId(id, HTMLSelectElement), [...nodes.keys()]);
  for (const node of nodes.values()) cards.show(node);
}

let isShowing = false;
/** Everything but the cards, once for all nodes that answer together. No frame is waited for: hidden tabs have titles. */
function show() {
  if (isShowing) return;
  isShowing = true;
  setTimeout(() => {
    isShowing = false;
    const counted = all().filter(isCounted);
    showOverview(all(), together(all(), isCounted));
    announce(all());
    const lines = journal.take(all());
    journal.show(all());
    showQuarantine(counted, lines);
  }, 50);
}

let timer = 0;
async function run() {
  clearTimeout(timer);
  try {
    await tick();
  } finally {
    // Whatever goes wrong in one round, there is another.
    clearTimeout(timer);
    timer = window.setTimeout(run, refreshMs());
  }
}

refresh.addEventListener("change", run);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  charts.show(histories);
  void run();
});
setInterval(() => {
  for (const node of nodes.values()) cards.age(node);
  admin.age();
}, 1000);

const theme = byId("theme", HTMLSelectElement);
theme.value = document.documentElement.dataset["theme"] ?? "";
theme.addEventListener("change", () => {
  if (theme.value === "") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme.value;
  try {
    localStorage.setItem("theme", theme.value);
  } catch {
    // Then it is for this time only.
  }
  charts.repaint();
});

put(byId("zone", HTMLElement), `Times are those of ${Intl.DateTimeFormat().resolvedOptions().timeZone}.`);
void run();
