/** All benchmarks, in the order of the table. */
import type { Benchmark } from "./benchmark.ts";
import { fill, fullPass, limits } from "./device.ts";
import { hotPath } from "./hot-path.ts";

export const BENCHMARKS: readonly Benchmark[] = [hotPath, fill, fullPass, limits];
