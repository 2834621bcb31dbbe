/** All benchmarks, in the order of the table. */
import type { Benchmark } from "./benchmark.ts";

export const BENCHMARKS: readonly Benchmark[] = [];
