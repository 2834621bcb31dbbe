/** Ring 6: the contract, the agent and members that ping, where WireGuard is the kernel's own. `scripts/kernel-vm.sh` runs it. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFailed } from "vitest";
import type { AgentProcess } from "./lab/agent.ts";
import { Chain } from "./lab/chain.ts";
import { until } from "./lab/command.ts";
import { Lab } from "./lab/lab.ts";
import type { Member } from "./lab/member.ts";
import { configOf, LabNode } from "./lab/node.ts";
import { Pinging, reaches } from "./lab/ping.ts";

const SETTINGS = { POLL_INTERVAL: "500", SYNC_INTERVAL: "5000" };

describe("on a kernel that has WireGuard", () => {
  let lab: Lab;
  let chain: Chain;
  let node: LabNode;
  let agent: AgentProcess;
  /** Stays granted to the end: whatever happens to others is not to touch her. */
  let alice: Member;

  beforeAll(async () => {
    lab = await Lab.open();
    chain = await Chain.start();
    node = await LabNode.create(lab, chain, "node-a", chain.account(1));
    alice = await lab.member("alice");
  });

  beforeEach(() => onTestFailed(() => console.error(agent?.log.slice(-8_000))));

  afterAll(async () => {
    await chain?.end();
    await lab?.[Symbol.asyncDispose]();
  });

  const granted = async (member: Member, owner: string): Promise<bigint> => {
    const tokenId = await chain.grant(owner, member.host.name, member.publicKey);
    await until(`${member.host.name} to be a peer`, 10_000, () => node.host.hasPeer(member.publicKey));
    await member.join(configOf(chain, tokenId, [node]));
    await until(`${member.host.name} to reach the node`, 10_000, () =>
      reaches(member.host, node.addresses.ipv4, 2_000),
    );
    return tokenId;
  };

  /** As the kernel knows it. The interface of a wireguard-go is of kind "tun". */
  const link = async (): Promise<{ ifindex: number; linkinfo: { info_kind: string } }> =>
    JSON.parse(await node.host.run(["ip", "-j", "-d", "link", "show", "dev", "wg0"]))[0];

  it("an agent that starts on an empty state makes an interface of the kernel's, and no wireguard-go", async () => {
    agent = node.agent(SETTINGS);
    await agent.ready();
    expect((await link()).linkinfo.info_kind).toBe("wireguard");
    expect(existsSync(node.host.file("/run/wireguard/wg0.sock"))).toBe(false);
    expect(processNames()).not.toContain("wireguard-go");
    expect(await agent.get("/wireguard")).toMatchObject({
      interface: "wg0",
      publicKey: node.publicKey,
      listenPort: 51820,
    });
  });

  it("a grant becomes a ping through it, over IPv4 and IPv6", async () => {
    await granted(alice, chain.account(3));
    expect(await reaches(alice.host, node.addresses.ipv6, 2_000)).toBe(true);
    expect(await agent.get("/health")).toMatchObject({ status: "healthy" });
  });

  it("a revoke ends it, and another member loses no packet by the coming and going", async () => {
    const bob = await lab.member("bob");
    const pinging = new Pinging(alice.host, node.addresses.ipv4, 50);
    const tokenId = await granted(bob, chain.account(4));
    await chain.revoke(tokenId);
    await until("the revoked key to leave the device", 10_000, async () => !(await node.host.hasPeer(bob.publicKey)));
    expect(await reaches(bob.host, node.addresses.ipv4, 2_000)).toBe(false);
    expect((await pinging.stop()).lost).toBe(0);
  });

  it("an agent that comes back adopts the interface as it is, and nobody loses a packet", async () => {
    const { ifindex } = await link();
    const pinging = new Pinging(alice.host, node.addresses.ipv4, 50);
    await agent.end("SIGKILL");
    agent = node.agent(SETTINGS);
    await agent.ready();
    expect((await link()).ifindex).toBe(ifindex);
    expect((await pinging.stop()).lost).toBe(0);
  });

  it("an interface that somebody deletes is made anew, with its peers and where they were", async () => {
    const { ifindex } = await link();
    await node.host.run(["ip", "link", "del", "dev", "wg0"]);
    await until("alice to reach the node again", 20_000, () => reaches(alice.host, node.addresses.ipv4, 2_000));
    const made = await link();
    expect(made.ifindex).not.toBe(ifindex);
    expect(made.linkinfo.info_kind).toBe("wireguard");
    expect(processNames()).not.toContain("wireguard-go");
  });
});

/** Of every process in this lab. */
function processNames(): string[] {
  return readdirSync("/proc")
    .filter((name) => /^[0-9]+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
      } catch {
        return "";
      }
    });
}
