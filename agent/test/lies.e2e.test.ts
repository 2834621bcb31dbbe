/** Ring 4: what one of two or three upstreams makes up, before a node on a real network. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFailed } from "vitest";
import type { AgentProcess } from "./lab/agent.ts";
import { Chain } from "./lab/chain.ts";
import { until } from "./lab/command.ts";
import { LAB_ADDRESS, Lab } from "./lab/lab.ts";
import type { Member } from "./lab/member.ts";
import { configOf, LabNode } from "./lab/node.ts";
import { Pinging, reaches } from "./lab/ping.ts";
import { ownFork } from "./rpc-lies.ts";
import { RpcProxy } from "./rpc-proxy.ts";

let lab: Lab;
let chain: Chain;
let node: LabNode;
let agent: AgentProcess;
let liar: RpcProxy;
let honest: RpcProxy;
let alice: Member;
let bob: Member;
let bobToken: bigint;
const carol = Buffer.alloc(32, "carol").toString("base64");

beforeAll(async () => {
  lab = await Lab.open();
  chain = await Chain.start();
  node = await LabNode.create(lab, chain, "node-a", chain.account(1));
  alice = await lab.member("alice");
  bob = await lab.member("bob");
  const aliceToken = await chain.grant(chain.account(2), "alice", alice.publicKey);
  bobToken = await chain.grant(chain.account(3), "bob", bob.publicKey);
  await alice.join(configOf(chain, aliceToken, [node]));
  await bob.join(configOf(chain, bobToken, [node]));
  [liar, honest] = [await proxy(), await proxy()];
  await started(liar, honest);
  await until("alice to reach the node", 30_000, () => reaches(alice.host, node.addresses.ipv4));
  await until("bob to reach the node", 30_000, () => reaches(bob.host, node.addresses.ipv4));
});

beforeEach(() => onTestFailed(() => console.error(agent?.log.slice(-8_000))));

afterAll(async () => {
  await agent?.end();
  for (const one of [liar, honest]) await one?.[Symbol.asyncDispose]();
  await chain?.end();
  await lab?.[Symbol.asyncDispose]();
});

/** Whoever answers sooner is followed: the first. */
async function started(followed: RpcProxy, ...others: readonly RpcProxy[]): Promise<void> {
  for (const other of others) other.misbehave({ kind: "delay", ms: 60 });
  const urls = [followed, ...others].map(({ host }) => `http://${host}`);
  agent = node.agent({ RPC_URL: urls.join(), POLL_INTERVAL: "300", ALLOW_INSECURE_RPC: "true" });
  await agent.ready();
}

/** The upstream that is followed goes on alone from here. */
async function forked(): Promise<void> {
  liar.lie(ownFork((await head()) + 1));
  await chain.mine(3);
  await until("the fork to be followed", 10_000, async () => {
    const { headBlock, cursorBlock } = (await agent.get("/health")).components.chain;
    return cursorBlock === headBlock && headBlock === (await head());
  });
}

const proxy = () => RpcProxy.open(new URL(chain.url), 0, LAB_ADDRESS);
const head = async () => Number(await chain.rpc("eth_blockNumber", []));

describe("a fork of the followed upstream's own", () => {
  it("hides no revoke for over ten seconds, and cuts nobody else", async () => {
    await forked();
    const pinging = new Pinging(alice.host, node.addresses.ipv4);
    await chain.revoke(bobToken);
    await until("bob to be cut", 10_000, async () => {
      await chain.mine(1);
      return !(await node.host.hasPeer(bob.publicKey));
    });
    expect((await agent.get("/ready")).reasons).toMatchObject([{ code: "chain.grant-disputed" }]);
    await pinging.answered(50);
    expect(await pinging.stop()).toMatchObject({ lost: 0 });
  });

  it("is over once it is: the chain that both have then is what counts", async () => {
    liar.heal();
    await chain.mine(2);
    await until("the node to be healthy", 20_000, async () => {
      await chain.mine(1);
      return (await agent.get("/health")).status === "healthy";
    });
    expect(await node.host.hasPeer(bob.publicKey)).toBe(false);
    expect(await node.host.hasPeer(alice.publicKey)).toBe(true);
  });
});

describe("three upstreams of which the followed one has a fork of its own", () => {
  it("let in whom the two others have", async () => {
    await agent.end();
    await using third = await proxy();
    await started(liar, honest, third);
    await forked();
    await chain.grant(chain.account(4), "carol", carol);
    await until("carol to be let in", 30_000, async () => {
      await chain.mine(1);
      await sleep(1_000);
      return node.host.hasPeer(carol);
    });
    expect(await node.host.hasPeer(alice.publicKey)).toBe(true);
    await agent.end();
  });
});
