import { describe, expect, it, test } from "vitest";
import { cidr, OVERLAY } from "../test/peers.ts";
import { firewall, type Rules, tableOf } from "./firewall.ts";

const rules: Rules = {
  interfaceName: "wg0",
  overlay: [OVERLAY],
  own: [cidr("10.213.0.1/32")],
  nodes: [],
  ...{ isGateway: false, isolation: true, exit: false, httpPort: undefined },
};

/** The rules of one chain, `wg` standing for the interface. */
function chain(name: string, difference: Partial<Rules> = {}): string[] {
  const [, body = ""] =
    new RegExp(`chain ${name} \\{\n.*\n([^]*?)\n  \\}`).exec(firewall({ ...rules, ...difference })) ?? [];
  const only4 = (line: string) => line !== "" && !line.includes("ip6");
  return body
    .split("\n")
    .map((line) => line.trim().replaceAll('"wg0"', "wg"))
    .filter(only4);
}

describe("what comes out of the tunnel for this node itself", () => {
  test.each([
    ["must be for the overlay", {}, ["iifname wg ip daddr != 10.213.0.0/16 ip daddr @closed_ip drop"]],
    ["may be for anything without isolation", { isolation: false }, []],
    [
      "is never for the agent's port",
      { isolation: false, httpPort: 8080 },
      ["iifname wg tcp dport 8080 reject with tcp reset"],
    ],
  ])("%s", (_, difference, lines) => {
    expect(chain("input", difference)).toEqual(lines);
  });
});

describe("what comes out of the tunnel for somebody else", () => {
  const replies = "iifname wg ct state established,related accept";
  const published = "iifname wg ct status dnat ct original ip daddr 10.213.0.1/32 accept";
  const within = "iifname wg oifname wg drop";
  test.each([
    ["goes nowhere", {}, [within, replies, published, "iifname wg drop"]],
    [
      "passes a gateway to nodes and from them",
      { isGateway: true },
      [
        "iifname wg oifname wg ip saddr @nodes_ip accept",
        "iifname wg oifname wg ip daddr @nodes_ip accept",
        ...[within, replies, published, "iifname wg drop"],
      ],
    ],
    [
      "leaves an exit, but not for what is closed",
      { exit: true },
      [within, replies, published, "iifname wg ip daddr @closed_ip drop"],
    ],
    [
      "leaves an exit for anywhere without isolation",
      { exit: true, isolation: false },
      ["iifname wg oifname wg accept", ...[replies, published]],
    ],
    [
      "stays in the overlay without isolation",
      { isolation: false },
      ["iifname wg oifname wg accept", ...[replies, published, "iifname wg drop"]],
    ],
  ])("%s", (_, difference, lines) => {
    expect(chain("forward", difference)).toEqual(lines);
  });
});

describe("what is sent on", () => {
  test.each([
    ["keeps its address on a plain node", {}, []],
    [
      "gets a gateway's address into the overlay",
      { isGateway: true },
      ["oifname wg ip saddr 10.213.0.0/16 ip saddr != 10.213.0.1/32 masquerade"],
    ],
    [
      "gets an exit's address out of it",
      { exit: true },
      ['oifname != { wg, "lo" } ip saddr 10.213.0.0/16 ip saddr != 10.213.0.1/32 masquerade'],
    ],
  ])("%s", (_, difference, lines) => {
    expect(chain("postrouting", difference)).toEqual(lines);
  });
});

it("replaces the table whether it was there or not, in one transaction", () => {
  expect(firewall(rules).split("\n").slice(0, 3)).toEqual([
    "add table inet dstack_vpn_wg0",
    "delete table inet dstack_vpn_wg0",
    "table inet dstack_vpn_wg0 {",
  ]);
});

test.each([
  ["wg-0_a.b", "inet dstack_vpn_wg-0_a.b"],
  ["a+b=c", "inet dstack_vpn_a/2bb/3dc"],
])("gives the interface %s a table that nft can read, and no other has", (interfaceName, table) => {
  expect(tableOf(interfaceName)).toBe(table);
});

it("names every node, and closes what is private", () => {
  const nodes = [cidr("10.213.0.9/32"), cidr("10.213.0.2/32"), cidr("fd00::9/128")];
  const text = firewall({ ...rules, nodes });
  expect(text).toContain("elements = { 10.213.0.2/32, 10.213.0.9/32 }");
  expect(text).toContain("elements = { fd00::9/128 }");
  for (const closed of ["10.0.0.0/8", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10"]) {
    expect(text).toContain(closed);
  }
});

it("is the same text for the same rules, in whatever order the nodes come", () => {
  const nodes = [cidr("10.213.0.9/32"), cidr("10.213.0.2/32")];
  expect(firewall({ ...rules, nodes: nodes.toReversed() })).toBe(firewall({ ...rules, nodes }));
});
