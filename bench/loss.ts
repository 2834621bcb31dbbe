/**
 * What members notice who have nothing to do with what happens: 300 grants and revokes, a restart of the agent, full
 * passes; beside it what `wg syncconf` of the whole file and `wg-quick down/up` do to them, on the same kind of device.
 */
import { existsSync, writeFileSync } from "node:fs";
import { until } from "../agent/test/lab/command.ts";
import type { Host } from "../agent/test/lab/host.ts";
import { LAB_ADDRESS, Lab } from "../agent/test/lab/lab.ts";
import type { Member } from "../agent/test/lab/member.ts";
import { Pinging, reaches } from "../agent/test/lab/ping.ts";
import type { Benchmark, Context } from "./benchmark.ts";
import { type Figure, figure, median } from "./figure.ts";
import { keyOf, type ServedChain, serveChain, steadyMs } from "./rpc.ts";
import { peers } from "./sizes.ts";

export const loss: Benchmark = {
  name: "loss",
  about: "pings lost by members that nothing changes for, against wg syncconf and wg-quick down/up",
  run,
};

/** What was done how often, how long each took, and what the members lost meanwhile. */
interface Disturbance {
  readonly ms: readonly number[];
  readonly sent: number;
  readonly lost: number;
}

interface Scene {
  readonly node: Host;
  readonly privateKey: string;
  readonly publicKey: string;
  /** Of the first tokens after the node's own. */
  readonly members: readonly Member[];
  readonly size: number;
}

const MEMBERS = 4;
const EVERY_MS = 20;
const NODE_ADDRESS = "10.213.0.1";
const memberAddress = (index: number) => `10.213.${(index + 2) >> 8}.${(index + 2) & 255}`;
const PORT = 51820;
const KEY_FILE = "/run/node.key";
const CONF = "/run/wg0.conf";
/** As wg(8) advises. */
const SYNCCONF = `wg syncconf wg0 <(wg-quick strip ${CONF})`;
const SLOW = { deadlineMs: 120_000 };

async function run(context: Context): Promise<Figure[]> {
  const { quick, log } = context;
  const size = quick ? 200 : 1_000;
  const changes = quick ? 60 : 300;
  await using lab = await Lab.open();
  const scene = await sceneIn(lab, size);
  log(`the agent: ${changes} changes, a restart and full passes beside ${peers(size)}`);
  const ours = await byAgent(scene, changes, quick ? 800 : 4_000, context);
  log("whole files: wg syncconf, wg-quick down and up");
  const others = await byFile(scene, quick ? 6 : 60, quick ? 0 : 2, context);
  const name = `pings lost in ${changes} changes, a restart and full passes beside ${peers(size)}`;
  const lost = others.map(([other, { ms, lost, sent }]) =>
    figure({
      ...{ name: `${name}, against ${other}`, value: ours.lost, unit: "pings", goal: 0 },
      baseline: { name: `in ${ms.length} changes with ${other}`, value: lost, unit: "pings" },
      note: `of ${ours.sent} by ${MEMBERS} members that nothing changed for; ${other}: of ${sent}`,
    }),
  );
  const took = others.map(([other, { ms }]) =>
    figure({
      ...{ name: `one change beside ${peers(size)}, against ${other}`, value: median(ours.ms), unit: "ms" },
      baseline: { name: `one ${other}`, value: median(ms), unit: "ms" },
      note: "ours from the block to wg showing it, with a WebSocket; medians",
    }),
  );
  return [...lost, ...took];
}

async function sceneIn(lab: Lab, size: number): Promise<Scene> {
  const members: Member[] = [];
  for (let i = 0; i < MEMBERS; i++) members.push(await lab.member(`member-${i}`));
  const node = await lab.host("node-a");
  const privateKey = (await node.run(["wg", "genkey"])).trim();
  const publicKey = (await node.run(["wg", "pubkey"], { stdin: `${privateKey}\n` })).trim();
  writeFileSync(node.file(KEY_FILE), privateKey, { mode: 0o600 });
  return { node, privateKey, publicKey, members, size };
}

async function byAgent(scene: Scene, changes: number, pings: number, context: Context): Promise<Disturbance> {
  const { node, publicKey, members, size } = scene;
  await using chain = await serveChain({
    ...{ tokens: size, self: { nodeId: node.name, publicKey }, keys: members.map((member) => member.publicKey) },
    ...{ host: LAB_ADDRESS, perBlock: 100 },
  });
  const settings = {
    ...{ RPC_URL: `${chain.url},${chain.webSocketUrl}`, CONTRACT_ADDRESS: chain.contract, SYNC_INTERVAL: "1000" },
    ...{ STATE_DIR: `${context.scratch}/loss`, WG_CONFIG_DIR: `${context.scratch}/loss-config` },
    WIREGUARD_PRIVATE_KEY_FILE: KEY_FILE,
  };
  let agent = node.agent(settings);
  try {
    await agent.ready(30_000);
    const pinging = await pingsOf(scene);
    const ms: number[] = [];
    for (let pair = 0; pair < changes / 2; pair++) {
      context.signal.throwIfAborted();
      ms.push(...(await grantAndRevoke(chain, node)));
    }
    await agent.end("SIGTERM");
    agent = node.agent(settings);
    await agent.ready(30_000);
    const passed = (await agent.get("/wireguard")).asOf;
    await until("another full pass", 60_000, async () => (await agent.get("/wireguard")).asOf !== passed);
    return { ms, ...(await stopped(pinging, pings)) };
  } finally {
    await agent.end("SIGKILL");
    await node.run(["ip", "link", "del", "wg0"]);
    await node.run(["nft", "delete", "table", "inet", "dstack_vpn_wg0"]);
    await until("wireguard-go to end", 10_000, () => !existsSync(node.file("/run/wireguard/wg0.sock")));
  }
}

async function grantAndRevoke(chain: ServedChain, node: Host): Promise<number[]> {
  const granted = await chain.grant(1);
  const { tokenId = "", key = "" } = granted.deeds[0] ?? {};
  await until("the granted peer", 15_000, () => node.hasPeer(key), 5);
  const grantedMs = steadyMs() - granted.visibleMs;
  const revoked = await chain.revoke([tokenId]);
  await until("the peer to go", 15_000, async () => !(await node.hasPeer(key)), 5);
  return [grantedMs, steadyMs() - revoked.visibleMs];
}

type Named = readonly [name: string, Disturbance];

/** What a script does that writes `wg0.conf` and loads it. */
async function byFile(scene: Scene, syncs: number, restarts: number, { signal }: Context): Promise<Named[]> {
  const { node } = scene;
  const written = (change: number) => writeFileSync(node.file(CONF), conf(scene, change % 2), { mode: 0o600 });
  written(0);
  await node.run(["wg-quick", "up", CONF], SLOW);
  const disturbed = async (times: number, change: () => Promise<unknown>): Promise<Disturbance> => {
    const pinging = await pingsOf(scene);
    const ms: number[] = [];
    for (let i = 1; i <= times; i++) {
      signal.throwIfAborted();
      written(i);
      const startedMs = performance.now();
      await change();
      ms.push(performance.now() - startedMs);
      await answering(scene);
    }
    return { ms, ...(await stopped(pinging, 0)) };
  };
  const synced = await disturbed(syncs, () => node.run(["bash", "-c", SYNCCONF], SLOW));
  // Members stay cut off for fifteen seconds.
  if (restarts === 0) return [["wg syncconf", synced]];
  const restarted = await disturbed(restarts, async () => {
    await node.run(["wg-quick", "down", CONF], SLOW);
    await until("wireguard-go to end", 10_000, () => !existsSync(node.file("/run/wireguard/wg0.sock")), 2);
    await node.run(["wg-quick", "up", CONF], SLOW);
  });
  return [
    ["wg syncconf", synced],
    ["wg-quick down/up", restarted],
  ];
}

/** The whole file: the members that ping, all others, and `more` of those. */
function conf({ privateKey, members, size }: Scene, more: number): string {
  const keys = Array.from({ length: size + more }, (_, i) => members[i]?.publicKey ?? keyOf(i + 1));
  const entries = keys.map((key, i) => `[Peer]\nPublicKey = ${key}\nAllowedIPs = ${memberAddress(i)}/32\n`);
  const self = `[Interface]\nPrivateKey = ${privateKey}\nListenPort = ${PORT}\nAddress = ${NODE_ADDRESS}/32\n`;
  return `${self}${entries.join("")}`;
}

/** All members anew in the tunnel, and pinging. */
async function pingsOf(scene: Scene): Promise<Pinging[]> {
  const node = { publicKey: scene.publicKey, endpoint: `${scene.node.address}:${PORT}` };
  for (const [i, member] of scene.members.entries()) {
    const peer = { ...node, allowedIps: [`${NODE_ADDRESS}/32`] };
    await member.join({ addresses: [`${memberAddress(i)}/32`], routes: [`${NODE_ADDRESS}/32`], peers: [peer] });
  }
  await answering(scene);
  return scene.members.map(({ host }) => new Pinging(host, NODE_ADDRESS, EVERY_MS));
}

/** A member whose session was lost shakes hands again after fifteen seconds. */
async function answering({ members }: Scene): Promise<void> {
  for (const { host } of members)
    await until(`${host.name} to get an answer`, 60_000, () => reaches(host, NODE_ADDRESS));
}

/** After so many pings of all together. */
async function stopped(pinging: readonly Pinging[], pings: number): Promise<{ sent: number; lost: number }> {
  await Promise.all(pinging.map((each) => each.answered(pings / pinging.length, 120_000)));
  const all = await Promise.all(pinging.map((each) => each.stop()));
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  return { sent: sum(all.map(({ sent }) => sent)), lost: sum(all.map(({ lost }) => lost)) };
}
