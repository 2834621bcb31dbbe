/**
 * Logs by range, whatever the provider allows: some cap blocks (down to one), some results, some bytes or seconds, each
 * in words of its own, and some just leave out the rest. So no wording is read: any error means "less", and a round
 * number of logs means "perhaps not all".
 */
import { AgentError } from "../errors.ts";
import { headOf, logs, type RawLog } from "./questions.ts";
import { type Answer, type Choice, type Rpc, RpcError } from "./rpc.ts";
import { type Contract, hasWitness } from "./tip.ts";

/** Asks for the logs of the blocks `from` to `to`; `not` asks another upstream than this one, where there is one. */
export type AskRange = (from: number, to: number, not?: string) => Promise<Answer<readonly RawLog[]>>;

export interface Piece {
  readonly from: number;
  readonly to: number;
  readonly logs: readonly RawLog[];
}

/** How many blocks the upstreams bear; learned, and kept between polls. */
export interface Reach {
  size: number;
  /** The smallest range that is known to fail. */
  ceiling: number;
  /** The size is not being changed: it was found, or what is larger is left alone for a while. */
  isSettled: boolean;
  /** Answers since then, and how many it takes until a larger range is tried again. */
  answers: number;
  patience: number;
  /** Where a larger one is being tried: the size to go back to. */
  good: number | undefined;
  /** The most logs that each upstream has ever sent: it does not cut at fewer. */
  readonly most: Map<string, number>;
}

/** The most blocks that hosted providers commonly allow: a larger range is tried late, for nodes without a cap. */
const COMMON_CAP = 10_000;
const LARGEST = 1_000_000;
const PATIENCE = 16;

export function newReach(): Reach {
  return {
    ...{ size: COMMON_CAP, ceiling: Number.POSITIVE_INFINITY, good: undefined },
    ...{ isSettled: false, answers: 0, patience: PATIENCE, most: new Map() },
  };
}

/**
 * The logs of `from` to `to` in consecutive pieces, each complete as far as can be told. Reads ahead once the range
 * that upstreams bear is known.
 * @throws what `ask` threw, where a single block cannot be read
 */
export async function* readRanges(from: number, to: number, ask: AskRange, reach: Reach): AsyncGenerator<Piece> {
  const ahead: { from: number; to: number; logs: Promise<readonly RawLog[]> }[] = [];
  let next = from;
  while (next <= to || ahead.length > 0) {
    while (next <= to && ahead.length < (reach.isSettled ? READ_AHEAD : 1)) {
      const end = Math.min(to, next + reach.size - 1);
      const logs = whole(next, end, ask, reach);
      // Awaited in its turn; until then a failure is nobody's.
      logs.catch(() => {});
      ahead.push({ from: next, to: end, logs });
      next = end + 1;
    }
    const piece = ahead.shift();
    if (piece === undefined) break;
    let logs: readonly RawLog[];
    try {
      logs = await piece.logs;
    } catch (error) {
      if (piece.to === piece.from) throw error;
      shrink(reach, piece.to - piece.from + 1);
      // What was asked ahead is asked again, in ranges of the new size.
      ahead.length = 0;
      next = piece.from;
      continue;
    }
    if (piece.to - piece.from + 1 === reach.size) grow(reach, logs.length, to - piece.to);
    yield { from: piece.from, to: piece.to, logs };
  }
}

const READ_AHEAD = 3;

/**
 * Split and read again where the count looks like a limit; the union of both readings. Where it was none, the next range is
 * a little shorter: evenly spread logs would raise the same suspicion every time.
 */
async function whole(from: number, to: number, ask: AskRange, reach: Reach): Promise<readonly RawLog[]> {
  const { value: logs, upstream } = await consistent(from, to, ask);
  const most = reach.most.get(upstream) ?? 0;
  if (logs.length > most) reach.most.set(upstream, logs.length);
  if (!isRound(logs.length) || logs.length < most) return logs;
  if (from === to) {
    const again = await ask(from, to, upstream).catch(() => undefined);
    return again === undefined ? logs : [...logs, ...again.value];
  }
  const middle = Math.floor((from + to) / 2);
  const halves = [...(await whole(from, middle, ask, reach)), ...(await whole(middle + 1, to, ask, reach))];
  if (halves.length > logs.length) shrink(reach, to - from + 1);
  else if (to - from + 1 === reach.size) settle(reach, Math.floor(reach.size * 0.99));
  return [...logs, ...halves];
}

/** Providers that cut silently do it at 1,000, 2,000, 5,000, 10,000 and the like. */
function isRound(count: number): boolean {
  return count > 0 && count % 1_000 === 0;
}

/** An answer that contradicts itself is asked for once more, of another upstream where there is one. */
async function consistent(from: number, to: number, ask: AskRange): Promise<Answer<readonly RawLog[]>> {
  const first = await ask(from, to);
  if (contradiction(first.value) === undefined) return first;
  const second = await ask(from, to, first.upstream);
  const problem = contradiction(second.value);
  if (problem === undefined) return second;
  throw new AgentError({ code: "chain.reply-refused", method: "eth_getLogs", upstream: second.upstream, problem });
}

/** What cannot be true of any chain's logs; undefined where nothing is wrong. */
export function contradiction(logs: readonly RawLog[]): string | undefined {
  const hashes = new Map<number, string>();
  const numbers = new Map<string, number>();
  const places = new Map<string, RawLog>();
  for (const log of logs) {
    const hash = hashes.get(log.blockNumber);
    if (hash !== undefined && hash !== log.blockHash) return "one block has two hashes";
    if ((numbers.get(log.blockHash) ?? log.blockNumber) !== log.blockNumber) return "two blocks have one hash";
    hashes.set(log.blockNumber, log.blockHash);
    numbers.set(log.blockHash, log.blockNumber);
    const place = `${log.blockNumber}.${log.logIndex}`;
    const twin = places.get(place);
    if (twin !== undefined && !isSame(twin, log)) return "one place holds two logs";
    places.set(place, log);
  }
  return undefined;
}

function isSame(a: RawLog, b: RawLog): boolean {
  const topics = a.topics.length === b.topics.length && a.topics.every((topic, i) => topic === b.topics[i]);
  return topics && a.transactionHash === b.transactionHash && a.data.toLowerCase() === b.data.toLowerCase();
}

// --- the size of a range ---------------------------------------------------------------------------------------------

/** Back to what worked before something larger was tried; otherwise less, at a number of the kind that providers choose. */
function shrink(reach: Reach, failed: number): void {
  if (failed > reach.size) return;
  const isKnownGood = reach.good !== undefined && reach.good < failed;
  reach.ceiling = isKnownGood ? Math.min(reach.ceiling, failed) : failed;
  reach.size = isKnownGood ? (reach.good ?? 1) : Math.max(1, roundBelow(failed / 2));
  reach.good = undefined;
  reach.isSettled = false;
}

/** `remaining`: blocks still to read; looking for the exact cap costs failures, and pays on a long way only. */
function grow(reach: Reach, logs: number, remaining: number): void {
  const { size } = reach;
  if (reach.isSettled && ++reach.answers < reach.patience) return;
  if (size >= reach.ceiling) reach.ceiling = Number.POSITIVE_INFINITY;
  // The cap may have been an outage's, or that of a crowded stretch of blocks.
  const larger = reach.isSettled ? roundAbove(size) : largerThan(reach, remaining);
  if (reach.isSettled) reach.patience = Math.min(reach.patience * 2, 1_024);
  // A reply is capped at 8 MB, some 8,000 logs.
  const isBearable = larger !== undefined && larger <= LARGEST && (logs * larger) / size < 5_000;
  if (isBearable) {
    reach.good = size;
    reach.size = larger;
  }
  reach.isSettled = !isBearable;
  reach.answers = 0;
}

function largerThan({ size, ceiling }: Reach, remaining: number): number | undefined {
  const round = roundAbove(size);
  if (round < ceiling) return round <= COMMON_CAP || size > COMMON_CAP ? round : undefined;
  const between = Math.floor((size + ceiling) / 2);
  return between - size > size / 8 && remaining > 30 * size ? between : undefined;
}

function settle(reach: Reach, size: number): void {
  reach.size = Math.max(1, size);
  reach.good = undefined;
  reach.isSettled = true;
  reach.answers = 0;
}

/** 1, 2, 5, 10, 20, 50 … */
function roundBelow(limit: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, limit)));
  return [5, 2, 1].map((digit) => digit * power).find((round) => round <= limit) ?? 1;
}

function roundAbove(size: number): number {
  const power = 10 ** Math.floor(Math.log10(size));
  return [2, 5, 10].map((digit) => digit * power).find((round) => round > size) ?? 10 * power;
}

// --- asking ----------------------------------------------------------------------------------------------------------

/**
 * Prefers `upstream`, which told a head beyond the range: an upstream that lags answers with nothing, and means nothing.
 * `isWitness`: rather another one.
 */
export function rangeAsker(
  rpc: Rpc,
  { address, topics }: Contract,
  upstream: string,
  signal: AbortSignal,
  isWitness = false,
): AskRange {
  const isAlone = !hasWitness(rpc, upstream);
  const ask = async (fromBlock: number, toBlock: number, choice: Choice) => {
    const answer = await rpc.ask(logs({ address, topics, fromBlock, toBlock }), { ...choice, signal });
    if (answer.upstream !== upstream) await mustReach(rpc, answer.upstream, toBlock, signal);
    return answer;
  };
  return async (from, to, not) => {
    if (isAlone) return ask(from, to, {});
    if (not !== undefined) return ask(from, to, { not });
    try {
      return await ask(from, to, isWitness ? { not: upstream } : { only: upstream });
    } catch (error) {
      signal.throwIfAborted();
      // What says no to this range says yes to a smaller one; anything else another upstream may mend.
      if (error instanceof RpcError && error.kind === "limited") throw error;
      return ask(from, to, isWitness ? { only: upstream } : { not: upstream });
    }
  };
}

async function mustReach(rpc: Rpc, upstream: string, block: number, signal: AbortSignal): Promise<void> {
  const known = rpc.upstreams().find(({ name }) => name === upstream)?.headBlock;
  if (known !== undefined && known >= block) return;
  const { value } = await rpc.ask(headOf("latest"), { only: upstream, signal });
  if (value.number >= block) return;
  const problem = `its head is ${block - value.number} block(s) below the range`;
  throw new AgentError({ code: "chain.request-failed", method: "eth_getLogs", upstream, problem });
}
