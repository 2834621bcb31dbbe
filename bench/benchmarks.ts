/** All benchmarks, in the order of the table. */
import type { Benchmark } from "./benchmark.ts";
import { fill, fullPass, limits } from "./device.ts";
import { following } from "./following.ts";
import { idle, memory, start } from "./footprint.ts";
import { hotPath } from "./hot-path.ts";
import { http } from "./http.ts";
import { polling, wakeUp } from "./latency.ts";
import { loss } from "./loss.ts";
import { replies } from "./replies.ts";
import { coldSync, ranges, tokenScan } from "./sync.ts";

const DEVICE = [hotPath, loss, fill, fullPass, start, memory, idle, limits];
const CHAIN = [wakeUp, polling, following, coldSync, tokenScan, ranges, replies, http];

export const BENCHMARKS: readonly Benchmark[] = [...DEVICE, ...CHAIN];
