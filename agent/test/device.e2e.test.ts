/**
 * Ring 2 inside the lab: the device's door against the real `wg`, `ip`, `nft`, `conntrack`, and wireguard-go or, where it has
 * one, the kernel's WireGuard.
 */
import { once } from "node:events";
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:net";
import { afterEach, beforeAll, beforeEach, describe, expect, it, test } from "vitest";
import { AgentError, type FaultCode } from "../errors.ts";
import { type Cidr, type Peer, PrivateKey, type PublicKey } from "../model.ts";
import { apply } from "../wireguard/apply.ts";
import { type Device, openDevice } from "../wireguard/device.ts";
import { firewall } from "../wireguard/firewall.ts";
import type { WantedInterface } from "../wireguard/interface.ts";
import { plan, repair } from "../wireguard/plan.ts";
import { type Running, run, start, until } from "./lab/command.ts";
import { LAB_ADDRESS, Lab } from "./lab/lab.ts";
import type { Member } from "./lab/member.ts";
import { Pinging, reaches } from "./lab/ping.ts";
import { cidr, drawn, keyOf, OVERLAY, peersOf } from "./peers.ts";

const privateKey = PrivateKey.generate();
const options = { interfaceName: "wg0", privateKey, formerKeys: [] };
const overlay = [OVERLAY, cidr("fd00::/48")];
const own = [cidr("10.213.0.1/32"), cidr("fd00::1/128")];
const rules = {
  ...{ interfaceName: "wg0", overlay, own, nodes: [], httpPort: 8080 },
  ...{ isGateway: true, isolation: true, exit: false },
};
const wanted: WantedInterface = {
  ...{ listenPort: 51820, mtu: 1400, addresses: own, routes: overlay },
  ...{ firewall: firewall(rules), forwards: false },
};
const sh = (command: string) => run(["sh", "-c", command]);
const nobody = new Map<PublicKey, Peer>();
/** Makes the interface as whoever came before us would have, on this kernel. */
const BARE = "{ ip link add wg0 type wireguard 2>/dev/null || wireguard-go wg0; }";
let kernelHasWireGuard = false;
const NO_PROCESS = "the kernel's WireGuard is no process, and has no socket";

let device: Device;

/** Every `wg` and `ip` that the device runs goes through this: it is counted, and does first what the fault says. */
const WRAPPER = (program: string) => `#!/bin/sh
echo "${program} $*" >> /run/ran
if [ -f /run/fault-${program} ]; then . /run/fault-${program}; fi
exec /usr/bin/env PATH=/usr/sbin:/usr/bin:/sbin:/bin ${program} "$@"
`;
const fault = (program: string, script: string) => writeFileSync(`/run/fault-${program}`, script);
const ran = () => readFileSync("/run/ran", "utf8").trim().split("\n");

beforeAll(async () => {
  kernelHasWireGuard = (await sh("ip link add probe type wireguard && ip link del probe && echo yes || true")).includes(
    "yes",
  );
  mkdirSync("/run/wrapped");
  for (const program of ["wg", "ip"]) {
    writeFileSync(`/run/wrapped/${program}`, WRAPPER(program));
    chmodSync(`/run/wrapped/${program}`, 0o755);
  }
});

beforeEach(() => {
  writeFileSync("/run/ran", "");
  process.env["PATH"] = `/run/wrapped:${process.env["PATH"]}`;
  device = openDevice(options);
});

afterEach(async () => {
  process.env["PATH"] = process.env["PATH"]?.replace("/run/wrapped:", "");
  for (const program of ["wg", "ip"]) rmSync(`/run/fault-${program}`, { force: true });
  for (const thief of thieves) await thief.end();
  const undo =
    "umount -q /proc/sys; ip link del wg0; nft flush ruleset; ip -4 route flush root 10.213.0.0/16; ip link del dummy0; true";
  // An emulated kernel takes ten seconds over an interface with a thousand peers.
  await run(["sh", "-c", undo], { deadlineMs: 50_000 });
  await until("wireguard-go to end", 5_000, () => wireguardGo().length === 0);
});

const PORT_TAKEN =
  'case "$*" in *listen-port*) echo "Unable to modify interface: Address already in use" >&2; exit 1;; esac';

/** Somebody who has UDP port 51820. */
async function portThief(): Promise<Running> {
  const script = 'require("dgram").createSocket("udp4").bind(51820, () => console.log("up"))';
  const thief = start([process.execPath, "-e", script]);
  thieves.push(thief);
  await thief.says(/up/);
  return thief;
}
const thieves: Running[] = [];

/** The pids of wireguard-go in this lab. */
function wireguardGo(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^[0-9]+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").startsWith("wireguard-go");
      } catch {
        return false;
      }
    })
    .map(Number);
}

/** Everything that others can see of the device, sorted, because wireguard-go lists its peers in any order. */
async function shown(): Promise<string> {
  const text = await sh("ip address show dev wg0; ip route show dev wg0; ip -6 route show dev wg0; wg showconf wg0");
  return text.split("\n").sort().join("\n");
}

const drawnPeers = async () => [...(await device.read(nobody)).peers.values()].map((peer) => drawn(peer)).sort();

async function faultOf(work: Promise<unknown>): Promise<FaultCode | undefined> {
  try {
    await work;
    return undefined;
  } catch (error) {
    if (error instanceof AgentError) return error.fault.code;
    throw error;
  }
}

/** A process that ends may still hold the socket: a full pass tries again, and so does this. */
const remade = () =>
  until("the interface to be there", 5_000, async () => {
    const isThere = (await faultOf(device.ensure(wanted))) === undefined;
    return isThere && (await faultOf(device.read(nobody))) === undefined;
  });

const add = (drawing: string) => device.apply(plan(nobody, peersOf(drawing)));

describe("making the interface", () => {
  it("gives it key, port, addresses, MTU and routes, and leaves it alone from then on", async () => {
    expect(await device.ensure(wanted)).toMatchObject({ isNew: true, faults: [] });
    const state = await device.read(nobody);
    expect(state).toEqual({ publicKey: privateKey.publicKey, listenPort: 51820, isMarked: false, peers: new Map() });
    const text = await shown();
    expect(text).toMatch(/mtu 1400 .*<?/);
    expect(text).toMatch(/<[A-Z,_]*\bUP\b/);
    for (const part of ["inet 10.213.0.1/32", "inet6 fd00::1/128", "10.213.0.0/16 ", "fd00::/48 "]) {
      expect(text).toContain(part);
    }
    expect(await device.ensure(wanted)).toEqual({ isNew: false, repairs: [], faults: [] });
    expect(await shown()).toBe(text);
  });

  it("starts a wireguard-go that outlives us and knows nothing of our environment", async ({ skip }) => {
    skip(kernelHasWireGuard, NO_PROCESS);
    process.env["SECRET_OF_OURS"] = "secret";
    await device.ensure(wanted);
    const [pid] = wireguardGo();
    expect(readFileSync(`/proc/${pid}/environ`, "latin1")).not.toContain("SECRET_OF_OURS");
    const [, , , , parent, , session] =
      /^(\d+) \((.*)\) (\w) (\d+) (\d+) (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, "utf8")) ?? [];
    expect(Number(parent)).not.toBe(process.pid);
    expect(session).not.toBe(/^.*\) \w \d+ \d+ (\d+)/.exec(readFileSync("/proc/self/stat", "utf8"))?.[1]);
    for (const fd of [0, 1, 2]) expect(readlinkSync(`/proc/${pid}/fd/${fd}`)).toBe("/dev/null");
  });

  it("names the port that somebody else has, and leaves nothing behind", async () => {
    const taken = await portThief();
    expect(await faultOf(device.ensure(wanted))).toBe("device.port-in-use");
    await taken.end();
    expect(ran().join("\n")).not.toMatch(/link add/);
    expect(await device.ensure(wanted)).toMatchObject({ isNew: true });
  });

  it("names the port also where somebody takes it in that moment", async () => {
    fault("wg", PORT_TAKEN);
    expect(await faultOf(device.ensure(wanted))).toBe("device.port-in-use");
    expect(await sh("ip -o link show")).not.toContain("wg0");
  });

  it("refuses an overlay that is a network of this host, by name", async () => {
    await sh(
      "ip link add dummy0 type veth peer name dummy1; ip link set dummy0 up; ip route add 10.213.8.0/24 dev dummy0",
    );
    const refused = device.ensure(wanted);
    await expect(refused).rejects.toThrow(/10\.213\.0\.0\/16 overlaps the route 10\.213\.8\.0\/24 of /);
    expect(await sh("ip -o link show")).not.toContain("wg0");
    await sh("ip link del dummy0");
  });

  it("refuses to share the host with another interface of the same VPN", async () => {
    const prefix = wanted.routes.find((route) => route.includes(":")) ?? "";
    await sh(
      `ip link add dummy0 type veth peer name dummy1; ip link set dummy0 up; ip -6 route add ${prefix} dev dummy0`,
    );
    await expect(device.ensure(wanted)).rejects.toThrow(/another interface here is in the same VPN/);
    await sh("ip link del dummy0");
  });

  it("takes away what it made when the key cannot be set", async () => {
    fault("wg", 'case "$*" in *private-key*) echo "Unable to modify interface: broken" >&2; exit 1;; esac');
    expect(await faultOf(device.ensure(wanted))).toBe("device.command-failed");
    expect(await sh("ip -o link show")).not.toContain("wg0");
  });
});

describe("a wireguard-go that is still ending", () => {
  let last: Server;
  beforeEach(async ({ skip }) => {
    skip(kernelHasWireGuard, NO_PROCESS);
    mkdirSync("/run/wireguard", { recursive: true });
    last = createServer().listen("/run/wireguard/wg0.sock");
    await once(last, "listening");
  });
  afterEach(() => void last.close());

  it("is waited for", async () => {
    setTimeout(() => last.close(), 300);
    expect(await device.ensure(wanted)).toMatchObject({ isNew: true });
  });

  it("is waited for no longer than a pass may take", async () => {
    expect(await faultOf(device.ensure(wanted))).toBe("device.command-failed");
  });
});

describe("an interface that is there", () => {
  it("is adopted without any change where its key is ours", async () => {
    await device.ensure(wanted);
    await add("A@2 B@3!7~25");
    const before = await shown();
    expect(await openDevice(options).ensure(wanted)).toEqual({
      isNew: false,
      repairs: ["write the firewall"],
      faults: [],
    });
    expect(await shown()).toBe(before);
  });

  it("goes on although a network of the host has come to overlap, and says so for as long as it does", async () => {
    await device.ensure(wanted);
    await sh("ip route add 10.213.8.0/24 dev lo");
    const restarted = openDevice(options);
    const faults = async () => (await restarted.ensure(wanted)).faults.map(({ code }) => code);
    for (let i = 0; i < 2; i++) expect(await faults()).toEqual(["address.overlap"]);
    await sh("ip route del 10.213.8.0/24 dev lo");
    expect(await faults()).toEqual([]);
    writeFileSync("/run/ran", "");
    await faults();
    expect(ran()).toEqual(["ip -j -d -batch -"]);
  });

  it("follows another overlay, takes the routes of an earlier agent over, and leaves those of others", async () => {
    await device.ensure(wanted);
    await sh(`for net in 10.213.0.0/16 fd00::/48; do ip route replace $net dev wg0 proto boot; done`);
    await sh("ip route add 192.0.2.0/24 dev wg0; ip route add 198.51.100.0/24 dev wg0 proto static");
    const routes = async () => {
      const lines = (await sh("ip route show dev wg0; ip -6 route show dev wg0")).split("\n");
      const others = lines.filter((line) => !line.includes("proto kernel"));
      return others.flatMap((line) => /^\S+(?: proto \S+)?/.exec(line)?.[0] ?? []).sort();
    };
    expect((await openDevice(options).ensure(wanted)).repairs).toContain("route 10.213.0.0/16");
    expect(await routes()).toEqual([
      ...["10.213.0.0/16 proto 213", "192.0.2.0/24", "198.51.100.0/24 proto static", "fd00::/48 proto 213"],
    ]);
    const moved = { ...wanted, routes: [cidr("10.88.0.0/16"), cidr("fd01::/48")] };
    expect((await openDevice(options).ensure(moved)).repairs).toContain("remove the route fd00::/48");
    expect(await routes()).toEqual([
      ...["10.88.0.0/16 proto 213", "192.0.2.0/24", "198.51.100.0/24 proto static", "fd01::/48 proto 213"],
    ]);
    expect(await device.ensure(moved)).toMatchObject({ repairs: [], faults: [] });
  });

  it("is completed where an agent died between making it and giving it a key", async () => {
    await sh(BARE);
    expect(await device.ensure(wanted)).toMatchObject({ isNew: false });
    expect(await device.read(nobody)).toMatchObject({ publicKey: privateKey.publicKey, listenPort: 51820 });
  });

  test.each([
    ["a stranger's key", `${BARE}; wg genkey > /run/k; wg set wg0 private-key /run/k`, "device.foreign"],
    ["peers and no key", `${BARE}; wg set wg0 peer ${keyOf("A")}`, "device.foreign"],
    ["no WireGuard at all", "ip link add wg0 type bridge", "device.foreign"],
  ])("is refused and left alone where it has %s", async (_, command, code) => {
    await sh(command);
    const before = await sh("ip address show dev wg0; wg showconf wg0 || true");
    expect(await faultOf(device.ensure(wanted))).toBe(code);
    expect(await sh("ip address show dev wg0; wg showconf wg0 || true")).toBe(before);
    expect(await sh("nft list tables")).toBe("");
  });

  it("is left to the agent that drives it, for as long as that lives", async () => {
    const script = `import { openDevice } from "${new URL("../wireguard/device.ts", import.meta.url).pathname}";
      import { PrivateKey } from "${new URL("../model.ts", import.meta.url).pathname}";
      const privateKey = PrivateKey.parse("${privateKey.reveal()}");
      await openDevice({ interfaceName: "wg0", privateKey, formerKeys: [] }).ensure(${JSON.stringify(wanted)});
      console.log("up");
      setInterval(() => {}, 1000);`;
    writeFileSync("/run/other.ts", script);
    const other = start([process.execPath, "/run/other.ts"]);
    thieves.push(other);
    await other.says(/up/);
    const before = await shown();
    expect(await faultOf(device.ensure(wanted))).toBe("device.in-use");
    expect(await shown()).toBe(before);
    await other.end("SIGKILL");
    expect(await device.ensure(wanted)).toMatchObject({ isNew: false, faults: [] });
    expect(await faultOf(device.ensure(wanted))).toBeUndefined();
  });

  it("is never given another key of this node", async () => {
    await device.ensure(wanted);
    const before = await shown();
    const other = { ...options, privateKey: PrivateKey.generate(), formerKeys: [privateKey.publicKey] };
    expect(await faultOf(openDevice(other).ensure(wanted))).toBe("key.interface-differs");
    expect(await shown()).toBe(before);
  });
});

describe("peers", () => {
  beforeEach(async () => {
    await device.ensure(wanted);
    writeFileSync("/run/ran", "");
  });

  it("come, change and go as planned, each event by one wg set and nothing else", async () => {
    const steps = ["A@2", "A@2 B@3!7~25", "A@2,4 B@3!8", "A@2 B@*,3", "B@3"];
    let before = peersOf("");
    for (const step of steps) {
      const after = peersOf(step);
      const gone = [...before.keys()].filter((key) => !after.has(key)).map((key) => [key, undefined] as const);
      await device.apply(plan(before, new Map([...after, ...gone])));
      before = after;
    }
    expect(ran().map((line) => line.split(" ", 2).join(" "))).toEqual(steps.map(() => "wg set"));
    // The keepalive that was dropped is off; the endpoint that was dropped stays, as wg cannot take it away.
    expect(await drawnPeers()).toEqual(["B@3!8"]);
  });

  it("that are not there are removed without a word", async () => {
    await device.apply([{ kind: "remove", key: keyOf("X"), before: undefined }]);
    expect(await drawnPeers()).toEqual([]);
  });

  it("keep the endpoint they roamed to when something else of them changes", async () => {
    await add("A@2!7");
    await sh(`wg set wg0 peer ${keyOf("A")} endpoint 192.0.2.99:1`);
    await device.apply(plan(peersOf("A@2!7"), peersOf("A@2,3!7~25")));
    expect(await drawnPeers()).toEqual(["A@2,3!99~25"]);
  });

  it("are read as they are, whatever somebody did to them", async () => {
    await add("A@2 B@3");
    await sh(`wg genpsk > /run/psk; wg set wg0 peer ${keyOf("A")} preshared-key /run/psk persistent-keepalive 7 \
      peer ${keyOf("X")} allowed-ips 10.213.0.3/32 peer ${"A".repeat(43)}= allowed-ips 0.0.0.0/0`);
    const asked = peersOf("A@2 B@3");
    const found = await device.read(asked);
    expect(found.peers.size).toBe(4);
    const repairs = { asked, lastSeen: new Map(), keepsUnknown: false, nowMs: 0 };
    expect(await apply(device, repair(found.peers, asked, repairs))).toEqual({ kind: "applied" });
    expect(repair((await device.read(asked)).peers, asked, repairs)).toEqual([]);
  });

  it("come in chunks where they are many, and are read in one go", async () => {
    const many = new Map<PublicKey, Peer>();
    for (let i = 2; i < 1_002; i++) {
      const { publicKey } = PrivateKey.generate();
      const address = `10.213.${i >> 8}.${i & 255}/32` as Cidr;
      many.set(publicKey, { key: publicKey, allowedIps: [address], endpoint: undefined, keepalive: 0 });
    }
    await device.apply(plan(nobody, many));
    const { peers } = await device.read(many);
    expect([...peers.values()].map(({ key, allowedIps }) => [key, allowedIps]).sort()).toEqual(
      [...many.values()].map(({ key, allowedIps }) => [key, allowedIps]).sort(),
    );
    expect(ran().length).toBeLessThan(6);
  });
});

describe("a wg that does not do what it should", () => {
  beforeEach(async () => {
    await device.ensure(wanted);
    await add("A@2 B@3");
  });
  const change = () => plan(peersOf("A@2 B@3"), new Map([...peersOf("B@3,4~25 C@5"), [keyOf("A"), undefined]]));

  test.each([
    ["exits", 'echo "Unable to modify interface: broken" >&2; exit 1', "device.command-failed"],
    ["is killed", "kill -9 $$", "device.command-failed"],
    ["does half of it and exits", '/usr/bin/wg "$@"; exit 1', "device.command-failed"],
    ["hangs", "exec sleep 60", "device.command-timeout"],
  ])("leaves the device as it was when it %s, but for the removal", async (_, script, code) => {
    // Once: what undoes it works again.
    fault("wg", `rm /run/fault-wg; ${script}`);
    const outcome = await apply(device, change());
    expect(outcome).toMatchObject({ kind: "rolled-back", error: { fault: { code } } });
    expect(await sh("pgrep -f '^sleep 60' || true")).toBe("");
    expect(await drawnPeers()).toEqual(["B@3"]);
    expect(await device.read(nobody)).toMatchObject({ publicKey: privateKey.publicKey, listenPort: 51820 });
    expect(await apply(device, change())).toEqual({ kind: "applied" });
    expect(await drawnPeers()).toEqual(["B@3,4~25", "C@5"]);
  });

  it("is not asked for more than it can be told", async () => {
    const allowedIps = Array.from({ length: 12_000 }, (_, i) => `10.213.${i >> 8}.${i & 255}/32` as Cidr);
    const peer: Peer = { key: keyOf("D"), allowedIps, endpoint: undefined, keepalive: 0 };
    const outcome = await apply(device, plan(nobody, new Map([[peer.key, peer]])));
    expect(outcome).toMatchObject({ kind: "rolled-back", error: { fault: { problem: "E2BIG" } } });
  });

  it("leaves it unknown when it cannot be undone either", async () => {
    fault("wg", "exit 1");
    expect(await apply(device, change())).toMatchObject({ kind: "failed" });
  });

  it("is rolled back over the chunks that were done", async () => {
    const many = Array.from({ length: 4_000 }, (_, i) => {
      const { publicKey } = PrivateKey.generate();
      const allowedIps = [`10.213.${4 + (i >> 8)}.${i & 255}/32` as Cidr];
      return { key: publicKey, allowedIps, endpoint: undefined, keepalive: 0 };
    });
    fault("wg", "if [ -f /run/first ]; then rm /run/first /run/fault-wg; kill -9 $$; fi; touch /run/first");
    const outcome = await apply(device, plan(nobody, new Map(many.map((peer) => [peer.key, peer]))));
    expect(outcome.kind).toBe("rolled-back");
    expect(await drawnPeers()).toEqual(["A@2", "B@3"]);
  });

  test.each([
    ["prints rubbish", "echo rubbish; exit 0", "device.unreadable"],
    ["prints nothing", "exit 0", "device.unreadable"],
    ["prints half a dump", '/usr/bin/wg "$@" | head -c 200; exit 0', "device.unreadable"],
    // A busy machine may not get as far as the bound within the deadline.
    ["prints without an end", "exec cat /dev/zero", /device\.(unreadable|command-timeout)/],
    ["fails", "exit 3", "device.command-failed"],
  ])("is no empty device when it %s", async (_, script, code) => {
    fault("wg", script);
    expect(await faultOf(device.read(nobody))).toMatch(code);
  });

  it("is no missing interface when ip prints rubbish", async () => {
    fault("ip", "echo rubbish; exit 0");
    expect(await faultOf(device.ensure(wanted))).toBe("device.unreadable");
    rmSync("/run/fault-ip");
    expect(await device.ensure(wanted)).toEqual({ isNew: false, repairs: [], faults: [] });
  });

  it("is named where it is not installed", async () => {
    process.env["PATH"] = `/run/wrapped:${process.env["PATH"]}`;
    writeFileSync("/run/wrapped/nft", "not a program");
    chmodSync("/run/wrapped/nft", 0o755);
    const { faults } = await openDevice(options).ensure(wanted);
    rmSync("/run/wrapped/nft");
    expect(faults.map(({ code }) => code)).toEqual(["device.command-failed"]);
  });
});

describe("what somebody does to the interface", () => {
  let changes = 0;
  let stop: AbortController;
  let watching: Promise<void>;

  beforeEach(async () => {
    await device.ensure(wanted);
    await add("A@2 B@3");
    [changes, stop] = [0, new AbortController()];
    watching = device.watch(() => changes++, overlay, stop.signal);
    await until("ip monitor to listen", 5_000, async () => {
      await sh("ip link set dev wg0 txqueuelen 6$(date +%N | cut -c1-2)");
      return changes > 0;
    });
    await new Promise((resolve) => setTimeout(resolve, 100));
    changes = 0;
  });
  afterEach(async () => {
    stop.abort();
    await watching;
  });

  test.each([
    ["set down", "ip link set wg0 down", ["set the interface up", "route 10.213.0.0/16", "route fd00::/48"]],
    ["with another MTU", "ip link set wg0 mtu 1300", ["set the MTU to 1400"]],
    ["without its IPv4 address", "ip address del 10.213.0.1/32 dev wg0", ["add address 10.213.0.1/32"]],
    ["without its IPv6 address", "ip address del fd00::1/128 dev wg0", ["add address fd00::1/128"]],
    ["with an address more", "ip address add 10.213.0.77/32 dev wg0", ["remove address 10.213.0.77/32"]],
    ["without a route", "ip route del 10.213.0.0/16 dev wg0", ["route 10.213.0.0/16"]],
    ["with its route led astray", "ip route replace 10.213.0.0/16 dev lo", ["route 10.213.0.0/16"]],
  ])("is noticed and mended: %s", async (_, command, repairs) => {
    await sh(command);
    await until("the change to be noticed", 5_000, () => changes > 0);
    const ensured = await device.ensure(wanted);
    expect(ensured).toMatchObject({ isNew: false, faults: [] });
    expect(ensured.repairs).toEqual(expect.arrayContaining(repairs));
    expect(await device.ensure(wanted)).toEqual({ isNew: false, repairs: [], faults: [] });
    expect(await drawnPeers()).toEqual(["A@2", "B@3"]);
  });

  test.for([
    ["deleted", "ip link del wg0"],
    ["without its wireguard-go", `kill -9 $(cat /run/pid)`],
    ["without its socket", "rm /run/wireguard/wg0.sock"],
  ] as const)("is noticed and made anew: %s", async ([what, command], { skip }) => {
    skip(kernelHasWireGuard && what !== "deleted", NO_PROCESS);
    writeFileSync("/run/pid", String(wireguardGo()[0]));
    await sh(command);
    await until("the change to be noticed", 5_000, () => changes > 0);
    await remade();
    const lastSeen = peersOf("A@2?9#1");
    const repairs = { asked: nobody, lastSeen, keepsUnknown: false, nowMs: Date.UTC(2026, 0, 2, 3, 4, 5) };
    const asked = peersOf("A@2 B@3");
    expect(await apply(device, repair((await device.read(nobody)).peers, asked, repairs))).toEqual({ kind: "applied" });
    expect(await drawnPeers()).toEqual(["A@2!9", "B@3"]);
    expect(await device.read(nobody)).toMatchObject({ publicKey: privateKey.publicKey, listenPort: 51820 });
  });

  it("is made anew where wg cannot reach it any more", async ({ skip }) => {
    skip(kernelHasWireGuard, NO_PROCESS);
    renameSync("/run/wireguard/wg0.sock", "/run/wireguard/elsewhere.sock");
    expect(await faultOf(device.read(nobody))).toBe("device.command-failed");
    await remade();
    expect(await device.read(nobody)).toMatchObject({ publicKey: privateKey.publicKey });
  });

  it("is not a stranger's interface that took its place", async () => {
    await sh("ip link del wg0");
    await until("wireguard-go to end", 5_000, () => wireguardGo().length === 0);
    await sh(`${BARE}; wg genkey > /run/k; wg set wg0 private-key /run/k`);
    expect(await faultOf(device.ensure(wanted))).toBe("device.foreign");
  });

  it("is mended where its key or its port was changed", async () => {
    await sh("wg genkey > /run/k; wg set wg0 private-key /run/k listen-port 7777");
    expect(await device.ensure(wanted)).toEqual({ isNew: false, repairs: [], faults: [] });
    expect(await device.restore(await device.read(nobody), 51820)).toEqual([
      "set the private key",
      "listen on port 51820",
    ]);
    expect(await device.read(nobody)).toMatchObject({ publicKey: privateKey.publicKey, listenPort: 51820 });
    expect(await device.restore(await device.read(nobody), 51820)).toEqual([]);
    expect(await drawnPeers()).toEqual(["A@2", "B@3"]);
  });

  it("keeps its peers where its port was stolen", async () => {
    await sh("wg set wg0 listen-port 7777");
    const thief = await portThief();
    expect(await faultOf(device.restore(await device.read(nobody), 51820))).toBe("device.port-in-use");
    // Asking wireguard-go for it would have cost the port that it has.
    expect(await device.read(nobody)).toMatchObject({ listenPort: 7777 });
    expect(await drawnPeers()).toEqual(["A@2", "B@3"]);
    await thief.end();
    fault("wg", PORT_TAKEN);
    const found = { ...(await device.read(nobody)), listenPort: 7777 };
    expect(await faultOf(device.restore(found, 51820))).toBe("device.port-in-use");
    rmSync("/run/fault-wg");
    expect(await device.restore(await device.read(nobody), 51820)).toEqual(["listen on port 51820"]);
  });

  it("is noticed again after ip monitor was killed", async () => {
    const monitors = (await sh("pgrep -x ip || true")).trim().split("\n").map(Number);
    for (const pid of monitors) process.kill(pid, "SIGKILL");
    await until("the gap to be reported", 5_000, () => changes > 0);
    await new Promise((resolve) => setTimeout(resolve, 300));
    changes = 0;
    await sh("ip link set wg0 mtu 1300");
    await until("the change to be noticed", 5_000, () => changes > 0);
  });

  it("is watched no longer at the end, though ip is a wrapper that leaves a process behind", async () => {
    const { PATH } = process.env;
    mkdirSync("/run/wrapping");
    writeFileSync("/run/wrapping/ip", `#!/bin/sh\n${(await sh("command -v ip")).trim()} "$@"\n:\n`, { mode: 0o755 });
    process.env["PATH"] = `/run/wrapping:${PATH}`;
    const end = new AbortController();
    const ended = device.watch(() => {}, overlay, end.signal);
    await until(
      "the wrapped one to run",
      5_000,
      async () => (await sh("pgrep -fc '/run/wrapping/ip monitor' || true")).trim() !== "0",
    );
    process.env["PATH"] = PATH;
    await new Promise((resolve) => setTimeout(resolve, 200));
    end.abort();
    await ended;
  }, 10_000);
});

describe("a member that is connected", () => {
  let lab: Lab;
  let member: Member;
  let peers: Map<PublicKey, Peer>;

  beforeEach(async () => {
    lab = await Lab.open();
    await device.ensure(wanted);
    member = await lab.member("alice");
    const key = member.publicKey as PublicKey;
    peers = new Map([[key, { key, allowedIps: [cidr("10.213.0.2/32")], endpoint: undefined, keepalive: 0 }]]);
    await device.apply(plan(nobody, peers));
    await member.join({
      addresses: ["10.213.0.2/32"],
      routes: ["10.213.0.0/16"],
      peers: [{ publicKey: privateKey.publicKey, endpoint: `${LAB_ADDRESS}:51820`, allowedIps: ["10.213.0.0/16"] }],
    });
    expect(await reaches(member.host, "10.213.0.1", 5_000)).toBe(true);
  });
  afterEach(() => lab[Symbol.asyncDispose]());

  it("loses no packet while others come and go, nor by full passes, nor by a new agent", async () => {
    const pinging = new Pinging(member.host, "10.213.0.1", 5);
    await pinging.answered(20);
    for (let round = 0; round < 40; round++) {
      const others = peersOf(round % 2 === 0 ? "A@3 B@*,4!7~25" : "B@4!8 C@*,5");
      const gone = [...peersOf("A@ C@").keys()]
        .filter((key) => !others.has(key))
        .map((key) => [key, undefined] as const);
      await device.apply(plan(nobody, others));
      await device.apply(gone.map(([key]) => ({ kind: "remove", key, before: undefined })));
      if (round % 10 !== 0) continue;
      device = openDevice(options);
      await device.ensure(wanted);
      await device.restore(await device.read(peers), 51820);
    }
    expect((await pinging.stop()).lost).toBe(0);
  });

  it("shakes hands again at once after the interface was lost, without a packet of its own", async () => {
    const lastSeen = (await device.read(peers)).peers;
    await sh("ip link del wg0");
    await remade();
    const repairs = { asked: peers, lastSeen, keepsUnknown: false, nowMs: Date.now() };
    await device.apply(repair(new Map(), peers, repairs));
    await until("the handshake", 2_000, async () => {
      return [...(await device.read(peers)).peers.values()].some(({ latestHandshakeAt }) => latestHandshakeAt > 0);
    });
    expect(await drawnPeers()).toEqual([expect.stringMatching(/@2![0-9]+$/)]);
    expect(await reaches(member.host, "10.213.0.1")).toBe(true);
  });
});

describe("the host around it", () => {
  // A new namespace starts with what the machine has, and a Docker engine lets the machine forward.
  const forwarding = (ipv4: 0 | 1, ipv6: 0 | 1) =>
    sh(`echo ${ipv4} > /proc/sys/net/ipv4/ip_forward; echo ${ipv6} > /proc/sys/net/ipv6/conf/all/forwarding`);

  it("gets our firewall back where somebody flushed it, and no second one", async () => {
    await device.ensure(wanted);
    const table = await sh("nft list table inet dstack_vpn_wg0");
    await sh("nft flush chain inet dstack_vpn_wg0 forward");
    expect((await device.ensure(wanted)).repairs).toEqual(["write the firewall"]);
    expect(await sh("nft list table inet dstack_vpn_wg0")).toBe(table);
    await sh("nft flush ruleset");
    expect((await device.ensure(wanted)).repairs).toEqual(["write the firewall"]);
    expect((await device.ensure({ ...wanted, firewall: firewall({ ...rules, nodes: own }) })).repairs).toEqual([
      "write the firewall",
    ]);
    expect(await sh("nft list tables")).toBe("table inet dstack_vpn_wg0\n");
  });

  it("has a table for each of our interfaces, and loses that of one alone", async () => {
    const others = [cidr("10.88.0.0/16"), cidr("fd01::/48")];
    const rest = { interfaceName: "w+g=1", overlay: others, own: [] };
    const other = openDevice({ ...options, interfaceName: rest.interfaceName });
    const wantedToo = { ...wanted, listenPort: 51821, addresses: [], routes: others };
    const both = [wanted, { ...wantedToo, firewall: firewall({ ...rules, ...rest }) }] as const;
    await device.ensure(both[0]);
    await other.ensure(both[1]);
    const ours = "table inet dstack_vpn_wg0\n";
    expect(await sh("nft list tables")).toBe(`${ours}table inet dstack_vpn_w/2bg/3d1\n`);
    expect([(await device.ensure(both[0])).repairs, (await other.ensure(both[1])).repairs]).toEqual([[], []]);
    await other.remove();
    expect(await sh("nft list tables")).toBe(ours);
  });

  it("is rid of the one table that our interfaces once shared, where it speaks of this one", async () => {
    const shared = (name: string) =>
      sh(
        `nft 'add table inet dstack_vpn; add chain inet dstack_vpn c; add rule inet dstack_vpn c iifname "${name}" drop'`,
      );
    await shared("wg01");
    await device.ensure(wanted);
    expect(await sh("nft list tables")).toContain("table inet dstack_vpn\n");
    await shared("wg0");
    await openDevice(options).ensure(wanted);
    expect(await sh("nft list tables")).toBe("table inet dstack_vpn_wg0\n");
  });

  it("forwards only where it should", async () => {
    const settings = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding";
    await forwarding(0, 0);
    await device.ensure(wanted);
    expect(await sh(settings)).toBe("0\n0\n");
    expect((await device.ensure({ ...wanted, forwards: true })).repairs).toEqual([
      "set net.ipv4.ip_forward=1",
      "set net.ipv6.conf.all.forwarding=1",
    ]);
    expect(await sh(settings)).toBe("1\n1\n");
  });

  it("says how to let it forward where it may not", async () => {
    await forwarding(0, 1);
    await sh("mount --bind -o ro /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys");
    const { faults } = await device.ensure({ ...wanted, forwards: true });
    expect(faults).toMatchObject([{ code: "device.missing-privilege", need: "IPv4 forwarding" }]);
  });

  it("forgets the connections of a peer that is gone, and nobody else's", async () => {
    await device.ensure(wanted);
    const insert = (from: string, to: string) =>
      `conntrack -I -p udp -s ${from} -d ${to} --sport 1000 --dport 2000 -t 60`;
    await sh(
      [insert("10.213.0.5", "10.213.0.9"), insert("10.213.0.9", "10.213.0.5"), insert("10.213.0.6", "10.213.0.9")].join(
        "; ",
      ),
    );
    await device.forget([cidr("10.213.0.5/32"), cidr("fd00::5/128")]);
    const left = await sh("conntrack -L 2>/dev/null");
    expect(left).not.toContain("10.213.0.5");
    expect(left).toContain("10.213.0.6");
  });

  it("is left without interface and table when told so", async () => {
    await device.ensure(wanted);
    await device.remove();
    expect(await sh("ip -o link show; nft list tables")).not.toMatch(/wg0|dstack/);
  });

  it("is left without the table also where somebody has deleted the interface", async () => {
    await device.ensure(wanted);
    await sh("ip link del wg0");
    await device.remove();
    expect(await sh("nft list tables")).toBe("");
  });

  it("is left without the interface also where nft cannot be run", async () => {
    const nft = (await sh("readlink -f $(command -v nft)")).trim();
    await sh(`mount --bind /dev/null ${nft}`);
    try {
      expect((await device.ensure(wanted)).faults).not.toEqual([]);
      expect(await faultOf(device.remove())).toBeUndefined();
      expect(await sh("ip -o link show")).not.toContain("wg0");
    } finally {
      await sh(`umount ${nft}`);
    }
  });

  it("keeps both where they are another's", async () => {
    await sh(`${BARE}; wg genkey > /run/k; wg set wg0 private-key /run/k`);
    await device.remove();
    expect(await sh("ip -o link show")).toContain("wg0");
  });

  it("knows whether it has IPv6", async () => {
    expect(await device.hasIpv6()).toBe(true);
    await sh("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
    expect(await device.hasIpv6()).toBe(false);
    await sh("echo 0 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
  });
});
