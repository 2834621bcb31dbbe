import { isIP } from "node:net";
import { describe, expect, it } from "vitest";
import { type Cidr, overlaps, parseCidr, prefixOf } from "../model.ts";
import { everywhereBut } from "./proxied.ts";

const whole = (ip: string) => parseCidr(`${ip}/${isIP(ip) === 4 ? 32 : 128}`) as Cidr;

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
