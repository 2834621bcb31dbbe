/** Pure: unfinal blocks whose logs are read again before they are final, and when (DESIGN section 5). */
import type { BlockRef } from "../model.ts";
import type { Emptiness } from "./bloom.ts";

export interface Doubt {
  readonly block: BlockRef;
  /** The bloom says that logs are missing. */
  readonly isPressing: boolean;
  /** The head from which on it is read again. */
  readonly due: number;
}

/** An upstream indexes logs later than it announces the block, mostly by one block. */
const OVERLAP = 1;
/** How deep a block is when its logs should long be there. */
export const SETTLED_DEPTH = 10;
/** Blocks that nothing speaks against are read again together. */
const TOGETHER = 10;

/**
 * What there is to doubt about a block just read. `emptiness` is absent where it had logs; `isFresh`: read as soon as it
 * was announced.
 */
export function doubtOf(block: BlockRef, emptiness: Emptiness | undefined, isFresh: boolean): Doubt | undefined {
  if (emptiness === "sure") return undefined;
  const wait = emptiness === undefined || !isFresh ? SETTLED_DEPTH : OVERLAP;
  return { block, isPressing: emptiness === "unlikely", due: block.number + wait };
}

export interface Due {
  /** To be read one by one, pinned by hash. */
  readonly singly: readonly BlockRef[];
  /** To be read by range; empty, or ascending. */
  readonly together: readonly BlockRef[];
  readonly rest: readonly Doubt[];
}

export function dueAt(head: number, doubts: readonly Doubt[]): Due {
  const isEarly = ({ block, due }: Doubt) => due < block.number + SETTLED_DEPTH;
  const due = doubts.filter((doubt) => doubt.due <= head);
  const single = due.filter((doubt) => doubt.isPressing || isEarly(doubt));
  const patient = due.filter((doubt) => !single.includes(doubt));
  const together = patient.length >= TOGETHER ? patient : [];
  const rest = doubts.filter((doubt) => !single.includes(doubt) && !together.includes(doubt));
  const later = single.filter(isEarly).map((doubt) => ({ ...doubt, due: doubt.block.number + SETTLED_DEPTH }));
  const blocks = (some: readonly Doubt[]) => some.map(({ block }) => block).sort((a, b) => a.number - b.number);
  return { singly: blocks(single), together: blocks(together), rest: [...rest, ...later] };
}
