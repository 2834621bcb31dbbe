/** An `Rpc` without a network over backends in memory; what they answer is judged by the real parsers. */
import { parseReply, resultOf, Trouble } from "../chain/reply.ts";
import { Malformed, type Rpc, RpcError } from "../chain/rpc.ts";
import { AgentError } from "../errors.ts";
import type { Block } from "../model.ts";
import type { Backend } from "./scripted-chain.ts";

/** Thrown by a backend that does not answer at all. */
export class Down extends Error {}

type Head = Pick<Block, "number" | "hash" | "parentHash"> & Partial<Pick<Block, "timestamp">>;
interface Told {
  readonly name: string;
  /** What it was last heard to tell, in place of what it was asked for last. */
  readonly headBlock?: number | undefined;
  readonly head?: Head | undefined;
}

interface RpcOptions {
  readonly suspect?: (upstream: string) => void;
  readonly steadyMs?: () => number;
}

export function rpcOver(
  upstreams: () => readonly Told[],
  backendOf: (upstream: string) => Backend,
  { suspect = () => {}, steadyMs = () => performance.now() }: RpcOptions = {},
): Rpc {
  const heads = new Map<string, Head>();
  const rises = new Map<string, number>();
  const learn = (name: string, head: Head) => {
    if (head.number > (heads.get(name)?.number ?? -1)) rises.set(name, steadyMs());
    heads.set(name, head);
  };
  const rpc: Rpc = {
    async ask(question, { not, only, signal } = {}) {
      const willing = upstreams().filter(({ name }) => name !== not && (only === undefined || name === only));
      let last: unknown = failed(question.method, only ?? "any");
      for (const { name } of willing) {
        signal?.throwIfAborted();
        try {
          const outcome = await backendOf(name)(question.method, question.params);
          const bytes = Buffer.from(JSON.stringify({ jsonrpc: "2.0", id: 1, ...outcome }));
          const result = resultOf(parseReply(bytes, question.read), 1, question.method);
          const value = question.parse(result);
          if (question.head !== undefined) learn(name, question.head(value));
          return { value, upstream: name };
        } catch (error) {
          const isTrouble = error instanceof Down || error instanceof Malformed || error instanceof Trouble;
          if (!isTrouble && !(error instanceof RpcError)) throw error;
          if (error instanceof RpcError) error.by = { method: question.method, upstream: name };
          last = isTrouble ? failed(question.method, name, error) : error;
          if (error instanceof RpcError && (error.kind === "reverted" || error.kind === "limited")) throw error;
        }
      }
      throw last;
    },
    nextHead: () => new Promise(() => {}),
    suspect,
    doubt: () => {},
    genesis: () => undefined,
    upstreams: () =>
      upstreams().map(({ name, headBlock, head = heads.get(name) }) => ({
        ...{ name, headBlock: headBlock ?? head?.number, healthy: true, latencyMs: 1, requests: 0, inFlight: 0 },
        // What was told last, where that is the head meant.
        headHash: headBlock === undefined || headBlock === head?.number ? head?.hash : undefined,
        ...{ headTimestamp: head?.timestamp, isMoving: steadyMs() - (rises.get(name) ?? 0) < 45_000 },
        headParent: headBlock === undefined || headBlock === head?.number ? head?.parentHash : undefined,
        ...{ fault: undefined, errors: {} as never },
      })),
    close: () => {},
  };
  return rpc;
}

function failed(method: string, upstream: string, cause?: unknown): AgentError {
  return new AgentError({ code: "chain.request-failed", method, upstream, problem: "it is down" }, { cause });
}
