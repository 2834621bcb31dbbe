/** Upstreams that are on another fork than the one that we follow, and what that fork tells. */
import type { AccessEvent, Address, Block, BlockRef, Trail } from "../model.ts";
import { decodeLogs, TOPICS } from "./events.ts";
import { blockByNumber, headOf, logs } from "./questions.ts";
import { type AskRange, readRanges } from "./ranges.ts";
import type { Reach } from "./reach.ts";
import { isBlock } from "./route.ts";
import { type Rpc, RpcError, type UpstreamStatus } from "./rpc.ts";
import { tipOf } from "./walk.ts";

/**
 * By the heads that were told last, whoever is on another fork, or may be: further ahead than one block, or where we hold
 * none. Nobody is asked, and an only upstream has no rival.
 */
export function rivals(rpc: Pick<Rpc, "upstreams">, trail: Trail): string[] {
  const told = rpc.upstreams().filter(({ healthy }) => healthy);
  const tip = tipOf(trail);
  const isElsewhere = ({ headBlock = -1, headHash, headParent }: UpstreamStatus) => {
    if (headBlock === tip.number + 1 && headParent !== undefined) return headParent !== tip.hash;
    if (headBlock > tip.number) return true;
    // Of a block that was passed over while catching up there is no hash.
    const ours = trail.unfinal.find(({ number }) => number === headBlock);
    if (ours === undefined) return headBlock > trail.final.number;
    return headHash !== undefined && headHash !== ours.hash;
  };
  return told.length < 2 ? [] : told.filter(isElsewhere).map(({ name }) => name);
}

/** DESIGN section 5, "Freshness". */
const STALLED_SECONDS = 45;

/** Whether a head is too old beside those that upstreams told last. */
export function hasStalled(
  { timestamp }: Pick<Block, "timestamp">,
  rpc: Pick<Rpc, "upstreams">,
  wallMs: number,
): boolean {
  return timestamp < Math.min(newestOf(rpc.upstreams()), wallMs / 1000) - STALLED_SECONDS;
}

/** Our clock bounds what a head claims, and may be ahead of the chain's: of three that move, one alone makes nobody old. */
function newestOf(upstreams: readonly UpstreamStatus[]): number {
  const healthy = upstreams.filter((one) => one.healthy);
  const moving = healthy.filter(({ isMoving }) => isMoving);
  const times = (moving.length > 0 ? moving : healthy).map(({ headTimestamp = 0 }) => headTimestamp);
  return times.toSorted((a, b) => b - a)[times.length > 2 ? 1 : 0] ?? 0;
}

/** Where an upstream is that we do not follow; `level`: it has our newest block. */
export interface Place {
  readonly kind: "elsewhere" | "behind" | "level";
  readonly head: Block;
}

/** @param followed has what we have passed over. @throws as `ask` does */
export async function placeOf(
  rpc: Rpc,
  name: string,
  trail: Trail,
  followed: string | undefined,
  signal: AbortSignal,
): Promise<Place> {
  const choice = { only: name, signal };
  const tip = tipOf(trail);
  const { value: head } = await rpc.ask(headOf("latest"), choice);
  const isBelow = head.number < tip.number;
  const theirs = isBelow ? head : (await rpc.ask(blockByNumber(tip.number), choice)).value;
  let ours: BlockRef | undefined = trail.unfinal.find(({ number }) => number === theirs.number);
  if (ours === undefined && theirs.number > trail.final.number && followed !== undefined && followed !== name) {
    ours = (await rpc.ask(blockByNumber(theirs.number), { only: followed, signal })).value;
  }
  if (ours !== undefined && ours.hash !== theirs.hash) return { kind: "elsewhere", head };
  return { kind: isBelow ? "behind" : "level", head };
}

/** The newest of our unfinal blocks that the upstream has, too, by halving; undefined where it has none. @throws as `ask` does */
export async function sharedBlock(
  rpc: Rpc,
  name: string,
  { unfinal }: Trail,
  signal: AbortSignal,
): Promise<BlockRef | undefined> {
  const has = async ({ number, hash }: BlockRef) => {
    const told = await rpc.ask(blockByNumber(number), { only: name, signal }).catch(absentIsUndefined);
    return told?.value.hash === hash;
  };
  let shared: BlockRef | undefined;
  let open = unfinal;
  while (open.length > 0) {
    const middle = Math.floor(open.length / 2);
    const block = open[middle] as BlockRef;
    if (await has(block)) [shared, open] = [block, open.slice(middle + 1)];
    else open = open.slice(0, middle);
  }
  return shared;
}

const absentIsUndefined = (error: unknown): undefined => {
  if (!(error instanceof RpcError) || error.kind !== "absent") throw error;
};

export interface Fork {
  readonly head: BlockRef;
  /** Above our final block. */
  readonly events: readonly AccessEvent[];
}

/** Undefined where it is on our chain after all, or has another final block than we: then nothing fits. @throws as `ask` does */
export async function forkOf(
  rpc: Rpc,
  address: Address,
  name: string,
  trail: Trail,
  followed: string | undefined,
  reach: Reach,
  signal: AbortSignal,
): Promise<Fork | undefined> {
  const { final } = trail;
  const choice = { only: name, signal };
  const { kind, head } = await placeOf(rpc, name, trail, followed, signal);
  if (kind !== "elsewhere") return undefined;
  if (!isBlock((await rpc.ask(blockByNumber(final.number), choice)).value, final)) return undefined;
  const ask: AskRange = (fromBlock, toBlock) => rpc.ask(logs({ address, topics: TOPICS, fromBlock, toBlock }), choice);
  const events: AccessEvent[] = [];
  for await (const piece of readRanges(final.number + 1, head.number, ask, reach)) {
    events.push(...decodeLogs(piece.logs));
  }
  return { head, events };
}
