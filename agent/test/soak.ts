/**
 * `scripts/soak.sh`'s inner half, within the lab: a chain, two nodes, ten members with real WireGuard, one call and one
 * command in a hundred that fails, full disks, killed agents, reorgs, and grants and revokes at random. Every half minute
 * both devices are held against what the contract says.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Interface } from "ethers";
import { readArtifact } from "../../contracts/artifact.ts";
import type { AgentProcess } from "./lab/agent.ts";
import { Chain } from "./lab/chain.ts";
import { until } from "./lab/command.ts";
import { LAB_ADDRESS, Lab } from "./lab/lab.ts";
import type { Member } from "./lab/member.ts";
import { configOf, LabNode } from "./lab/node.ts";
import { Pinging, reaches } from "./lab/ping.ts";
import { RpcProxy } from "./rpc-proxy.ts";
import { type Life, report, type Sample } from "./soak-report.ts";
import { sprinkled } from "./story-faults.ts";
import { Chance, Tally } from "./story-seeds.ts";

const MEMBERS = 10;
/** So many of the members are granted and revoked with the strangers; nothing ever changes for the others. */
const COMING_AND_GOING = 4;
const FAULTS = 0.01;
const CHECK_MS = 30_000;
const PING_MS = 200;
const STARTING_MS = 15_000;
/** Blocks that bury what reorgs are not to reach. */
const BURIED = 5;

const DISKS = `for name in state config; do mkdir -p /run/$name && mount -t tmpfs -o size=16m,mode=700 $name /run/$name; done
mkdir -p /run/failing`;
const FAILING = `#!/bin/sh
[ -e /run/failing/now ] || exec REAL "$@"
case $(($(od -An -N2 -tu2 /dev/urandom) % 200)) in
  0) why="before its work" ;;
  1) REAL "$@"; why="after its work" ;;
  *) exec REAL "$@" ;;
esac
echo "REAL $1" >>/run/failing/told
echo "told to fail $why" >&2
exit 1
`;

const [minutes, seed] = [Number(process.argv[2]), Number(process.argv[3])];
const chance = new Chance(seed);
const [events, faults] = [new Tally(), new Tally()];
const abi = new Interface(JSON.stringify(readArtifact("DstackAccessNFT").abi));

/** A node with what the soak does to it. */
class Soaking {
  readonly node: LabNode;
  readonly proxies: readonly RpcProxy[];
  readonly lives: { node: string; samples: Sample[]; bornMs: number }[] = [];
  agent: AgentProcess;

  constructor(node: LabNode, proxies: readonly RpcProxy[]) {
    this.node = node;
    this.proxies = proxies;
    this.agent = this.#started();
  }

  async restart(signal: NodeJS.Signals): Promise<void> {
    faults.add(`agents ended by ${signal}`);
    this.sample();
    await this.agent.end(signal);
    this.agent = this.#started();
  }

  /** Of a process that is not only just starting. */
  sample(): void {
    const { pid } = this.agent;
    const life = this.lives.at(-1);
    if (life === undefined || performance.now() - life.bornMs < STARTING_MS) return;
    const resident = /VmRSS:\s+([0-9]+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    const descriptors = readdirSync(`/proc/${pid}/fd`).length;
    const sample = { atMs: performance.now(), residentBytes: Number(resident) * 1024, descriptors };
    life.samples.push(sample);
  }

  #started(): AgentProcess {
    this.lives.push({ node: this.node.host.name, samples: [], bornMs: performance.now() });
    return this.node.agent({
      RPC_URL: this.proxies.map((proxy) => proxy.url("/").href).join(","),
      ...{ POLL_INTERVAL: "500", SYNC_INTERVAL: "5000", LOG_LEVEL: "warn" },
      PATH: `/run/failing:${process.env["PATH"]}`,
    });
  }
}

/** Counts pings while nothing changes for the member. */
class Watched {
  readonly member: Member;
  readonly to: readonly LabNode[];
  #pinging: Pinging[] = [];
  sent = 0;
  lost = 0;

  constructor(member: Member, to: readonly LabNode[]) {
    this.member = member;
    this.to = to;
  }

  begin(): void {
    this.#pinging = this.to.map(({ addresses }) => new Pinging(this.member.host, addresses.ipv4, PING_MS));
  }

  async end(): Promise<void> {
    const ending = this.#pinging.map(async (pinging, i) => {
      // What was sent after the last answer does not count: there must be one now.
      const node = this.to[i];
      const isThere = node !== undefined && (await reaches(this.member.host, node.addresses.ipv4, 2_000));
      if (isThere) await sleep(PING_MS);
      const { sent, lost } = await pinging.stop();
      this.sent += sent;
      this.lost += lost + (isThere ? 0 : 1);
      if (lost > 0 || !isThere)
        console.log(
          `  ${this.member.host.name} → ${node?.host.name}: lost ${lost}${isThere ? "" : ", and is cut off"}`,
        );
    });
    await Promise.all(ending);
    this.#pinging = [];
  }
}

const lab = await Lab.open();
const chain = await Chain.start("DstackAccessNFT");
const startedAt = performance.now();
const nodes: Soaking[] = [];
for (const [i, name] of ["node-a", "node-b"].entries()) {
  const node = await LabNode.create(lab, chain, name, chain.account(i + 1));
  await prepared(node);
  const proxies = await Promise.all([0, 1].map(() => RpcProxy.open(new URL(chain.url), 0, LAB_ADDRESS)));
  nodes.push(new Soaking(node, proxies));
}
for (const { agent } of nodes) await agent.ready(60_000);

const ours = nodes.map(({ node }) => node);
const watched: Watched[] = [];
/** By member: the token that they have now. */
const held = new Map<Member, bigint>();
const strangers = new Set<bigint>();
let keys = 0;
let highest = 0n;
for (let i = 0; i < MEMBERS; i++) watched.push(new Watched(await lab.member(`member-${i}`), ours));
for (const one of watched) await granted(one);
await chain.mine(BURIED);
for (const { proxies } of nodes) for (const proxy of proxies) sprinkled(proxy, FAULTS, chance);
for (const { node } of nodes) writeFileSync(node.host.file("/run/failing/now"), "");
console.log(`soak: seed ${seed}, two nodes and ${MEMBERS} members after ${seconds()} s; ${minutes} minutes begin`);

const beganAt = performance.now();
let [checkpoints, divergence] = [0, 0];
for (const one of watched) one.begin();
for (let checkAt = beganAt + CHECK_MS; performance.now() - beganAt < minutes * 60_000; ) {
  await happening();
  for (const node of nodes) if (chance.happens(0.1)) node.sample();
  if (performance.now() < checkAt) continue;
  await checked();
  checkAt = performance.now() + CHECK_MS;
}

// Every fault is over: now all of it has to be right, and stay.
for (const { proxies, node } of nodes) {
  for (const proxy of proxies) proxy.heal();
  await node.host.run(["rm", "-f", "/run/failing/now", "/run/state/full", "/run/config/full"]);
}
const unready: string[] = [];
for (const { agent, node } of nodes) await agent.ready(60_000).catch(() => unready.push(node.host.name));
await checked();
await Promise.all(watched.map((one) => one.end()));
for (const node of nodes) {
  node.sample();
  const told = await node.node.host.run(["sh", "-c", "cat /run/failing/told 2>/dev/null | wc -l"]);
  faults.add("commands that failed", Number(told));
  faults.add(
    "calls that were answered wrong",
    node.proxies.flatMap(({ calls }) => calls).filter(({ fault }) => fault).length,
  );
  faults.add(
    "calls in all",
    node.proxies.reduce((sum, proxy) => sum + proxy.count(), 0),
  );
}
const pings = {
  sent: watched.reduce((sum, { sent }) => sum + sent, 0),
  lost: watched.reduce((sum, { lost }) => sum + lost, 0),
};
const lives: Life[] = nodes.flatMap(({ lives }) => lives.filter(({ samples }) => samples.length > 0));
const { text, failed } = report({
  ...{ minutes: (performance.now() - beganAt) / 60_000, seed, events: String(events), faults: String(faults) },
  ...{ checkpoints, divergence, pings, lives, unready },
});
if (failed > 0)
  for (const { agent } of nodes) console.log(`${agent.host.name}, the end of its log:\n${agent.log.slice(-4_000)}`);
await chain.end();
for (const { proxies } of nodes) for (const proxy of proxies) await proxy.stop();
await lab[Symbol.asyncDispose]();
console.log(text);
process.exit(failed === 0 ? 0 : 1);

/** One thing that happens, and the pause after it. */
async function happening(): Promise<void> {
  const luck = chance.next();
  const node = chance.oneOf(nodes) as Soaking;
  if (luck < 0.3) await stranger();
  else if (luck < 0.5 && strangers.size > 0) await farewell();
  else if (luck < 0.6) await cameOrWent(chance.oneOf(watched.slice(0, COMING_AND_GOING)) as Watched);
  else if (luck < 0.63) await reorged();
  else if (luck < 0.65) await node.restart(chance.happens(0.5) ? "SIGKILL" : "SIGTERM");
  else if (luck < 0.67) void fullDisk(node.node, chance.oneOf(["/run/state", "/run/config"]) as string);
  await sleep(chance.below(800));
}

async function stranger(): Promise<void> {
  events.add("grants");
  const bytes = Buffer.alloc(32, 9);
  bytes.writeUInt32LE(++keys, 8);
  strangers.add(noted(await chain.grant(chain.account(4), `stranger-${keys}`, bytes.toString("base64"))));
}

async function farewell(): Promise<void> {
  const id = chance.oneOf([...strangers]) as bigint;
  strangers.delete(id);
  // A reorg may have taken the grant, or the revoke of somebody else.
  const isGone = await chain.revoke(id).then(
    () => true,
    () => false,
  );
  if (isGone) events.add("revokes");
}

async function cameOrWent(one: Watched): Promise<void> {
  const id = held.get(one.member);
  if (id === undefined) {
    await granted(one);
    one.begin();
  } else {
    await one.end();
    held.delete(one.member);
    await chain.revoke(id);
    events.add("members revoked");
  }
  await chain.mine(BURIED);
}

/** Until every node has them: pings count from here on. */
async function granted(one: Watched): Promise<void> {
  const { member, to } = one;
  const id = noted(await chain.grant(chain.account(3), `${member.host.name}-${++keys}`, member.publicKey));
  events.add("members granted");
  held.set(member, id);
  // Of a stranger whose grant a reorg took: their farewell would be this member's.
  strangers.delete(id);
  // Its former address would be the one that it sends from.
  await member.host.run(["sh", "-c", "ip addr flush dev wg0 2>/dev/null || true"]);
  await member.join(configOf(chain, id, to));
  for (const { host, addresses } of to) {
    await until(`${member.host.name} to be a peer of ${host.name}`, 60_000, () => host.hasPeer(member.publicKey), 200);
    await until(`${member.host.name} to reach ${host.name}`, 60_000, () => reaches(member.host, addresses.ipv4, 1_000));
  }
}

async function reorged(): Promise<void> {
  events.add("reorgs");
  await chain.reorg(1 + chance.below(BURIED - 2));
}

async function fullDisk({ host }: LabNode, directory: string): Promise<void> {
  faults.add("full disks");
  await host.run(["sh", "-c", `cat /dev/zero >${directory}/full; sleep 3; rm -f ${directory}/full`]).catch(() => {});
}

/** Waits until both devices are what the contract says; what still differs then is divergence. */
async function checked(): Promise<void> {
  const wanted = await contractsWord();
  const differing = async () => {
    const found = await Promise.all(nodes.map(async ({ node }) => differences(node, wanted)));
    return found.flat();
  };
  const left = await until("both devices to follow", 30_000, async () => (await differing()).length === 0, 500).then(
    () => [],
    differing,
  );
  checkpoints++;
  divergence += left.length;
  for (const line of left) console.log(`  ${line}`);
  await Promise.all(
    watched
      .filter(({ member }) => held.has(member))
      .map(async (one) => {
        await one.end();
        one.begin();
      }),
  );
  const [sent, lost] = [
    watched.reduce((sum, one) => sum + one.sent, 0),
    watched.reduce((sum, one) => sum + one.lost, 0),
  ];
  const memory = nodes.map(({ lives }) => Math.round((lives.at(-1)?.samples.at(-1)?.residentBytes ?? 0) / 2 ** 20));
  console.log(
    `${seconds()} s: ${wanted.size} tokens have access, ${left.length} differ, ${lost} of ${sent} pings lost, ` +
      `${memory.join(" and ")} MB, ${nodes.map((node) => node.lives.length - 1).join(" and ")} restarts`,
  );
}

/** By key the addresses of every active token, from the contract's own state and DESIGN section 7 worked out once more. */
async function contractsWord(): Promise<Map<string, { id: bigint; ips: string }>> {
  const found = new Map<string, { id: bigint; ips: string }>();
  for (let id = 1n; id <= highest; id++) {
    const call = { to: chain.contract, data: abi.encodeFunctionData("getNodeAccess", [id]) };
    const answer = await chain.rpc("eth_call", [call, "latest"]).catch(() => undefined);
    if (answer === undefined) continue;
    const [, key, , isActive] = abi.decodeFunctionResult("getNodeAccess", String(answer));
    const { ipv4, ipv6 } = chain.addresses(id);
    if (isActive && key !== "") found.set(key, { id, ips: [`${ipv4}/32`, `${ipv6}/128`].sort().join(" ") });
  }
  return found;
}

async function differences(node: LabNode, wanted: ReadonlyMap<string, { id: bigint; ips: string }>): Promise<string[]> {
  const { host } = node;
  const running = new Map(
    (await host.wg("allowed-ips")).map(([key = "", ips = ""]) => [key, ips.split(" ").sort().join(" ")]),
  );
  const isOwn = (id: bigint) => id === node.tokenId;
  const lines: string[] = [];
  for (const [key, { id, ips }] of wanted) {
    if (!isOwn(id) && running.get(key) !== ips)
      lines.push(`${host.name}: token ${id} has ${running.get(key) ?? "no peer"}`);
    running.delete(key);
  }
  for (const ips of running.values()) lines.push(`${host.name}: ${ips} is nobody's`);
  return lines;
}

/** Disks of their own that can be full, and commands of which one in a hundred fails, before its work or after it. */
async function prepared({ host }: LabNode): Promise<void> {
  await host.run(["sh", "-c", DISKS]);
  for (const command of ["wg", "ip", "nft"]) {
    const real = (await host.run(["sh", "-c", `command -v ${command}`])).trim();
    writeFileSync(host.file(`/run/failing/${command}`), FAILING.replaceAll("REAL", real), { mode: 0o755 });
  }
}

function noted(id: bigint): bigint {
  if (id > highest) highest = id;
  return id;
}

function seconds(): number {
  return Math.round((performance.now() - startedAt) / 1000);
}
