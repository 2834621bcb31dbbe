/**
 * Logs by range, whatever the provider allows: some cap blocks (down to one), some results, some bytes or seconds, each
 * in words of its own, and some just leave out the rest. So no wording is read: any error means "less", and a round
 * number of logs means "perhaps not all".
 */
import { scheduler } from "node:timers/promises";
import { AgentError } from "../errors.ts";
import { byNumber, type Contract, completed, isRound, isTooMuch } from "./block-logs.ts";
import type { RawLog } from "./log-list.ts";
import { blockByNumber, headOf, logs } from "./questions.ts";
import { grow, MANY_LOGS, type Reach, settle, shrink } from "./reach.ts";
import { type Answer, type Choice, type Question, type Rpc, RpcError } from "./rpc.ts";
import { hasWitness } from "./tip.ts";

/** Asks for the logs of the blocks `from` to `to`; `not` asks another upstream than this one, where there is one. */
export type AskRange = (from: number, to: number, not?: string) => Promise<Answer<readonly RawLog[]>>;

export interface Piece {
  readonly from: number;
  readonly to: number;
  readonly logs: readonly RawLog[];
}

/**
 * The logs of `from` to `to` in consecutive pieces, each complete as far as can be told. Reads ahead once the range
 * that upstreams bear is known.
 * @throws what `ask` threw, where a single block cannot be read
 */
export async function* readRanges(from: number, to: number, ask: AskRange, reach: Reach): AsyncGenerator<Piece> {
  const ahead: { from: number; to: number; logs: Promise<readonly RawLog[]> }[] = [];
  let next = from;
  let isLight = true;
  while (next <= to || ahead.length > 0) {
    while (next <= to && ahead.length < (!reach.isSettled ? 1 : isLight ? AHEAD : AHEAD_OF_LONG)) {
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
      // A reply beyond our own cap of 8 MB says that there is far too much; what a provider refuses may be near.
      const isFlood = error instanceof AgentError && error.fault.code === "chain.reply-refused";
      shrink(reach, piece.to - piece.from + 1, isFlood ? 10 : 2);
      // What was asked ahead is asked again, in ranges of the new size.
      ahead.length = 0;
      next = piece.from;
      continue;
    }
    if (piece.to - piece.from + 1 === reach.size) grow(reach, logs.length, to - piece.to);
    isLight = logs.length < MANY_LOGS / 4;
    // Parsing, decoding and folding a long reply each take their turn, and leave one to others.
    if (!isLight) await scheduler.yield();
    yield { from: piece.from, to: piece.to, logs };
  }
}

/** How many replies are asked for at once: so many that an upstream is at work while we are, and few that wait in memory. */
const AHEAD = 3;
const AHEAD_OF_LONG = 2;

/**
 * Split and read again where the count looks like a limit, or where the logs end early; the union of both readings. Where it was none, the next range is
 * a little shorter: evenly spread logs would raise the same suspicion every time.
 */
async function whole(from: number, to: number, ask: AskRange, reach: Reach): Promise<readonly RawLog[]> {
  const { value: logs, upstream } = await consistent(from, to, ask);
  const most = reach.most.get(upstream) ?? 0;
  // One block's may have come kind by kind.
  if (logs.length > most && from !== to) reach.most.set(upstream, logs.length);
  if (logs.length < most) return logs;
  const isCut = isRound(logs.length) || reach.cuts.has(logs.length) || (from !== to && PAGES.has(logs.length));
  if (!isCut) return behind(from, to, logs, ask, reach);
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

/** How long a page is, where answers come in pages; one block may well have so many. */
const PAGES: ReadonlySet<number> = new Set([10, 20, 25, 50]);

/** Where the first so many logs may be all that was told, those behind them are asked for: the union of both readings. */
async function behind(
  from: number,
  to: number,
  logs: readonly RawLog[],
  ask: AskRange,
  reach: Reach,
): Promise<readonly RawLog[]> {
  const blocks = new Set(logs.map(({ blockNumber }) => blockNumber));
  const last = Math.max(from, ...blocks);
  const usualGap = (last - from + 1) / blocks.size;
  if (blocks.size < FEW_BLOCKS || to - last < LONG_SILENCE * usualGap) return logs;
  const next = last === from ? last + 1 : last;
  const rest = await whole(next, to, ask, reach);
  if (rest.some(({ blockNumber }) => blockNumber > last)) {
    reach.cuts.add(logs.length);
    shrink(reach, to - from + 1);
  }
  return [...logs, ...rest];
}

/** Where blocks with logs are spread evenly, chance hardly ever is to blame for a gap of ten. */
const LONG_SILENCE = 10;
const FEW_BLOCKS = 5;

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
  // What strictly ascends has no place twice: most answers need no index of ten thousand places.
  return ofBlocks(logs) ?? (isAscending(logs) ? undefined : ofPlaces(logs));
}

function ofBlocks(logs: readonly RawLog[]): string | undefined {
  const hashes = new Map<number, string>();
  const numbers = new Map<string, number>();
  let last: RawLog | undefined;
  for (const log of logs) {
    const { blockNumber, blockHash } = log;
    const isAgain = last?.blockNumber === blockNumber && last.blockHash === blockHash;
    last = log;
    if (isAgain) continue;
    if ((hashes.get(blockNumber) ?? blockHash) !== blockHash) return "one block has two hashes";
    if ((numbers.get(blockHash) ?? blockNumber) !== blockNumber) return "two blocks have one hash";
    hashes.set(blockNumber, blockHash);
    numbers.set(blockHash, blockNumber);
  }
  return undefined;
}

function isAscending(logs: readonly RawLog[]): boolean {
  return logs.every(({ blockNumber, logIndex }, i) => {
    const before = logs[i - 1];
    return (
      before === undefined ||
      blockNumber > before.blockNumber ||
      (blockNumber === before.blockNumber && logIndex > before.logIndex)
    );
  });
}

function ofPlaces(logs: readonly RawLog[]): string | undefined {
  const places = new Map<string, RawLog>();
  for (const log of logs) {
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

/**
 * Prefers `upstream`, which told a head beyond the range: an upstream that lags answers with nothing, and means nothing.
 * `isWitness`: rather another one.
 */
export function rangeAsker(
  rpc: Rpc,
  contract: Contract,
  upstream: string,
  signal: AbortSignal,
  isWitness = false,
): AskRange {
  const isAlone = !hasWitness(rpc, upstream);
  const ask = async (fromBlock: number, toBlock: number, choice: Choice, within?: { readonly deadlineMs: number }) => {
    const { address, topics } = contract;
    const question = { ...logs({ address, topics, fromBlock, toBlock }), ...within };
    const asking = { ...choice, signal };
    const answer = await (fromBlock === toBlock
      ? ofOneBlock(rpc, contract, fromBlock, question, asking)
      : rpc.ask(question, asking));
    if (answer.upstream !== upstream) await mustReach(rpc, answer.upstream, toBlock, signal);
    return answer;
  };
  // Whoever fails is asked last from then on: one that is silent costs its deadline each time. As long as nobody has,
  // it is a short one, for a revoke may wait behind it; where all are slow, each has its full time.
  const order: Choice[] = [{ only: upstream }, { not: upstream }];
  let haste: typeof HASTE | undefined = HASTE;
  if (isWitness) order.reverse();
  return async (from, to, not) => {
    if (isAlone) return ask(from, to, {});
    if (not !== undefined) return ask(from, to, { not });
    const [first = {}, second = {}] = order;
    try {
      return await ask(from, to, first, haste);
    } catch (error) {
      signal.throwIfAborted();
      // What says no to this range says yes to a smaller one; anything else another upstream may mend.
      if (from !== to && error instanceof RpcError && error.kind === "limited") throw error;
      haste = undefined;
      const answer = await ask(from, to, second);
      order.splice(0, 2, second, first);
      return answer;
    }
  };
}

const HASTE = { deadlineMs: 4_000 };

/** What cannot be split into smaller ranges is into kinds. */
async function ofOneBlock(
  rpc: Rpc,
  contract: Contract,
  number: number,
  question: Question<readonly RawLog[]>,
  choice: Choice,
): Promise<Answer<readonly RawLog[]>> {
  try {
    const answer = await rpc.ask(question, choice);
    const [log] = answer.value;
    if (log === undefined) return answer;
    return await completed(rpc, contract, { number, hash: log.blockHash }, answer, choice);
  } catch (error) {
    if (!isTooMuch(error)) throw error;
    const { value: block } = await rpc.ask(blockByNumber(number), choice);
    return byNumber(rpc, contract, block, choice);
  }
}

async function mustReach(rpc: Rpc, upstream: string, block: number, signal: AbortSignal): Promise<void> {
  const known = rpc.upstreams().find(({ name }) => name === upstream)?.headBlock;
  if (known !== undefined && known >= block) return;
  const { value } = await rpc.ask(headOf("latest"), { only: upstream, signal });
  if (value.number >= block) return;
  const problem = `its head is ${block - value.number} block(s) below the range`;
  throw new AgentError({ code: "chain.request-failed", method: "eth_getLogs", upstream, problem });
}
