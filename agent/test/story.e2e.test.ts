/** Ring 4: anvil, the contract, the agent and members that ping. What a holder sees is what is judged. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFailed } from "vitest";
import type { ContractName } from "../../contracts/artifact.ts";
import type { AgentProcess } from "./lab/agent.ts";
import { Chain } from "./lab/chain.ts";
import { until } from "./lab/command.ts";
import { Lab } from "./lab/lab.ts";
import type { Member } from "./lab/member.ts";
import { configOf, LabNode } from "./lab/node.ts";
import { Pinging, reaches } from "./lab/ping.ts";

const LOW_ORDER = Buffer.from("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800", "hex");
const POLL = { POLL_INTERVAL: "200", SYNC_INTERVAL: "2000" };

describe.each<ContractName>(["DstackAccessNFT", "PlainAccessNFT"])("on %s", (contractName) => {
  let lab: Lab;
  let chain: Chain;
  let node: LabNode;
  let other: LabNode;
  let agent: AgentProcess;
  let otherAgent: AgentProcess;
  let settings: Record<string, string>;
  /** Stays granted to the end: whatever happens to others is not to touch her. */
  let alice: Member;
  let aliceToken: bigint;

  beforeAll(async () => {
    lab = await Lab.open();
    chain = await Chain.start(contractName);
    node = await LabNode.create(lab, chain, "node-a", chain.account(1));
    other = await LabNode.create(lab, chain, "node-b", chain.account(2));
    alice = await lab.member("alice");
    const endpoints = `node-a=${node.endpoint},node-b=${other.endpoint}`;
    settings = contractName === "PlainAccessNFT" ? { ...POLL, PEER_ENDPOINTS: endpoints } : POLL;
  });

  // What the agent said is the first question of whoever reads a red run.
  beforeEach(() => onTestFailed(() => console.error(agent?.log.slice(-8_000))));

  afterAll(async () => {
    await chain?.end();
    await lab?.[Symbol.asyncDispose]();
  });

  const granted = async (member: Member, owner: string): Promise<bigint> => {
    const tokenId = await chain.grant(owner, member.host.name, member.publicKey);
    await member.join(configOf(chain, tokenId, [node, other]));
    return tokenId;
  };
  /** Waits for the peer first: a handshake that nobody answers is repeated after five seconds only. */
  const connects = async (member: Member, to: LabNode) => {
    const [name, there] = [member.host.name, to.host.name];
    await until(`${name} to be a peer of ${there}`, 10_000, () => to.host.hasPeer(member.publicKey));
    await until(`${name} to reach ${there}`, 10_000, () => reaches(member.host, to.addresses.ipv4));
  };
  const isCut = (member: Member, deadlineMs = 5_000) =>
    until(`${member.host.name} to be cut`, deadlineMs, async () => !(await reaches(member.host, node.addresses.ipv4)));

  it("a node is ready from source on an empty state, and nodes reach one another", async () => {
    agent = node.agent(settings);
    console.info(`${contractName}: ready ${Math.round(await agent.ready())} ms after the start`);
    otherAgent = other.agent(settings);
    await otherAgent.ready();
    for (const address of Object.values(other.addresses)) {
      await until(`node-a to reach ${address}`, 10_000, () => reaches(node.host, address));
    }
  });

  it("a grant becomes a ping, over IPv4 and IPv6, to every node", async () => {
    aliceToken = await granted(alice, chain.account(3));
    await connects(alice, node);
    await connects(alice, other);
    expect(await reaches(alice.host, node.addresses.ipv6)).toBe(true);
    expect(await agent.get("/health")).toMatchObject({ status: "healthy", nodeId: "node-a" });
  });

  it("a revoke ends it", async () => {
    const bob = await lab.member("bob");
    const tokenId = await granted(bob, chain.account(4));
    await connects(bob, node);
    await chain.revoke(tokenId);
    const revokedAt = performance.now();
    await until("the revoked key to leave the device", 5_000, async () => !(await node.host.hasPeer(bob.publicKey)), 5);
    console.info(
      `${contractName}: revoke off the device ${Math.round(performance.now() - revokedAt)} ms after its block`,
    );
    await isCut(bob);
    expect(await reaches(alice.host, node.addresses.ipv4)).toBe(true);
  });

  it("a transfer cuts the seller, and lets the buyer in with a key of their own", async () => {
    const [seller, buyer] = [await lab.member("seller"), await lab.member("buyer")];
    const tokenId = await granted(seller, chain.account(5));
    await connects(seller, node);
    await chain.transfer(tokenId, chain.account(5), chain.account(6));
    await isCut(seller);
    await buyer.join(configOf(chain, tokenId, [node, other]));
    await chain.updateKey(tokenId, chain.account(6), buyer.publicKey);
    await connects(buyer, node);
    expect(await reaches(seller.host, node.addresses.ipv4)).toBe(false);
  });

  it("a reorg that removes a grant removes the peer, and a survivor loses no packet", async () => {
    const carol = await lab.member("carol");
    const pinging = new Pinging(alice.host, node.addresses.ipv4);
    await granted(carol, chain.account(7));
    await connects(carol, node);
    await chain.reorg(1);
    await isCut(carol);
    expect(await node.host.hasPeer(carol.publicKey)).toBe(false);
    await chain.mine(3);
    await pinging.answered(200);
    expect(await pinging.stop()).toMatchObject({ lost: 0 });
    expect(await agent.get("/stats")).toMatchObject({ chain: { reorgs: 1 } });
  });

  it("an unaffected member loses 0 of 1,000 pings over a revoke, a restart and a crash of the agent", async () => {
    const dave = await lab.member("dave");
    const tokenId = await granted(dave, chain.account(8));
    await connects(dave, node);
    const pinging = new Pinging(alice.host, node.addresses.ipv4);
    await pinging.answered(100);
    await chain.revoke(tokenId);
    await isCut(dave);
    for (const [signal, code] of [
      ["SIGTERM", 0],
      ["SIGKILL", null],
    ] as const) {
      expect(await agent.end(signal)).toMatchObject({ code });
      agent = node.agent(settings);
      await agent.ready();
    }
    await pinging.answered(1_000);
    expect(await pinging.stop()).toMatchObject({ lost: 0 });
    expect(await node.host.hasPeer(dave.publicKey)).toBe(false);
  });

  it("what was revoked while the agent was away is gone when it is back", async () => {
    const erin = await lab.member("erin");
    const tokenId = await granted(erin, chain.account(9));
    await connects(erin, node);
    await agent.end("SIGKILL");
    await chain.revoke(tokenId);
    agent = node.agent(settings);
    await isCut(erin, 10_000);
    await agent.ready();
    expect(await reaches(alice.host, node.addresses.ipv4)).toBe(true);
  });

  it("hostile keys and names are quarantined with their reasons, and no byte of them is in any file", async () => {
    const before = (await agent.get("/stats")).quarantined;
    const quarantined = await grantHostile(chain, alice);
    await until("every hostile token to be judged", 10_000, async () => {
      const { quarantined: now } = await agent.get("/stats");
      return Object.entries(quarantined).every(([code, count]) => (now[code] ?? 0) - (before[code] ?? 0) === count);
    });
    expect(await reaches(alice.host, node.addresses.ipv4)).toBe(true);
    await until(
      "wg0.conf to be written",
      10_000,
      () => readFileSync(node.host.file("/run/config/wg0.conf")).length > 0,
    );
    for (const [path, content] of filesUnder(node.host.file("/run/config"))) {
      expect(content, path).not.toMatch(/reboot|hostile/i);
    }
    for (const path of ["/metrics", "/stats", "/health", "/wireguard"]) {
      expect(await (await fetch(agent.url(path))).text(), path).not.toMatch(/reboot|hostile/i);
    }
    // biome-ignore lint/suspicious/noControlCharactersInRegex: an escape sequence in a log is an attack on its reader
    expect(agent.log).not.toMatch(/\x1b/);
  });

  it("a node that loses its own token says so, adds nobody and still removes", async () => {
    await chain.revoke(other.tokenId);
    const reasons = await until("node-b to say only why it is not ready", 10_000, async () => {
      const { reasons } = await otherAgent.get("/ready");
      return reasons.length === 1 && !(await otherAgent.isReady()) && reasons;
    });
    expect(reasons[0]).toMatchObject({ code: "self.no-token", detail: expect.stringContaining(other.publicKey) });
    const frank = await lab.member("frank");
    await granted(frank, chain.account(4));
    await connects(frank, node);
    await chain.revoke(aliceToken);
    // The sixth removal in ten minutes: it waits five seconds for a second reading of the state.
    await until("alice to be off node-b", 15_000, async () => !(await other.host.hasPeer(alice.publicKey)));
    expect(await other.host.hasPeer(frank.publicKey)).toBe(false);
    await isCut(alice, 15_000);
  });
});

/** Grants what the contract lets through; gives how many tokens each reason should hold back. */
async function grantHostile(chain: Chain, alice: Member): Promise<Record<string, number>> {
  const attacker = chain.account(7);
  const weak = LOW_ORDER.toString("base64");
  await chain.grant(attacker, "hostile-1", weak);
  await chain.grant(attacker, "hostile-2", "");
  if (chain.contractName === "DstackAccessNFT") {
    await expect(chain.grant(attacker, "hostile-3", alice.publicKey)).rejects.toThrow();
    await expect(chain.grant(attacker, "hostile\nname", "")).rejects.toThrow();
    return { "key.weak": 1, "key.missing": 1 };
  }
  await chain.grant(attacker, "node-a", alice.publicKey);
  await chain.grant(attacker, "$(reboot)\n[Peer]\nPostUp = reboot", `${alice.publicKey}\nPostUp = reboot`);
  await chain.grant(attacker, "\u001b]0;hostile\u0007\u202e", Buffer.alloc(32).toString("base64"));
  await chain.grant(attacker, "hostile".repeat(1_000), "x".repeat(20_000));
  await chain.grant(attacker, "hostile-4", `${alice.publicKey.slice(0, 42)}B=`);
  await chain.send("setNextTokenId", [0]);
  await chain.grant(attacker, "hostile-5", keyOf(1));
  await chain.send("setNextTokenId", [2n ** 80n]);
  await chain.grant(attacker, "hostile-6", keyOf(2));
  await chain.send("setNextTokenId", [2n ** 256n - 2n]);
  await chain.grant(attacker, "hostile-7", keyOf(3));
  await chain.send("setNextTokenId", [100]);
  return {
    "key.weak": 2,
    "key.missing": 1,
    "key.claimed": 1,
    "key.malformed": 3,
    ...{ "address.reserved": 1, "address.exhausted": 2 },
  };
}

function keyOf(seed: number): string {
  return Buffer.alloc(32, seed).toString("base64");
}

function filesUnder(folder: string): [path: string, content: string][] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((path) => join(folder, path))
    .filter((path) => statSync(path).isFile())
    .map((path) => [path, readFileSync(path, "latin1")]);
}
