/** Ring 4: a node whose disk is full, read-only, hung or damaged goes on serving and revoking, says so, and gets over it. */
import { existsSync, lstatSync, readFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFailed, test } from "vitest";
import type { AgentProcess } from "./lab/agent.ts";
import { Chain } from "./lab/chain.ts";
import { until } from "./lab/command.ts";
import { Lab } from "./lab/lab.ts";
import type { Member } from "./lab/member.ts";
import { configOf, LabNode } from "./lab/node.ts";
import { Pinging, reaches } from "./lab/ping.ts";

const SETTINGS = { POLL_INTERVAL: "200", SYNC_INTERVAL: "1000" };

let lab: Lab;
let chain: Chain;
let node: LabNode;
/** Stays granted throughout, and is pinging in every test: whatever the disk does costs her nothing. */
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
  // Directories of their own, that can be filled and taken away.
  await on(
    "mkdir -p /run/config /run/state; mount -t tmpfs -o size=4m config /run/config; mount -t tmpfs -o size=8m state /run/state",
  );
  await start();
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
  expect(await pinging.stop()).toMatchObject({ lost: 0 });
  await until("the node to be healthy again", 20_000, async () => (await agent.get("/health")).status === "healthy");
  const onDevice = await node.host.wg("peers");
  await until(
    "wg0.conf to be what the device holds",
    20_000,
    () => onDevice.every(([key = ""]) => conf().includes(key)) && conf().split("[Peer]").length - 1 === onDevice.length,
  );
});

const on = (command: string) => node.host.run(["sh", "-c", command]);
/** Empty where there is no file: reading a pipe would never end. */
function conf(): string {
  const path = node.host.file("/run/config/wg0.conf");
  return lstatSync(path, { throwIfNoEntry: false })?.isFile() ? readFileSync(path, "utf8") : "";
}

async function start(wrapper: readonly string[] = []): Promise<void> {
  agent = node.agent(SETTINGS, wrapper);
  await agent.ready(30_000);
}

/** A member comes and goes: both reach the device, whatever the disk does. */
async function grantAndRevoke(): Promise<void> {
  const key = Buffer.alloc(32, `member ${++count}`).toString("base64");
  const tokenId = await chain.grant(chain.account(4), `m-${count}`, key);
  await until("the grant to reach the device", 10_000, () => node.host.hasPeer(key));
  await chain.revoke(tokenId);
  await until("the revoke to reach the device", 10_000, async () => !(await node.host.hasPeer(key)));
}

const says = (code: string, meanwhile = async () => {}) =>
  until(`the node to say ${code}`, 30_000, async () => {
    await meanwhile();
    const { reasons } = await agent.get("/ready");
    return reasons.some((reason: { code: string }) => reason.code === code);
  });

describe("a wg0.conf that somebody damaged is written anew", () => {
  const ways: readonly (readonly [string, string])[] = [
    ["edited", "sed -i s/51820/51821/ wg0.conf"],
    ["cut off", "truncate -s 100 wg0.conf"],
    ["emptied", ": > wg0.conf"],
    ["with a bit flipped", "printf '\\001' | dd of=wg0.conf bs=1 seek=200 conv=notrunc 2>/dev/null"],
    ["deleted", "rm wg0.conf"],
    ["replaced by a link", "mv wg0.conf elsewhere; ln -s elsewhere wg0.conf"],
    ["replaced by a pipe", "rm wg0.conf; mkfifo wg0.conf"],
    ["without its backups", "rm -r backups"],
    ["beside a file of an absurd number", "echo junk > backups/wg0-999999999999999-20260101T000000Z.conf; rm wg0.conf"],
    ["with drafts of a crash beside it", "echo half > .wg0.conf.tmp; mkfifo backups/.wg0.conf.tmp; rm wg0.conf"],
  ];
  const generation = () => Number(/^# Generation ([0-9]+)/.exec(conf())?.[1] ?? 0);
  const isNewerThan = (before: number) =>
    until("a newer file", 20_000, () => generation() > before && /\n# End of generation .*\n$/.test(conf()));

  test.each(ways)("while the agent runs: %s", async (_, damage) => {
    const before = generation();
    await on(`cd /run/config; ${damage}`);
    await isNewerThan(before);
    expect(await on("stat -c '%F %a' /run/config/wg0.conf")).toBe("regular file 600\n");
    await until("the drafts to go", 10_000, async () => (await on("find /run/config -name '*.tmp'")) === "");
  });

  test.each(ways)("before it starts: %s", async (_, damage) => {
    const before = generation();
    await agent.end("SIGKILL");
    await on(`cd /run/config; ${damage}`);
    await start();
    await isNewerThan(before);
  });

  it("also where it is mounted as a single file", async () => {
    const before = generation();
    await on("touch /run/outside.conf /run/config/wg0.conf; mount --bind /run/outside.conf /run/config/wg0.conf");
    await isNewerThan(before);
    await grantAndRevoke();
    await on("mount -o remount,ro,bind /run/config/wg0.conf");
    await grantAndRevoke();
    await says("config.unwritten");
    await on("umount /run/config/wg0.conf");
  });
});

it("a wg0.conf that serves while no agent runs has nobody who was revoked just before its end", async () => {
  const key = Buffer.alloc(32, "the last").toString("base64");
  const tokenId = await chain.grant(chain.account(4), "last", key);
  await until("the grant to reach the file", 20_000, () => conf().includes(key));
  await chain.revoke(tokenId);
  await until("the revoke to reach the device", 10_000, async () => !(await node.host.hasPeer(key)), 10);
  await agent.end();
  expect(conf()).toMatch(/\n# End of generation .*\n$/);
  expect(conf()).not.toContain(key);
  await start();
});

describe("revokes reach the device, and the node says what is wrong, while", () => {
  test.each([
    [
      "the configuration's disk is full",
      "head -c 8m /dev/zero >> /run/config/full || true",
      "rm /run/config/full",
      "config.unwritten",
    ],
    [
      "the configuration's disk is read-only",
      "mount -o remount,ro /run/config",
      "mount -o remount,rw /run/config",
      "config.unwritten",
    ],
    [
      "the state's disk is full",
      "head -c 16m /dev/zero >> /run/state/full || true",
      "rm /run/state/full",
      "store.unsaved",
    ],
  ])("%s", async (_, damage, mend, code) => {
    await on(damage);
    await grantAndRevoke();
    // Again and again: a backup that was thinned in the meantime leaves room for the next one, for ever.
    await says(code, async () => void (await on(damage)));
    await grantAndRevoke();
    expect(await agent.status("/health")).toBe(200);
    await on(mend);
  });

  test.each([
    ["read-only at the start", "mount -o remount,ro /run/state", "mount -o remount,rw /run/state"],
    [
      "full at the start and the database gone",
      "rm ledger.sqlite*; head -c 16m /dev/zero > /run/state/full || true",
      "rm /run/state/full",
    ],
  ])("the state's disk is %s", async (_, damage, mend) => {
    await agent.end("SIGKILL");
    await on(`cd /run/state; ${damage}`);
    await start();
    await grantAndRevoke();
    await says("store.unsaved");
    expect(await agent.status("/health")).toBe(200);
    await on(mend);
    await until("the database to be saved", 20_000, async () => (await agent.get("/health")).status === "healthy");
    await agent.end("SIGKILL");
    await start();
  });

  it("the configuration's disk is slow, which the node's end waits for", async () => {
    await agent.end();
    const delay = ["-e", "trace=fsync", "-e", "inject=fsync:delay_enter=1000000", "-P", "/run/config/.wg0.conf.tmp"];
    await start(["strace", "-D", "-f", "-o", "/dev/null", ...delay]);
    await grantAndRevoke();
    await until("the file to be written", 10_000, () => existsSync(node.host.file("/run/config/.wg0.conf.tmp")));
    expect(await agent.end("SIGTERM")).toEqual({ code: 0, signal: null });
    await start();
  });

  it("the configuration's disk hangs, and so does not the node's end", async () => {
    await agent.end();
    const hang = ["-e", "trace=fsync", "-e", "inject=fsync:delay_enter=600000000", "-P", "/run/config/.wg0.conf.tmp"];
    await start(["strace", "-D", "-f", "-o", "/dev/null", ...hang]);
    await grantAndRevoke();
    await says("config.unwritten");
    await on(`wg set wg0 peer ${alice.publicKey} persistent-keepalive 9; ip link set wg0 mtu 1300`);
    const keepalive = () => node.host.run(["wg", "show", "wg0", "persistent-keepalive"]);
    await until("the device to be mended", 10_000, async () => (await keepalive()).includes(`${alice.publicKey}\toff`));
    await until("the link to be mended", 10_000, async () => (await on("ip link show wg0")).includes("mtu 1420"));
    const tracer = Number(/^TracerPid:\t([0-9]+)/m.exec(readFileSync(`/proc/${agent.pid}/status`, "utf8"))?.[1]);
    const ended = agent.end("SIGTERM");
    // Dead but for the thread that strace holds in its place.
    await until("the agent to end", 10_000, () =>
      /^State:\tZ/m.test(readFileSync(`/proc/${agent.pid}/status`, "utf8")),
    );
    process.kill(tracer, "SIGKILL");
    await ended;
    await start();
  });
});

describe("a database that is unusable costs nobody their peer", () => {
  test.each([
    ["empty", ": > ledger.sqlite; rm -f ledger.sqlite-*"],
    ["cut off", "rm -f ledger.sqlite-*; truncate -s 5000 ledger.sqlite"],
    ["rubbish", "rm -f ledger.sqlite-*; head -c 40000 /dev/urandom > ledger.sqlite"],
    [
      "damaged in the middle",
      "rm -f ledger.sqlite-*; dd if=/dev/urandom of=ledger.sqlite bs=1 seek=4096 count=8000 conv=notrunc 2>/dev/null",
    ],
    ["gone", "rm -f ledger.sqlite*"],
    ["without its log", "rm -f ledger.sqlite-wal ledger.sqlite-shm"],
  ])("%s", async (_, damage) => {
    await agent.end("SIGKILL");
    await on(`cd /run/state; ${damage}`);
    await start();
    await grantAndRevoke();
  });
});
