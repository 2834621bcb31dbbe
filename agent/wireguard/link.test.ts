import { describe, expect, it, test } from "vitest";
import { cidr, OVERLAY } from "../test/peers.ts";
import { aliasOf, driverOf, type Link, linkSteps, overlapping, parseLink, routers } from "./link.ts";

const wanted = {
  mtu: 1420,
  addresses: [cidr("10.213.0.1/32"), cidr("fd00::1/128")],
  routes: [OVERLAY, cidr("fd00::/48")],
};
/** Ours where nothing else is said: `10.0.0.0/8 boot` is one that was added without a word about whose it is. */
const routes = (...drawings: readonly string[]) =>
  drawings.map((drawing) => {
    const [to = "", protocol = "213"] = drawing.split(" ");
    return { to, protocol };
  });
const settled: Link = { index: 2, isUp: true, alias: "", ...wanted, routes: routes(...wanted.routes) };

describe("an interface", () => {
  const rows: readonly (readonly [string, Partial<Link>, readonly string[]])[] = [
    ["that is as wanted is left alone", {}, []],
    [
      "with routes of others keeps them",
      { routes: [...settled.routes, ...routes("192.0.2.0/24 boot", "198.51.100.0/24 static")] },
      [],
    ],
    [
      "loses the route of an overlay that it had before",
      { routes: [...settled.routes, ...routes("10.88.0.0/16")] },
      ["route del 10.88.0.0/16 dev wg0 proto 213"],
    ],
    [
      "takes over a route that nobody is said to have, and leaves alone whose is another's",
      { routes: routes("10.213.0.0/16 boot", "fd00::/48 static") },
      ["route replace 10.213.0.0/16 dev wg0 proto 213"],
    ],
    ["that is down is set up", { isUp: false }, ["link set dev wg0 up"]],
    ["gets its MTU back", { mtu: 1500 }, ["link set dev wg0 mtu 1420"]],
    ["gets an address back", { addresses: ["fd00::1/128"] }, ["address add 10.213.0.1/32 dev wg0"]],
    ["gets a route back", { routes: routes("fd00::/48") }, ["route replace 10.213.0.0/16 dev wg0 proto 213"]],
    [
      "changes its address by adding the new one first",
      { addresses: ["10.213.0.9/32", "fd00::1/128"] },
      ["address add 10.213.0.1/32 dev wg0", "address del 10.213.0.9/32 dev wg0"],
    ],
    [
      "loses an address with another prefix length",
      { addresses: [...settled.addresses, "10.213.0.1/16"] },
      ["address del 10.213.0.1/16 dev wg0"],
    ],
    [
      "that is new gets everything, link before address before route",
      { isUp: false, mtu: 1400, addresses: [], routes: [] },
      [
        "link set dev wg0 mtu 1420",
        "link set dev wg0 up",
        "address add 10.213.0.1/32 dev wg0",
        "address add fd00::1/128 dev wg0",
        "route replace 10.213.0.0/16 dev wg0 proto 213",
        "route replace fd00::/48 dev wg0 proto 213",
      ],
    ],
  ];
  test.each(rows)("%s", (_, difference, steps) => {
    expect(linkSteps("wg0", { ...settled, ...difference }, wanted).map(({ words }) => words.join(" "))).toEqual(steps);
  });
});

const address = (flags: readonly string[], ...list: readonly object[]) =>
  JSON.stringify([{ ifindex: 7, ifname: "wg0", flags, mtu: 1420, addr_info: list }]);

describe("what ip says", () => {
  it("is taken without the link-local addresses that the kernel makes", () => {
    const text = address(
      ["POINTOPOINT", "UP"],
      { family: "inet", local: "10.213.0.1", prefixlen: 32, scope: "global" },
      { family: "inet6", local: "fe80::1", prefixlen: 64, scope: "link" },
    );
    const told =
      '[{"dst":"10.213.0.0/16","table":"main","protocol":"213"},{"dst":"192.0.2.1"},{"dst":"default","protocol":"dhcp"}]';
    expect(parseLink(`${text}\n${told}\n`)).toEqual({
      ...{ index: 7, isUp: true, mtu: 1420, addresses: ["10.213.0.1/32"] },
      ...{ routes: routes("10.213.0.0/16", "192.0.2.1/32 boot", "0.0.0.0/0 dhcp"), alias: "" },
    });
  });

  it("has the routes of the main table alone, which are the ones that packets take", () => {
    const told = '[{"dst":"10.213.0.1","table":"local"},{"dst":"10.213.0.0/16","table":"100"},{"dst":"fd00::/48"}]';
    expect(parseLink(`${address(["UP"])}\n${told}\n`).routes).toEqual(routes("fd00::/48 boot"));
  });

  test.each([
    ["an empty list", "[]\n"],
    ["nothing", ""],
  ])("is down without UP, and has no routes where they are %s", (_, told) => {
    const text = `${address(["LOWER_UP"])}\n${told}`;
    expect(parseLink(text)).toMatchObject({ isUp: false, addresses: [], routes: [] });
  });

  test.each([
    ["nothing", ""],
    ["an empty list", "[]"],
    ["no JSON", "Device wg0"],
    ["a number", "1"],
    ["null", "[null]"],
    ["no index", '[{"ifname":"wg0","flags":[],"mtu":1420,"addr_info":[]}]'],
    ["no addresses", '[{"ifindex":1,"flags":[],"mtu":1420}]'],
    ["an address that is none", address([], { local: "; reboot", prefixlen: 32, scope: "global" })],
  ])("is refused where it is %s", (_, text) => {
    expect(() => parseLink(text)).toThrow(/ip printed/);
  });

  it("names the interfaces whose routers advertise, and no path", () => {
    expect(routers('[{"dst":"default","dev":"eth0"},{"dst":"default","dev":"../../x"}]')).toEqual(["eth0"]);
  });
});

describe("the alias", () => {
  it("says which process drives the interface", () => {
    const driver = { pid: 12, startedAt: "3456" };
    const text = address(["UP"]).replace('"mtu"', `"ifalias":"${aliasOf(driver)}","mtu"`);
    expect(driverOf(parseLink(text).alias)).toEqual(driver);
  });

  it.each(["", "uplink to Berlin", "dstack-vpn process x of 1", "dstack-vpn process 1 of 2 and more"])(
    "of others says nothing: %j",
    (alias) => {
      expect(driverOf(alias)).toBeUndefined();
    },
  );
});

describe("the overlay overlaps", () => {
  const route = (dst: string, more: object = {}) => JSON.stringify([{ dst, dev: "eth0", ...more }]);
  test.each([
    ["a network inside it", route("10.213.7.0/24"), "10.213.7.0/24 of eth0"],
    ["a network around it", route("10.0.0.0/8"), "10.0.0.0/8 of eth0"],
    ["an address of this host inside it", route("10.213.0.9", { type: "local" }), "10.213.0.9/32 of eth0"],
    [
      "a route over several interfaces",
      route("10.213.7.0/24", { dev: undefined }),
      "10.213.7.0/24 of several interfaces",
    ],
    ["not the default route", route("default"), undefined],
    ["not half of a default route", route("0.0.0.0/1"), undefined],
    ["not its own route", route("10.213.0.0/16", { dev: "wg0" }), undefined],
    ["not a black hole", route("10.0.0.0/8", { type: "blackhole" }), undefined],
    ["not a neighbour", route("10.212.0.0/16"), undefined],
  ])("%s", (_, text, found) => {
    expect(overlapping(OVERLAY, "wg0", ["[]", text])).toBe(found);
  });
});
