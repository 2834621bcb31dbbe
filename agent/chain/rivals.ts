/** Upstreams that are on another fork than the one that we follow, and what that fork tells. */
import type { AccessEvent, Address, BlockRef, Trail } from "../model.ts";
import { decodeLogs, TOPICS } from "./events.ts";
import { blockByNumber, headOf, logs } from "./questions.ts";
import { type AskRange, readRanges } from "./ranges.ts";
import type { Reach } from "./reach.ts";
import { isBlock } from "./route.ts";
import type { Rpc } from "./rpc.ts";
import { tipOf } from "./walk.ts";

/** Of the heads that were told last, those that are another block in place of one of ours; nobody is asked. */
export function rivals(rpc: Pick<Rpc, "upstreams">, { unfinal }: Trail): string[] {
  const told = rpc.upstreams().filter(({ healthy }) => healthy);
  if (told.length < 2) return [];
  return told.flatMap(({ name, headBlock, headHash }) => {
    const ours = unfinal.find(({ number }) => number === headBlock);
    return ours !== undefined && headHash !== undefined && headHash !== ours.hash ? name : [];
  });
}

/** Whether it has another block where it has come to one of ours; whoever is only behind has none. @throws as `ask` does */
export async function isRival(rpc: Rpc, name: string, trail: Trail, signal: AbortSignal): Promise<boolean> {
  const choice = { only: name, signal };
  const tip = tipOf(trail);
  const { value: head } = await rpc.ask(headOf("latest"), choice);
  const theirs = head.number <= tip.number ? head : (await rpc.ask(blockByNumber(tip.number), choice)).value;
  const ours = trail.unfinal.find(({ number }) => number === theirs.number);
  return ours !== undefined && ours.hash !== theirs.hash;
}

/** One upstream's chain above our final block, whether or not it is ours. */
export interface Fork {
  readonly head: BlockRef;
  readonly events: readonly AccessEvent[];
}

/** Undefined where it has another final block than we: then nothing fits. @throws as `ask` does */
export async function forkOf(
  rpc: Rpc,
  address: Address,
  name: string,
  { final }: Trail,
  reach: Reach,
  signal: AbortSignal,
): Promise<Fork | undefined> {
  const choice = { only: name, signal };
  const { value: head } = await rpc.ask(headOf("latest"), choice);
  if (!isBlock((await rpc.ask(blockByNumber(final.number), choice)).value, final)) return undefined;
  const ask: AskRange = (fromBlock, toBlock) => rpc.ask(logs({ address, topics: TOPICS, fromBlock, toBlock }), choice);
  const events: AccessEvent[] = [];
  for await (const piece of readRanges(final.number + 1, head.number, ask, reach)) {
    events.push(...decodeLogs(piece.logs));
  }
  return { head, events };
}
