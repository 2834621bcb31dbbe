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
  const keys = new Set<string>();
  let values = 0;
  let depth = 0;
  for (let i = 0; i < bytes.length; i++) {
    switch (bytes[i]) {
      case QUOTE: {
        const start = i + 1;
        i = endOfString(bytes, start);
        if (!isKey(bytes, i + 1)) break;
        keys.add(bytes.toString("latin1", start, i));
        if (keys.size > MAX_KEYS) return `it has more than ${MAX_KEYS} different keys`;
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

/** The index of the closing quote, or the length where there is none. */
function endOfString(bytes: Buffer, start: number): number {
  let i = start;
  while (i < bytes.length && bytes[i] !== QUOTE) i += bytes[i] === BACKSLASH ? 2 : 1;
  return i;
}

function isKey(bytes: Buffer, after: number): boolean {
  let i = after;
  while (bytes[i] === 0x20 || bytes[i] === 0x0a || bytes[i] === 0x0d || bytes[i] === 0x09) i++;
  return bytes[i] === COLON;
}
