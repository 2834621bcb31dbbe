/** The generations in `backups/`: how their files are named, and which ones stay. Pure. */

export interface Backup {
  readonly generation: number;
  /** Wall time in ms, whole seconds. */
  readonly writtenAt: number;
}

/** `wg0-00000042-20260801T120000Z.conf`; the interface, because two agents may share a directory. */
export function backupName(interfaceName: string, { generation, writtenAt }: Backup): string {
  const time = new Date(writtenAt).toISOString().slice(0, 19).replaceAll(/[-:]/g, "");
  return `${interfaceName}-${String(generation).padStart(8, "0")}-${time}Z.conf`;
}

/** Undefined for every file that is not a generation of this interface. */
export function parseBackupName(interfaceName: string, name: string): Backup | undefined {
  const match = /-([0-9]{8,15})-(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z\.conf$/.exec(name);
  if (match === null) return undefined;
  const [, generation, year, month, day, hours, minutes, seconds] = match;
  const writtenAt = Date.parse(`${year}-${month}-${day}T${hours}:${minutes}:${seconds}Z`);
  const backup = { generation: Number(generation), writtenAt };
  if (Number.isNaN(writtenAt) || backup.generation > MAX_GENERATION) return undefined;
  return backupName(interfaceName, backup) === name ? backup : undefined;
}

/** One a second for 272 years: a higher number was made up, and whoever counted on from it would run out of digits. */
const MAX_GENERATION = 2 ** 33;

const TIERS_MS = [60_000, 3_600_000, 86_400_000] as const;

/**
 * Which to keep of those there are, newest first, `limit` at most: half of them the newest as they come, and behind
 * these one a minute, one an hour and one a day, so that a busy hour does not push out last week.
 */
export function kept(backups: readonly Backup[], limit: number): Backup[] {
  const ranked = backups.toSorted((a, b) => b.generation - a.generation);
  if (ranked.length <= limit) return ranked;
  const keep = new Set(ranked.slice(0, Math.ceil(limit / 2)));
  const places = limit - keep.size;
  TIERS_MS.forEach((tierMs, index) => {
    // What one tier leaves free goes to the next, coarser one.
    const until = Math.ceil(limit / 2) + Math.ceil((places * (index + 1)) / TIERS_MS.length);
    const slots = new Set([...keep].map(({ writtenAt }) => Math.floor(writtenAt / tierMs)));
    for (const backup of ranked) {
      const slot = Math.floor(backup.writtenAt / tierMs);
      if (keep.size >= until) break;
      if (slots.has(slot)) continue;
      slots.add(slot);
      keep.add(backup);
    }
  });
  for (const backup of ranked) if (keep.size < limit) keep.add(backup);
  return ranked.filter((backup) => keep.has(backup));
}
