/** The administrator's table: who is connected from where. The token lives in a variable of this file, and nowhere else. */
import { byId, foreign, make, offer, put, row, tableById } from "./dom.js";
import { ago, bytes, count, counted } from "./format.js";
import { askPeers } from "./poll.js";

/**
 * @typedef {import("./answers.js").Peer} Peer
 * @typedef {import("./network.js").Node} Node
 */

const PAGE = 50;
/** WireGuard's Reject-After-Time: an older session carries nothing. */
const CONNECTED_SECONDS = 180;
/** Asking may take a twentieth of the time. */
const COST_FACTOR = 20;

/** @type {Readonly<Record<string, (a: Peer, b: Peer) => number>>} */
const ORDERS = {
  handshake: (a, b) => (b.latestHandshakeAt ?? 0) - (a.latestHandshakeAt ?? 0),
  traffic: (a, b) => (b.rxBytes ?? 0) + (b.txBytes ?? 0) - (a.rxBytes ?? 0) - (a.txBytes ?? 0),
  token: (a, b) => a.tokenId.length - b.tokenId.length || (a.tokenId < b.tokenId ? -1 : 1),
};

/** @param {Peer} peer @param {string} wanted */
export function isFound({ tokenId, nodeId, publicKey, endpoint, allowedIps }, wanted) {
  const text = [tokenId, nodeId, publicKey, endpoint, ...allowedIps].join("\n").toLowerCase();
  return text.includes(wanted.trim().toLowerCase());
}

export function createPeers() {
  const form = byId("peers-form", HTMLFormElement);
  const input = byId("peers-token", HTMLInputElement);
  const controls = byId("peers-controls", HTMLElement);
  const select = byId("peers-node", HTMLSelectElement);
  const order = byId("peers-order", HTMLSelectElement);
  const find = byId("peers-find", HTMLInputElement);
  const notice = byId("peers-notice", HTMLElement);
  const note = byId("peers-note", HTMLElement);
  const { table, body, labels } = tableById("peers");
  const pager = byId("peers-pager", HTMLElement);

  let token = "";
  /** @type {readonly Peer[]} */
  let peers = [];
  /** @type {readonly Node[]} */
  let nodes = [];
  let [isAsking, askedMs, nextMs, heardMs] = [false, 0, 0, 0];
  let [page, amount] = [0, 0];

  const skewMs = () => nodes.find(({ name }) => name === select.value)?.skewMs ?? 0;
  const show = () => {
    const found = peers.filter((peer) => isFound(peer, find.value)).sort(ORDERS[order.value] ?? (() => 0));
    amount = found.length;
    page = Math.max(0, Math.min(page, Math.ceil(amount / PAGE) - 1));
    const shown = found.slice(page * PAGE, (page + 1) * PAGE);
    const nowMs = Date.now() + skewMs();
    put(
      body,
      shown.map((peer) => rowOf(labels, peer, nowMs)),
    );
    table.hidden = shown.length === 0;
    pager.hidden = amount <= PAGE;
    put(
      byId("peers-page", HTMLElement),
      `${count(page * PAGE + 1)} to ${count(page * PAGE + shown.length)} of ${count(amount)}`,
    );
    byId("peers-previous", HTMLButtonElement).disabled = page === 0;
    byId("peers-next", HTMLButtonElement).disabled = (page + 1) * PAGE >= amount;
    age();
  };
  const age = () => {
    note.hidden = token === "" || heardMs === 0;
    if (note.hidden) return;
    const all = find.value.trim() === "" ? "" : ` that match, of ${count(peers.length)}`;
    put(
      note,
      `${counted(amount, "peer")} of ${select.value}${all}, heard ${ago((performance.now() - heardMs) / 1000)}.`,
    );
  };
  const forget = () => {
    token = "";
    input.value = "";
    clear();
    form.hidden = false;
    controls.hidden = true;
  };
  const clear = () => {
    [peers, heardMs, page, nextMs] = [[], 0, 0, 0];
    show();
  };
  /** @param {string} why empty for nothing */
  const warn = (why) => {
    notice.hidden = why === "";
    put(notice, why);
  };

  const ask = async () => {
    [isAsking, askedMs] = [true, performance.now()];
    const [asked, with_] = [select.value, token];
    const listing = await askPeers(asked, with_);
    isAsking = false;
    // Meanwhile another node may have been chosen, or the token been forgotten.
    if (asked !== select.value || with_ !== token) return;
    if (listing.kind !== "peers") {
      warn(listing.why);
      // A token that is wrong is not sent again until somebody says so.
      if (listing.kind === "refused") nextMs = Number.POSITIVE_INFINITY;
      if (!form.hidden) token = "";
      return;
    }
    warn("");
    [peers, heardMs, nextMs] = [listing.peers, performance.now(), performance.now() + COST_FACTOR * listing.tookMs];
    if (!form.hidden) {
      form.hidden = true;
      controls.hidden = false;
      select.focus();
    }
    input.value = "";
    show();
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    token = input.value.trim();
    if (token !== "" && select.value !== "") void ask();
  });
  byId("peers-forget", HTMLButtonElement).addEventListener("click", () => {
    forget();
    warn("");
    input.focus();
  });
  select.addEventListener("change", () => {
    warn("");
    clear();
    void ask();
  });
  for (const [control, event] of /** @type {const} */ ([
    [order, "change"],
    [find, "input"],
  ])) {
    control.addEventListener(event, () => {
      page = 0;
      show();
    });
  }
  byId("peers-previous", HTMLButtonElement).addEventListener("click", () => {
    page--;
    show();
  });
  byId("peers-next", HTMLButtonElement).addEventListener("click", () => {
    page++;
    show();
  });

  return {
    /** The nodes there are, which may answer by now; asks again when it is time. @param {readonly Node[]} all @param {number} refreshMs */
    tick(all, refreshMs) {
      nodes = all;
      offer(
        select,
        all.map(({ name }) => name),
      );
      const nowMs = performance.now();
      if (token === "" || form.hidden === false || isAsking || nowMs < nextMs || nowMs - askedMs < refreshMs - 50)
        return;
      void ask();
    },
    age,
  };
}

/** @param {readonly string[]} labels @param {Peer} peer @param {number} nowMs */
function rowOf(
  labels,
  { tokenId, nodeId, publicKey, endpoint, allowedIps, latestHandshakeAt, rxBytes, txBytes },
  nowMs,
) {
  const seconds = latestHandshakeAt === null ? undefined : (nowMs - latestHandshakeAt) / 1000;
  const isConnected = seconds !== undefined && seconds < CONNECTED_SECONDS;
  const handshake = make(
    "span",
    { class: "handshake" },
    seconds === undefined ? "never" : ago(Math.floor(seconds)),
    make("small", {}, isConnected ? "connected" : "not connected"),
  );
  handshake.dataset["standing"] = isConnected ? "healthy" : "waiting";
  return row(
    labels,
    [
      [foreign(nodeId), make("small", {}, `token ${tokenId}`)],
      handshake,
      endpoint === "" ? "none yet" : endpoint,
      bytes(rxBytes),
      bytes(txBytes),
      allowedIps.flatMap((each, index) => (index === 0 ? [each] : [document.createElement("br"), each])),
      make("code", {}, publicKey),
    ],
    new Set([3, 4]),
  );
}
