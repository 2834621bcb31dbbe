import { describe, expect, it, test } from "vitest";
import { type Backup, backupName, kept, parseBackupName } from "./backups.ts";

describe("a backup's name", () => {
  const backup = { generation: 42, writtenAt: Date.UTC(2026, 7, 1, 12) };

  it("is its number and its time", () => {
    expect(backupName("wg0", backup)).toBe("wg0-00000042-20260801T120000Z.conf");
    expect(parseBackupName("wg0", "wg0-00000042-20260801T120000Z.conf")).toEqual(backup);
  });

  it("goes on behind the padding", () => {
    const late = { ...backup, generation: 1_234_567_890 };
    expect(parseBackupName("wg0", backupName("wg0", late))).toEqual(late);
  });

  test.each([
    ["another interface's", "wg1-00000042-20260801T120000Z.conf"],
    ["a longer interface's", "wg0-1-00000042-20260801T120000Z.conf"],
    ["one that is being written", ".wg0-00000042-20260801T120000Z.conf"],
    ["one without padding", "wg0-42-20260801T120000Z.conf"],
    ["one with a number that nobody reaches", "wg0-999999999999999-20260801T120000Z.conf"],
    ["one of no day", "wg0-00000042-20260231T120000Z.conf"],
    ["one of no month", "wg0-00000042-20261301T120000Z.conf"],
    ["somebody's copy", "wg0-00000042-20260801T120000Z.conf.orig"],
  ])("is not %s", (_, name) => {
    expect(parseBackupName("wg0", name)).toBeUndefined();
  });
});

const SECOND = 1_000;
const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** Writes a generation every `everyMs`, thinning after each; the ages of what is left, newest first. */
function ages(everyMs: number, forMs: number, limit: number): number[] {
  let backups: Backup[] = [];
  const end = DAY * 100 + forMs;
  for (let at = DAY * 100, generation = 1; at <= end; at += everyMs, generation++) {
    backups = kept([{ generation, writtenAt: at }, ...backups], limit);
  }
  return backups.map(({ writtenAt }) => end - writtenAt);
}

describe("what is kept", () => {
  it("is everything up to the limit", () => {
    expect(ages(SECOND, 9 * SECOND, 10)).toHaveLength(10);
  });

  test.each([1, 2, 3, 10, 1000])("is never more than %i", (limit) => {
    expect(ages(10 * SECOND, 6 * HOUR, limit).length).toBe(Math.min(limit, 2161));
  });

  it("always has the newest, half of the limit as they came", () => {
    expect(ages(SECOND, HOUR, 10).slice(0, 5)).toEqual([0, 1, 2, 3, 4].map((age) => age * SECOND));
    expect(ages(SECOND, HOUR, 1)).toEqual([0]);
  });

  it("reaches back minutes, hours and days, however busy the last minute was", () => {
    const left = ages(30 * SECOND, 3 * DAY, 10);
    const some = (from: number, to: number) => left.filter((age) => age > from && age <= to).length;
    expect(some(2 * 60 * SECOND, HOUR)).toBeGreaterThan(0);
    expect(some(HOUR, DAY)).toBeGreaterThan(0);
    expect(some(DAY, 3 * DAY)).toBeGreaterThan(0);
  });

  it("does not depend on a clock that was set back", () => {
    const clocked = [5, 4, 3, 2, 1].map((generation) => ({ generation, writtenAt: (10 - generation) * DAY }));
    expect(kept(clocked, 2).map(({ generation }) => generation)[0]).toBe(5);
  });
});
