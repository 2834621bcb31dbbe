/**
 * An archive as `tar tzf` reads it: POSIX ustar, gzipped, plain files under names of our own and nothing else. A reader of
 * our own, because those to be had unpack whatever stands in an archive: links, devices, paths that lead out of it. Pure.
 */
import { createHash } from "node:crypto";
import { gunzipSync, gzipSync } from "node:zlib";

export interface File {
  readonly name: string;
  readonly content: Buffer;
}

/** The archive, or what it is refused for; never with anything of its content. */
export type Unpacked =
  | { readonly kind: "files"; readonly files: readonly File[] }
  | { readonly kind: "refused"; readonly why: string };

const BLOCK = 512;
/** Of 10 generations of 65,536 peers, and as much again. */
const MAX_BYTES = 512 * 1024 * 1024;
const NAME = /^(backups\/)?[A-Za-z0-9_][A-Za-z0-9_=+.-]{0,80}$/;

export function pack(files: readonly File[], writtenAt: Date): Buffer {
  const pieces = files.flatMap(({ name, content }) => [
    header(name, content.length, writtenAt),
    content,
    Buffer.alloc(padding(content.length)),
  ]);
  return gzipSync(Buffer.concat([...pieces, Buffer.alloc(2 * BLOCK)]));
}

export function unpack(archive: Buffer): Unpacked {
  let tar: Buffer;
  try {
    tar = gunzipSync(archive, { maxOutputLength: MAX_BYTES });
  } catch {
    return refused("it is cut off, damaged, or no archive of ours");
  }
  const files: File[] = [];
  let at = 0;
  for (;;) {
    const block = tar.subarray(at, at + BLOCK);
    if (block.length < BLOCK) return refused("it is cut off");
    if (block.every((byte) => byte === 0)) break;
    const read = headerIn(block);
    if (typeof read === "string") return refused(read);
    const { name, size } = read;
    if (files.some((file) => file.name === name)) return refused("it has a file twice");
    const content = tar.subarray(at + BLOCK, at + BLOCK + size);
    if (content.length < size) return refused("it is cut off");
    files.push({ name, content });
    at += BLOCK + size + padding(size);
  }
  const end = tar.subarray(at);
  if (end.length !== 2 * BLOCK || end.some((byte) => byte !== 0)) return refused("there is something behind its end");
  return { kind: "files", files };
}

export function digest(content: Buffer): string {
  return createHash("sha256").update(content).digest("hex");
}

const refused = (why: string): Unpacked => ({ kind: "refused", why });
const padding = (size: number) => (BLOCK - (size % BLOCK)) % BLOCK;

// The fields of a header: POSIX.1-2017, pax, "ustar Interchange Format".
const [SIZE, CHECKSUM, TYPE, LINK, MAGIC, PREFIX] = [124, 148, 156, 157, 257, 345];

function header(name: string, size: number, writtenAt: Date): Buffer {
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, digits: number) => `${value.toString(8).padStart(digits, "0")}\0`;
  block.write(name, 0, "latin1");
  block.write(octal(0o600, 7) + octal(0, 7) + octal(0, 7), 100, "latin1");
  block.write(octal(size, 11) + octal(Math.floor(writtenAt.getTime() / 1000), 11), SIZE, "latin1");
  block.write("0", TYPE, "latin1");
  block.write("ustar\x0000", MAGIC, "latin1");
  block.write(`${octal(checksum(block), 6)} `, CHECKSUM, "latin1");
  return block;
}

function headerIn(block: Buffer): { name: string; size: number } | string {
  const text = (from: number, length: number) => {
    const field = block.subarray(from, from + length).toString("latin1");
    const end = field.indexOf("\0");
    return end < 0 ? field : field.slice(0, end);
  };
  if (text(MAGIC, 6) !== "ustar") return "it is no archive of ours";
  if (Number.parseInt(text(CHECKSUM, 8), 8) !== checksum(block)) return "a header in it is damaged";
  if (text(TYPE, 1) !== "0" || text(LINK, 100) !== "") return "it holds something that is no plain file";
  const name = text(0, 100);
  if (!NAME.test(name) || name.includes("..") || text(PREFIX, 155) !== "") {
    return "it holds a file under a name that is none of ours";
  }
  const size = text(SIZE, 12);
  if (!/^[0-7]{11}$/.test(size)) return "a header in it is damaged";
  return { name, size: Number.parseInt(size, 8) };
}

/** The sum of its bytes, with the field of the sum itself as spaces. */
function checksum(block: Buffer): number {
  let sum = 8 * 0x20;
  for (const [i, byte] of block.entries()) if (i < CHECKSUM || i >= CHECKSUM + 8) sum += byte;
  return sum;
}
