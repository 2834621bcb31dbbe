import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { type Cidr, cidrOf, parseCidr, prefixOf } from "../model.ts";
import { id } from "../test/drawn-tokens.ts";
import { addresses, addressPlan, addressRefusal } from "./addresses.ts";

const overlay = { ipv6Prefix: "fd12:3456:789a::/48" as Cidr, overlayIpv4: "10.213.0.0/16" as Cidr };
const both = addressPlan(overlay, { ipv6: true });
const ipv4Only = addressPlan(overlay, { ipv6: false });

describe("addresses", () => {
  test.each<[title: string, tokenId: bigint, dual: string, ipv4Host: string]>([
    ["the first token has the first address", 1n, "10.213.0.1/32 fd12:3456:789a::1/128", "10.213.0.1/32"],
    ["ids carry over into the next byte", 256n, "10.213.1.0/32 fd12:3456:789a::100/128", "10.213.1.0/32"],
    ["the last address but one", 65534n, "10.213.255.254/32 fd12:3456:789a::fffe/128", "10.213.255.254/32"],
    ["the pool's last address is nobody's", 65535n, "fd12:3456:789a::ffff/128", "address.exhausted"],
    ["ids beyond the pool have IPv6 only", 65536n, "fd12:3456:789a::1:0/128", "address.exhausted"],
    ["ids beyond 32 bits", (1n << 32n) + 7n, "fd12:3456:789a::1:0:7/128", "address.exhausted"],
    ["the last id of 80 bits", (1n << 80n) - 1n, "fd12:3456:789a:ffff:ffff:ffff:ffff:ffff/128", "address.exhausted"],
    ["no id beyond 80 bits has any", 1n << 80n, "address.exhausted", "address.exhausted"],
    ["the last id there is", (1n << 256n) - 1n, "address.exhausted", "address.exhausted"],
    ["id 0 has none: its addresses are the networks' own", 0n, "address.reserved", "address.reserved"],
  ])("%s", (_, tokenId, dual, ipv4Host) => {
    const drawn = [both, ipv4Only].map((plan) => {
      const result = addresses(plan, id(String(tokenId)));
      expect(addressRefusal(plan, id(String(tokenId)))).toBe(result.kind === "refused" ? result.code : undefined);
      return result.kind === "refused" ? result.code : result.cidrs.join(" ");
    });
    expect(drawn).toEqual([dual, ipv4Host]);
  });

  it("gives every token addresses of its own, in canonical text, inside the prefixes", () => {
    const prefixes = fc.constantFrom("fd00::/48", "fd00:0:1::/48", "fd12::/48", "fd12:0:9::/48", "fdff:ffff:ffff::/48");
    const pools = fc.constantFrom("10.0.0.0/8", "10.213.0.0/16", "192.168.255.252/30", "172.31.255.0/24");
    const ids = fc.oneof(fc.bigInt(1n, 70_000n), fc.bigInt(1n, (1n << 80n) - 1n), fc.bigInt(0xffff_0000n, 1n << 33n));
    fc.assert(
      fc.property(prefixes, pools, ids, ids, (ipv6Prefix, overlayIpv4, a, b) => {
        const [v6, v4] = [prefixOf(ipv6Prefix as Cidr), prefixOf(overlayIpv4 as Cidr)];
        const plan = addressPlan({ ipv6Prefix: ipv6Prefix as Cidr, overlayIpv4: overlayIpv4 as Cidr }, { ipv6: true });
        const [left, right] = [a, b].map((each) => addresses(plan, id(String(each))));
        if (left?.kind !== "addresses" || right?.kind !== "addresses") throw new Error("refused");
        const expected = [cidrOf(v6.base + a, 128, 128)];
        if (a < (1n << BigInt(32 - v4.bits)) - 1n) expected.unshift(cidrOf(v4.base + a, 32, 32));
        expect(left.cidrs).toEqual(expected);
        expect(left.cidrs.map(parseCidr)).toEqual(expected);
        expect(left.cidrs.some((cidr) => right.cidrs.includes(cidr))).toBe(a === b);
      }),
    );
  });
});
