import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { bigIntToIp, cidrOf, type Peer, PrivateKey, type SocketAddress, socketAddress } from "../model.ts";
import { cidr, keyOf, peerOf, peersOf } from "../test/peers.ts";
import { type Conf, ConfError, confReader, renderConf } from "./conf.ts";

const privateKey = PrivateKey.generate();
const conf: Conf = {
  ...{ generation: 42, writtenAt: Date.UTC(2026, 7, 1, 12), block: 1234, privateKey, listenPort: 51820, mtu: 1420 },
  addresses: [cidr("10.213.0.1/32"), cidr("fd00::1/128")],
};
const render = (of: Conf, peers: Iterable<Peer>) => [...renderConf(of, peers)].join("");

function parse(text: string, pieceLength = text.length || 1): { conf: Conf; peers: Peer[] } {
  const peers: Peer[] = [];
  const reader = confReader((peer) => peers.push(peer));
  for (let at = 0; at < text.length; at += pieceLength) reader.push(text.slice(at, at + pieceLength));
  return { conf: reader.end(), peers };
}

it("is what wg-quick and a person read", () => {
  const digest = "[0-9a-f]{64}";
  expect(render(conf, peersOf("A@1!7~25 B@").values())).toMatch(
    new RegExp(
      [
        "^# Generation 42, written 2026-08-01T12:00:00Z at block 1234\\.",
        "# dstack-vpn wrote this file and will write it again: edits are lost\\.",
        "\\[Interface\\]",
        `PrivateKey = ${privateKey.reveal().replaceAll(/[+/]/g, "\\$&")}`,
        "ListenPort = 51820",
        "MTU = 1420",
        "Address = 10\\.213\\.0\\.1/32",
        "Address = fd00::1/128",
        "\\[Peer\\]",
        `PublicKey = ${keyOf("A")}`,
        "AllowedIPs = 10\\.213\\.0\\.1/32",
        "Endpoint = 192\\.0\\.2\\.7:51820",
        "PersistentKeepalive = 25",
        "\\[Peer\\]",
        `PublicKey = ${keyOf("B")}`,
        `# End of generation 42: 2 peers, sha256 ${digest}\n$`,
      ].join("\n"),
    ),
  );
});

const peer = fc.record({
  key: fc.constantFrom(..."ABCDEFGH").map(keyOf),
  allowedIps: fc
    .array(
      fc.oneof(
        fc.bigInt(0n, 2n ** 32n - 1n).map((base) => cidrOf(base, 32, 32)),
        fc.bigInt(0n, 2n ** 128n - 1n).map((base) => cidrOf(base, 128, 128)),
        fc.constant(cidr("10.213.0.0/16")),
      ),
      { maxLength: 4 },
    )
    .map((list) => list.sort()),
  endpoint: fc.option(
    fc
      .tuple(
        fc.oneof(
          fc.ipV4(),
          fc.bigInt(1n << 125n, 2n ** 126n).map((ip) => bigIntToIp(ip, 128)),
        ),
        fc.integer({ min: 1, max: 65535 }),
      )
      .map(([ip, port]) => socketAddress(ip, port))
      .filter((address): address is SocketAddress => address !== undefined),
    { nil: undefined },
  ),
  keepalive: fc.integer({ min: 0, max: 65535 }),
});

const anyConf = fc
  .record({
    generation: fc.nat(),
    writtenAt: fc.nat(4_000_000).map((minutes) => minutes * 60_000),
    block: fc.nat(),
    listenPort: fc.integer({ min: 1, max: 65535 }),
    mtu: fc.integer({ min: 1280, max: 9000 }),
  })
  .map((numbers): Conf => ({ ...conf, ...numbers }));

describe("a generation", () => {
  it("is read back as it was rendered, in pieces of any size", () => {
    fc.assert(
      fc.property(anyConf, fc.array(peer), fc.integer({ min: 1, max: 200 }), (of, peers, pieceLength) => {
        const read = parse(render(of, peers), pieceLength);
        expect(read).toEqual({ conf: { ...of, privateKey: expect.any(PrivateKey) }, peers });
        expect(read.conf.privateKey.reveal()).toBe(privateKey.reveal());
      }),
    );
  });

  it("is made in pieces, so that a large one holds nobody up", () => {
    const many = Array<Peer>(2_000).fill(peerOf("A@1,2,3!7~25"));
    const pieces = [...renderConf(conf, many)];
    expect(pieces.length).toBeGreaterThan(2);
    expect(Math.max(...pieces.map((piece) => piece.length))).toBeLessThan(70_000);
    expect(parse(pieces.join("")).peers).toHaveLength(2_000);
  });
});

describe("what is no generation", () => {
  const text = render(conf, peersOf("A@1!7~25 B@2").values());
  const lines = text.split("\n");

  it("is a file cut off at any byte", () => {
    for (let length = 0; length < text.length; length++) {
      expect(() => parse(text.slice(0, length)), `${length}`).toThrow(ConfError);
    }
  });

  it("is a file with any bit flipped", () => {
    fc.assert(
      fc.property(fc.nat(text.length * 8 - 1), (bit) => {
        const bytes = Buffer.from(text, "latin1");
        bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        expect(() => parse(bytes.toString("latin1"))).toThrow(ConfError);
      }),
      { numRuns: 300 },
    );
  });

  it("is a file without any one of its lines, or with one twice", () => {
    for (let i = 0; i < lines.length - 1; i++) {
      expect(() => parse(lines.toSpliced(i, 1).join("\n")), `without line ${i + 1}`).toThrow(ConfError);
      expect(() => parse(lines.toSpliced(i, 0, lines[i] ?? "").join("\n")), `line ${i + 1} twice`).toThrow(ConfError);
    }
  });

  test.each([
    ["an empty file", ""],
    ["somebody's own configuration", `[Interface]\nPrivateKey = ${privateKey.reveal()}\nListenPort = 51820\n`],
    ["a file with something behind its end", `${text}PostUp = reboot\n`],
    ["a file with a second file behind it", `${text}${text}`],
    ["binary rubbish", "\0\xff\n".repeat(100)],
  ])("is %s", (_, rubbish) => {
    expect(() => parse(rubbish)).toThrow(ConfError);
  });

  it("is not waited for where a line does not end", () => {
    expect(() => parse("x".repeat(1_000_000), 64 * 1024)).toThrow(/line 1 is too long/);
  });

  it("is never quoted in the error", () => {
    const broken = text.replace("[Peer]", privateKey.reveal());
    expect(() => parse(broken)).toThrow(/line 9/);
    expect(() => parse(broken)).not.toThrow(privateKey.reveal().slice(0, 8));
  });
});
