/** Figures over time, kept in the page for a day: every sample for an hour, then one a minute. Pure. */

export const FULL_MS = 3_600_000;
export const KEPT_MS = 86_400_000;
const MINUTE_MS = 60_000;
/** Without a sample for longer than this there is a gap, and no line is drawn over it. */
const GAP_MS = 150_000;

/**
 * @typedef {number | null} Value null is unknown
 * @typedef {{ at: number, values: readonly Value[] }} Sample
 * @typedef {"mean" | "max"} Merge what stands for a minute: its mean, or its worst
 * @typedef {{ minutes: readonly Sample[], recent: readonly Sample[] }} History both ascending; `recent` is the later
 */

/** @type {History} */
export const EMPTY = { minutes: [], recent: [] };

/**
 * @param {History} history
 * @param {Sample} sample
 * @param {readonly Merge[]} merges one per value
 * @returns {History}
 */
export function added({ minutes, recent }, sample, merges) {
  const last = recent.at(-1) ?? minutes.at(-1);
  // A clock that was set back leaves no order to keep: what was before is dropped.
  if (last !== undefined && sample.at < last.at) return { minutes: [], recent: [sample] };
  if (sample.at === last?.at) return { minutes, recent: [...recent.slice(0, -1), sample] };
  const all = [...recent, sample];
  const isOld = (/** @type {Sample} */ { at }) => minuteOf(at) + MINUTE_MS <= sample.at - FULL_MS;
  const fresh = all.findIndex((each) => !isOld(each));
  if (fresh === 0 && (minutes[0]?.at ?? sample.at) >= sample.at - KEPT_MS) return { minutes, recent: all };
  const thinned = [...Map.groupBy(all.slice(0, fresh), ({ at }) => minuteOf(at)).values()];
  return {
    minutes: [...minutes, ...thinned.map((samples) => merged(samples, merges))].filter(
      ({ at }) => at >= sample.at - KEPT_MS,
    ),
    recent: all.slice(fresh),
  };
}

/**
 * What a chart draws: a column of times in seconds, then one column per value.
 * @param {History} history
 * @param {number} from
 * @param {number} width values per sample
 * @returns {Value[][]}
 */
export function columns({ minutes, recent }, from, width) {
  const found = [...minutes, ...recent].filter(({ at }) => at >= from);
  /** @type {Value[][]} */
  const all = Array.from({ length: width + 1 }, () => []);
  let before = found[0]?.at ?? 0;
  for (const { at, values } of found) {
    if (at - before > GAP_MS) all.forEach((column, index) => void column.push(index === 0 ? (at - 1) / 1000 : null));
    all.forEach((column, index) => void column.push(index === 0 ? at / 1000 : (values[index - 1] ?? null)));
    before = at;
  }
  return all;
}

/** @param {number} at */
const minuteOf = (at) => Math.floor(at / MINUTE_MS) * MINUTE_MS;

/**
 * @param {readonly Sample[]} samples of one minute, at least one
 * @param {readonly Merge[]} merges
 * @returns {Sample}
 */
function merged(samples, merges) {
  return {
    at: samples[0]?.at ?? 0,
    values: merges.map((merge, index) => {
      const known = samples.map(({ values }) => values[index]).filter((value) => typeof value === "number");
      if (known.length === 0) return null;
      return merge === "max" ? Math.max(...known) : known.reduce((sum, value) => sum + value, 0) / known.length;
    }),
  };
}
