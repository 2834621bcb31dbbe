/** Which chain an upstream serves: asked before its answers count, and again when someone else may answer in its place. */
import { AgentError, type Fault } from "../errors.ts";
import type { Hash } from "../model.ts";
import { blockByNumber, chainId, code } from "./questions.ts";
import { blamesQuestion, RpcError, Trouble } from "./reply.ts";
import type { Expected, Question } from "./rpc.ts";

/** The genesis block that upstreams are held to; shared by all of them. */
export interface Pin {
  /** Undefined until as many tell the same as there must be. */
  genesis: Hash | undefined;
  /** What each tells; of one that does not serve its oldest block, nothing. */
  readonly told: Map<string, Hash | undefined>;
  readonly upstreams: number;
}

export function newPin(upstreams: number, genesis: Hash | undefined): Pin {
  return { genesis, told: new Map(), upstreams };
}

/** Two must agree where two can tell; until then what one tells holds for as long as nobody tells otherwise. */
function hear(pin: Pin, upstream: string, genesis: Hash | undefined): void {
  pin.told.set(upstream, genesis);
  if (genesis === undefined || pin.genesis !== undefined) return;
  const all = [...pin.told.values()];
  const tellers = pin.upstreams - all.filter((one) => one === undefined).length;
  if (all.filter((one) => one === genesis).length >= Math.min(2, tellers)) pin.genesis = genesis;
}

/** Whether nothing that is known speaks against what this upstream told. */
function isHeld({ genesis, told }: Pin, upstream: string): boolean {
  const own = told.get(upstream);
  if (own === undefined) return true;
  return genesis === undefined ? [...told.values()].every((one) => one === undefined || one === own) : own === genesis;
}

export interface Identity {
  /** Asks where it is not known. @throws Trouble | AgentError chain.wrong-network | chain.other-genesis | chain.no-contract */
  check(): Promise<void>;
  /** Asks although it is known; it stays known meanwhile. @throws as `check` */
  recheck(): Promise<void>;
  /** It must be asked again before the next answer counts. */
  doubt(): void;
  isKnown(): boolean;
  fault(): Fault | undefined;
}

/** A new connection brings one doubt of its own; where each asking does, there is no end to it. */
const TRIES = 4;

type Ask = <T>(question: Question<T>) => Promise<T>;

export function identity(upstream: string, expected: Expected, pin: Pin, ask: Ask): Identity {
  let isKnown = false;
  let fault: Fault | undefined;
  let doubts = 0;
  let running: Promise<void> | undefined;

  async function run(): Promise<void> {
    for (let tries = 0; tries < TRIES; tries++) {
      const doubtsBefore = doubts;
      // First and alone: while an upstream is down it is asked no more than this.
      const [chain] = await allOf([ask(chainId())]);
      const [genesis, bytecode] = await allOf([
        // Not every provider serves its oldest block, or code; one that does not tell has still told its chain id.
        ask(blockByNumber(0)).then(({ hash }) => hash, unlessUntold),
        expected.contract === undefined ? "" : ask(code(expected.contract, "latest")).catch(unlessRefused),
      ]);
      // Somebody else may have answered a part of it.
      if (doubts !== doubtsBefore) continue;
      if (chain === expected.chainId) hear(pin, upstream, genesis);
      fault = faultIn(chain, bytecode !== "0x");
      isKnown = fault === undefined;
      if (fault !== undefined) throw new AgentError(fault);
      return;
    }
    throw new Trouble("connect", "its connection does not last");
  }

  function faultIn(chain: number, hasCode: boolean): Fault | undefined {
    if (chain !== expected.chainId) {
      return { code: "chain.wrong-network", upstream, expected: expected.chainId, got: chain };
    }
    if (!isHeld(pin, upstream)) return { code: "chain.other-genesis", upstream };
    return hasCode ? undefined : { code: "chain.no-contract", contract: expected.contract ?? "", upstream };
  }

  function recheck(): Promise<void> {
    running ??= run().finally(() => {
      running = undefined;
    });
    return running;
  }

  return {
    check: () => (isKnown && isHeld(pin, upstream) ? Promise.resolve() : recheck()),
    recheck,
    doubt() {
      doubts++;
      isKnown = false;
    },
    isKnown: () => isKnown && isHeld(pin, upstream),
    fault: () => fault,
  };
}

/** Waits for all, so that none is left to fail unheard. An error object where none can be right is trouble. */
async function allOf<T extends readonly unknown[]>(parts: T): Promise<{ -readonly [K in keyof T]: Awaited<T[K]> }> {
  const settled = await Promise.allSettled(parts);
  for (const part of settled) {
    if (part.status === "fulfilled") continue;
    throw part.reason instanceof RpcError ? new Trouble("rpc-error", part.reason.message) : part.reason;
  }
  return settled.map((part) => (part as PromiseFulfilledResult<unknown>).value) as never;
}

function unlessRefused(error: unknown): undefined {
  if (!(error instanceof RpcError)) throw error;
}

/** The oldest block is refused in ways that no other is: by a status, or by half a block. */
function unlessUntold(error: unknown): undefined {
  if (error instanceof Trouble && (error.kind === "malformed" || blamesQuestion(error.message))) return undefined;
  return unlessRefused(error);
}
