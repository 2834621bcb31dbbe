/** The administrator's table: who is connected from where. The token lives in a variable of this file, and nowhere else. */
import { byId, foreign, make, offer, put, row, tableById } from "./dom.js";
import { ago, bytes, count, counted } from "./format.js";
import { handshakeOf, listed, PAGE } from "./peers.js";
import { askPeers } from "./poll.js";

/**
 * @typedef {import("./peers.js").Peer} Peer
 * @typedef {import("./network.js").Node} Node
 */

/** Asking for a long list may take a twentieth of the time. */
const COST_FACTOR = 20;

/** @param {() => readonly Node[]} nodes as they stand now */
export function createAdmin(nodes) {
  const [form, input] = [byId("peers-form", HTMLFormElement), byId("peers-token", HTMLInputElement)];
  const [controls, select] = [byId("peers-controls", HTMLElement), byId("peers-node", HTMLSelectElement)];
  const [order, find] = [byId("peers-order", HTMLSelectElement), byId("peers-find", HTMLInputElement)];
  const [notice, note] = [byId("peers-notice", HTMLElement), byId("peers-note", HTMLElement)];
  const [pager, pageOf] = [byId("peers-pager", HTMLElement), byId("peers-page", HTMLElement)];
  const [previous, next] = [byId("peers-previous", HTMLButtonElement), byId("peers-next", HTMLButtonElement)];
  const { table, body, labels } = tableById("peers");

  let token = "";
  /** What was heard last of the chosen node. @type {{ peers: readonly Peer[], heardMs: number } | undefined} */
  let heard;
  /** When to ask again; never while an answer is awaited, or after one that asking again does not change. */
  let dueMs = Number.POSITIVE_INFINITY;
  /** An answer counts only if nothing else was asked since. */
  let questions = 0;
  let page = 0;
  let told = "";

  const chosen = () => nodes().find(({ name }) => name === select.value);
  const ask = async () => {
    dueMs = Number.POSITIVE_INFINITY;
    const question = ++questions;
    const listing = await askPeers(select.value, token);
    if (question !== questions) return;
    warn(listing.kind === "peers" ? "" : listing.why);
    if (listing.kind === "peers") {
      const nowMs = performance.now();
      heard = { peers: listing.peers, heardMs: nowMs };
      dueMs = nowMs + COST_FACTOR * listing.tookMs;
      open();
      show();
    } else if (form.hidden && listing.kind === "failed") {
      dueMs = 0;
    }
  };
  /** Another question than before: what was heard is no answer to it. */
  const askAnew = () => {
    [heard, page] = [undefined, 0];
    show();
    void ask();
  };
  const open = () => {
    if (form.hidden) return;
    form.hidden = true;
    controls.hidden = false;
    input.value = "";
    select.focus();
  };
  const forget = () => {
    questions++;
    [token, heard, dueMs] = ["", undefined, Number.POSITIVE_INFINITY];
    form.hidden = false;
    controls.hidden = true;
    warn("");
    show();
    input.focus();
  };
  /** @param {string} why empty for nothing */
  const warn = (why) => {
    notice.hidden = why === "";
    put(notice, why);
    table.classList.toggle("old", why !== "");
  };

  const show = () => {
    const { peers = [] } = heard ?? {};
    const list = listed(peers, { find: find.value, order: order.value, page });
    const nowMs = Date.now() + (chosen()?.skewMs ?? 0);
    const rows = list.shown.map((peer) => rowOf(labels, peer, nowMs));
    put(body, rows);
    page = list.page;
    table.hidden = rows.length === 0;
    pager.hidden = list.amount <= PAGE;
    [previous.disabled, next.disabled] = [page === 0, list.isLast];
    put(pageOf, `${count(page * PAGE + 1)} to ${count(page * PAGE + rows.length)} of ${count(list.amount)}`);
    const isAll = list.amount === peers.length;
    told = `${isAll ? "" : `${count(list.amount)} of `}${counted(peers.length, "peer")} of ${select.value}`;
    age();
  };
  const age = () => {
    note.hidden = heard === undefined;
    if (heard !== undefined) put(note, `${told}, heard ${ago((performance.now() - heard.heardMs) / 1000)}.`);
  };
  /** @param {number} to */
  const turnTo = (to) => {
    const [at, other] = document.activeElement === next ? [next, previous] : [previous, next];
    const isThere = document.activeElement === at;
    page = to;
    show();
    // A button that is switched off would lose the place of whoever works with the keyboard.
    if (isThere && at.disabled) other.focus();
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    token = input.value.trim();
    if (!/^[!-~]{1,256}$/.test(token)) return warn("A token is 1 to 256 printable characters without spaces.");
    // The first list is of a node that is there to give it.
    const isThere = (/** @type {Node} */ { answeredMs, failure }) => answeredMs !== undefined && failure === "";
    if (!nodes().some((node) => node === chosen() && isThere(node)))
      select.value = nodes().find(isThere)?.name ?? select.value;
    askAnew();
  });
  byId("peers-forget", HTMLButtonElement).addEventListener("click", forget);
  select.addEventListener("change", askAnew);
  order.addEventListener("change", () => turnTo(0));
  find.addEventListener("input", () => turnTo(0));
  previous.addEventListener("click", () => turnTo(page - 1));
  next.addEventListener("click", () => turnTo(page + 1));

  return {
    /** Asks again when it is time. */
    tick() {
      offer(
        select,
        nodes().map(({ name }) => name),
      );
      if (performance.now() >= dueMs) void ask();
    },
    age,
  };
}

/** @param {readonly string[]} labels @param {Peer} peer @param {number} nowMs */
function rowOf(labels, peer, nowMs) {
  const { ageSeconds, isConnected } = handshakeOf(peer, nowMs);
  const handshake = make(
    "span",
    { class: "handshake" },
    ageSeconds === undefined ? "never" : ago(ageSeconds),
    make("small", {}, isConnected ? "connected" : "not connected"),
  );
  handshake.dataset["standing"] = isConnected ? "healthy" : "waiting";
  const cells = [
    [foreign(peer.nodeId, "name"), make("small", {}, `token ${peer.tokenId}`)],
    handshake,
    peer.endpoint === "" ? "none yet" : make("code", {}, peer.endpoint),
    bytes(peer.rxBytes),
    bytes(peer.txBytes),
    peer.allowedIps.map((each) => make("code", { class: "line" }, each)),
    make("code", {}, peer.publicKey),
  ];
  return row(labels, cells, new Set([3, 4]));
}
