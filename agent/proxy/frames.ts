/**
 * The wire format of Mullvad's udp-over-tcp: each datagram is its length as a 16-bit big-endian number and that many
 * bytes, back to back; a length of zero is a datagram too. https://github.com/mullvad/udp-over-tcp#protocol
 */

export const HEADER_BYTES = 2;
/** What 16 bits can say; more than any UDP datagram holds. */
export const LONGEST_FRAME = HEADER_BYTES + 0xffff;

/** Writes the frame of `datagram` at `offset` and returns the offset behind it, or undefined where it does not fit. */
export function writeFrame(target: Buffer, offset: number, datagram: Uint8Array): number | undefined {
  const end = offset + HEADER_BYTES + datagram.length;
  if (end > target.length || datagram.length > 0xffff) return undefined;
  target[offset] = datagram.length >>> 8;
  target[offset + 1] = datagram.length & 0xff;
  target.set(datagram, offset + HEADER_BYTES);
  return end;
}

/** Cuts one TCP stream into datagrams; holds at most one unfinished datagram. */
export class FrameReader {
  #high: number | undefined; // the first header byte, while the second is missing
  #unfinished: Buffer | undefined;
  #filled = 0;

  /** Hands every datagram that `chunk` completes to `take`; they are views of `chunk` where they lie in it whole. */
  read(chunk: Buffer, take: (datagram: Buffer) => void): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#unfinished !== undefined) {
        at = this.#resume(this.#unfinished, chunk, at, take);
        continue;
      }
      const byte = chunk[at++] ?? 0;
      if (this.#high === undefined) {
        this.#high = byte;
        continue;
      }
      const length = (this.#high << 8) | byte;
      this.#high = undefined;
      if (at + length <= chunk.length) {
        take(chunk.subarray(at, at + length));
        at += length;
      } else {
        // Allocated for each such datagram: the one before may still wait in a UDP socket's queue.
        this.#unfinished = Buffer.allocUnsafe(length);
        this.#filled = 0;
      }
    }
  }

  #resume(unfinished: Buffer, chunk: Buffer, at: number, take: (datagram: Buffer) => void): number {
    const copied = chunk.copy(unfinished, this.#filled, at);
    this.#filled += copied;
    if (this.#filled === unfinished.length) {
      this.#unfinished = undefined;
      take(unfinished);
    }
    return at + copied;
  }
}
