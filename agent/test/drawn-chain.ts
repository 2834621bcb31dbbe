/**
 * Chains as drawings, and an `Rpc` over them: `a1-a2+7-a3 | a2-b3-b4` is a fork at a2, where block a2 grants token 7 and
 * `-7` would revoke it; `a4..a90` is a long stretch. Blocks stay known once drawn; each upstream has its own head.
 */
import { keccak256 } from "ethers";
import type { RawLog } from "../chain/log-list.ts";
import type { Rpc } from "../chain/rpc.ts";
import type { AccessEvent, Address, Advance, Hash, Position } from "../model.ts";
import { comparePositions, ZERO_HASH } from "../model.ts";
import { Down, rpcOver } from "./rpc-over.ts";
import type { Backend, Outcome } from "./scripted-chain.ts";
import { strings, word } from "./scripted-contract.ts";

export const CONTRACT = `0x${"c0".repeat(20)}` as Address;
export const OWNER = `0x${"a1".repeat(20)}` as Address;

const GRANTED = "0x9a71852b5ff3e6dcfff28eaeb177387d7be860dcf63f02bc0c74d796d373a22c";
const REVOKED = "0xf77547477629bf8d4b78aaa6babeeb3306e56da1ca9b54caceabf24cbc922020";

export interface DrawnBlock {
  readonly name: string;
  readonly number: number;
  readonly hash: Hash;
  readonly parentHash: Hash;
  /** `+7`, `-7` */
  readonly deeds: readonly string[];
}

const SECONDS_A_BLOCK = 2;
const timestampOf = (number: number) => 1_700_000_000 + SECONDS_A_BLOCK * number;

/** What an upstream does instead of answering: throw `Down`, answer something else, or undefined to answer as usual. */
export type Whim = (call: Call, honest: () => Outcome) => Outcome | undefined;
export interface Call {
  readonly upstream: string;
  readonly method: string;
  readonly params: readonly unknown[];
}

export class DrawnChain {
  readonly blocks = new Map<Hash, DrawnBlock>();
  readonly calls: Call[] = [];
  readonly suspected: string[] = [];
  readonly heads = new Map<string, DrawnBlock>();
  readonly whims = new Map<string, Whim>();
  /** How far `finalized` is below the head. */
  finalDepth = 64;
  bloom: "exact" | "full" | "zero" | "none" = "exact";
  readonly #upstreams: readonly string[];

  constructor(...upstreams: readonly string[]) {
    this.#upstreams = upstreams.length === 0 ? ["one"] : upstreams;
    this.draw("a0");
  }

  /** Adds the drawing; the last block of all becomes the head of the upstreams named (of all without names). */
  draw(drawing: string, ...upstreams: readonly string[]): this {
    for (const path of drawing.split("|")) {
      let parent: DrawnBlock | undefined;
      for (const [name, deeds] of path
        .trim()
        .split(/-(?=[a-z])/)
        .flatMap(stretched)) {
        parent = this.#add(name, deeds, parent);
      }
      for (const upstream of upstreams.length === 0 ? this.#upstreams : upstreams) {
        if (parent !== undefined) this.heads.set(upstream, parent);
      }
    }
    return this;
  }

  block(name: string): DrawnBlock {
    const block = this.blocks.get(hashOf(name));
    if (block === undefined) throw new Error(`${name} was never drawn`);
    return block;
  }

  /** The whole path from genesis to a block. */
  pathTo(head: DrawnBlock): DrawnBlock[] {
    const path = [head];
    for (;;) {
      const parent = this.blocks.get(path[0]?.parentHash ?? ZERO_HASH);
      if (parent === undefined) return path;
      path.unshift(parent);
    }
  }

  /** Everything that happened on the way to the first upstream's head: `7.0 +7`. */
  truth(upstream = this.#upstreams[0] ?? ""): string[] {
    const head = this.heads.get(upstream);
    if (head === undefined) return [];
    return this.pathTo(head).flatMap(({ number, deeds }) => deeds.map((deed, i) => `${number}.${i} ${deed}`));
  }

  count(method: string): number {
    return this.calls.filter((call) => call.method === method).length;
  }

  /** Past its whims and uncounted. */
  answer(upstream: string): Backend {
    return (method, params) => this.#honest({ upstream, method, params });
  }

  readonly rpc: Rpc = rpcOver(
    () => this.#upstreams.map((name) => ({ name, head: this.#headOf(name) })),
    (upstream) => (method, params) => this.#answer({ upstream, method, params }),
    {
      suspect: (upstream) => this.suspected.push(upstream),
      // By its blocks' own clock, as if the newest was made just now.
      steadyMs: () => 1_000 * SECONDS_A_BLOCK * Math.max(0, ...[...this.heads.values()].map(({ number }) => number)),
    },
  );

  #headOf(upstream: string) {
    const head = this.heads.get(upstream);
    return head && { ...head, timestamp: timestampOf(head.number) };
  }

  #add(name: string, deeds: readonly string[], parent: DrawnBlock | undefined): DrawnBlock {
    const hash = hashOf(name);
    const known = this.blocks.get(hash);
    if (known !== undefined) return known;
    const number = numberOf(name);
    const below = parent ?? this.blocks.get(hashOf(`a${number - 1}`));
    if (below !== undefined && below.number !== number - 1) throw new Error(`${name} does not follow ${below.name}`);
    const block = { name, number, hash, parentHash: below?.hash ?? ZERO_HASH, deeds };
    this.blocks.set(hash, block);
    return block;
  }

  #answer(call: Call): Outcome {
    this.calls.push(call);
    const honest = () => this.#honest(call);
    return this.whims.get(call.upstream)?.(call, honest) ?? honest();
  }

  #honest({ upstream, method, params }: Call): Outcome {
    const head = this.heads.get(upstream);
    if (head === undefined) throw new Down();
    const numbered = (at: unknown): DrawnBlock | undefined => {
      if (at === "latest") return head;
      const number = at === "finalized" ? Math.max(0, head.number - this.finalDepth) : Number(at);
      return this.#at(head, number);
    };
    switch (method) {
      case "eth_getBlockByNumber":
        return { result: this.#json(numbered(params[0])) };
      case "eth_getBlockByHash":
        return { result: this.#json(this.blocks.get(params[0] as Hash)) };
      case "eth_getLogs": {
        const { fromBlock, toBlock, blockHash } = params[0] as Record<string, string>;
        if (blockHash !== undefined) {
          const block = this.blocks.get(blockHash as Hash);
          if (block === undefined || this.#at(head, block.number) !== block) return refusal("unknown block");
          return { result: logsOf(block) };
        }
        const [from, to] = [Number(fromBlock), Math.min(Number(toBlock), head.number)];
        const found: RawLogJson[] = [];
        for (let block: DrawnBlock | undefined = this.#at(head, to); block !== undefined && block.number >= from; ) {
          found.unshift(...logsOf(block));
          block = this.blocks.get(block.parentHash);
        }
        return { result: found };
      }
      default:
        return refusal("method not found", -32601);
    }
  }

  readonly #ancestors = new Map<Hash, readonly DrawnBlock[]>();
  #at(head: DrawnBlock, number: number): DrawnBlock | undefined {
    const path = this.#ancestors.get(head.hash) ?? this.pathTo(head);
    this.#ancestors.set(head.hash, path);
    return path[number - (path[0]?.number ?? 0)];
  }

  #json(block: DrawnBlock | undefined): unknown {
    if (block === undefined) return null;
    const { number, hash, parentHash } = block;
    const fill = { full: "f", zero: "0" }[this.bloom as string];
    const logsBloom = fill === undefined ? bloomOf(logsOf(block)) : `0x${fill.repeat(512)}`;
    const bloom = this.bloom === "none" ? {} : { logsBloom };
    return {
      number: hex(number),
      hash,
      parentHash,
      timestamp: hex(timestampOf(number)),
      ...bloom,
    };
  }
}

export function hashOf(name: string): Hash {
  return `0x${Buffer.from(name).toString("hex").padEnd(64, "0")}` as Hash;
}

export function nameOf(hash: Hash): string {
  const name = Buffer.from(hash.slice(2), "hex").toString("latin1").replaceAll("\0", "");
  return /^[a-z][0-9]+$/.test(name) ? name : hash.slice(2, 10);
}

/** A step as the drawings write it: `..a5(+7)`, `a6+7`, `<a5`, `=a5`, and with logs that were missed `=a5(+7@4)`. */
export function drawn(step: Advance): string {
  const list = (events: readonly AccessEvent[], where = (_: Position) => "") =>
    events.map((event) => deedOf(event) + where(event.at)).join("");
  switch (step.kind) {
    case "history":
      return `..${nameOf(step.to.hash)}${step.events.length === 0 ? "" : `(${list(step.events)})`}`;
    case "extend":
      return `${nameOf(step.block.hash)}${list(step.events)}`;
    case "rewind":
      return `<${nameOf(step.to.hash)}`;
    case "finalise":
      return `=${nameOf(step.to.hash)}${step.missed.length === 0 ? "" : `(${list(step.missed, ({ block }) => `@${block}`)})`}`;
  }
}

/** An independent reading of what the steps leave behind, to be compared with `truth`. */
export class Told {
  #events = new Map<string, AccessEvent>();

  take(step: Advance): void {
    if (step.kind === "rewind") {
      this.#events = new Map([...this.#events].filter(([, { at }]) => at.block <= step.to.number));
      return;
    }
    const events = step.kind === "finalise" ? step.missed : step.events;
    for (const event of events) if (!this.has(event)) this.#events.set(placeOf(event.at), event);
  }

  /** What could not be read is not the whole of it. */
  has(event: AccessEvent): boolean {
    const known = this.#events.get(placeOf(event.at));
    return known !== undefined && (known.kind !== "invalid" || event.kind === "invalid");
  }

  get events(): AccessEvent[] {
    return [...this.#events.values()].sort((a, b) => comparePositions(a.at, b.at));
  }

  get words(): string[] {
    return this.events.map((event) => `${placeOf(event.at)} ${deedOf(event)}`);
  }
}

function placeOf({ block, logIndex }: Position): string {
  return `${block}.${logIndex}`;
}

function deedOf(event: AccessEvent): string {
  if (event.kind === "grant") return `+${event.tokenId}`;
  return event.kind === "revoke" ? `-${event.tokenId}` : event.kind;
}

function stretched(text: string): [name: string, deeds: string[]][] {
  const [from = "", to] = text.trim().split("..");
  const [, name = "", deeds = ""] = /^([a-z][0-9]+)((?:[+-][0-9]+)*)$/.exec(from) ?? [];
  if (name === "") throw new Error(`no block: ${text}`);
  if (to === undefined) return [[name, deeds.match(/[+-][0-9]+/g) ?? []]];
  const [first, last] = [numberOf(name), numberOf(to)];
  return Array.from({ length: last - first + 1 }, (_, i) => [`${name[0]}${first + i}`, []]);
}

function numberOf(name: string): number {
  return Number(name.slice(1));
}

type RawLogJson = Record<keyof RawLog, unknown>;

export function logsOf({ number, hash, deeds, name }: DrawnBlock): RawLogJson[] {
  return deeds.map((deed, i) => {
    const tokenId = word(BigInt(deed.slice(1)));
    const isGrant = deed.startsWith("+");
    return {
      address: CONTRACT,
      topics: isGrant ? [GRANTED, tokenId, word(OWNER)] : [REVOKED, tokenId],
      data: isGrant ? strings(`node-${deed.slice(1)}`, "key") : strings("node"),
      ...{ blockNumber: hex(number), blockHash: hash, transactionHash: hashOf(`${name}/${i}`), logIndex: hex(i) },
    };
  });
}

function bloomOf(logs: readonly RawLogJson[]): string {
  const bits = Buffer.alloc(256);
  for (const { address, topics } of logs) {
    for (const item of [address, ...(topics as string[])]) {
      const digest = Buffer.from(keccak256(item as string).slice(2), "hex");
      for (const at of [0, 2, 4]) {
        const bit = digest.readUInt16BE(at) & 2047;
        bits[255 - (bit >> 3)] = (bits[255 - (bit >> 3)] ?? 0) | (1 << (bit & 7));
      }
    }
  }
  return `0x${bits.toString("hex")}`;
}

export function refusal(message: string, code = -32000): Outcome {
  return { error: { code, message } };
}

const hex = (number: number) => `0x${number.toString(16)}`;
