import { describe, expect, it, test } from "vitest";
import { type Endpoint, parseEndpoint } from "../model.ts";
import { OVERLAY } from "../test/peers.ts";
import { createEndpoints, REFRESH_AFTER_MS, RETRY_AFTER_MS } from "./endpoints.ts";

function endpoint(text: string): Endpoint {
  const parsed = parseEndpoint(text);
  if (parsed === undefined) throw new Error(`${text} is no endpoint`);
  return parsed;
}

/** A name server that can be told what to say, and keeps what it was asked. */
class Names {
  readonly asked: string[] = [];
  readonly zone: Map<string, readonly string[]>;
  waiting: (() => void)[] = [];
  isSlow = false;
  constructor(zone: Readonly<Record<string, readonly string[]>>) {
    this.zone = new Map(Object.entries(zone));
  }
  readonly lookup = async (host: string): Promise<readonly string[]> => {
    this.asked.push(host);
    if (this.isSlow) await new Promise<void>((resolve) => this.waiting.push(resolve));
    const answer = this.zone.get(host);
    if (answer === undefined) throw new Error("ENOTFOUND");
    return answer;
  };
}

const a = endpoint("a.example:51820");

describe("an address", () => {
  test.each([
    ["192.0.2.1:51820", "192.0.2.1:51820"],
    ["[2001:DB8::1]:1", "[2001:db8::1]:1"],
    ["127.0.0.1:51820", undefined],
    ["169.254.169.254:80", undefined],
    ["[fe80::1]:51820", undefined],
    ["[::ffff:127.0.0.1]:51820", undefined],
    ["10.213.9.9:51820", undefined],
  ])("%s is dialled as %s, without asking anybody", (text, dialled) => {
    expect(createEndpoints(new Names({}).lookup, [OVERLAY]).resolve(endpoint(text))).toBe(dialled);
  });
});

describe("a name", () => {
  it("is unknown until it was looked up", async () => {
    const endpoints = createEndpoints(new Names({ "a.example": ["192.0.2.1", "192.0.2.2"] }).lookup, []);
    expect(endpoints.resolve(a)).toBeUndefined();
    expect(await endpoints.refresh([a], 0)).toEqual(new Set(["a.example"]));
    expect(endpoints.resolve(a)).toBe("192.0.2.1:51820");
    expect(endpoints.hasUnknown()).toBe(false);
  });

  it("is never dialled where it points to ourselves, the link or the overlay", async () => {
    const names = new Names({ "a.example": ["127.0.0.1", "169.254.1.1", "10.213.0.4", "::1", "rubbish", "192.0.2.9"] });
    const endpoints = createEndpoints(names.lookup, [OVERLAY]);
    await endpoints.refresh([a], 0);
    expect(endpoints.resolve(a)).toBe("192.0.2.9:51820");
  });

  it("keeps its address while that is among the answers", async () => {
    const names = new Names({ "a.example": ["192.0.2.1", "192.0.2.2"] });
    const endpoints = createEndpoints(names.lookup, []);
    await endpoints.refresh([a], 0);
    names.zone.set("a.example", ["192.0.2.2", "192.0.2.1"]);
    expect(await endpoints.refresh([a], REFRESH_AFTER_MS)).toEqual(new Set());
    expect(endpoints.resolve(a)).toBe("192.0.2.1:51820");
    names.zone.set("a.example", ["192.0.2.3"]);
    expect(await endpoints.refresh([a], 2 * REFRESH_AFTER_MS)).toEqual(new Set(["a.example"]));
    expect(endpoints.resolve(a)).toBe("192.0.2.3:51820");
  });

  it("keeps its address while nobody answers, and is asked again soon", async () => {
    const names = new Names({ "a.example": ["192.0.2.1"] });
    const endpoints = createEndpoints(names.lookup, []);
    await endpoints.refresh([a], 0);
    names.zone.clear();
    expect(await endpoints.refresh([a], REFRESH_AFTER_MS)).toEqual(new Set());
    expect(endpoints.resolve(a)).toBe("192.0.2.1:51820");
    await endpoints.refresh([a], REFRESH_AFTER_MS + RETRY_AFTER_MS - 1);
    expect(names.asked).toHaveLength(2);
    await endpoints.refresh([a], REFRESH_AFTER_MS + RETRY_AFTER_MS);
    expect(names.asked).toHaveLength(3);
  });

  it("is asked for once a minute, however many endpoints have it", async () => {
    const names = new Names({ "a.example": ["192.0.2.1"] });
    const endpoints = createEndpoints(names.lookup, []);
    await endpoints.refresh([a, endpoint("a.example:1")], 0);
    await endpoints.refresh([a], REFRESH_AFTER_MS - 1);
    expect(names.asked).toEqual(["a.example"]);
    expect(endpoints.resolve(endpoint("a.example:1"))).toBe("192.0.2.1:1");
  });

  it("that nobody has any more is forgotten", async () => {
    const endpoints = createEndpoints(new Names({ "a.example": ["192.0.2.1"] }).lookup, []);
    await endpoints.refresh([a], 0);
    await endpoints.refresh([], 1);
    expect(endpoints.resolve(a)).toBeUndefined();
  });

  it("that answers slowly holds up two look-ups at most, and is not asked twice meanwhile", async () => {
    const names = new Names({});
    names.isSlow = true;
    const endpoints = createEndpoints(names.lookup, []);
    const many = ["a", "b", "c", "d"].map((name) => endpoint(`${name}.example:1`));
    const refreshing = endpoints.refresh(many, 0);
    expect(await endpoints.refresh(many, RETRY_AFTER_MS)).toEqual(new Set());
    expect(names.asked).toEqual(["a.example", "b.example"]);
    names.isSlow = false;
    for (const resolve of names.waiting) resolve();
    await refreshing;
    expect(names.asked).toEqual(["a.example", "b.example", "c.example", "d.example"]);
  });
});
