import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { AgentError } from "../errors.ts";
import { PrivateKey } from "../model.ts";
import { drawn, keyOf, peersOf } from "../test/peers.ts";
import { dumpReader } from "./dump.ts";

const secret = PrivateKey.generate();
const head = [secret.reveal(), secret.publicKey, "51820", "off"].join("\t");
const line = (...fields: readonly string[]) => fields.join("\t");
const A = line(keyOf("A"), "(none)", "192.0.2.1:51820", "10.213.0.1/32", "1767323045", "12", "34", "25");
const B = line(keyOf("B"), "(none)", "(none)", "(none)", "0", "0", "0", "off");

function read(text: string, known = peersOf(""), cuts: readonly number[] = []) {
  const reader = dumpReader(known);
  const bytes = Buffer.from(text, "latin1");
  let from = 0;
  for (const cut of [...cuts, bytes.length]) {
    reader.push(bytes.subarray(from, Math.max(from, cut)));
    from = Math.max(from, cut);
  }
  return reader.end();
}

describe("a dump", () => {
  it("says what the device holds", () => {
    const { publicKey, listenPort, peers } = read(`${head}\n${A}\n${B}\n`);
    expect({ publicKey, listenPort }).toEqual({ publicKey: secret.publicKey, listenPort: 51820 });
    expect([...peers.values()]).toEqual([
      {
        ...{ key: keyOf("A"), allowedIps: ["10.213.0.1/32"], endpoint: "192.0.2.1:51820", keepalive: 25 },
        ...{ hasPresharedKey: false, latestHandshakeAt: 1_767_323_045_000, rxBytes: 12, txBytes: 34 },
      },
      {
        ...{ key: keyOf("B"), allowedIps: [], endpoint: undefined, keepalive: 0 },
        ...{ hasPresharedKey: false, latestHandshakeAt: 0, rxBytes: 0, txBytes: 0 },
      },
    ]);
  });

  test.each([
    ["off", false],
    ["0xca6c", true],
  ])("says whether packets are marked: %s", (mark, isMarked) => {
    expect(read(`${line(secret.reveal(), secret.publicKey, "51820", mark)}\n`)).toMatchObject({ isMarked });
  });

  it("of an interface without a key has none", () => {
    expect(read("(none)\t(none)\t0\toff\n").publicKey).toBeUndefined();
  });

  it("is the same however it is cut", () => {
    const text = `${head}\n${A}\n${B}\n`;
    fc.assert(
      fc.property(fc.array(fc.nat(text.length)), (cuts) => {
        const sorted = cuts.toSorted((a, b) => a - b);
        expect(read(text, peersOf(""), sorted)).toEqual(read(text));
      }),
    );
  });

  it("shows keys that no holder could have, so that they can be removed", () => {
    const weak = `${"A".repeat(43)}=`;
    const { peers } = read(`${head}\n${line(weak, "(none)", "(none)", "10.0.0.0/8", "0", "0", "0", "off")}\n`);
    expect([...peers.keys()]).toEqual([weak]);
  });

  it("sees a preshared key and does not keep it", () => {
    const psk = PrivateKey.generate().reveal();
    const state = read(`${head}\n${A.replace("(none)", psk)}\n`);
    expect([...state.peers.values()].map((peer) => peer.hasPresharedKey)).toEqual([true]);
    expect(JSON.stringify([...state.peers])).not.toContain(psk);
    expect(JSON.stringify(state)).not.toContain(secret.reveal());
  });

  test.each([
    ["in order", "10.213.0.1/32,fd00::1/128"],
    ["in wg's order", "fd00::1/128,10.213.0.1/32"],
  ])("shares the texts of a peer that is as expected, %s", (_, ips) => {
    const [expected] = peersOf("A@1").values();
    const allowedIps = read(`${head}\n${A.replace("10.213.0.1/32", ips)}\n`).peers.get(keyOf("A"))?.allowedIps ?? [];
    expect(allowedIps).toEqual(["10.213.0.1/32", "fd00::1/128"]);
    const known = new Map([[keyOf("A"), { ...peersOf("A@1").get(keyOf("A")), ...expected, allowedIps }]]) as never;
    const again = read(`${head}\n${A.replace("10.213.0.1/32", ips)}\n`, known);
    expect(again.peers.get(keyOf("A"))?.allowedIps).toBe(allowedIps);
  });

  it("takes nothing from what was expected where the device says otherwise", () => {
    const { peers } = read(`${head}\n${A}\n`, peersOf("A@2!9~5"));
    expect([...peers.values()].map((peer) => drawn(peer))).toEqual(["A@1!1~25"]);
  });
});

describe("rubbish", () => {
  const rubbish: readonly (readonly [string, string])[] = [
    ["nothing at all", ""],
    ["a cut line", `${head}\n${A}`],
    ["a cut head", head],
    ["a mark that is none", `${line(secret.reveal(), secret.publicKey, "51820", "on")}\n`],
    ["a head with a field too few", `${head.slice(0, head.lastIndexOf("\t"))}\n`],
    ["a head that is a peer", `${A}\n`],
    ["a peer with a field too few", `${head}\n${A.slice(0, A.lastIndexOf("\t"))}\n`],
    ["a peer with a field too many", `${head}\n${A}\t0\n`],
    ["a key that is none", `${head}\n${A.replace(keyOf("A"), "key")}\n`],
    ["an address that is none", `${head}\n${A.replace("10.213.0.1/32", "10.213.0.1")}\n`],
    ["an address with host bits", `${head}\n${A.replace("/32", "/24")}\n`],
    ["an endpoint that is none", `${head}\n${A.replace("192.0.2.1:51820", "example.org:1")}\n`],
    ["a number that is none", `${head}\n${A.replace("\t12\t", "\t-12\t")}\n`],
    ["a port that is none", `${head.replace("51820", "x")}\n`],
    ["an error in place of a dump", "Unable to access interface: No such device\n"],
  ];
  test.each(rubbish)("is no device: %s", (_, text) => {
    const failed = (() => {
      try {
        return read(text);
      } catch (error) {
        return error;
      }
    })();
    expect(failed).toBeInstanceOf(AgentError);
    const message = String(failed);
    expect(message).toMatch(/wg show dump/);
    for (const part of [secret.reveal(), keyOf("A")]) expect(message).not.toContain(part);
  });

  it("without an end is cut off", () => {
    const reader = dumpReader(new Map());
    reader.push(Buffer.from(`${head}\n`));
    const chunk = Buffer.alloc(1024 * 1024, "x");
    expect(() => {
      for (let i = 0; i < 10; i++) reader.push(chunk);
    }).toThrow(/a line of wg show dump is longer/);
  });
});
