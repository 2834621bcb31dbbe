/** Ring 2 inside the lab, where there are mounts to make: `wg0.conf` on disks that are full, read-only or one file large. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { AgentError } from "../errors.ts";
import { type Cidr, type Peer, PrivateKey } from "../model.ts";
import type { Conf } from "../wireguard/conf.ts";
import { type Files, openFiles } from "../wireguard/files.ts";
import { loadPrivateKey } from "../wireguard/private-key.ts";
import { run } from "./lab/command.ts";
import { cidr, keyOf, peersOf } from "./peers.ts";

const privateKey = PrivateKey.generate();
const conf = (generation: number): Conf => ({
  ...{ generation, writtenAt: Date.UTC(2026, 0, 1, 0, 0, generation), block: 7, privateKey, listenPort: 51820 },
  ...{ mtu: 1420, addresses: [cidr("10.213.0.1/32"), cidr("fd00::1/128")] },
});
const few = () => peersOf("A@2!7~25 B@3").values();
/** Some 400 KB of them. */
const many = (): Peer[] =>
  Array.from({ length: 4_000 }, (_, i) => {
    const allowedIps = [`10.213.${i >> 8}.${i & 255}/32` as Cidr];
    return { key: keyOf("A"), allowedIps, endpoint: undefined, keepalive: 0 };
  });

const sh = (command: string) => run(["sh", "-c", command]);
const problemOf = async (work: Promise<unknown>) => {
  const error: unknown = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  return error instanceof AgentError && "problem" in error.fault ? `${error.fault.code} ${error.fault.problem}` : error;
};
const generationOf = async (files: Files) => (await files.newest())?.conf.generation;
const open = () => openFiles({ interfaceName: "wg0", configDir: "/run/etc", maxBackups: 10 });

beforeEach(() => mkdirSync("/run/etc"));
afterEach(async () => {
  await sh("umount -q /run/etc/wg0.conf; umount -q /run/etc; true");
  rmSync("/run/etc", { recursive: true });
});

describe("a disk that is full", () => {
  it("keeps what it has, loses the draft, and takes the next generation when there is space", async () => {
    await sh("mount -t tmpfs -o size=300k small /run/etc");
    const files = open();
    await files.write(conf(1), few());
    expect(await problemOf(files.write(conf(2), many()))).toBe("config.unwritten ENOSPC");
    expect(await generationOf(open())).toBe(1);
    expect(readdirSync("/run/etc", { recursive: true }).sort()).toEqual([
      "backups",
      "backups/wg0-00000001-20260101T000001Z.conf",
      "wg0.conf",
    ]);
    await sh("mount -o remount,size=10m /run/etc");
    await files.write(conf(3), many());
    expect(await generationOf(open())).toBe(3);
  });

  it("with space for one copy has the newest as wg0.conf", async () => {
    await sh("mount -t tmpfs -o size=600k small /run/etc");
    const files = open();
    expect(await problemOf(files.write(conf(1), many()))).toBe("config.unwritten ENOSPC");
    expect(await generationOf(open())).toBe(1);
    expect(readdirSync("/run/etc/backups")).toEqual([]);
  });

  it("makes no half of a private key", async () => {
    await sh("mount -t tmpfs -o size=4k small /run/etc; head -c 4096 /dev/zero > /run/etc/full || true");
    const path = "/run/etc/private.key";
    expect(await problemOf(loadPrivateKey(path, async () => undefined))).toBe("key.unreadable ENOSPC");
    expect(readdirSync("/run/etc")).toEqual(["full"]);
    rmSync("/run/etc/full");
    await loadPrivateKey(path, async () => undefined);
  });
});

it("a disk that is read-only is named, and still read", async () => {
  await sh("mount -t tmpfs small /run/etc");
  await open().write(conf(1), few());
  await sh("mount -o remount,ro /run/etc");
  expect(await problemOf(open().write(conf(2), few()))).toBe("config.unwritten EROFS");
  expect(await generationOf(open())).toBe(1);
});

describe("a wg0.conf that is mounted as a single file", () => {
  it("is written in place, whole, however long the one before was", async () => {
    writeFileSync("/run/host.conf", `# Generation ${"x".repeat(10_000)}`);
    writeFileSync("/run/etc/wg0.conf", "");
    await sh("mount --bind /run/host.conf /run/etc/wg0.conf");
    const files = open();
    for (const [generation, peers] of [
      [1, few()],
      [2, many()],
      [3, few()],
    ] as const) {
      await files.write(conf(generation), peers);
      expect(await open().newest()).toMatchObject({ conf: { generation }, path: "/run/etc/wg0.conf" });
      expect(await files.isIntact()).toBe(true);
    }
    expect(readFileSync("/run/host.conf", "utf8")).toMatch(/^# Generation 3,/);
    expect(readdirSync("/run/etc").sort()).toEqual(["backups", "wg0.conf"]);
  });
});

it("wg-quick starts a whole node from wg0.conf, without the agent", async () => {
  await open().write(conf(1), few());
  await sh("WG_QUICK_USERSPACE_IMPLEMENTATION=wireguard-go wg-quick up /run/etc/wg0.conf");
  const shown = await sh(
    "ip -o address show dev wg0; ip route show dev wg0; ip -6 route show dev wg0; wg show wg0 dump",
  );
  for (const part of [
    "10.213.0.1/32",
    "fd00::1/128",
    "10.213.0.2 scope link",
    "10.213.0.3 scope link",
    `${keyOf("A")}\t`,
    "192.0.2.7:51820",
  ]) {
    expect(shown).toContain(part);
  }
  expect(shown).toContain(privateKey.publicKey);
  await sh("wg-quick down /run/etc/wg0.conf");
});
