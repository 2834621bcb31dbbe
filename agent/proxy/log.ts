/** One event as one JSON line: a name and fields, never an address of a client. */
export type Log = (event: string, fields?: Readonly<Record<string, unknown>>) => void;

/** At most `perMinute` lines of one event, so that a flood of connections is not a flood of lines. */
export function createLog(write: (line: string) => void, now: () => number, perMinute = 30): Log {
  const seen = new Map<string, { since: number; lines: number; left: number }>();
  return (event, fields) => {
    const at = now();
    let entry = seen.get(event);
    if (entry === undefined || at - entry.since >= 60_000) {
      entry = { since: at, lines: 0, left: entry?.left ?? 0 };
      seen.set(event, entry);
    }
    if (entry.lines++ >= perMinute) {
      entry.left++;
      return;
    }
    const left = entry.left === 0 ? {} : { unwritten: entry.left };
    entry.left = 0;
    write(`${JSON.stringify({ time: new Date(at).toISOString(), event, ...fields, ...left })}\n`);
  };
}
