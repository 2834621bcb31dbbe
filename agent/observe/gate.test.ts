import { describe, expect, it } from "vitest";
import { hostNames, refusal } from "./gate.ts";

const visit = { method: "GET", target: "/health", origin: undefined, site: undefined, hasBody: false };

describe("the gate", () => {
  it.each([
    ["the address that we listen on", "10.0.0.7", [], "10.0.0.7:8080", true],
    ["an IPv6 address that we listen on", "fd00::7", [], "[fd00::7]:8080", true],
    ["an IPv6 loopback with its port", "::1", [], "[::1]:9", true],
    ["no wildcard as a name", "0.0.0.0", [], "0.0.0.0:8080", false],
    ["no IPv6 wildcard as a name", "::", [], "[::]:8080", false],
    ["an allowed name with a port in the setting", "0.0.0.0", ["node-a:8080"], "node-a:80", true],
    ["an allowed IPv6 address without brackets", "::", ["fd00::8"], "[fd00::8]", true],
    ["nothing but what is listed", "::", ["node-a"], "node-b", false],
    ["no name with more behind the port", "::", ["node-a"], "node-a:80:80", false],
  ])("knows %s", (_title, listenOn, allowed, host, isKnown) => {
    const policy = { hosts: hostNames(listenOn, allowed), origins: new Set<string>() };
    expect(refusal({ ...visit, hosts: [host] }, policy)?.status).toBe(isKnown ? undefined : 421);
  });
});
