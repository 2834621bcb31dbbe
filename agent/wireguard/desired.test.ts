import { describe, expect, it, test } from "vitest";
import { type Admitted, parseTokenId, type Role, type SocketAddress, type TokenId } from "../model.ts";
import { cidr, drawn, keyOf, OVERLAY } from "../test/peers.ts";
import { desired, type Topology } from "./desired.ts";

function id(number: number): TokenId {
  const parsed = parseTokenId(BigInt(number));
  if (parsed === undefined) throw new Error(`${number} is no token id`);
  return parsed;
}

const topology = (parts: Partial<Topology>): Topology => ({
  ...{ role: "node", inbound: true, overlay: [OVERLAY], primary: id(1) },
  resolve: ({ host, port }) => (host === "unknown" ? undefined : (`${host}:${port}` as SocketAddress)),
  ...parts,
});

/** Token n with the key of the n-th letter and the address .n; `at` is its endpoint's host. */
const admitted = (number: number, role: Role, at?: string): Admitted => ({
  tokenId: id(number),
  key: keyOf("ABC".charAt(number - 1)),
  addresses: [cidr(`10.213.0.${number}/32`)],
  role,
  endpoint: at === undefined ? undefined : { host: at, port: 51820 },
});

const draw = (token: Admitted, where: Partial<Topology>) => {
  const peer = desired(token, topology(where));
  return peer === undefined ? "" : drawn(peer);
};

const gateway = admitted(1, "gateway", "192.0.2.1");
const gatewayWithout = admitted(1, "gateway");
const node = admitted(2, "node", "192.0.2.2");
const hidden = admitted(2, "node");
const member = admitted(3, "member");

describe("a node that others can dial", () => {
  test.each([
    ["has the primary gateway with the overlay, kept alive", gateway, {}, "A@*,1!1~25"],
    ["has any other gateway with its own address, kept alive", gateway, { primary: id(9) }, "A@1!1~25"],
    ["has a gateway that cannot be dialled, which dials", gatewayWithout, {}, "A@*,1"],
    ["has a node with its endpoint", node, {}, "B@2!2"],
    ["has a node without an endpoint, which dials", hidden, {}, "B@2"],
    ["has a member, which dials", member, {}, "C@3"],
    ["has a node whose name is not known yet", admitted(2, "node", "unknown"), {}, "B@2"],
  ] as const)("%s", (_, token, where, drawing) => {
    expect(draw(token, where)).toBe(drawing);
  });
});

describe("a node that nobody can dial", () => {
  test.each([
    ["dials the primary gateway", gateway, "A@*,1!1~25"],
    ["dials a node, and keeps that alive", node, "B@2!2~25"],
    ["meets a node like itself through the gateway", hidden, ""],
    ["meets a member through the gateway", member, ""],
    ["meets a gateway that nobody can dial not at all", gatewayWithout, ""],
  ] as const)("%s", (_, token, drawing) => {
    expect(draw(token, { inbound: false })).toBe(drawing);
  });
});

describe("a gateway", () => {
  test.each([
    ["gives the overlay to nobody", gateway, "A@1!1~25"],
    ["holds its members like any node", member, "C@3"],
  ] as const)("%s", (_, token, drawing) => {
    expect(draw(token, { role: "gateway" })).toBe(drawing);
  });
});

it("sorts the addresses, so that equal peers are equal texts", () => {
  const both = { ...member, addresses: [cidr("fd00::3/128"), cidr("10.213.0.3/32")] };
  expect(desired(both, topology({}))?.allowedIps).toEqual(["10.213.0.3/32", "fd00::3/128"]);
  expect(desired(member, topology({}))?.allowedIps).toBe(member.addresses);
});
