import type { Socket } from "node:net";
import type { Flow } from "./figures.ts";
import { HEADER_BYTES, LONGEST_FRAME, writeFrame } from "./frames.ts";

/**
 * Datagrams on their way into one TCP stream. Two buffers take turns: one is filled while the other is being written,
 * so that a burst costs one write and no allocation, and a reader that does not keep up makes `push` say no; whatever
 * it does, no more than two buffers wait for it.
 */
export class Outbox {
  readonly #bufferBytes: number;
  readonly #written: Flow;
  // Made on first use: a connection that never carries a datagram costs nothing.
  #filling: Buffer | undefined;
  #spare: Buffer | undefined;
  #filled = 0;
  #datagrams = 0;
  #socket: Socket | undefined;
  #isWriting = false;
  #isDue = false;

  /** `bytes` for both buffers together; raised to what two datagrams of the largest size need. `written` counts. */
  constructor(bytes: number, written: Flow) {
    this.#bufferBytes = Math.max(LONGEST_FRAME, Math.floor(bytes / 2));
    this.#written = written;
  }

  get isEmpty(): boolean {
    return this.#datagrams === 0;
  }

  /** False: there is no room, the datagram is dropped. Without a socket it waits for `attach`. */
  push(datagram: Uint8Array): boolean {
    this.#filling ??= Buffer.allocUnsafeSlow(this.#bufferBytes);
    const end = writeFrame(this.#filling, this.#filled, datagram);
    if (end === undefined) return false;
    this.#filled = end;
    this.#datagrams++;
    if (!this.#isDue && !this.#isWriting && this.#socket !== undefined) {
      this.#isDue = true;
      // Behind every datagram of this turn of the event loop: one write for the burst.
      setImmediate(() => {
        this.#isDue = false;
        this.#flush();
      });
    }
    return true;
  }

  /** From now on what is pushed, and what waits, is written to `socket`: whole frames, from the first byte. */
  attach(socket: Socket): void {
    this.#socket = socket;
    this.#isWriting = false;
    this.#flush();
  }

  detach(): void {
    this.#socket = undefined;
    this.#isWriting = false;
    // The lost socket may still hold the other buffer.
    this.#spare = undefined;
  }

  /** Forgets what waits and says how many that were: a datagram that comes late is worth less than one that is lost. */
  clear(): number {
    const forgotten = this.#datagrams;
    this.#filled = 0;
    this.#datagrams = 0;
    return forgotten;
  }

  #flush(): void {
    const [socket, full] = [this.#socket, this.#filling];
    if (socket === undefined || full === undefined || this.#isWriting || this.#filled === 0) return;
    const frames = full.subarray(0, this.#filled);
    this.#filling = this.#spare;
    this.#spare = undefined;
    this.#written.datagrams += this.#datagrams;
    this.#written.bytes += this.#filled - HEADER_BYTES * this.#datagrams;
    this.clear();
    this.#isWriting = true;
    socket.write(frames, () => {
      if (this.#socket !== socket) return;
      this.#spare = full;
      this.#isWriting = false;
      this.#flush();
    });
  }
}
