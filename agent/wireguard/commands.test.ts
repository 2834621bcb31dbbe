import { describe, expect, it, test } from "vitest";
import { AgentError } from "../errors.ts";
import { PrivateKey } from "../model.ts";
import { keyOf, NOW_MS, peersOf } from "../test/peers.ts";
import { type Ended, isAbsent, isPortTaken, isUnknownType, notInstalled, output, setArguments } from "./commands.ts";
import { plan, repair } from "./plan.ts";

const words = (running: string, wanted: string) =>
  [...setArguments("wg0", plan(peersOf(running), peersOf(wanted)))].map((chunk) => chunk.join(" "));

describe("wg set", () => {
  it("names every field of a peer, also the ones that are off", () => {
    expect(words("", "A@1")).toEqual([`set wg0 peer ${keyOf("A")} persistent-keepalive off allowed-ips 10.213.0.1/32`]);
    expect(words("A@1", "A@*,1!7~25")).toEqual([
      `set wg0 peer ${keyOf("A")} endpoint 192.0.2.7:51820 persistent-keepalive 25 allowed-ips 10.213.0.0/16,10.213.0.1/32`,
    ]);
  });

  it("takes every address away where none is wanted", () => {
    const [chunk] = setArguments("wg0", plan(peersOf("A@1"), peersOf("A@")));
    expect(chunk?.slice(-2)).toEqual(["allowed-ips", ""]);
  });

  it("moves the overlay from gateway to gateway in one command", () => {
    expect(words("A@*,1 B@2", "A@1 B@*,2")).toEqual([
      `set wg0 peer ${keyOf("A")} persistent-keepalive off allowed-ips 10.213.0.1/32 ` +
        `peer ${keyOf("B")} persistent-keepalive off allowed-ips 10.213.0.0/16,10.213.0.2/32`,
    ]);
  });

  it("removes, and drops a preshared key", () => {
    const repairs = { asked: new Map(), lastSeen: new Map(), keepsUnknown: false, nowMs: NOW_MS };
    const changes = repair(peersOf("A@1^ X@9"), peersOf("A@1"), repairs);
    expect([...setArguments("wg0", changes)].map((chunk) => chunk.join(" "))).toEqual([
      `set wg0 peer ${keyOf("X")} remove ` +
        `peer ${keyOf("A")} preshared-key /dev/null persistent-keepalive off allowed-ips 10.213.0.1/32`,
    ]);
  });

  it("wakes a peer by switching its keepalive on for a moment", () => {
    const repairs = { asked: new Map(), lastSeen: peersOf("A@1?7#1"), keepsUnknown: false, nowMs: NOW_MS };
    const changes = repair(new Map(), peersOf("A@1"), repairs);
    expect([...setArguments("wg0", changes)].map((chunk) => chunk.join(" "))).toEqual([
      `set wg0 peer ${keyOf("A")} endpoint 192.0.2.7:51820 persistent-keepalive 25 allowed-ips 10.213.0.1/32 ` +
        `peer ${keyOf("A")} persistent-keepalive off`,
    ]);
  });

  it("comes in chunks that an argument list can hold, in order", () => {
    const many = Array.from({ length: 6_000 }, (_, i) => plan(new Map(), peersOf(`A@${i % 250}`))).flat();
    const chunks = [...setArguments("wg0", many)];
    expect(chunks.length).toBeGreaterThan(2);
    for (const chunk of chunks) {
      expect(chunk.slice(0, 2)).toEqual(["set", "wg0"]);
      expect(chunk.join(" ").length).toBeLessThan(300_000);
    }
    const asked = chunks.flatMap((chunk) => chunk.filter((_, i) => chunk[i - 1] === "allowed-ips"));
    expect(asked).toEqual(Array.from({ length: 6_000 }, (_, i) => `10.213.0.${i % 250}/32`));
  });

  it("is not run for nothing", () => {
    expect([...setArguments("wg0", [])]).toEqual([]);
  });
});

const ended = (stderr: string, exit = 1): Ended => ({ program: "wg", exit, stdout: "out", stderr });

describe("a program that failed", () => {
  test.each([
    ["Unable to access interface: Operation not permitted", "device.missing-privilege", /NET_ADMIN for wg/],
    ["RTNETLINK answers: Operation not permitted", "device.missing-privilege", /cap_add: NET_ADMIN/],
    ["Failed to create TUN device: permission denied", "device.missing-privilege", /leave to open \/dev\/net\/tun/],
    ["Failed to create TUN device: operation not permitted", "device.missing-privilege", /NET_ADMIN/],
    [
      'Failed to create TUN device: CreateTUN("wg0") failed; /dev/net/tun does not exist',
      "device.missing-privilege",
      /tun/,
    ],
    ["Unable to modify interface: No space left on device", "device.command-failed", /No space left on device/],
    ["", "device.command-failed", /it said nothing/],
  ])("with %j is %s", (stderr, code, message) => {
    const error = thrown(() => output(ended(stderr)));
    expect(error.fault.code).toBe(code);
    expect(error.message).toMatch(message);
  });

  it("is never quoted with a key, a second line or what a terminal would obey", () => {
    const key = PrivateKey.generate().reveal();
    const message = thrown(() =>
      output(ended(`Key is not the correct length or format: \`${key}'\n\u001b[31mred`)),
    ).message;
    expect(message).not.toContain(key.slice(0, 20));
    expect(message).toMatch(/format: `\[key\]' \[31mred$/);
  });

  it("gives its output when it did not fail", () => {
    expect(output(ended("a warning", 0))).toBe("out");
  });

  it("that is not there is named with its package", () => {
    expect(new AgentError(notInstalled("wg")).message).toBe("missing the program wg: apt-get install wireguard-tools");
    expect(new AgentError(notInstalled("conntrack")).message).toMatch(/apt-get install conntrack$/);
  });

  test.each([
    ["Unable to access interface: No such device", { isAbsent: true, isPortTaken: false }],
    ["Unable to access interface: Protocol not supported", { isAbsent: true, isPortTaken: false }],
    // As the kernel says of a bridge.
    ["Unable to access interface: Operation not supported", { isAbsent: true, isPortTaken: false }],
    ['Device "wg0" does not exist.', { isAbsent: true, isPortTaken: false }],
    ["Unable to modify interface: Address already in use", { isAbsent: false, isPortTaken: true }],
    ["Unable to access interface: Operation not permitted", { isAbsent: false, isPortTaken: false }],
  ])("with %j means", (stderr, meaning) => {
    expect({ isAbsent: isAbsent(ended(stderr)), isPortTaken: isPortTaken(ended(stderr)) }).toEqual(meaning);
    expect(isAbsent(ended(stderr, 0)) || isPortTaken(ended(stderr, 0)) || isUnknownType(ended(stderr, 0))).toBe(false);
  });

  test.each(["Error: Unknown device type.", "RTNETLINK answers: Operation not supported"])(
    "with %j has no WireGuard in its kernel",
    (stderr) => {
      expect(isUnknownType(ended(stderr))).toBe(true);
    },
  );
});

function thrown(work: () => unknown): AgentError {
  try {
    work();
  } catch (error) {
    if (error instanceof AgentError) return error;
  }
  throw new Error("it should have thrown an AgentError");
}
