/**
 * Pure: reads JSON piece by piece from its bytes, for replies that are too long to be made values of as a whole. It takes
 * what it is asked for or nothing, and looks at what it passes over no closer than finding its end needs.
 */

export const OPEN_BRACE = 0x7b;
export const CLOSE_BRACE = 0x7d;
export const OPEN_BRACKET = 0x5b;
export const CLOSE_BRACKET = 0x5d;
export const COMMA = 0x2c;
const COLON = 0x3a;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const ZERO = 0x30;
const X = 0x78;

/** Each byte as a digit of hex; of several, the bits add up. */
const [LOWER, UPPER, NONE] = [0, 1, 2];
const KIND = Uint8Array.from({ length: 256 }, (_, byte) => {
  const char = String.fromCharCode(byte);
  return /[0-9a-f]/.test(char) ? LOWER : /[A-F]/.test(char) ? UPPER : NONE;
});

/** Of a digit of hex: letters have the 0x40 bit, and their low bits begin with 1. */
const digitOf = (digit: number) => (digit & 0xf) + (digit >> 6) * 9;

/** Names of members, by their length. */
export type Names<Name extends string> = readonly (readonly { readonly name: Name; readonly bytes: Buffer }[])[];

export function namesOf<const Name extends string>(all: readonly Name[]): Names<Name> {
  const longest = Math.max(...all.map(({ length }) => length));
  return Array.from({ length: longest + 1 }, (_, length) =>
    all.filter((name) => name.length === length).map((name) => ({ name, bytes: Buffer.from(name) })),
  );
}

/** The last text of its kind, and where it stands: in a list, most repeat their neighbour's. */
export interface Last {
  at: number;
  text: string;
}

export class JsonCursor {
  readonly #bytes: Buffer;
  /** The index of the next byte. */
  at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** Takes this byte, a token by itself, if it is next. */
  takes(byte: number): boolean {
    this.#passSpace();
    if (this.#bytes[this.at] !== byte) return false;
    this.at++;
    return true;
  }

  isAtEnd(): boolean {
    this.#passSpace();
    return this.at >= this.#bytes.length;
  }

  /** The next member's name, taken with its colon: `""` where it is none of these, undefined where there is no name. */
  member<Name extends string>(names: Names<Name>): Name | "" | undefined {
    if (!this.takes(QUOTE)) return undefined;
    const start = this.at;
    const end = this.#quoteFrom(start);
    this.at = end + 1;
    if (!this.takes(COLON)) return undefined;
    for (const { name, bytes } of names[end - start] ?? []) if (this.#holds(start, bytes)) return name;
    return "";
  }

  /** So many bytes of hex behind `0x`, in lower case. */
  hex(bytes: number, last?: Last): string | undefined {
    this.#passSpace();
    const start = this.at;
    const end = start + 2 * bytes + 4;
    if (last !== undefined && last.text !== "" && this.#repeats(last.at, start, end)) {
      this.at = end;
      return last.text;
    }
    const kind = this.#passHex();
    if (kind === NONE || this.at !== end) return undefined;
    const text = kind === LOWER ? this.#between(start, end) : this.#between(start, end).toLowerCase();
    if (last !== undefined) [last.at, last.text] = [start, text];
    return text;
  }

  /** Any number of whole bytes of hex behind `0x`, as they are spelt. */
  anyHex(): string | undefined {
    this.#passSpace();
    const start = this.at;
    return this.#passHex() === NONE || (this.at - start) % 2 !== 0 ? undefined : this.#between(start, this.at);
  }

  /** `"0x1a"`, below 2^53. Leading zeros are let pass: some clients write them, and nothing depends on their absence. */
  quantity(): number | undefined {
    this.#passSpace();
    const start = this.at;
    const length = this.#passHex() === NONE ? 0 : this.at - start - 4;
    if (length < 1 || length > 16) return undefined;
    let number = 0;
    for (let i = start + 3; i < this.at - 1; i++) number = 16 * number + digitOf(this.#bytes[i] ?? 0);
    return Number.isSafeInteger(number) ? number : undefined;
  }

  /** A whole number of JSON's own. */
  natural(): number | undefined {
    this.#passSpace();
    let number: number | undefined;
    for (;;) {
      const digit = (this.#bytes[this.at] ?? 0) - ZERO;
      if (!(digit >= 0 && digit <= 9)) return number;
      number = 10 * (number ?? 0) + digit;
      this.at++;
    }
  }

  /** Whether these bytes are next; they are not taken. */
  isNext(bytes: Buffer): boolean {
    this.#passSpace();
    return this.#holds(this.at, bytes);
  }

  /** Passes over a value of any kind: up to the comma or bracket behind it. */
  pass(): void {
    let depth = 0;
    for (; this.at < this.#bytes.length; this.at++) {
      const byte = this.#bytes[this.at];
      if (byte === QUOTE) this.at = this.#quoteFrom(this.at + 1);
      else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth++;
      else if (depth === 0 && (byte === COMMA || byte === CLOSE_BRACE || byte === CLOSE_BRACKET)) return;
      else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) depth--;
    }
  }

  #passSpace(): void {
    const bytes = this.#bytes;
    for (; this.at < bytes.length; this.at++) {
      const byte = bytes[this.at];
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return;
    }
  }

  /** Passes over `"0x…"`, and tells how its digits are spelt: NONE where there is no such text. */
  #passHex(): number {
    const bytes = this.#bytes;
    let i = this.at;
    if (bytes[i] !== QUOTE || bytes[i + 1] !== ZERO || bytes[i + 2] !== X) return NONE;
    let kind = LOWER;
    for (i += 3; ; i++) {
      const one = KIND[bytes[i] ?? 0] ?? NONE;
      if (one === NONE) break;
      kind |= one;
    }
    if (bytes[i] !== QUOTE) return NONE;
    this.at = i + 1;
    return kind;
  }

  /** The index of the first quote from here that no backslash stands before; the end where there is none. */
  #quoteFrom(start: number): number {
    const bytes = this.#bytes;
    let i = start;
    while (i < bytes.length && bytes[i] !== QUOTE) i += bytes[i] === BACKSLASH ? 2 : 1;
    return Math.min(i, bytes.length);
  }

  #holds(start: number, text: Buffer): boolean {
    for (let i = 0; i < text.length; i++) if (this.#bytes[start + i] !== text[i]) return false;
    return true;
  }

  /** Whether what stands from `start` to `end` stood at `earlier` too. */
  #repeats(earlier: number, start: number, end: number): boolean {
    const bytes = this.#bytes;
    if (end > bytes.length) return false;
    for (let i = start, j = earlier; i < end; i++, j++) if (bytes[i] !== bytes[j]) return false;
    return true;
  }

  /** Without the quotes at both ends. */
  #between(start: number, end: number): string {
    return this.#bytes.toString("latin1", start + 1, end - 1);
  }
}
