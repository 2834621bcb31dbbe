import { execFileSync } from "node:child_process";
import { SocketAddress as NodeAddress } from "node:net";
import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import {
  bigIntToIp,
  type Cidr,
  cidrOf,
  comparePositions,
  ipToBigInt,
  overlaps,
  PrivateKey,
  parseAddress,
  parseCidr,
  parseEndpoint,
  parseHash,
  parsePublicKey,
  parseTokenId,
  prefixOf,
  Secret,
  socketAddress,
} from "./model.ts";

const base64 = (hex: string) => Buffer.from(hex, "hex").toString("base64");
const bytes = (first: string, middle: string, last: string) => base64(first + middle.repeat(30) + last);
const GOOD = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";

describe("a public key is 44 canonical base64 characters of a point that Diffie-Hellman can use", () => {
  const refused = (code: string) => ({ kind: "refused", code });
  it.each([
    ["32 bytes", GOOD, { kind: "key", key: GOOD }],
    ["the base point, 9", bytes("09", "00", "00"), { kind: "key", key: bytes("09", "00", "00") }],
    ["the largest field element, p − 2", bytes("eb", "ff", "7f"), { kind: "key", key: bytes("eb", "ff", "7f") }],
    ["p + 0xed in the lowest byte alone", bytes("ff", "00", "7f"), { kind: "key", key: bytes("ff", "00", "7f") }],
    [
      "all bits but one byte's",
      base64(`${"ff".repeat(30)}007f`),
      { kind: "key", key: base64(`${"ff".repeat(30)}007f`) },
    ],
    ["nothing", "", refused("key.missing")],
    ["31 bytes", base64("01".repeat(31)), refused("key.malformed")],
    ["33 bytes", base64("01".repeat(33)), refused("key.malformed")],
    ["no padding", GOOD.slice(0, 43), refused("key.malformed")],
    [
      "stray low bits in the last symbol, which Node's decoder drops",
      GOOD.replace("A=", "B="),
      refused("key.malformed"),
    ],
    ["the url-safe alphabet", `-_${GOOD.slice(2)}`, refused("key.malformed")],
    ["a line break behind it", `${GOOD}\n`, refused("key.malformed")],
    ["a line break within it", `${GOOD.slice(0, 20)}\n${GOOD.slice(20)}`, refused("key.malformed")],
    ["another setting behind it", `${GOOD}\nAllowedIPs = 0.0.0.0/0`, refused("key.malformed")],
    ["blanks around it", ` ${GOOD}`, refused("key.malformed")],
    ["a zero byte behind it", `${GOOD}\0`, refused("key.malformed")],
    ["hex", "01".repeat(32), refused("key.malformed")],
    ["zero", bytes("00", "00", "00"), refused("key.weak")],
    ["one", bytes("01", "00", "00"), refused("key.weak")],
    [
      "a point of order 8",
      base64("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
      refused("key.weak"),
    ],
    [
      "the other of order 8",
      base64("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
      refused("key.weak"),
    ],
    ["p − 1", bytes("ec", "ff", "7f"), refused("key.weak")],
    ["p, another spelling of zero", bytes("ed", "ff", "7f"), refused("key.weak")],
    ["p + 1, another spelling of one", bytes("ee", "ff", "7f"), refused("key.weak")],
    ["2^255 − 1", bytes("ff", "ff", "7f"), refused("key.weak")],
    ["the top bit, which curve arithmetic ignores", bytes("09", "00", "80"), refused("key.weak")],
    ["zero with the top bit", bytes("00", "00", "80"), refused("key.weak")],
  ])("%s", (_, text, expected) => {
    expect(parsePublicKey(text)).toEqual(expected);
  });
});

describe("a private key", () => {
  const wg = (verb: string, input = "") => execFileSync("wg", [verb], { input }).toString().trim();

  it("has the public key that wg computes, clamped or not", () => {
    for (const text of [
      wg("genkey"),
      PrivateKey.generate().reveal(),
      bytes("ff", "ab", "ff"),
      bytes("07", "00", "00"),
    ]) {
      expect(PrivateKey.parse(text)?.publicKey).toBe(wg("pubkey", text));
    }
  });

  it("is generated the way wg keeps it: clamped", () => {
    for (let i = 0; i < 50; i++) {
      const raw = Buffer.from(PrivateKey.generate().reveal(), "base64");
      expect([(raw[0] ?? 0) & 7, (raw[31] ?? 0) & 192]).toEqual([0, 64]);
    }
  });

  it.each([
    ["nothing", ""],
    ["zero", bytes("00", "00", "00")],
    ["31 bytes", base64("01".repeat(31))],
    ["stray low bits", GOOD.replace("A=", "B=")],
    ["two keys", `${GOOD}\n${GOOD}`],
  ])("is not made of %s", (_, text) => {
    expect(PrivateKey.parse(text)).toBeUndefined();
  });

  it("may come with the line break that wg genkey prints", () => {
    expect(PrivateKey.parse(`${GOOD}\n`)?.reveal()).toBe(GOOD);
  });
});

describe("a secret", () => {
  it.each([
    ["a template", (secret: Secret) => `${secret}`],
    ["JSON", (secret: Secret) => JSON.stringify({ secret })],
    ["a log of an object", (secret: Secret) => inspect({ secret }, { depth: 9, showHidden: true })],
    ["concatenation", (secret: Secret) => `x${String(secret)}`],
    ["its own fields", (secret: Secret) => JSON.stringify(Object.getOwnPropertyNames(secret))],
  ])("does not show in %s", (_, show) => {
    for (const secret of [new Secret("hush-hush"), PrivateKey.generate()]) {
      expect(show(secret)).not.toContain(secret.reveal());
    }
  });
});

describe("what the chain names", () => {
  const hash = "ab".repeat(32);
  it.each([
    ["an address in capitals becomes lower case", parseAddress(`0x${"AB".repeat(20)}`), `0x${"ab".repeat(20)}`],
    ["an address is 20 bytes", parseAddress(`0x${"ab".repeat(19)}`), undefined],
    ["an address begins with 0x", parseAddress("ab".repeat(21)), undefined],
    ["an address ends at its last digit", parseAddress(`0x${"ab".repeat(20)}\n`), undefined],
    ["a hash becomes lower case", parseHash(`0x${hash.toUpperCase()}`), `0x${hash}`],
    ["a hash is 32 bytes", parseHash(`0x${hash}ab`), undefined],
    ["a token id is decimal", parseTokenId("17"), 17n],
    ["a token id may be 0", parseTokenId("0"), 0n],
    ["a token id reaches 2^256 − 1", parseTokenId((2n ** 256n - 1n).toString()), 2n ** 256n - 1n],
    ["a token id ends there", parseTokenId((2n ** 256n).toString()), undefined],
    ["a token id comes as a bigint too", parseTokenId(5n), 5n],
    ["a token id is not negative", parseTokenId(-1n), undefined],
    ["a token id has no leading zero", parseTokenId("01"), undefined],
    ["a token id is not hex", parseTokenId("0x1"), undefined],
    ["a token id is not empty", parseTokenId(""), undefined],
    ["a token id has no sign", parseTokenId("+1"), undefined],
  ] as [string, unknown, unknown][])("%s", (_, parsed, expected) => {
    expect(parsed).toBe(expected);
  });

  it("positions are ordered by block, then by log", () => {
    const [first, second, third] = [
      { block: 1, logIndex: 9 },
      { block: 2, logIndex: 0 },
      { block: 2, logIndex: 1 },
    ];
    expect([third, first, second].sort(comparePositions)).toEqual([first, second, third]);
  });
});

describe("a CIDR is a prefix without host bits, in canonical text", () => {
  it.each([
    ["10.213.0.0/16", "10.213.0.0/16"],
    ["10.213.0.7/32", "10.213.0.7/32"],
    ["0.0.0.0/0", "0.0.0.0/0"],
    ["fd00:0:0::7/128", "fd00::7/128"],
    ["FD00:ABCD::/48", "fd00:abcd::/48"],
    ["::/0", "::/0"],
    ["10.213.0.1/16", undefined],
    ["fd00::1/64", undefined],
    ["10.213.0.0/33", undefined],
    ["0.0.0.0/33", undefined],
    ["fd00::/129", undefined],
    ["10.213.0.0/016", undefined],
    ["10.213.0.0", undefined],
    ["010.213.0.0/16", undefined],
    ["10.213.0/16", undefined],
    ["10.213.0.0/", undefined],
    ["10.213.0.0/-1", undefined],
    ["fe80::1%eth0/128", undefined],
    ["10.0.0.1/32\nPostUp = reboot", undefined],
    ["10.0.0.1/32, 10.0.0.2/32", undefined],
  ])("%s", (text, expected) => {
    expect(parseCidr(text)).toBe(expected);
  });

  it("is made again from its parts", () => {
    for (const text of ["10.213.0.0/16", "fd12:3456:789a::/48", "0.0.0.0/0", "::/0"]) {
      const { base, bits, width } = prefixOf(text as Cidr);
      expect(cidrOf(base, bits, width)).toBe(text);
    }
  });

  it.each([
    ["10.0.0.0/8", "10.213.0.0/16", true],
    ["10.213.0.0/16", "10.0.0.0/8", true],
    ["10.213.0.0/16", "10.214.0.0/16", false],
    ["10.213.0.7/32", "10.213.0.7/32", true],
    ["0.0.0.0/0", "192.0.2.1/32", true],
    ["0.0.0.0/0", "::/0", false],
    ["fd00::/8", "fd12::/48", true],
    ["fd12::/48", "fd13::/48", false],
  ])("%s and %s overlap: %s", (left, right, expected) => {
    expect(overlaps(left as Cidr, right as Cidr)).toBe(expected);
  });
});

describe("an IP address", () => {
  it.each([
    ["1.2.3.4", 0x01020304n],
    ["255.255.255.255", 0xffffffffn],
    ["::", 0n],
    ["::1", 1n],
    ["fd00::1:0", (0xfd00n << 112n) | 0x10000n],
    ["::ffff:1.2.3.4", 0xffff01020304n],
    ["64:ff9b::192.0.2.33", (0x64ff9bn << 96n) | 0xc0000221n],
    ["1:2:3:4:5:6:7:8", 0x00010002000300040005000600070008n],
    ["1:2:3:4:5:6:1.2.3.4", 0x00010002000300040005000601020304n],
    ["01.2.3.4", undefined],
    ["1.2.3", undefined],
    ["fe80::1%lo", undefined],
    ["1::2::3", undefined],
    ["", undefined],
    [" ::1", undefined],
  ])("%s is read as its number", (text, expected) => {
    expect(ipToBigInt(text)).toBe(expected);
  });

  it("is printed as the kernel prints it", () => {
    // A small generator of its own, so that a failure is repeated by its seed: xorshift, Marsaglia 2003.
    let seed = 0x2545f491;
    const random = () => {
      seed ^= seed << 13;
      seed ^= seed >>> 17;
      seed ^= seed << 5;
      return seed >>> 0;
    };
    for (let round = 0; round < 3_000; round++) {
      // Half of the groups are zero, so that runs of every length and place come up.
      const groups = Array.from({ length: 8 }, () => (random() % 2 ? random() % 0x10000 : 0));
      // Below ::/80 the kernel mixes in dotted notation; no address of ours is there.
      groups[0] ||= 0xfd00;
      const value = groups.reduce((sum, group) => (sum << 16n) | BigInt(group), 0n);
      const full = groups.map((group) => group.toString(16)).join(":");
      const kernel = new NodeAddress({ family: "ipv6", address: full }).address;
      expect(bigIntToIp(value, 128), full).toBe(kernel);
      expect(ipToBigInt(kernel)).toBe(value);
    }
    expect(bigIntToIp(0n, 128)).toBe("::");
    expect(bigIntToIp(1n, 128)).toBe("::1");
    expect(bigIntToIp(0x0ad50007n, 32)).toBe("10.213.0.7");
  });
});

describe("an endpoint is host:port and nothing that a file or a resolver could misread", () => {
  it.each([
    ["vpn.example.org:51820", { host: "vpn.example.org", port: 51820 }],
    ["Node-A:1", { host: "node-a", port: 1 }],
    ["192.0.2.7:65535", { host: "192.0.2.7", port: 65535 }],
    ["[2001:DB8::7]:51820", { host: "2001:db8::7", port: 51820 }],
    ["", undefined],
    ["vpn.example.org", undefined],
    ["vpn.example.org:", undefined],
    ["vpn.example.org:0", undefined],
    ["vpn.example.org:065", undefined],
    ["vpn.example.org:65536", undefined],
    ["2001:db8::7:51820", undefined],
    ["[192.0.2.7]:51820", undefined],
    ["[fe80::1%eth0]:51820", undefined],
    ["010.0.0.1:51820", undefined],
    ["1.2.3:51820", undefined],
    ["0x7f000001.1:51820", undefined],
    ["-a.example:51820", undefined],
    ["a..example:51820", undefined],
    ["a.example.:51820", undefined],
    [`${"a".repeat(64)}.example:51820`, undefined],
    ["a_b.example:51820", undefined],
    ["exämple.org:51820", undefined],
    ["a b:51820", undefined],
    ["a:51820\nPostUp = reboot", undefined],
    ["user@host:51820", undefined],
    ["$(reboot):51820", undefined],
  ])("%s", (text, expected) => {
    expect(parseEndpoint(text)).toEqual(expected);
  });
});

describe("a socket address is one that a peer can live at", () => {
  it.each([
    ["192.0.2.7", 51820, "192.0.2.7:51820"],
    ["10.0.0.1", 1, "10.0.0.1:1"],
    ["2001:DB8:0::7", 51820, "[2001:db8::7]:51820"],
    ["vpn.example.org", 51820, undefined],
    ["192.0.2.7", 0, undefined],
    ["192.0.2.7", 65536, undefined],
    ["0.0.0.0", 51820, undefined],
    ["127.0.0.1", 51820, undefined],
    ["127.255.0.9", 51820, undefined],
    ["169.254.169.254", 51820, undefined],
    ["224.0.0.1", 51820, undefined],
    ["255.255.255.255", 51820, undefined],
    ["::", 51820, undefined],
    ["::1", 51820, undefined],
    ["::192.0.2.1", 51820, undefined],
    ["::ffff:127.0.0.1", 51820, undefined],
    ["::ffff:192.0.2.7", 51820, undefined],
    ["fe80::1", 51820, undefined],
    ["ff02::1", 51820, undefined],
  ])("%s port %i", (ip, port, expected) => {
    expect(socketAddress(ip, port)).toBe(expected);
  });
});
