/**
 * Ring 2 inside the lab: packets against our table. A veth named wg0 stands for the tunnel, with two members and a node
 * behind it; on the other side a router with a public and a private network. WireGuard itself is not needed for that.
 */
import { beforeAll, describe, expect, it, test } from "vitest";
import { firewall, type Rules } from "../wireguard/firewall.ts";
import { run, start } from "./lab/command.ts";
import { cidr, OVERLAY } from "./peers.ts";

const sh = (command: string) => run(["sh", "-c", command]);

const rules: Rules = {
  ...{ interfaceName: "wg0", overlay: [OVERLAY, cidr("fd00::/48")], own: [cidr("10.213.0.1/32"), cidr("fd00::1/128")] },
  ...{ nodes: [cidr("10.213.0.9/32"), cidr("fd00::9/128")], httpPort: 8080 },
  ...{ isGateway: true, isolation: true, exit: false },
};

let tunnel: number;

/** A namespace of the lab, held by a sleeping process. */
async function hold(): Promise<number> {
  const holder = start(["unshare", "--net", "--", "sh", "-c", "ip link set lo up; echo up; exec sleep infinity"]);
  await holder.says(/up/);
  return holder.pid;
}
const inside = (pid: number, command: string) =>
  run(["nsenter", `--target=${pid}`, "--net", "--", "sh", "-c", command]);

beforeAll(async () => {
  [tunnel] = [await hold()];
  const world = await hold();
  await sh(
    `ip link add wg0 type veth peer name peers netns ${tunnel}; ip link add eth0 type veth peer name world netns ${world}`,
  );
  await sh("ip address add 10.213.0.1/32 dev wg0; ip address add fd00::1/128 dev wg0 nodad; ip link set wg0 up");
  await sh("ip route add 10.213.0.0/16 dev wg0; ip route add fd00::/48 dev wg0");
  await sh("ip address add 192.168.5.1/24 dev eth0; ip address add 203.0.113.1/24 dev eth0; ip link set eth0 up");
  await sh("ip address add 2001:db8::1/64 dev eth0 nodad; ip address add fd55::1/64 dev eth0 nodad");
  await sh(
    "ip route add default via 203.0.113.7; echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
  );
  // The members' side answers for all of their addresses, and sends everything into the tunnel.
  for (const id of [5, 6, 9])
    await inside(tunnel, `ip address add 10.213.0.${id}/32 dev peers; ip address add fd00::${id}/128 dev peers nodad`);
  await inside(tunnel, "ip link set peers up; ip route add 10.213.0.1 dev peers; ip route add default via 10.213.0.1");
  await inside(tunnel, "ip -6 route add fd00::1 dev peers; ip -6 route add default via fd00::1");
  await inside(
    world,
    "ip address add 203.0.113.7/24 dev world; ip address add 192.168.5.7/24 dev world; ip address add 169.254.169.254/32 dev world",
  );
  await inside(
    world,
    "ip address add 2001:db8::7/64 dev world nodad; ip address add fd55::7/64 dev world nodad; ip link set world up",
  );
  // Neighbour discovery is closed, too: WireGuard has none.
  await sh("ip link set wg0 address 02:00:00:00:00:01");
  await inside(
    tunnel,
    "ip link set peers address 02:00:00:00:00:02; ip neigh replace fd00::1 lladdr 02:00:00:00:00:01 dev peers",
  );
  for (const id of [5, 6, 9]) await sh(`ip neigh replace fd00::${id} lladdr 02:00:00:00:00:02 dev wg0`);
  const listen = `const net = require("net"); for (const port of [80, 8080]) net.createServer((s) => s.end(s.remoteAddress + "\\n")).listen(port, "::"); console.log("up")`;
  for (const pid of [tunnel, world])
    await start(["nsenter", `--target=${pid}`, "--net", "--", process.execPath, "-e", listen]).says(/up/);
  await start([process.execPath, "-e", listen]).says(/up/);
});

const load = (difference: Partial<Rules>) => run(["nft", "-f", "-"], { stdin: firewall({ ...rules, ...difference }) });

const CONNECT = `
const [from, to, port] = process.argv.slice(1);
const socket = require("net").connect({ host: to, port: Number(port), localAddress: from });
const say = (word) => { console.log(word); process.exit(); };
socket.on("data", (data) => say("as " + String(data).trim().replace(/^::ffff:/, "")));
socket.on("error", (error) => say(error.code));
setTimeout(say, 400, "nothing");`;

/** What a member's connection comes to: `as` the address that the other side sees, an error, or nothing at all. */
async function reach(from: string, to: string, port = 80): Promise<string> {
  const node = [process.execPath, "-e", CONNECT, from, to, String(port)];
  return (await run(["nsenter", `--target=${tunnel}`, "--net", "--", ...node])).trim();
}

const member = "10.213.0.5";
const member6 = "fd00::5";

describe("isolation", () => {
  beforeAll(() => load({}));
  test.each([
    ["a member reaches this node", member, "10.213.0.1", "as 10.213.0.5"],
    ["a member reaches this node over IPv6", member6, "fd00::1", "as fd00::5"],
    ["not its private address", member, "192.168.5.1", "nothing"],
    ["not its private IPv6 address", member6, "fd55::1", "nothing"],
    ["nor the private network behind it", member, "192.168.5.7", "nothing"],
    ["nor the metadata service", member, "169.254.169.254", "nothing"],
    ["nor the world, as this is no exit", member, "203.0.113.7", "nothing"],
  ])("%s", async (_, from, to, answer) => {
    expect(await reach(from, to)).toBe(answer);
  });

  it("closes the agent's port at once, and no other", async () => {
    expect(await reach(member, "10.213.0.1", 8080)).toBe("ECONNREFUSED");
    expect(await reach(member6, "fd00::1", 8080)).toBe("ECONNREFUSED");
  });
});

describe("an exit", () => {
  beforeAll(() => load({ exit: true }));
  test.each([
    ["lets a member out in its own name", member, "203.0.113.7", "as 203.0.113.1"],
    ["lets a member out over IPv6", member6, "2001:db8::7", "as 2001:db8::1"],
    ["keeps the private network closed", member, "192.168.5.7", "nothing"],
    ["keeps the private IPv6 network closed", member6, "fd55::7", "nothing"],
    ["keeps the metadata service closed", member, "169.254.169.254", "nothing"],
  ])("%s", async (_, from, to, answer) => {
    expect(await reach(from, to)).toBe(answer);
  });

  it("opens the private network where isolation is off", async () => {
    await load({ exit: true, isolation: false });
    expect(await reach(member, "192.168.5.7")).toBe("as 192.168.5.1");
  });
});

describe("a gateway", () => {
  // Both ends of a forwarded connection are behind the same interface here, so it is told by what nft counts.
  async function forwarded(from: string, to: string): Promise<boolean> {
    await sh("nft delete table inet counts 2>/dev/null; true");
    await sh(`nft 'add table inet counts; add chain inet counts post { type filter hook postrouting priority 50; }'`);
    await sh(`nft add rule inet counts post iifname wg0 oifname wg0 icmp type echo-request counter`);
    await inside(tunnel, `ping -c1 -W1 -I ${from} ${to} >/dev/null || true`);
    return !(await sh("nft list table inet counts")).includes("packets 0 ");
  }

  test.each([
    ["sends a member's packet on to a node", {}, member, "10.213.0.9", true],
    ["sends a node's packet on to a member", {}, "10.213.0.9", member, true],
    ["keeps members apart", {}, member, "10.213.0.6", false],
    ["lets members meet where isolation is off", { isolation: false }, member, "10.213.0.6", true],
    ["is not every node", { isGateway: false }, member, "10.213.0.9", false],
  ])("%s", async (_, difference, from, to, isForwarded) => {
    await load(difference);
    // The local table of that side would answer without us.
    await inside(
      tunnel,
      `ip route add table 99 default via 10.213.0.1; ip rule add pref 0 iif lo to ${to} lookup 99; ip rule add pref 5 lookup local; ip rule del pref 0 lookup local`,
    );
    expect(await forwarded(from, to)).toBe(isForwarded);
    await inside(
      tunnel,
      `ip rule add pref 0 lookup local; ip rule del pref 5; ip rule del to ${to} lookup 99; ip route flush table 99`,
    );
  });
});
