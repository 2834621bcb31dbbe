/** The access contract on a scripted chain: tokens with their history, the events they emit, the calls that read them. */
import { AbiCoder, id } from "ethers";
import type { Account, ScriptedChain, ScriptedLog } from "./scripted-chain.ts";

export interface ScriptedToken {
  readonly nodeId: string;
  readonly owner: string;
  readonly key: string;
  readonly active: boolean;
  readonly role?: number;
  readonly endpoint?: string;
}

export interface ContractOptions {
  readonly address?: string;
  /** `plain` has only the deployed interface: no event names the token of a key update, a transfer keeps the key. */
  readonly style?: "plain" | "full";
  /** Also answers Multicall3's aggregate3 at its usual address. */
  readonly multicall?: boolean;
}

export const MULTICALL3 = "0xca11bde05977b3631167028862be2a173976ca11";

const TOPIC = {
  granted: id("NodeAccessGranted(uint256,string,address,string)"),
  revoked: id("NodeAccessRevoked(uint256,string)"),
  transferred: id("NodeAccessTransferred(uint256,address,address)"),
  transfer: id("Transfer(address,address,uint256)"),
  ownerKey: id("PublicKeyUpdated(address,string)"),
  tokenKey: id("TokenPublicKeyUpdated(uint256,string)"),
  role: id("RoleUpdated(uint256,uint8)"),
  endpoint: id("EndpointUpdated(uint256,string)"),
};
const selector = (signature: string) => id(signature).slice(0, 10);
const GET_NODE_ACCESS = selector("getNodeAccess(uint256)");
const OWNER_OF = selector("ownerOf(uint256)");
const KEY_OF = selector("getPublicKeyByTokenId(uint256)");
const ROLE_OF = selector("getRole(uint256)");
const ENDPOINT_OF = selector("getEndpoint(uint256)");
const AGGREGATE3 = selector("aggregate3((address,bool,bytes)[])");
const ZERO = `0x${"0".repeat(40)}`;
const abi = AbiCoder.defaultAbiCoder();

/** Each deed is one transaction, waiting for `mine`. */
export class ScriptedContract implements Account {
  readonly address: string;
  readonly deployedAt: number;
  readonly #chain: ScriptedChain;
  readonly #style: "plain" | "full";
  /** Each token's states, oldest first, with the block that made them. */
  readonly #history = new Map<bigint, { block: number; token: ScriptedToken }[]>();
  #pending: ScriptedLog[][] = [];
  /** What the pending transactions make; of no block yet. */
  #unmined: { block: number; token: ScriptedToken }[] = [];
  #nextId = 1n;

  constructor(chain: ScriptedChain, options: ContractOptions = {}) {
    this.#chain = chain;
    this.#style = options.style ?? "full";
    this.address = (options.address ?? "0x5fbdb2315678afecb367f032d93f642f64180aa3").toLowerCase();
    this.deployedAt = chain.head + 1;
    chain.add(this);
    if (options.multicall) chain.add(multicall(this));
    chain.mine();
  }

  grant(owner: string, nodeId: string, key: string, tokenId = this.#nextId): bigint {
    this.#nextId = tokenId + 1n;
    this.#set(tokenId, { nodeId, owner: owner.toLowerCase(), key, active: true });
    this.emit(
      this.log([TOPIC.transfer, word(ZERO), word(owner), word(tokenId)]),
      this.log([TOPIC.granted, word(tokenId), word(owner)], strings(nodeId, key)),
    );
    return tokenId;
  }

  revoke(tokenId: bigint): void {
    const token = this.#present(tokenId);
    this.#set(tokenId, { ...token, active: false });
    this.emit(this.log([TOPIC.revoked, word(tokenId)], strings(token.nodeId)));
  }

  transfer(tokenId: bigint, to: string): void {
    const token = this.#present(tokenId);
    const left = this.#style === "full" ? { key: "", endpoint: "" } : {};
    this.#set(tokenId, { ...token, owner: to.toLowerCase(), ...left });
    this.emit(
      this.log([TOPIC.transfer, word(token.owner), word(to), word(tokenId)]),
      this.log([TOPIC.transferred, word(tokenId), word(token.owner), word(to)]),
    );
  }

  updateKey(tokenId: bigint, key: string): void {
    const token = this.#present(tokenId);
    this.#set(tokenId, { ...token, key });
    const named = this.log([TOPIC.tokenKey, word(tokenId)], strings(key));
    this.emit(this.log([TOPIC.ownerKey, word(token.owner)], strings(key)), ...(this.#style === "full" ? [named] : []));
  }

  setRole(tokenId: bigint, role: number): void {
    this.#set(tokenId, { ...this.#present(tokenId), role });
    this.emit(this.log([TOPIC.role, word(tokenId)], word(BigInt(role))));
  }

  setEndpoint(tokenId: bigint, endpoint: string): void {
    this.#set(tokenId, { ...this.#present(tokenId), endpoint });
    this.emit(this.log([TOPIC.endpoint, word(tokenId)], strings(endpoint)));
  }

  /** Any logs at all, as one transaction: poison, foreign, misplaced. */
  emit(...logs: readonly ScriptedLog[]): void {
    this.#pending.push([...logs]);
  }

  log(topics: readonly string[], data = "0x", address = this.address): ScriptedLog {
    return { address, topics, data };
  }

  /** `empty` blocks first, then one with everything that waits. @returns its number */
  mine(empty = 0): number {
    const logs = this.#pending;
    this.#pending = [];
    if (empty > 0) this.#chain.mine(empty);
    const block = this.#chain.mine(1, logs);
    for (const state of this.#unmined.splice(0)) state.block = block;
    return block;
  }

  token(tokenId: bigint, block = Number.POSITIVE_INFINITY): ScriptedToken | undefined {
    return this.#history.get(tokenId)?.findLast((state) => state.block <= block)?.token;
  }

  call(data: string, block: number): string | undefined {
    const tokenId = BigInt(`0x${data.slice(10, 74) || "0"}`);
    const token = this.token(tokenId, block);
    if (token === undefined) return undefined;
    const { nodeId, key, owner, active, role = 0, endpoint = "" } = token;
    const isFull = this.#style === "full";
    switch (data.slice(0, 10)) {
      case GET_NODE_ACCESS:
        return abi.encode(["string", "string", "uint256", "bool"], [nodeId, key, 1n, active]);
      case OWNER_OF:
        return word(owner);
      case KEY_OF:
        return abi.encode(["string"], [key]);
      case ROLE_OF:
        return isFull ? word(BigInt(role)) : undefined;
      case ENDPOINT_OF:
        return isFull ? abi.encode(["string"], [endpoint]) : undefined;
      default:
        return undefined;
    }
  }

  rewind(block: number): void {
    this.#pending = [];
    this.#unmined = [];
    for (const [tokenId, states] of this.#history) {
      const kept = states.filter((state) => state.block <= block);
      if (kept.length === 0) this.#history.delete(tokenId);
      else this.#history.set(tokenId, kept);
    }
    this.#nextId = [...this.#history.keys()].reduce((next, tokenId) => (tokenId >= next ? tokenId + 1n : next), 1n);
  }

  #present(tokenId: bigint): ScriptedToken {
    const token = this.token(tokenId);
    if (token === undefined) throw new Error(`there is no token ${tokenId}`);
    return token;
  }

  #set(tokenId: bigint, token: ScriptedToken): void {
    const state = { block: Number.POSITIVE_INFINITY, token };
    const states = this.#history.get(tokenId) ?? [];
    states.push(state);
    this.#history.set(tokenId, states);
    this.#unmined.push(state);
  }
}

/** A 32-byte word, left-padded: of an address or a number. */
export function word(value: string | bigint): string {
  return `0x${(typeof value === "bigint" ? value.toString(16) : value.slice(2).toLowerCase()).padStart(64, "0")}`;
}

/** ABI encoding of strings, by hand: ethers takes a second for every 10,000. */
export function strings(...texts: readonly string[]): string {
  const tails = texts.map((text) => {
    const bytes = Buffer.from(text, "utf8");
    const length = bytes.length.toString(16).padStart(64, "0");
    return length + bytes.toString("hex").padEnd(Math.ceil(bytes.length / 32) * 64, "0");
  });
  let offset = texts.length * 32;
  const heads = tails.map((tail) => {
    const head = offset.toString(16).padStart(64, "0");
    offset += tail.length / 2;
    return head;
  });
  return `0x${heads.join("")}${tails.join("")}`;
}

/** The selector of `ERC721NonexistentToken(uint256)`, which is why the contract refuses. */
const NONEXISTENT = "0x7e273289";

function multicall(contract: ScriptedContract): Account {
  return {
    address: MULTICALL3,
    deployedAt: 0,
    rewind: () => {},
    call(data, block) {
      if (data.slice(0, 10) !== AGGREGATE3) return undefined;
      const [calls] = abi.decode(["(address,bool,bytes)[]"], `0x${data.slice(10)}`) as unknown as [
        [string, boolean, string][],
      ];
      const results = calls.map(([to, , asked]) => {
        const returned = to.toLowerCase() === contract.address ? contract.call(asked, block) : "0x";
        return [returned !== undefined, returned ?? `${NONEXISTENT}${asked.slice(10, 74)}`];
      });
      return abi.encode(["(bool,bytes)[]"], [results]);
    },
  };
}
