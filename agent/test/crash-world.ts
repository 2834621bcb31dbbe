/** A chain with holders, and hosts on which agents are made to die. What is done on the chain is written down. */
import { PrivateKey } from "../model.ts";
import { History, type Holding } from "./crash-history.ts";
import { Chain } from "./lab/chain.ts";
import { run } from "./lab/command.ts";
import { Lab } from "./lab/lab.ts";
import type { Chance } from "./story-seeds.ts";

const HOLDERS = 8;
const BUYER = 9;
const newKey = () => PrivateKey.generate().publicKey;

export class World implements AsyncDisposable {
  readonly history = new History();
  readonly lab: Lab;
  readonly chain: Chain;
  readonly #kept = new Set<bigint>();

  private constructor(lab: Lab, chain: Chain) {
    this.lab = lab;
    this.chain = chain;
  }

  static async open(): Promise<World> {
    // Of our own, because what an agent leaves there would be seen in every other lab of the machine.
    await run(["mount", "-t", "tmpfs", "memory", "/dev/shm"]);
    return new World(await Lab.open(), await Chain.start());
  }

  /** A token that is never cut. */
  async keep(name: string, key: string): Promise<bigint> {
    const id = await this.#mint(1, name, key);
    this.#kept.add(id);
    return id;
  }

  async grant(chance: Chance): Promise<void> {
    await this.#mint(1 + chance.below(HOLDERS), `m-${this.history.size + 1}`, newKey());
  }

  async populate(peers: number, chance: Chance): Promise<void> {
    while (this.#holding().length < peers) await this.grant(chance);
  }

  /** Ends the access of somebody's key, in one of the three ways that the contract knows. */
  async cut(chance: Chance): Promise<void> {
    const id = chance.oneOf(this.#holding());
    const holding = id === undefined ? undefined : this.history.token(id);
    if (id === undefined || holding === undefined) return;
    const { owner } = holding;
    const way = chance.below(4);
    if (way === 0) {
      const to = this.chain.account(BUYER);
      await this.#send("transferFrom", [owner, to, id], owner, id, { ...holding, owner: to, key: "" });
    } else if (way === 1) await this.setKey(id, newKey());
    else await this.#send("revokeNodeAccess", [id], this.chain.account(0), id, { ...holding, isActive: false });
  }

  async setKey(id: bigint, key: string): Promise<void> {
    const holding = this.history.token(id);
    if (holding === undefined || holding.key === key) return;
    await this.#send("updatePublicKey", [id, key], holding.owner, id, { ...holding, key });
  }

  #holding(): bigint[] {
    return [...this.history.peers(0n).values()].filter((id) => !this.#kept.has(id));
  }

  async #mint(account: number, name: string, key: string): Promise<bigint> {
    const owner = this.chain.account(account);
    const id = BigInt(this.history.size + 1);
    await this.#send("mintNodeAccess", [owner, name, key, ""], this.chain.account(0), id, {
      owner,
      key,
      isActive: true,
    });
    return id;
  }

  async #send(method: string, args: readonly (string | bigint)[], from: string, id: bigint, after: Holding) {
    const { blockNumber } = await this.chain.send(method, args, from);
    this.history.note(Number(blockNumber), id, after);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.chain.end();
    await this.lab[Symbol.asyncDispose]();
  }
}
