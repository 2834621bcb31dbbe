/** Ways in which an upstream may answer: each puts a lie in front of the truth, and they can be joined. */
import type { Backend } from "./scripted-chain.ts";

export type Log = { topics: string[]; data: string; blockNumber: string; blockHash: string; logIndex: string };
export type Way = (truth: Backend) => Backend;
export const honest: Way = (truth) => truth;
export const both =
  (...ways: Way[]): Way =>
  (truth) =>
    ways.reduce((answer, way) => way(answer), truth);

/** What the answers to eth_getLogs hold, changed. */
export const changing =
  (change: (logs: Log[]) => unknown[]): Way =>
  (truth) =>
  async (method, params) => {
    const outcome = await truth(method, params);
    if (method !== "eth_getLogs" || !("result" in outcome)) return outcome;
    return { result: change(outcome.result as Log[]) };
  };
export const bloomed =
  (digit: string): Way =>
  (truth) =>
  async (method, params) => {
    const outcome = await truth(method, params);
    if (!method.startsWith("eth_getBlock") || !("result" in outcome) || outcome.result === null) return outcome;
    return { result: { ...(outcome.result as object), logsBloom: `0x${digit.repeat(512)}` } };
  };
/** State as it was at this block, whatever block is asked for; of blocks that it has. */
export const stateAt =
  (block: number): Way =>
  (truth) =>
  async (method, params) => {
    const outcome = await truth(method, params);
    if (method !== "eth_call" || "error" in outcome) return outcome;
    return truth(method, [params[0], `0x${block.toString(16)}`]);
  };

export const refusing =
  (refused: (method: string, params: readonly unknown[]) => boolean, error: object): Way =>
  (truth) =>
  (method, params) =>
    refused(method, params) ? { error: error as never } : truth(method, params);
