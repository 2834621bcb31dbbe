/** What may be written where people and machines read it: values of known shapes, nothing secret, plain ASCII. Pure. */
import { AgentError } from "../errors.ts";
import { Secret } from "../model.ts";

const TEXT_LENGTH = 1_000;
const LIST_LENGTH = 50;
const DEPTH = 4;

/** A copy of `value` for the log: known shapes only, secrets as `[secret]`, errors without their insides, bounded. */
export function printable(value: unknown, depth = 0): unknown {
  if (typeof value === "string") return scrub(value);
  if (typeof value === "bigint") return String(value);
  if (value === null || value === undefined || typeof value === "boolean") return value;
  if (typeof value === "number") return Number.isFinite(value) ? value : String(value);
  if (value instanceof Secret) return "[secret]";
  if (value instanceof URL) return value.host;
  if (value instanceof Error) return printableError(value, depth);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "[no date]" : value.toISOString();
  if (depth >= DEPTH) return "[deep]";
  if (Array.isArray(value)) {
    const kept = value.slice(0, LIST_LENGTH).map((item) => printable(item, depth + 1));
    return value.length > LIST_LENGTH ? [...kept, `[${value.length - LIST_LENGTH} more]`] : kept;
  }
  if (isPlain(value)) {
    return printableFields(value as Readonly<Record<string, unknown>>, depth);
  }
  // Buffers, maps, sockets, requests: nobody has said what of them may be seen.
  return "[unprintable]";
}

/**
 * Takes out of a text what might be a secret: all of a URL but scheme and host, whatever looks like a WireGuard key
 * (a public one looks just like a private one) or like 32 bytes of hex. The first characters stay, to recognise it by.
 */
export function scrub(text: string): string {
  const cut = text.length > TEXT_LENGTH ? `${text.slice(0, TEXT_LENGTH)}…` : text;
  return cut
    .toWellFormed()
    .replace(/\b([a-z][a-z0-9+.-]*:\/\/)(?:[^\s/?#"'<>]*@)?([^\s/?#@"'<>]*)[^\s"'<>]*/gi, "$1$2")
    .replace(/([A-Za-z0-9+/]{8})[A-Za-z0-9+/]{35}=/g, "$1…")
    .replace(/(?<![0-9a-f])((?:0x)?[0-9a-f]{8})[0-9a-f]{56}(?![0-9a-f])/gi, "$1…");
}

/** JSON in ASCII alone: nothing in it can move a cursor, turn text around or end a script, and it parses to the same. */
export function ascii(json: string): string {
  return json.replace(/[^\x20-\x7e\n]|[<>&]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

/** A fault that asks for a transaction names this node's `publicKey`: in full, because it is to be copied from the log. */
function printableFields(fields: Readonly<Record<string, unknown>>, depth: number): Record<string, unknown> {
  const own = fields["publicKey"];
  const show = (each: unknown) =>
    typeof each === "string" && typeof own === "string" && own !== ""
      ? each.split(own).map(scrub).join(own)
      : printable(each, depth + 1);
  const entries = Object.entries(fields).slice(0, LIST_LENGTH);
  return Object.fromEntries(entries.map(([name, each]) => [scrub(name), show(each)]));
}

function printableError(error: Error, depth: number): Record<string, unknown> {
  const cause = error.cause === undefined || depth >= DEPTH ? {} : { cause: printable(error.cause, depth + 1) };
  if (error instanceof AgentError) {
    const { code, ...figures } = error.fault;
    return { ...printableFields({ code, message: error.message, ...figures }, depth), ...cause };
  }
  const code: unknown = (error as NodeJS.ErrnoException).code;
  const known = typeof code === "string" ? { code: scrub(code) } : {};
  // A fault of ours that nobody foresaw: where it happened is all that helps, and no value is in it.
  const frames = typeof code === "string" ? {} : { at: framesOf(error) };
  return { ...known, name: scrub(error.name), message: scrub(error.message), ...frames, ...cause };
}

function framesOf(error: Error): string[] {
  const lines = (error.stack ?? "").split("\n").map((line) => line.trim());
  return lines.filter((line) => /^at .*:[0-9]+:[0-9]+\)?$/.test(line)).slice(0, 6);
}

function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
