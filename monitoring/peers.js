/** What of a node's peers is looked at: found, ordered, and a page of it. Pure. */

/**
 * @typedef {import("./answers.js").Peer} Peer
 * @typedef {{ find: string, order: string, page: number }} Choice
 */

export const PAGE = 50;
/** WireGuard's Reject-After-Time: an older session carries nothing. */
const CONNECTED_SECONDS = 180;

/** @type {Readonly<Record<string, (a: Peer, b: Peer) => number>>} */
const ORDERS = {
  handshake: (a, b) => (b.latestHandshakeAt ?? 0) - (a.latestHandshakeAt ?? 0),
  traffic: (a, b) => traffic(b) - traffic(a),
  // Ids are longer than numbers are exact.
  token: (a, b) => a.tokenId.length - b.tokenId.length || (a.tokenId < b.tokenId ? -1 : 1),
};

/**
 * `page` is the nearest that there is, counted from 0; `amount` is of all that are found.
 * @param {readonly Peer[]} peers
 * @param {Choice} choice
 */
export function listed(peers, { find, order, page }) {
  const found = peers.filter((peer) => isFound(peer, find)).sort(ORDERS[order]);
  const last = Math.max(0, Math.ceil(found.length / PAGE) - 1);
  const nearest = Math.min(Math.max(0, page), last);
  const shown = found.slice(nearest * PAGE, (nearest + 1) * PAGE);
  return { shown, amount: found.length, page: nearest, isLast: nearest === last };
}

/** @param {Peer} peer @param {string} find */
function isFound({ tokenId, nodeId, publicKey, endpoint, allowedIps }, find) {
  const text = [tokenId, nodeId, publicKey, endpoint, ...allowedIps].join("\n").toLowerCase();
  return text.includes(find.trim().toLowerCase());
}

/** @param {Peer} peer @param {number} nowMs by the node's clock */
export function handshakeOf({ latestHandshakeAt }, nowMs) {
  if (latestHandshakeAt === null) return { ageSeconds: undefined, isConnected: false };
  const ageSeconds = Math.max(0, Math.floor((nowMs - latestHandshakeAt) / 1000));
  return { ageSeconds, isConnected: ageSeconds < CONNECTED_SECONDS };
}

/** @param {Peer} peer */
const traffic = ({ rxBytes, txBytes }) => (rxBytes ?? 0) + (txBytes ?? 0);
