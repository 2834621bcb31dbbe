/** Ring 4: SIGKILL at system calls and at random moments, and calls that fail. `scripts/crash.sh` has them all. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FAILING } from "./crash-faults.ts";
import { drawn, nameOf, type Point } from "./crash-points.ts";
import { Ring } from "./crash-ring.ts";
import { whyNoStrace } from "./crash-strace.ts";
import { Chance } from "./story-seeds.ts";

const SEED = Number(process.env["SEED"] ?? Date.now() % 1_000_000);
const POINTS = 40;
const KILLS = 30;

const noStrace = whyNoStrace();
const isSkipped = noStrace !== "" && process.env["CI"] !== "true";
if (isSkipped) console.warn(`\nTHE CRASH RING IS SKIPPED: ${noStrace}.`);

describe.skipIf(isSkipped)(`an agent that dies anywhere, seed ${SEED}`, { timeout: 600_000 }, () => {
  let ring: Ring;
  let points: readonly Point[];
  beforeAll(async () => {
    expect(noStrace, "the crash ring cannot run here").toBe("");
    ring = await Ring.open(SEED);
    points = await ring.points();
  }, 120_000);
  afterAll(() => ring?.[Symbol.asyncDispose]());

  it("can be struck at every kind of call that it makes", () => {
    const kinds = new Set(points.map(({ phase, what }) => `${phase}: ${what}`));
    for (const kind of [
      "first-start: link private.key.….tmp",
      "first-start: spawn",
      "grants: fsync ledger.sqlite-wal",
      "revokes: spawn",
      "revokes: pwrite64 ledger.sqlite-wal",
      "full-pass: rename .wg0.conf.tmp",
      "full-pass: fsync backups",
      "shutdown: pwrite64 ledger.sqlite",
    ]) {
      expect(kinds).toContain(kind);
    }
  });

  it(`leaves whole files and the right peers behind at ${POINTS} calls`, async () => {
    const [wrong, missed]: [string[], string[]] = [[], []];
    for (const point of drawn(points, POINTS, new Chance(SEED))) {
      const { struck, problems } = await ring.killAt(point);
      if (struck === undefined) missed.push(nameOf(point));
      wrong.push(...problems.map((problem) => `${nameOf(point)}: ${problem}`));
    }
    expect(wrong, wrong.join("\n")).toEqual([]);
    // Calls are not the same in number each time.
    expect(missed.length, `${missed}`).toBeLessThan(POINTS / 4);
  });

  it(`and at ${KILLS} random moments under load`, async () => {
    const wrong: string[] = [];
    for (let n = 1; n <= KILLS; n++) {
      wrong.push(...(await ring.killUnderLoad(n)).map((problem) => `kill:${n}: ${problem}`));
    }
    expect(wrong, wrong.join("\n")).toEqual([]);
  });

  it.each(FAILING)("goes on, says so and makes good for it where $name of $path gives $errno", async (failing) => {
    const wrong = await ring.fail(failing);
    expect(wrong, wrong.join("\n")).toEqual([]);
  });

  it("costs the session of a holder not one packet", async () => {
    const { sent, lost } = await ring.pings();
    expect(sent).toBeGreaterThan(0);
    expect(lost).toBe(0);
  });
});
