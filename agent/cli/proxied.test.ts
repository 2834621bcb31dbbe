import { isIP } from "node:net";
import { describe, expect, it } from "vitest";
import { type Admitted, type Cidr, overlaps, parseCidr, prefixOf } from "../model.ts";
import { everywhereBut, proxyLines } from "./proxied.ts";

const whole = (ip: string) => parseCidr(`${ip}/${isIP(ip) === 4 ? 32 : 128}`) as Cidr;

describe("the way to start udp2tcp", () => {
  it("takes the Node that the checkout has, as every page does: the machine's may be older", () => {
    const node = { role: "gateway" } as Admitted;
    const lines = proxyLines({ node, address: { host: "192.0.2.1", port: 5001 } }).join("\n");
    expect(lines).toMatch(
      /^# {3}npx node agent\/proxy\/main\.ts udp2tcp --udp-listen \S+ --tcp-forward 192\.0\.2\.1:5001 /m,
    );
  });
});

describe("everywhere but the proxy", () => {
  it.each(["192.0.2.1", "0.0.0.0", "255.255.255.255", "2001:db8::1", "::"])(
    "is every other address of both families, each once: %s",
    (ip) => {
      const all = everywhereBut(ip);
      expect(all.filter((prefix) => overlaps(prefix, whole(ip)))).toEqual([]);
      expect(all.filter((prefix) => parseCidr(prefix) !== prefix)).toEqual([]);
      const { width } = prefixOf(whole(ip));
      const same = all.map(prefixOf).filter((prefix) => prefix.width === width);
      const size = same.reduce((sum, { bits }) => sum + (1n << BigInt(width - bits)), 0n);
      expect(size).toBe((1n << BigInt(width)) - 1n);
      expect(all.filter((prefix) => prefixOf(prefix).width !== width)).toEqual([width === 32 ? "::/0" : "0.0.0.0/0"]);
    },
  );
});
