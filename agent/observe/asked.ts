/** What a request asks for, beyond its path. */
import type { Request } from "express";

/** The question itself is wrong; the message says how, and is shown. */
export class BadRequest extends Error {}

const MAX_BODY_BYTES = 1_024;

export function afterOf({ url }: Request): number {
  const values = new URLSearchParams(url.split(/\?(.*)/s)[1]).getAll("after");
  const [value = "0"] = values;
  if (values.length > 1 || !/^[0-9]{1,15}$/.test(value)) throw new BadRequest("after must be a whole number, once");
  return Number(value);
}

export async function readBody(request: Request): Promise<string> {
  const pieces: Buffer[] = [];
  let size = 0;
  // Left open when it is left early: the answer goes out over the same socket.
  for await (const piece of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    size += piece.length;
    if (size > MAX_BODY_BYTES) throw new BadRequest(`the body must be at most ${MAX_BODY_BYTES} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString();
}

export function generationOf(body: string): number | undefined {
  if (body.trim() === "") return undefined;
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    throw new BadRequest("the body must be JSON");
  }
  const generation: unknown =
    typeof parsed === "object" && parsed !== null && !Array.isArray(parsed)
      ? (parsed as Record<string, unknown>)["generation"]
      : null;
  if (generation === undefined) return undefined;
  if (!Number.isSafeInteger(generation) || (generation as number) < 0) {
    throw new BadRequest('the body must be {"generation": a whole number}');
  }
  return generation as number;
}
