/**
 * Ring 4: every step of what the agent does to its device fails in turn, in every way a program can fail, under the whole
 * agent. Device and wg0.conf are as before, it is said, and the change is there once the fault is gone.
 */
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFailed, test } from "vitest";
import type { AgentProcess } from "./lab/agent.ts";
import { Chain } from "./lab/chain.ts";
import { until } from "./lab/command.ts";
import { Lab } from "./lab/lab.ts";
import type { Member } from "./lab/member.ts";
import { configOf, LabNode } from "./lab/node.ts";
import { Pinging, reaches } from "./lab/ping.ts";

/** A step is a pattern of its command line; `$0` of the wrapper does what the fault says, or else the real thing. */
const WRAPPER = (program: string) => `#!/bin/sh
real() { PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin command -v ${program}; }
if [ -f /run/fault ] && . /run/fault && matches "${program} $*"; then fail "$(real)" "$@"; fi
exec "$(real)" "$@"
`;
const FAULTS: Readonly<Record<string, string>> = {
  "exits non-zero": 'echo "Unable to modify interface: broken" >&2; exit 1',
  "is killed": "kill -9 $$",
  "does it and exits non-zero": '"$@"; exit 1',
  "hangs past its deadline": "exec sleep 30",
  "prints rubbish": "echo rubbish; exit 0",
  "finds the port stolen": 'echo "Unable to modify interface: Address already in use" >&2; exit 1',
  "finds no room for more peers": 'echo "Unable to modify interface: No space left on device" >&2; exit 1',
};

let lab: Lab;
let chain: Chain;
let node: LabNode;
let alice: Member;
let agent: AgentProcess;
let pinging: Pinging;
let count = 0;

beforeAll(async () => {
  lab = await Lab.open();
  chain = await Chain.start();
  node = await LabNode.create(lab, chain, "node-a", chain.account(1));
  alice = await lab.member("alice");
  const tokenId = await chain.grant(chain.account(3), "alice", alice.publicKey);
  await alice.join(configOf(chain, tokenId, [node]));
  mkdirSync(node.host.file("/run/bin"));
  for (const program of ["wg", "ip", "nft"]) {
    writeFileSync(node.host.file(`/run/bin/${program}`), WRAPPER(program));
    chmodSync(node.host.file(`/run/bin/${program}`), 0o755);
  }
  agent = node.agent({ POLL_INTERVAL: "200", SYNC_INTERVAL: "1000", PATH: `/run/bin:${process.env["PATH"]}` });
  await agent.ready(30_000);
});

afterAll(async () => {
  await chain?.end();
  await lab?.[Symbol.asyncDispose]();
});

beforeEach(async () => {
  onTestFailed(() => console.error(agent?.log.slice(-8_000)));
  await until("alice to reach the node", 30_000, () => reaches(alice.host, node.addresses.ipv4));
  pinging = new Pinging(alice.host, node.addresses.ipv4);
});

afterEach(async () => {
  rmSync(node.host.file("/run/fault"), { force: true });
  expect(await pinging.stop()).toMatchObject({ lost: 0 });
  await until("the node to be healthy again", 40_000, async () => (await agent.get("/health")).status === "healthy");
});

const fault = (step: string, what: string) =>
  writeFileSync(
    node.host.file("/run/fault"),
    `matches() { case "$1" in ${step.replaceAll(" ", "\\ ")}) true;; *) false;; esac; }\nfail() { ${FAULTS[what]}; }\n`,
  );
/** Key, port and peers; what the programs in the way do not touch. */
const device = async () => (await node.host.run(["wg", "showconf", "wg0"])).trim().split("\n\n").sort().join("\n\n");
const conf = () => readFileSync(node.host.file("/run/config/wg0.conf"), "utf8");
const keysIn = (text: string) =>
  [...text.matchAll(/^PublicKey = (.*)$/gm)]
    .map(([, key]) => key)
    .sort()
    .join();
const newKey = () => Buffer.alloc(32, `member ${++count}`).toString("base64");
const rollbacks = async () => (await agent.get("/health")).components.config.rollbacks;

describe("a grant whose wg set", () => {
  test.each(Object.keys(FAULTS).filter((what) => what !== "prints rubbish"))(
    "%s leaves everything as it was, is told, and comes when that is over",
    async (what) => {
      // The revoke of the test before this one reaches the file a second after the device.
      await until("wg0.conf to be up to date", 30_000, async () => keysIn(conf()) === keysIn(await device()));
      const [before, file, times] = [await device(), conf(), await rollbacks()];
      fault("*wg set wg0 peer*allowed-ips*", what);
      const key = newKey();
      const tokenId = await chain.grant(chain.account(4), `m-${count}`, key);
      await until("the rollback to be told", 30_000, async () => (await rollbacks()) > times);
      expect(await device()).toBe(before);
      expect(conf()).toBe(file);
      expect(await agent.status("/health")).toBe(503);
      const { reasons } = await agent.get("/ready");
      expect(reasons.map(({ code }: { code: string }) => code).join()).toMatch(/device\.command-(failed|timeout)/);
      expect((await agent.get("/events")).events.map(({ kind }: { kind: string }) => kind)).toContain("rollback");
      expect(await (await fetch(agent.url("/metrics"))).text()).toMatch(/_count\{outcome="rolled-back"\} [1-9]/);
      rmSync(node.host.file("/run/fault"));
      await until("the grant to reach the device", 40_000, () => node.host.hasPeer(key));
      await chain.revoke(tokenId);
      await until("the revoke to reach the device", 20_000, async () => !(await node.host.hasPeer(key)));
    },
    120_000,
  );
});

describe("a full pass that mends, and in which", () => {
  // What hurts the node, and the step of mending it that fails.
  const steps: readonly (readonly [step: string, hurt: string])[] = [
    ["*wg show wg0 dump*", "true"],
    ["*wg set wg0 peer*", "wg set wg0 peer $(wg show wg0 peers | head -1) persistent-keepalive 9"],
    ["*wg set wg0 listen-port*", "wg set wg0 listen-port 7777"],
    ["*wg set wg0*private-key*", "wg genkey > /run/other; wg set wg0 private-key /run/other"],
    ["*ip -j -d -batch*", "ip link set wg0 mtu 1300"],
    ["*ip link set dev wg0 mtu*", "ip link set wg0 mtu 1300"],
    ["*ip link set dev wg0 up*", "ip link set wg0 down"],
    ["*ip address add*", "ip -4 address flush dev wg0"],
    ["*ip route replace*", "ip route del 10.213.0.0/16 dev wg0"],
    ["*nft -f*", "nft flush ruleset"],
  ];
  const ways = ["exits non-zero", "is killed", "hangs past its deadline"];

  const rubbish = [
    ["*wg show wg0 dump*", "prints rubbish", "true"],
    ["*ip -j -d -batch*", "prints rubbish", "ip link set wg0 mtu 1300"],
  ] as const;

  it.each([...steps.map(([step, hurt], i) => [step, ways[i % ways.length] ?? "", hurt] as const), ...rubbish])(
    "%s %s, costs no peer and is over when that is",
    async (step, what, hurt) => {
      const before = await device();
      fault(step, what);
      // By the programs themselves: those in the way are the agent's only.
      await node.host.run(["sh", "-c", hurt]);
      await until("the failure to be told", 30_000, async () => {
        const { reasons } = await agent.get("/ready");
        return reasons.some(({ code }: { code: string }) => /^device\./.test(code));
      });
      expect((await node.host.wg("peers")).flat()).toContain(alice.publicKey);
      rmSync(node.host.file("/run/fault"));
      await until("the device to be as it was", 40_000, async () => (await device()) === before);
      await pinging.stop();
      await until("alice to reach the node", 30_000, () => reaches(alice.host, node.addresses.ipv4));
      pinging = new Pinging(alice.host, node.addresses.ipv4);
    },
    120_000,
  );
});
