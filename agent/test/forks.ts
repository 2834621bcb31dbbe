/** A whole agent with twenty members before several upstreams, each of which may come to have a chain of its own. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Agent } from "../agent.ts";
import { headOf } from "../chain/questions.ts";
import { Boot, type BootOptions, keyOf, NODE_KEY, ownerOf } from "./boot.ts";
import { type Backend, type ChainOptions, ScriptedChain } from "./scripted-chain.ts";
import { type ContractOptions, ScriptedContract } from "./scripted-contract.ts";
import { bloomed, type Log, type Way } from "./ways.ts";

/** The members', whose tokens are 2 to 21. */
export const KEYS = Array.from({ length: 20 }, (_, i) => keyOf(i + 1));

export class Forks {
  boot = undefined as unknown as Boot;
  #loops: Promise<void>[] = [];

  /** A node before so many upstreams: "scripted", which is followed, "other", "third" and "fourth". */
  async node(upstreams: number, options: BootOptions = {}): Promise<void> {
    this.boot = new Boot({ ...options, finalizedDepth: 60 });
    const { boot } = this;
    for (const name of ["other", "third", "fourth"].slice(0, upstreams - 1))
      boot.upstreams.set(name, boot.chain.answer);
    boot.grant(...KEYS);
    boot.chain.mine(80);
    await boot.poll();
    // On a busy machine they are vouched for a little later.
    await boot.until(() => boot.held().length === KEYS.length);
  }

  async end(): Promise<void> {
    await this.boot?.end();
    this.boot = undefined as unknown as Boot;
    await Promise.all(this.#loops.splice(0));
  }

  /** The node's chain under the same hashes, but for what happened in its last block, with a future of its own. */
  twin(
    options: ChainOptions & ContractOptions = {},
    last: (contract: ScriptedContract) => void = () => {},
  ): { chain: ScriptedChain; contract: ScriptedContract } {
    const chain = new ScriptedChain({ finalizedDepth: 60, ...options });
    const contract = new ScriptedContract(chain, options);
    contract.grant(ownerOf(0), "node-a", NODE_KEY.publicKey);
    for (const [i, key] of KEYS.entries()) contract.grant(ownerOf(i + 1), `m-${i}`, key);
    contract.mine();
    chain.mine(this.boot.chain.head - 1 - chain.head);
    last(contract);
    contract.mine();
    chain.reorg(0);
    return { chain, contract };
  }

  /** Answers so from now on; the head that it tells is remembered as the real upstreams do. */
  serve(name: string, answer: Backend): void {
    const { upstreams, heads } = this.boot;
    upstreams.set(name, async (method, params) => {
      const outcome = await answer(method, params);
      if (method === "eth_getBlockByNumber" && params[0] === "latest" && "result" in outcome) {
        heads.set(name, Number((outcome.result as { number: string }).number));
      }
      return outcome;
    });
  }

  /** Tells logs of its own making in these blocks, whose blooms say nothing. */
  makingUp(at: number, ...made: readonly { topics: readonly string[]; data: string }[]): Way {
    const placed = made.map((log, i) => ({
      ...{
        ...log,
        address: this.boot.contract.address,
        blockNumber: `0x${at.toString(16)}`,
        blockHash: this.boot.chain.hashOf(at),
      },
      ...{
        transactionHash: `0x${"7".repeat(64)}`,
        logIndex: `0x${i.toString(16)}`,
        transactionIndex: "0x0",
        removed: false,
      },
    }));
    return (truth) =>
      bloomed("f")(async (method, params) => {
        const outcome = await truth(method, params);
        if (method !== "eth_getLogs" || !("result" in outcome)) return outcome;
        const { fromBlock, toBlock, blockHash } = params[0] as Record<string, string>;
        const isIn =
          blockHash === undefined
            ? Number(fromBlock) <= at && at <= Number(toBlock)
            : blockHash === this.boot.chain.hashOf(at);
        if (!isIn) return outcome;
        const logs = outcome.result as Log[];
        const first = logs.findIndex(({ blockNumber }) => Number(blockNumber) >= at);
        const cut = first === -1 ? logs.length : first;
        return { result: [...logs.slice(0, cut), ...placed, ...logs.slice(cut)] };
      });
  }

  /** As if it was just limited. */
  async withoutTheOther(work: () => Promise<unknown>): Promise<void> {
    const { rpc } = this.boot.agent;
    const { upstreams } = rpc;
    rpc.upstreams = () => upstreams().map((one) => (one.name === "other" ? { ...one, healthy: false } : one));
    await work();
    rpc.upstreams = upstreams;
  }

  /** The agent's own loops, from now on and until the end. */
  run(...loops: readonly ((agent: Agent, signal: AbortSignal) => Promise<void>)[]): void {
    const { agent, signal } = this.boot;
    for (const loop of loops) this.#loops.push(loop(agent, signal));
  }

  /** As each upstream's patrol does. */
  async patrol(): Promise<void> {
    const { upstreams, agent } = this.boot;
    for (const only of upstreams.keys()) await agent.rpc.ask(headOf("latest"), { only }).catch(() => {});
  }

  /** `seconds` of polls, one each; a patrol every five. */
  async during(seconds: number, each: (second: number) => unknown): Promise<void> {
    for (let second = 1; second <= seconds; second++) {
      await each(second);
      if (second % 5 === 0) await this.patrol();
      this.boot.clockMs += 1_000;
      await this.boot.poll();
      await sleep(20);
    }
  }
}

/** Tells of nothing above this block. */
export const upTo =
  (chain: ScriptedChain, top: () => number): Backend =>
  (method, params) => {
    const asked = JSON.stringify(params);
    for (let number = top() + 1; number <= chain.head; number++) {
      if (asked.includes(chain.hashOf(number))) return { error: { code: -32000, message: "header not found" } };
    }
    if (method !== "eth_getBlockByNumber") return chain.answer(method, params);
    if (params[0] === "latest") return chain.answer(method, [`0x${top().toString(16)}`, false]);
    return Number(params[0]) > top() ? { result: null } : chain.answer(method, params);
  };

/** This key in place of that one, wherever it is told. */
export const replacing =
  (truth: Backend, key: string, by: string): Backend =>
  async (method, params) => {
    const hexOf = (text: string) => Buffer.from(text).toString("hex");
    return JSON.parse(JSON.stringify(await truth(method, params)).replaceAll(hexOf(key), hexOf(by)));
  };
