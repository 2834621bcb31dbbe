import { describe, expect, it } from "vitest";
import { typedAddress, typedEndpoint, typedIp, typedKey, typedName, typedRole, typedToken } from "./typed.ts";

const ADDRESS = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const KEY = Buffer.alloc(32, 1).toString("base64");

describe("what people type", () => {
  it.each([
    [typedAddress, ADDRESS, ADDRESS.toLowerCase()],
    [typedAddress, ADDRESS.toLowerCase(), ADDRESS.toLowerCase()],
    [typedToken, "3", 3n],
    [typedKey, KEY, KEY],
    [typedName, "alice-2", "alice-2"],
    [typedRole, "gateway", 2],
    [typedEndpoint, "[2001:db8::1]:51820", "[2001:db8::1]:51820"],
    [typedEndpoint, "vpn.example.org:51820", "vpn.example.org:51820"],
    [typedEndpoint, "", ""],
    [typedIp, "9.9.9.9", "9.9.9.9"],
  ])("is read: %o %s", (read, text, value) => {
    expect(read(text)).toBe(value);
  });

  it.each([
    ["an address with one letter wrong", typedAddress, ADDRESS.replace("C8", "c8")],
    ["an ICAP address", typedAddress, "XE7338O073KYGTWWZN0F2WZ0R8PX5ZPPZS"],
    ["an address without 0x", typedAddress, ADDRESS.slice(2)],
    ["a token in hex", typedToken, "0x3"],
    ["a negative token", typedToken, "-1"],
    ["an empty key", typedKey, ""],
    ["a key of zeros", typedKey, Buffer.alloc(32).toString("base64")],
    ["a name in capitals", typedName, "Alice"],
    ["a name with a line break", typedName, "alice\n"],
    ["a role that there is not", typedRole, "owner"],
    ["an endpoint without a port", typedEndpoint, "vpn.example.org"],
    ["an endpoint at which nobody else arrives", typedEndpoint, "127.0.0.1:51820"],
    ["an endpoint on the link", typedEndpoint, "[fe80::1]:51820"],
    ["a name server's name", typedIp, "dns.example.org"],
    ["a second line", typedIp, "9.9.9.9\nPostUp = id"],
  ])("is refused with what was expected: %s", (_, read, text) => {
    expect(() => read(text)).toThrow(/^It must be /);
  });
});
