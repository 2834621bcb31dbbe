/** Ring 4: what somebody does to a running node with `wg`, `ip` and `kill`, and that it is undone while a member stays on. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFailed, test } from "vitest";
import type { AgentProcess } from "./lab/agent.ts";
import { Chain } from "./lab/chain.ts";
import { until } from "./lab/command.ts";
import { Lab } from "./lab/lab.ts";
import type { Member } from "./lab/member.ts";
import { configOf, LabNode } from "./lab/node.ts";
import { reaches } from "./lab/ping.ts";

/** Where the port is free; the node has it otherwise. */
const BIND_UDP = 'require("dgram").createSocket("udp4").on("error", () => {}).bind(51820); setInterval(() => {}, 1000)';
const FOREIGN = Buffer.alloc(32, "foreign").toString("base64");

let lab: Lab;
let chain: Chain;
let node: LabNode;
let alice: Member;
let agent: AgentProcess;

beforeAll(async () => {
  lab = await Lab.open();
  chain = await Chain.start();
  node = await LabNode.create(lab, chain, "node-a", chain.account(1));
  alice = await lab.member("alice");
  await chain.grant(chain.account(2), "bob", Buffer.alloc(32, "bob").toString("base64"));
  const tokenId = await chain.grant(chain.account(3), "alice", alice.publicKey);
  await alice.join(configOf(chain, tokenId, [node]));
});

beforeEach(() => onTestFailed(() => console.error(agent?.log.slice(-8_000))));

afterAll(async () => {
  await chain?.end();
  await lab?.[Symbol.asyncDispose]();
});

const start = async (syncInterval: string) => {
  await agent?.end();
  agent = node.agent({ POLL_INTERVAL: "200", SYNC_INTERVAL: syncInterval });
  await agent.ready();
  await until("alice to reach the node", 30_000, () => reaches(alice.host, node.addresses.ipv4));
  // The full pass that verifies the last change must not be what repairs the next.
  await until("the first drift to be over", 10_000, async () => (await agent.get("/health")).status === "healthy");
};

/** All that others can see of the node, in an order of its own; its members' endpoints are their own. */
async function world(): Promise<string[]> {
  const text = await node.host.run([
    ...[
      "sh",
      "-c",
      "ip -o link show dev wg0; ip -o address show dev wg0; ip route show dev wg0; ip -6 route show dev wg0; wg show wg0 dump",
    ],
  ]);
  // Counters, handshakes, interface numbers and the kernel's own link-local addresses come and go.
  const lines = text
    .split("\n")
    .map((line) => line.replace(/^[0-9]+: /, "").replace(/\t[^\t]*\t([^\t]*)\t[0-9]+\t[0-9]+\t[0-9]+\t/, "\t$1\t"));
  return lines
    .filter((line) => !line.includes("fe80::"))
    .map((line) => line.replace(/ qlen.*|valid_lft.*|\\.*/g, "").trim())
    .sort();
}

/** What a fault does to the node's host; `$ALICE` is her key. */
const hurt = (command: string) =>
  node.host.run(["sh", "-c", command], { env: { ...process.env, ALICE: alice.publicKey, FOREIGN } });

async function mended(before: readonly string[]): Promise<void> {
  let now: readonly string[] = [];
  await until(
    "the node to be as it was",
    10_000,
    async () => {
      now = await world().catch((error: unknown) => [String(error)]);
      return now.join("\n") === before.join("\n");
    },
    100,
  ).catch(() => expect(now).toEqual(before));
  await until("alice to reach the node again", 30_000, () => reaches(alice.host, node.addresses.ipv4));
}

const journal = async () => (await agent.get("/events")).events.map(({ kind }: { kind: string }) => kind);

describe("by what the kernel tells, long before the next full pass is due,", () => {
  beforeAll(() => start("600000"));

  test.each([
    ["set down", "ip link set wg0 down"],
    ["an MTU", "ip link set wg0 mtu 1300"],
    ["an IPv4 address", "ip -4 address flush dev wg0"],
    ["an IPv6 address", "ip -6 address flush dev wg0"],
    ["a foreign address", "ip address add 10.213.0.77/32 dev wg0"],
    ["a route", "ip route del 10.213.0.0/16 dev wg0"],
    ["a route that leads astray", "ip route replace 10.213.0.0/16 dev eth0"],
    ["the interface deleted", "ip link del wg0"],
    ["wireguard-go killed, its socket left behind", "kill -9 $(pgrep -x wireguard-go)"],
    ["wireguard-go told to end", "kill $(pgrep -x wireguard-go)"],
    ["its socket removed", "rm /run/wireguard/wg0.sock"],
  ])("it mends %s", async (_, command) => {
    const before = await world();
    await hurt(command.replace("$(pgrep -x wireguard-go)", String(wireguardGo())));
    await mended(before);
    expect(await journal()).toContain("drift-repair");
  });

  it("it makes the interface anew when a stranger's that had taken the name is gone, and says so meanwhile", async () => {
    const before = await world();
    await hurt("ip link del wg0; ip link add wg0 type bridge; ip link set wg0 up");
    const stranger = "the stranger to be named";
    await until(stranger, 10_000, async () => {
      return (await agent.get("/ready")).reasons.some(({ code }: { code: string }) => code === "device.foreign");
    });
    expect(await node.host.run(["ip", "-d", "link", "show", "wg0"])).toContain("bridge");
    expect(await agent.status("/health")).toBe(503);
    await hurt("ip link del wg0");
    await mended(before);
  });
});

describe("by the next full pass", () => {
  beforeAll(() => start("1000"));

  test.each([
    ["a foreign peer", 'wg set wg0 peer "$FOREIGN" allowed-ips 10.213.0.99/32'],
    ["a foreign peer that takes an address over", 'wg set wg0 peer "$FOREIGN" allowed-ips 10.213.0.3/32'],
    ["a foreign peer that takes everything over", 'wg set wg0 peer "$FOREIGN" allowed-ips 0.0.0.0/0,10.213.0.3/32'],
    ["addresses taken away", 'wg set wg0 peer "$ALICE" allowed-ips ""'],
    ["a peer removed", 'wg set wg0 peer "$ALICE" remove'],
    ["a preshared key", 'wg genpsk > /run/psk; wg set wg0 peer "$ALICE" preshared-key /run/psk'],
    ["a keepalive", 'wg set wg0 peer "$ALICE" persistent-keepalive 7'],
    ["another port", "wg set wg0 listen-port 7777"],
    ["another private key", "wg genkey > /run/other; wg set wg0 private-key /run/other"],
    ["a firewall mark", "wg set wg0 fwmark 0xca6c"],
    ["a socket that leads nowhere", "mv /run/wireguard/wg0.sock /run/wireguard/elsewhere.sock"],
  ])("it mends %s", async (_, command) => {
    const before = await world();
    await hurt(command);
    await mended(before);
    expect(await journal()).toContain("drift-repair");
  });

  test.each([
    ["its port is another's", "wg set wg0 listen-port 7777", "device.port-in-use"],
    ["its interface may have no IPv6", "echo 1 > /proc/sys/net/ipv6/conf/wg0/disable_ipv6", "device."],
  ])("it mends the peers also while %s, and the rest when that is over", async (_, command, code) => {
    const before = await world();
    await hurt(command);
    await using thief = node.host.start([process.execPath, "-e", BIND_UDP]);
    await hurt('wg set wg0 peer "$FOREIGN" allowed-ips 10.213.0.3/32');
    await until("the lack to be told", 10_000, async () =>
      (await agent.get("/ready")).reasons.some((reason: { code: string }) => reason.code.startsWith(code)),
    );
    const peers = async () => (await node.host.wg("allowed-ips")).map(([key, ips]) => `${key} ${ips}`).join("\n");
    await until("the foreign peer to go", 20_000, async () => !(await peers()).includes(FOREIGN));
    expect(await peers()).toContain("10.213.0.3/32");
    await thief.end();
    await hurt("echo 0 > /proc/sys/net/ipv6/conf/wg0/disable_ipv6");
    await mended(before);
  });

  it("an agent that starts again while its port is another's goes on, and mends the rest when that is over", async () => {
    const before = await world();
    await agent.end();
    await hurt("wg set wg0 listen-port 7777");
    await using thief = node.host.start([process.execPath, "-e", BIND_UDP]);
    await until("the port to be taken", 5_000, async () => (await node.host.run(["ss", "-lun"])).includes(":51820 "));
    agent = node.agent({ POLL_INTERVAL: "200", SYNC_INTERVAL: "1000" });
    await until("the lack to be told", 20_000, async () =>
      (await agent.get("/ready").catch(() => ({ reasons: [] }))).reasons.some(
        ({ code }: { code: string }) => code === "device.port-in-use",
      ),
    );
    await hurt('wg set wg0 peer "$FOREIGN" allowed-ips 10.213.0.99/32');
    const peers = async () => (await node.host.wg("allowed-ips")).join("\n");
    await until("the foreign peer to go", 20_000, async () => !(await peers()).includes(FOREIGN));
    await thief.end();
    await mended(before);
  });

  it("it leaves the endpoint of a peer that roamed alone", async () => {
    await hurt('wg set wg0 peer "$ALICE" endpoint 192.0.2.99:4444');
    const passes = async () => (await agent.get("/wireguard")).asOf;
    for (let i = 0; i < 2; i++) {
      const last = await passes();
      await until("a full pass", 10_000, async () => (await passes()) !== last);
    }
    expect((await node.host.wg("endpoints")).join("\n")).toContain("192.0.2.99:4444");
    await until("alice to bring it back herself", 10_000, () => reaches(alice.host, node.addresses.ipv4));
  });
});

/** The node's, told from alice's by its network namespace. */
function wireguardGo(): number {
  const network = (pid: string | number) => readlinkSync(`/proc/${pid}/ns/net`);
  const own = network(agent.pid);
  const pid = readdirSync("/proc").find((name) => {
    try {
      const isOne = /^[0-9]+$/.test(name) && readFileSync(`/proc/${name}/comm`, "utf8").trim() === "wireguard-go";
      return isOne && network(name) === own;
    } catch {
      return false;
    }
  });
  return Number(pid);
}
