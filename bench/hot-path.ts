/** One change of access, from the registry to the device, however many peers there are. */
import { Lab } from "../agent/test/lab/lab.ts";
import type { Benchmark, Context } from "./benchmark.ts";
import { Corridor } from "./corridor.ts";
import { type Figure, figure, median, ratio } from "./figure.ts";
import { peers, sizes } from "./sizes.ts";

export const hotPath: Benchmark = {
  name: "hot-path",
  about: "one change from the registry to the device, among 10 to 60,000 peers",
  run,
};

async function run({ quick, log, signal }: Context): Promise<Figure[]> {
  await using lab = await Lab.open();
  await using opened = new AsyncDisposableStack();
  const corridors = new Map<number, Corridor>();
  for (const size of sizes(quick)) {
    log(`filling a device with ${peers(size)}`);
    corridors.set(size, opened.use(await Corridor.open(await lab.host(`hot-${size}`), size)));
  }
  const samples = new Map(sizes(quick).map((size) => [size, { ours: [] as number[], bare: [] as number[] }]));
  const rounds = quick ? 20 : 60;
  log(`${rounds} changes of each, in turns`);
  for (let round = 0; round < rounds; round++) {
    signal.throwIfAborted();
    for (const [size, corridor] of corridors) {
      // Of few peers no more than a fifth may go without a witness, so among ten there are grants alone.
      const isGrant = round % 2 === 0 || size < 100;
      const { ms } = await corridor.step(isGrant ? "grant" : "revoke");
      const { addMs, removeMs } = await corridor.step("set");
      samples.get(size)?.ours.push(ms);
      samples.get(size)?.bare.push(isGrant ? addMs : removeMs);
    }
  }
  const of = (size: number) => samples.get(size) ?? { ours: [], bare: [] };
  const [few, many] = [1_000, sizes(quick).at(-1) ?? 0];
  return [
    ratio({
      name: `one change among ${peers(many)}, against among ${peers(few)}`,
      ours: median(of(many).ours),
      theirs: { name: `among ${peers(few)}`, value: median(of(few).ours), unit: "ms" },
      ...(many === 60_000 ? { goal: 1.5 } : {}),
      note: `medians of ${rounds}, in turns`,
    }),
    ...sizes(quick).map((size) =>
      figure({
        ...{ name: `one change among ${peers(size)}`, value: median(of(size).ours), unit: "ms" },
        baseline: { name: "bare wg set", value: median(of(size).bare), unit: "ms" },
        note: "from poll to the end of wg set, without the RPC",
      }),
    ),
  ];
}
