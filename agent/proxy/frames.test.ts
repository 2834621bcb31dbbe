import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { FrameReader, LONGEST_FRAME, writeFrame } from "./frames.ts";

const framed = (...datagrams: readonly Uint8Array[]): Buffer => {
  const stream = Buffer.alloc(datagrams.reduce((sum, { length }) => sum + 2 + length, 0));
  let end: number | undefined = 0;
  for (const datagram of datagrams) end = writeFrame(stream, end ?? 0, datagram);
  expect(end).toBe(stream.length);
  return stream;
};

const read = (...chunks: readonly Buffer[]): string[] => {
  const reader = new FrameReader();
  const taken: Buffer[] = [];
  for (const chunk of chunks) reader.read(chunk, (datagram) => taken.push(datagram));
  return taken.map((datagram) => datagram.toString("hex"));
};

const bytes = (hex: string) => Buffer.from(hex.replaceAll(" ", ""), "hex");

describe("the wire", () => {
  test.each([
    ["one datagram", ["00 03 616263"], ["616263"]],
    ["the length is big-endian", [`0102 ${"7a".repeat(258)}`], ["7a".repeat(258)]],
    ["an empty datagram is a datagram", ["0000"], [""]],
    ["joined frames come apart", ["0001 61 0000 0002 6263"], ["61", "", "6263"]],
    ["a datagram may be split anywhere", ["00", "03 61", "62", "63 00", "01 64"], ["616263", "64"]],
    ["what is not complete is not given", ["0003 6162"], []],
    ["a chunk that ends behind a header", ["0002", "6162"], ["6162"]],
  ])("%s", (_title, chunks, datagrams) => {
    expect(read(...chunks.map(bytes))).toEqual(datagrams);
  });

  it("carries the largest datagram of IPv4, and the largest length that can be said", () => {
    for (const length of [65_507, 65_535]) {
      const datagram = Buffer.alloc(length, 0xa5);
      expect(read(framed(datagram, Buffer.from("x")))).toEqual([datagram.toString("hex"), "78"]);
    }
  });
});

describe("reading", () => {
  const datagrams = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 12 });

  it("does not depend on where the stream is cut", () => {
    fc.assert(
      fc.property(datagrams, fc.array(fc.nat(3_000), { maxLength: 20 }), (sent, cuts) => {
        const stream = framed(...sent);
        const at = [0, ...cuts.map((cut) => Math.min(cut, stream.length)).sort((a, b) => a - b), stream.length];
        const chunks = at.slice(1).map((end, i) => Buffer.from(stream.subarray(at[i], end)));
        expect(read(...chunks)).toEqual(sent.map((datagram) => Buffer.from(datagram).toString("hex")));
      }),
    );
  });

  it("is the same byte by byte", () => {
    fc.assert(
      fc.property(datagrams, (sent) => {
        const stream = framed(...sent);
        expect(read(...Array.from(stream, (byte) => Buffer.of(byte)))).toEqual(read(stream));
      }),
      { numRuns: 30 },
    );
  });

  it("gives datagrams that stay what they are while later chunks are read", () => {
    const reader = new FrameReader();
    const taken: Buffer[] = [];
    const take = (datagram: Buffer) => taken.push(datagram);
    for (const chunk of ["0002 61", "62 0002 63", "64"]) reader.read(bytes(chunk), take);
    expect(taken.map(String)).toEqual(["ab", "cd"]);
  });
});

describe("writing", () => {
  it("refuses what does not fit, and touches nothing then", () => {
    const target = Buffer.alloc(8);
    expect(writeFrame(target, 4, Buffer.from("abc"))).toBeUndefined();
    expect(target).toEqual(Buffer.alloc(8));
    expect(writeFrame(target, 4, Buffer.from("ab"))).toBe(8);
  });

  it("refuses a length that 16 bits cannot say", () => {
    expect(writeFrame(Buffer.alloc(LONGEST_FRAME + 1), 0, Buffer.alloc(65_536))).toBeUndefined();
  });
});
