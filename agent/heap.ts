/**
 * Keeps the heap near what it holds. V8 sizes its young generation by the machine's memory, and gives back what a burst
 * took only while a program goes on allocating: an agent that has read 10,000 tokens and then waits would keep 260 MB for
 * 34 MB of objects. Flags of ours and not of whoever starts us, so that they hold however that is done. The figures are
 * those of `scripts/bench.sh --only memory`.
 */
import { setFlagsFromString } from "node:v8";

// Read whenever that space grows, and so for all that is imported after this.
setFlagsFromString("--semi-space-growth-factor=1");

/** From now on memory goes before speed: while a long history is read it would cost twice the CPU time. */
export function preferSize(): void {
  setFlagsFromString("--optimize-for-size");
}
