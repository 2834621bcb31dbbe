/** All benchmarks, in the order of the table. */
import type { Benchmark } from "./benchmark.ts";
import { coldSync, ranges, tokenScan } from "./sync.ts";

export const BENCHMARKS: readonly Benchmark[] = [coldSync, tokenScan, ranges];
