/** Texts from the chain, made fit to be looked at: whatever hides, moves or imitates is named instead of obeyed. Pure. */

/**
 * Controls, direction marks, unassigned and private characters, lone surrogates, everything of zero width, fillers,
 * and spaces that are not the space: Unicode general categories C, Zl, Zp, Zs, and Default_Ignorable_Code_Point.
 */
const UNSEEN = /(?! )[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}\u2800]/gu;

/**
 * @typedef {{ text: string, isNamed: boolean }} Piece `isNamed`: `text` is the name of a character, such as `U+202E`
 * @param {string} text
 * @returns {Piece[]}
 */
export function pieces(text) {
  /** @type {Piece[]} */
  const found = [];
  let end = 0;
  for (const match of text.matchAll(UNSEEN)) {
    if (match.index > end) found.push({ text: text.slice(end, match.index), isNamed: false });
    found.push({ text: nameOf(match[0]), isNamed: true });
    end = match.index + match[0].length;
  }
  if (end < text.length) found.push({ text: text.slice(end), isNamed: false });
  return found;
}

/** @param {string} character */
function nameOf(character) {
  return `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;
}
