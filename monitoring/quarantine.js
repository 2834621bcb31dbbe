/** Tokens that are active on the chain and get no peer: how many, why, and what ends it. Pure. */

/**
 * @typedef {import("./journal.js").Line} Line
 * @typedef {{ tokenId: string, name: string }} Named
 * @typedef {{ code: string, meaning: string, fewest: number, most: number, named: readonly Named[] }} Row
 */

/** @type {Readonly<Record<string, string>>} */
export const MEANINGS = {
  "grant.unconfirmed": "The grant is in too few blocks yet. It enters by itself.",
  "key.unread": "Its owner announced a new key, and the contract is being asked for which token. It enters by itself.",
  "key.missing": "No key is registered. Its holder has to register one.",
  "key.malformed": "The key is not 32 bytes in base64. Its holder has to register another.",
  "key.weak": "The key is one that everybody knows the secret of. Its holder has to register another.",
  "key.own": "The key is the node's own, on another token. Its holder has to register another.",
  "key.claimed": "Another owner's token had this key first. Its holder has to register another.",
  "address.reserved": "The token's id has no address in the overlay.",
  "address.exhausted": "The token's id is beyond the overlay's addresses.",
  "cap.owner": "Its owner has more tokens than MAX_TOKENS_PER_OWNER.",
  "cap.total": "There are more tokens than MAX_PEERS.",
};

/** How many tokens a row names. */
const NAMED = 5;

/**
 * Most first. Nodes may differ for a moment, and for good where a key is one node's own: then `fewest` < `most`.
 * @param {readonly Readonly<Record<string, number>>[]} counts of each node that answers
 * @param {readonly Line[]} lines newest first
 * @returns {Row[]}
 */
export function quarantined(counts, lines) {
  const codes = new Set(counts.flatMap((each) => Object.keys(each)));
  const named = namedTokens(lines);
  const rows = [...codes].map((code) => {
    const each = counts.map((count) => count[code] ?? 0);
    return {
      code,
      meaning: Object.hasOwn(MEANINGS, code) ? String(MEANINGS[code]) : "",
      fewest: Math.min(...each),
      most: Math.max(...each),
      named: (named.get(code) ?? []).slice(0, NAMED),
    };
  });
  return rows.sort((a, b) => b.most - a.most || a.code.localeCompare(b.code));
}

/** A token is where its newest line says that it is: any line after the judgement means that it was judged again. @param {readonly Line[]} lines */
function namedTokens(lines) {
  const seen = new Set();
  /** @type {Map<string, Named[]>} */
  const found = new Map();
  for (const { kind, fields } of lines) {
    const { tokenId, code } = fields;
    if (tokenId === undefined || seen.has(tokenId)) continue;
    seen.add(tokenId);
    if (kind !== "quarantine" || code === undefined) continue;
    found.set(code, [...(found.get(code) ?? []), { tokenId, name: fields["nodeId"] ?? "" }]);
  }
  return found;
}
