/** The logs of one block, by whatever question an upstream answers. */
import { AgentError } from "../errors.ts";
import { type Address, AFTER_LOGS, type BlockRef, type Hash, ZERO_HASH } from "../model.ts";
import type { RawLog } from "./log-list.ts";
import { logs } from "./questions.ts";
import { isOversize } from "./reply.ts";
import { Moved } from "./route.ts";
import { type Answer, type Choice, type Rpc, RpcError, refusesForm } from "./rpc.ts";

export interface Contract {
  readonly address: Address;
  readonly topics: readonly Hash[];
  /** Shared by all who read its logs. */
  readonly limits: Limits;
}

/** By block: how often in a row all logs of one kind in it were more than one upstream gives. */
export type Limits = Map<number, Map<string, number>>;

/** What is learned of the chain and of its upstreams on the way. */
export interface Habits {
  /** How often in a row each upstream refused to filter by block hash. */
  readonly refusals: Map<string, number>;
  readonly limits: Limits;
  hasBlooms: boolean;
}

/** For the tip: state-like haste, not that of a range. */
const TIP_MS = 3_000;
/** So often in a row a filter by hash is refused before it is tried only now and then. */
const REFUSALS = 3;
const RETRY_BLOCKS = 64;
/** So often in a row logs of one kind are refused before the block is passed without them: a provider's limit may be a passing one. */
const PATIENCE = 3;

/** Pinned by hash, or by number and checked where an upstream knows no such filter. */
export async function logsOfBlock(
  rpc: Rpc,
  contract: Contract,
  block: BlockRef,
  choice: Choice,
  { refusals }: Habits,
): Promise<Answer<readonly RawLog[]>> {
  const filter = { address: contract.address, topics: contract.topics };
  const upstream = choice.only ?? "";
  if ((refusals.get(upstream) ?? 0) < REFUSALS || block.number % RETRY_BLOCKS === 0) {
    try {
      const answer = await rpc.ask({ ...logs({ ...filter, blockHash: block.hash }), deadlineMs: TIP_MS }, choice);
      refusals.delete(upstream);
      const isElsewhere = answer.value.some(({ blockNumber }) => blockNumber !== block.number);
      if (isElsewhere) throw new Moved("logs of another number");
      return completed(rpc, contract, block, answer, choice);
    } catch (error) {
      // An upstream that lacks the block would answer a range with nothing at all.
      const isRefused = error instanceof RpcError ? error.kind !== "absent" : refusesForm(error);
      if (!isRefused) throw error;
      refusals.set(upstream, (refusals.get(upstream) ?? 0) + 1);
    }
  }
  return byNumber(rpc, contract, block, choice);
}

/** Held to the hash; kind by kind where all of them are more than a reply may hold. */
export async function byNumber(
  rpc: Rpc,
  contract: Contract,
  block: BlockRef,
  choice: Choice,
): Promise<Answer<readonly RawLog[]>> {
  const { address, topics } = contract;
  const range = { address, topics, fromBlock: block.number, toBlock: block.number };
  try {
    const answer = await rpc.ask({ ...logs(range), deadlineMs: TIP_MS }, choice);
    if (answer.value.some(({ blockHash }) => blockHash !== block.hash)) throw new Moved("logs of another block");
    return await completed(rpc, contract, block, answer, choice);
  } catch (error) {
    if (topics.length > 1 && isTooMuch(error)) return kindByKind(rpc, contract, block, choice);
    if (!isTooLong(error)) throw error;
    return { value: topics.map((topic) => unreadable(address, topic, block)), upstream: choice.only ?? "" };
  }
}

/** More bytes than we take, or more logs than the provider gives. */
export function isTooMuch(error: unknown): boolean {
  return isTooLong(error) || isLimited(error);
}

function isTooLong(error: unknown): boolean {
  return error instanceof AgentError && error.fault.code === "chain.reply-refused" && isOversize(error.fault.problem);
}

function isLimited(error: unknown): error is RpcError {
  return error instanceof RpcError && error.kind === "limited";
}

/** Providers that cut silently do it at 1,000, 2,000, 5,000, 10,000 and the like, strict ones at 100 or 500. */
export function isRound(count: number): boolean {
  return count > 0 && count % (count < 1_000 ? 100 : 1_000) === 0;
}

/** One block cannot be split: where the number of its logs looks like a limit, each kind is asked for too, and what is new added. */
export async function completed(
  rpc: Rpc,
  contract: Contract,
  block: BlockRef,
  answer: Answer<readonly RawLog[]>,
  choice: Choice,
): Promise<Answer<readonly RawLog[]>> {
  const { value, upstream } = answer;
  if (contract.topics.length < 2 || !isRound(value.length)) return answer;
  const kinds = await kindByKind(rpc, contract, block, { ...choice, only: upstream }).catch(() => undefined);
  choice.signal?.throwIfAborted();
  const known = new Set(value.map(({ logIndex }) => logIndex));
  const rest = kinds?.value.filter(({ logIndex }) => !known.has(logIndex)) ?? [];
  return { value: [...value, ...rest], upstream };
}

async function kindByKind(
  rpc: Rpc,
  contract: Contract,
  block: BlockRef,
  choice: Choice,
): Promise<Answer<readonly RawLog[]>> {
  const found: RawLog[] = [];
  let upstream = "";
  let refusal: RpcError | undefined;
  let times = Number.POSITIVE_INFINITY;
  const limits = contract.limits.get(block.number) ?? new Map<string, number>();
  contract.limits.set(block.number, limits);
  for (const topic of contract.topics) {
    const nameOf = (by: string) => `${by} ${block.hash} ${topic}`;
    try {
      const answer = await byNumber(rpc, { ...contract, topics: [topic] }, block, choice);
      limits.delete(nameOf(answer.upstream));
      found.push(...answer.value);
      upstream ||= answer.upstream;
    } catch (error) {
      if (!isLimited(error)) throw error;
      const name = nameOf(error.by?.upstream ?? choice.only ?? "");
      limits.set(name, (limits.get(name) ?? 0) + 1);
      times = Math.min(times, limits.get(name) ?? 0);
      refusal = error;
      found.push(unreadable(contract.address, topic, block));
    }
  }
  // Who gives no kind at all has more amiss than a crowded block.
  if (refusal !== undefined && (times < PATIENCE || upstream === "")) throw refusal;
  return { value: found, upstream };
}

/**
 * Stands for logs of one kind that nobody gives us, behind all others of the block: it has no topic but its event's, and so
 * counts as one that does not decode. A megabyte in an event must not keep the next revoke from being read.
 */
function unreadable(address: Address, topic: Hash, { number, hash }: BlockRef): RawLog {
  const place = { blockNumber: number, blockHash: hash, transactionHash: ZERO_HASH };
  return { address, topics: [topic], data: "0x", ...place, logIndex: AFTER_LOGS - 1 - Number(BigInt(topic) % 1_000n) };
}
