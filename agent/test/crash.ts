/** `scripts/crash.sh`'s inner half: every point and many moments at which an agent can die, and what it leaves behind. */
import { parseArgs } from "node:util";
import { FAILING } from "./crash-faults.ts";
import { drawn, nameOf, type Point, pointOf } from "./crash-points.ts";
import { Ring } from "./crash-ring.ts";
import { Chance } from "./story-seeds.ts";

const { values } = parseArgs({
  options: {
    points: { type: "string", default: "100000" },
    kills: { type: "string", default: "500" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    only: { type: "string", multiple: true, default: [] },
  },
});
const seed = Number(values.seed);
const startedAt = performance.now();
let [passed, failed] = [0, 0];

console.log(`seed ${seed}`);
await using ring = await Ring.open(seed);
if (values.only.length > 0) for (const name of values.only) await only(name);
else await everything();
const { sent, received, lost } = await ring.lost();
count(`a holder's ${sent} pings meanwhile`, lost === 0 ? [] : [`${received} were answered`]);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

async function everything(): Promise<void> {
  const all = await ring.points();
  const chosen = drawn(all, Number(values.points), new Chance(seed));
  console.log(`${all.length} points, ${chosen.length} of them chosen`);
  for (const [phase, points] of Map.groupBy(chosen, ({ phase }) => phase)) {
    for (const point of points) await strike(point);
    progress(`${phase}: ${points.length} points`);
  }
  for (let n = 1; n <= Number(values.kills); n++) {
    count(`kill:${n}`, await ring.killUnderLoad(n));
    if (n % 25 === 0) progress(`${n} random kills under load`);
  }
  for (const n of FAILING.keys()) await fail(n);
}

async function only(name: string): Promise<void> {
  const point = pointOf(name);
  const [, kind, n] = /^(kill|fail):([0-9]+)$/.exec(name) ?? [];
  if (point !== undefined) await strike(point);
  else if (kind === "kill") count(name, await ring.killUnderLoad(Number(n)));
  else if (kind === "fail") await fail(Number(n));
  else throw new Error(`${name} is neither a point nor kill:N nor fail:N`);
}

async function strike(point: Point): Promise<void> {
  const { struck, problems } = await ring.killAt(point);
  // Calls are not the same in number each time; a phase that ends without its last ones was killed at its end instead.
  count(`${nameOf(point)} (${struck ?? "not reached, and killed after it"})`, problems);
}

async function fail(n: number): Promise<void> {
  const failing = FAILING[n];
  if (failing === undefined) throw new Error(`fail:${n} is not one of ${FAILING.length}`);
  count(`fail:${n} (${failing.name} of ${failing.path} with ${failing.errno})`, await ring.fail(failing));
}

function count(what: string, problems: readonly string[]): void {
  if (problems.length === 0) passed++;
  else failed++;
  if (problems.length > 0) console.log(`FAILED ${what}\n${problems.map((problem) => `    ${problem}`).join("\n")}`);
}

function progress(what: string): void {
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  console.log(`${String(seconds).padStart(5)} s  ${what}; ${passed} passed, ${failed} failed so far`);
}
