/** How one answer goes wrong between a JSON-RPC server and us, over HTTP and over a WebSocket; for `RpcProxy.misbehave`. */
import type { ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import type { WebSocket } from "ws";
import type { Outcome } from "./scripted-chain.ts";

/** What can go wrong with one answer between here and there. Over a WebSocket those of HTTP alone end the connection. */
export type WireFault =
  | { readonly kind: "delay"; readonly ms: number }
  /** The right answer, a few bytes at a time. */
  | { readonly kind: "drip"; readonly bytes: number; readonly everyMs: number }
  /** No answer, the connection stays. */
  | { readonly kind: "drop" }
  | { readonly kind: "reset" }
  | { readonly kind: "status"; readonly status: number; readonly retryAfter?: string; readonly body?: string }
  | { readonly kind: "redirect"; readonly to: string }
  /** Goes over to another protocol, as for a WebSocket. */
  | { readonly kind: "upgrade" }
  /** The text in place of the answer: HTML, half JSON, nothing. */
  | { readonly kind: "text"; readonly text: string | Buffer; readonly status?: number; readonly encoding?: string }
  | { readonly kind: "truncate" }
  /** A small gzip body that inflates to so many MB. */
  | { readonly kind: "bomb"; readonly megabytes: number }
  /** So many megabytes without an announced length, of spaces or of `piece` again and again. */
  | {
      readonly kind: "flood";
      readonly megabytes: number;
      readonly piece?: Buffer<ArrayBuffer>;
      readonly encoding?: string;
    }
  /** The envelope changed: another id, no `jsonrpc`, both result and error … */
  | { readonly kind: "envelope"; readonly change: (reply: Record<string, unknown>) => unknown }
  | { readonly kind: "answer"; readonly outcome: Outcome };

/** `text` is the answer as it would have gone out. */
export async function answerHttp(response: ServerResponse, text: string, fault: WireFault | undefined): Promise<void> {
  response.setHeader("content-type", "application/json");
  switch (fault?.kind) {
    case "drop":
      return;
    case "reset":
      response.socket?.resetAndDestroy();
      return;
    case "status":
      if (fault.retryAfter !== undefined) response.setHeader("retry-after", fault.retryAfter);
      response.writeHead(fault.status).end(fault.body ?? "no");
      return;
    case "redirect":
      response.writeHead(307, { location: fault.to }).end();
      return;
    case "upgrade":
      response.writeHead(101, { connection: "upgrade", upgrade: "websocket" }).end();
      return;
    case "text":
      if (fault.encoding !== undefined) response.setHeader("content-encoding", fault.encoding);
      response.writeHead(fault.status ?? 200).end(fault.text);
      return;
    case "truncate":
      response.writeHead(200, { "content-length": text.length }).write(text.slice(0, text.length / 2));
      await sleep(5);
      response.destroy();
      return;
    case "bomb":
      response.setHeader("content-encoding", "gzip");
      response.end(bomb(fault.megabytes));
      return;
    case "flood":
      if (fault.encoding !== undefined) response.setHeader("content-encoding", fault.encoding);
      await flood(response, fault.megabytes, megabyteOf(fault.piece));
      return;
    case "drip":
      for (let i = 0; i < text.length && !response.destroyed; i += fault.bytes) {
        response.write(text.slice(i, i + fault.bytes));
        await sleep(fault.everyMs);
      }
      response.end();
      return;
    default:
      response.end(text);
  }
}

async function flood(response: ServerResponse, megabytes: number, piece: Buffer): Promise<void> {
  const closed = new Promise((resolve) => response.once("close", resolve));
  for (let i = 0; i < megabytes && !response.destroyed; i++) {
    if (!response.write(piece)) await Promise.race([new Promise((resolve) => response.once("drain", resolve)), closed]);
  }
  response.end();
}

export function answerSocket(ws: WebSocket, text: string, fault: WireFault | undefined): void {
  switch (fault?.kind) {
    case "drop":
      break;
    case "text":
      ws.send(fault.text);
      break;
    case "truncate":
      ws.send(text.slice(0, text.length / 2));
      break;
    case "flood":
      ws.send(Buffer.alloc(fault.megabytes * MEGABYTE, " ").toString());
      break;
    case undefined:
    case "delay":
    case "envelope":
    case "answer":
      ws.send(text);
      break;
    default:
      ws.terminate();
  }
}

const MEGABYTE = 2 ** 20;
const megabyteOf = (piece = Buffer.from(" ")) =>
  Buffer.alloc(Math.floor(MEGABYTE / piece.length) * piece.length, piece);
/** Made once: packing takes longer than the deadlines that tests set. */
const bombs = new Map<number, Buffer>();
function bomb(megabytes: number): Buffer {
  const made = bombs.get(megabytes) ?? gzipSync(Buffer.alloc(megabytes * MEGABYTE, "[]"));
  bombs.set(megabytes, made);
  return made;
}
