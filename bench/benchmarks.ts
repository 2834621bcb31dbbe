/** All benchmarks, in the order of the table. */
import type { Benchmark } from "./benchmark.ts";
import { fill, fullPass, limits } from "./device.ts";
import { hotPath } from "./hot-path.ts";
import { http } from "./http.ts";
import { polling, wakeUp } from "./latency.ts";
import { coldSync, ranges, tokenScan } from "./sync.ts";

const DEVICE = [hotPath, fill, fullPass, limits];
const CHAIN = [wakeUp, polling, coldSync, tokenScan, ranges, http];

export const BENCHMARKS: readonly Benchmark[] = [...DEVICE, ...CHAIN];
