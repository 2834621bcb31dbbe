import { describe, expect, it } from "vitest";
import {
  type Admitted,
  type Cidr,
  type Hash,
  PrivateKey,
  parseCidr,
  parseEndpoint,
  parsePublicKey,
  type Role,
  type TokenId,
} from "../model.ts";
import { dialable, type Membership, memberConf } from "./member-conf.ts";

const cidr = (text: string) => parseCidr(text) as Cidr;
const id = (number: number) => BigInt(number) as TokenId;
const overlay = [cidr("10.213.0.0/16"), cidr("fd00::/48")];
const membership: Membership = {
  ...{ tokenId: id(7), addresses: [cidr("10.213.0.7/32"), cidr("fd00::7/128")], chainId: 8453, contract: "0xC0" },
  ...{ block: { number: 12, hash: "0xabc" as Hash }, overlay },
};

/** Token `number` as role at an endpoint; its key is 32 bytes of its number. */
function node(number: number, role: Role, at?: string): Admitted {
  const parsed = parsePublicKey(Buffer.alloc(32, number).toString("base64"));
  if (parsed.kind !== "key") throw new Error("the key must parse");
  const endpoint = at === undefined ? undefined : parseEndpoint(at);
  const addresses = [cidr(`10.213.0.${number}/32`), cidr(`fd00::${number}/128`)];
  return { tokenId: id(number), key: parsed.key, addresses, role, endpoint };
}

const split = { exit: undefined, dns: undefined };
/** Each peer as `number→what its AllowedIPs hold beyond its own addresses`. */
function drawn(conf: string): string {
  const peers = [...conf.matchAll(/AllowedIPs = 10\.213\.0\.([0-9]+)\/32, fd00::[0-9]+\/128(.*)/g)];
  return peers.map(([, number, more = ""]) => number + more.replaceAll(", ", " +")).join("  ");
}

describe("a member's configuration", () => {
  const OVERLAY = " +10.213.0.0/16 +fd00::/48";
  const ALL = " +0.0.0.0/0 +::/0";
  const [a, b, c] = [
    node(1, "node", "a.example:1"),
    node(2, "gateway", "b.example:1"),
    node(3, "gateway", "c.example:1"),
  ];
  it.each([
    ["a lone node is reached directly", [a], undefined, "1"],
    ["the gateway with the lowest number carries the overlay", [c, a, b], undefined, `1  2${OVERLAY}  3`],
    ["an exit that is the primary carries both", [b, c], 2, `2${OVERLAY}${ALL}  3`],
    ["the overlay stays on the primary where another is the exit", [b, c], 3, `2${OVERLAY}  3${ALL}`],
  ])("%s", (_, nodes, exit, drawing) => {
    const wishes = { exit: exit === undefined ? undefined : id(exit), dns: undefined };
    expect(drawn(memberConf(membership, undefined, nodes, wishes))).toBe(drawing);
  });

  it("is this text", () => {
    const key = PrivateKey.parse(Buffer.alloc(32, 64).toString("base64"));
    const conf = memberConf(membership, key, [node(1, "gateway", "[2001:db8::1]:51820")], { ...split, dns: "9.9.9.9" });
    expect(conf).toBe(`# dstack-vpn: token 7 of 0xC0 on chain 8453
# Computed at block 12 (0xabc). Nodes that come or move later are not in it: make it anew then.
[Interface]
PrivateKey = ${Buffer.alloc(32, 64).toString("base64")}
Address = 10.213.0.7/32, fd00::7/128
DNS = 9.9.9.9

# gateway of token 1: primary gateway
[Peer]
PublicKey = ${Buffer.alloc(32, 1).toString("base64")}
AllowedIPs = 10.213.0.1/32, fd00::1/128, 10.213.0.0/16, fd00::/48
Endpoint = [2001:db8::1]:51820
PersistentKeepalive = 25
`);
  });

  it("names no server unless asked, and holds no key that may be read over a shoulder", () => {
    const conf = memberConf(membership, undefined, [a], split);
    expect(conf).not.toMatch(/^(DNS|PrivateKey)/m);
  });
});

describe("whom a member dials", () => {
  it.each([
    ["a node", node(1, "node", "a.example:1"), true],
    ["a gateway at an address", node(1, "gateway", "192.0.2.1:1"), true],
    ["a node that says no endpoint", node(1, "node"), false],
    ["a member", node(1, "member", "a.example:1"), false],
    ["itself", node(7, "node", "a.example:1"), false],
    ["loopback", node(1, "node", "127.0.0.1:1"), false],
    ["loopback by name", node(1, "node", "localhost:1"), false],
    ["link-local", node(1, "node", "[fe80::1]:1"), false],
    ["an address inside the tunnel", node(1, "node", "10.213.0.9:1"), false],
  ])("%s", (_, each, isDialled) => {
    expect(dialable([each], id(7), overlay).length === 1).toBe(isDialled);
  });
});
