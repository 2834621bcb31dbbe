/** A chain of any number of granted tokens, served from a process of its own: `await using chain = await serveChain({ tokens: 60_000 })`. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

export interface ServedOptions {
  /** Members' tokens, each with an owner, a name and a key of its own (`keyOf(1)` …); some 10 µs each. */
  readonly tokens: number;
  /** The node's own token: the first, with the role of a node. */
  readonly self?: { readonly nodeId: string; readonly publicKey: string };
  /** Of the first members, in place of `keyOf`: of those that are to shake hands. */
  readonly keys?: readonly string[];
  readonly perBlock?: number;
  /** After the last grant; `FINAL_DEPTH` unless said otherwise. */
  readonly emptyBlocks?: number;
  /** As a provider does: a wider range of `eth_getLogs` is refused. */
  readonly maxRange?: number;
  readonly multicall?: boolean;
  /** Where to listen: 127.0.0.1, or the lab's own address. */
  readonly host?: string;
}

/** How far `finalized` is behind the head. */
export const FINAL_DEPTH = 64;

export interface Deed {
  readonly tokenId: string;
  readonly key: string;
}

/** A block, when it became visible (`steadyMs`), and whom it touched. */
export interface Mined {
  readonly block: number;
  readonly hash: string;
  readonly visibleMs: number;
  readonly deeds: readonly Deed[];
}

/** Somebody asked for the head, when it was this block. */
export interface Asked {
  readonly atMs: number;
  readonly head: number;
}

/** Of one `eth_getLogs`, as it was asked. */
export type Range = readonly [from: string, to: string];

export interface Counted {
  /** By method. */
  readonly calls: Readonly<Record<string, number>>;
  readonly asked: readonly Asked[];
  readonly ranges: readonly Range[];
}

export type Order =
  | { readonly kind: "grant"; readonly count: number }
  | { readonly kind: "revoke"; readonly tokenIds: readonly string[] }
  | { readonly kind: "mine"; readonly count: number }
  | { readonly kind: "count" };

export interface ServedChain extends AsyncDisposable {
  readonly url: string;
  readonly webSocketUrl: string;
  readonly contract: string;
  /** When it was started; each deed mines one block. */
  readonly head: number;
  readonly pid: number;
  grant(count: number): Promise<Mined>;
  revoke(tokenIds: readonly string[]): Promise<Mined>;
  mine(count: number): Promise<Mined>;
  /** Since the last time. */
  counted(): Promise<Counted>;
}

export async function serveChain(options: ServedOptions): Promise<ServedChain> {
  const program = fileURLToPath(new URL("rpc-server.ts", import.meta.url));
  const child = fork(program, [JSON.stringify(options)], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  const waiting = new Map<number, (result: never) => void>();
  child.on("message", ({ id, result }: { id: number; result: never }) => waiting.get(id)?.(result));
  const answered = <T>(id: number) =>
    new Promise<T>((resolve, reject) => {
      const ended = () => reject(new Error("the chain's process has ended"));
      child.once("exit", ended);
      waiting.set(id, (result) => {
        child.off("exit", ended);
        waiting.delete(id);
        resolve(result);
      });
    });
  let orders = 0;
  const order = <T>(it: Order): Promise<T> => {
    const answer = answered<T>(++orders);
    child.send({ id: orders, order: it });
    return answer;
  };
  const { port, contract, head } = await answered<{ port: number; contract: string; head: number }>(0);
  const host = options.host ?? "127.0.0.1";
  return {
    ...{ url: `http://${host}:${port}`, webSocketUrl: `ws://${host}:${port}`, contract, head, pid: child.pid ?? -1 },
    grant: (count) => order({ kind: "grant", count }),
    revoke: (tokenIds) => order({ kind: "revoke", tokenIds }),
    mine: (count) => order({ kind: "mine", count }),
    counted: () => order({ kind: "count" }),
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGKILL");
      await once(child, "exit");
    },
  };
}

/** Milliseconds of a clock that all processes of this machine share. */
export function steadyMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

export const ownerOf = (index: number): string => `0x${String(index + 1).padStart(40, "0")}`;

/** A member's key, another one for each number. */
export function keyOf(index: number): string {
  const bytes = Buffer.alloc(32, 3);
  bytes.writeUInt32LE(index, 8);
  return bytes.toString("base64");
}
