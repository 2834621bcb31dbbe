/** `scripts/crash.sh`'s inner half: every point and many moments at which an agent can die, and what it leaves behind. */
import { parseArgs } from "node:util";
import { FAILING } from "./crash-faults.ts";
import { drawn, nameOf, type Point, pointOf } from "./crash-points.ts";
import { Ring } from "./crash-ring.ts";
import { Chance } from "./story-seeds.ts";

const { only: names, ...asked } = options();
const [points, kills, seed] = [whole(asked.points), whole(asked.kills), whole(asked.seed)];
const startedAt = performance.now();
let [passed, failed] = [0, 0];

console.log(`seed ${seed}`);
try {
  await using ring = await Ring.open(seed);
  if (names.length > 0) for (const name of names) await only(ring, name);
  else await everything(ring);
  const { sent, received, lost } = await ring.pings();
  count(`a holder's ${sent} pings meanwhile`, lost === 0 ? [] : [`${received} were answered`]);
} catch (error) {
  count("the ring itself, which ends here", [String(error)]);
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

function options() {
  const number = (fallback: number) => ({ type: "string", default: String(fallback) }) as const;
  try {
    const only = { type: "string", multiple: true, default: [] as string[] } as const;
    const all = { points: number(100_000), kills: number(500), seed: number(Date.now() % 1_000_000), only };
    return parseArgs({ options: all }).values;
  } catch (error) {
    return refuse(String(error));
  }
}

function whole(text: string): number {
  return /^[0-9]{1,9}$/.test(text) ? Number(text) : refuse(`${text} is no whole number`);
}

function refuse(why: string): never {
  console.error(`${why}; see scripts/crash.sh --help`);
  process.exit(64);
}

async function everything(ring: Ring): Promise<void> {
  const all = await ring.points();
  const chosen = drawn(all, points, new Chance(seed));
  console.log(`${all.length} points, ${chosen.length} of them chosen`);
  for (const [i, point] of chosen.entries()) {
    await strike(ring, point);
    progress(i + 1, chosen.length, "points");
  }
  for (let n = 1; n <= kills; n++) {
    count(`kill:${n}`, await ring.killUnderLoad(n));
    progress(n, kills, "random kills under load");
  }
  for (const n of FAILING.keys()) await fail(ring, n);
}

async function only(ring: Ring, name: string): Promise<void> {
  const point = pointOf(name);
  const [, kind, n] = /^(kill|fail):([0-9]+)$/.exec(name) ?? [];
  if (point !== undefined) await strike(ring, point);
  else if (kind === "kill") count(name, await ring.killUnderLoad(Number(n)));
  else if (kind === "fail") await fail(ring, Number(n));
  else throw new Error(`${name} is neither a point nor kill:N nor fail:N`);
}

async function strike(ring: Ring, point: Point): Promise<void> {
  const { struck, problems } = await ring.killAt(point);
  // Calls are not the same in number each time; a phase that ends without its last ones was killed at its end instead.
  count(`${nameOf(point)} (${struck ?? "not reached, and killed after it"})`, problems);
}

async function fail(ring: Ring, n: number): Promise<void> {
  const failing = FAILING[n];
  if (failing === undefined) throw new Error(`fail:${n} is not one of ${FAILING.length}`);
  count(`fail:${n} (${failing.name} of ${failing.path} with ${failing.errno})`, await ring.fail(failing));
}

function count(what: string, problems: readonly string[]): void {
  if (problems.length === 0) passed++;
  else failed++;
  if (problems.length > 0) console.log(`FAILED ${what}\n${problems.map((problem) => `    ${problem}`).join("\n")}`);
}

function progress(done: number, of: number, what: string): void {
  if (done % 25 !== 0 && done < of) return;
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  console.log(`${String(seconds).padStart(5)} s  ${done} of ${of} ${what}; ${passed} passed, ${failed} failed so far`);
}
