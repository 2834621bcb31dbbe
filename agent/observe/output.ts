/** Lines to a file descriptor from a queue of its own, so that a reader who stops reading stops nobody else. */
import { write } from "node:fs";

export interface Output {
  write(line: string): void;
  /** Resolves when everything is written or given up, or after `patienceMs` if nobody reads. */
  flush(patienceMs: number): Promise<void>;
}

/** What waits beyond `maxWaitingBytes` is dropped, and how much is said in its place as soon as there is room. */
export function createOutput(fd: number, maxWaitingBytes: number, dropped: (lines: number) => string): Output {
  let [waiting, waitingBytes, isWriting, lost] = [[] as Buffer[], 0, false, 0];
  const idle: (() => void)[] = [];

  const settle = () => {
    isWriting = false;
    for (const resolve of idle.splice(0)) resolve();
  };
  const next = () => {
    if (lost > 0) {
      waiting.push(Buffer.from(dropped(lost)));
      lost = 0;
    }
    if (waiting.length === 0) return settle();
    const chunk = Buffer.concat(waiting);
    [waiting, waitingBytes] = [[], 0];
    push(chunk);
  };
  // fs.write runs on another thread: on a full pipe it waits there, and the event loop goes on.
  const push = (chunk: Buffer) => {
    write(fd, chunk, (error, written) => {
      if (error?.code === "EAGAIN") setTimeout(push, 20, chunk);
      // The reader is gone or the disk is full: there is nowhere left to say so.
      else if (error !== null) next();
      else if (written < chunk.length) push(chunk.subarray(written));
      else next();
    });
  };

  return {
    write(line) {
      const bytes = Buffer.from(line);
      if (waitingBytes + bytes.length > maxWaitingBytes) {
        lost++;
        return;
      }
      waiting.push(bytes);
      waitingBytes += bytes.length;
      if (isWriting) return;
      isWriting = true;
      // With the next turn, so that lines written together are one write.
      setImmediate(next);
    },
    flush: (patienceMs) =>
      new Promise((resolve) => {
        if (!isWriting) return resolve();
        const timer = setTimeout(resolve, patienceMs);
        idle.push(() => {
          clearTimeout(timer);
          resolve();
        });
      }),
  };
}
