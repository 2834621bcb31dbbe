/**
 * Pure: looks over JSON before it is parsed. Parsed values cost far more than their text: 4 MB of `{},` become
 * 141 MB, 8 MB of objects with ever new keys 170 MB and most of a second (each is a hidden class of its own), a few
 * hundred KB of `[[[[` a stack overflow. Whether it is JSON at all is for the parser to say.
 */

export const MAX_DEPTH = 64;
/** On average, beyond an allowance for short replies, whose few values lie closer. */
export const MIN_BYTES_PER_VALUE = 20;
/** Different names of object members; a block has some thirty. */
export const MAX_KEYS = 128;
const ALLOWANCE = 256;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;

/** What speaks against parsing `bytes`, or undefined. */
export function scan(bytes: Buffer): string | undefined {
  const limit = ALLOWANCE + Math.floor(bytes.length / MIN_BYTES_PER_VALUE);
  const keys = keysSeen(bytes);
  let values = 0;
  let depth = 0;
  for (let i = 0; i < bytes.length; i++) {
    switch (bytes[i]) {
      case QUOTE: {
        const start = i + 1;
        i = endOfString(bytes, start);
        if (!isKey(bytes, i + 1)) break;
        if (keys(start, i) > MAX_KEYS) return `it has more than ${MAX_KEYS} different keys`;
        break;
      }
      case 0x5b: // [
      case 0x7b: // {
        if (++depth > MAX_DEPTH) return `it is nested deeper than ${MAX_DEPTH}`;
        if (++values > limit) return TOO_DENSE;
        break;
      case 0x5d: // ]
      case 0x7d: // }
        depth--;
        break;
      case 0x2c: // ,
        if (++values > limit) return TOO_DENSE;
        break;
    }
  }
  return undefined;
}

const TOO_DENSE = `it holds more than one value per ${MIN_BYTES_PER_VALUE} bytes`;

/** Keys and short values end within these; what is longer is worth a native search. */
const NEAR = 24;

/** The index of the closing quote, or the length where there is none. */
function endOfString(bytes: Buffer, start: number): number {
  const near = Math.min(bytes.length, start + NEAR);
  let i = start;
  while (i < near && bytes[i] !== QUOTE) i += bytes[i] === BACKSLASH ? 2 : 1;
  if (i < near) return i;
  for (;;) {
    const quote = bytes.indexOf(QUOTE, i);
    if (quote === -1) return bytes.length;
    let before = quote - 1;
    while (before >= start && bytes[before] === BACKSLASH) before--;
    if ((quote - before) % 2 === 1) return quote;
    i = quote + 1;
  }
}

/** Counts different keys. Logs repeat the same nine: the last key of a length and ends is compared before the set is asked. */
function keysSeen(bytes: Buffer): (start: number, end: number) => number {
  const keys = new Set<string>();
  const last = new Int32Array(256);
  return (start, end) => {
    const length = end - start;
    const slot = (length * 31 + (bytes[start] ?? 0) * 7 + (bytes[end - 1] ?? 0)) & 255;
    const other = last[slot] ?? 0;
    let i = 0;
    while (i <= length && other > 0 && bytes[other + i] === bytes[start + i]) i++;
    if (i <= length) {
      keys.add(bytes.toString("latin1", start, end));
      last[slot] = start;
    }
    return keys.size;
  };
}

function isKey(bytes: Buffer, after: number): boolean {
  let i = after;
  while (bytes[i] === 0x20 || bytes[i] === 0x0a || bytes[i] === 0x0d || bytes[i] === 0x09) i++;
  return bytes[i] === COLON;
}
