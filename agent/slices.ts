/** Much work at once, cut so that others have their turns in between, and so that one bad item costs the others nothing. */
import type { Outcome } from "./wireguard/apply.ts";

/** Some 50 ms of the device: what a revoke waits for at most while a large device is filled. */
export const SLICE = 800;
/** Slices that fail before the rest is left for later: a device that takes nobody is not asked for each. */
const PATIENCE = 24;

/**
 * Each slice is a transaction of its own, and what one did stays when a later one fails. A slice that was rolled back is
 * halved until whatever is at fault stands alone. @returns applied when nothing is left undone
 */
export async function inSlices<T>(
  items: readonly T[],
  carryOut: (slice: readonly T[]) => Promise<Outcome>,
): Promise<Outcome> {
  const slices: (readonly T[])[] = [];
  for (let from = 0; from < items.length; from += SLICE) slices.push(items.slice(from, from + SLICE));
  slices.reverse();
  let failures = 0;
  let left: Outcome = { kind: "applied" };
  for (let slice = slices.pop(); slice !== undefined; slice = slices.pop()) {
    const outcome = await carryOut(slice);
    if (outcome.kind === "applied") continue;
    failures++;
    // One that does not answer would be waited for each time.
    const isHopeless = outcome.kind === "failed" || outcome.error.fault.code === "device.command-timeout";
    if (isHopeless || failures >= PATIENCE) return outcome;
    if (slice.length === 1) left = outcome;
    else slices.push(slice.slice(slice.length >> 1), slice.slice(0, slice.length >> 1));
  }
  return left;
}
