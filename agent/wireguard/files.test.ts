/** Ring 2: the door to `wg0.conf`, against a real directory. Mounts and full disks are in agent/test/files.e2e.test.ts. */
import {
  appendFileSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, test } from "vitest";
import { PrivateKey } from "../model.ts";
import { faultOf } from "../test/fault-of.ts";
import { cidr, drawn, peersOf } from "../test/peers.ts";
import type { Conf } from "./conf.ts";
import { type Files, type Generation, openFiles } from "./files.ts";

let root: string;
let files: Files;
const privateKey = PrivateKey.generate();

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "dstack-vpn-files-"));
  files = open();
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const open = (maxBackups = 10) => openFiles({ interfaceName: "wg0", configDir: join(root, "etc"), maxBackups });
const confPath = () => join(root, "etc/wg0.conf");
const backupNames = () => readdirSync(join(root, "etc/backups")).sort();

const conf = (generation: number): Conf => ({
  ...{ generation, writtenAt: Date.UTC(2026, 0, 1, 0, 0, generation), block: 7, privateKey, listenPort: 51820 },
  ...{ mtu: 1420, addresses: [cidr("10.213.0.1/32")] },
});
const write = (generation: number, drawing: string, to: Files = files) =>
  to.write(conf(generation), peersOf(drawing).values());
const drawnGeneration = (found: Generation | undefined) =>
  found && `${found.conf.generation}: ${found.peers.map((peer) => drawn(peer)).join(" ")}`;
describe("a generation", () => {
  it("is written as wg0.conf and as a backup, for root alone", async () => {
    await write(1, "A@1!7~25 B@2");
    expect(backupNames()).toEqual(["wg0-00000001-20260101T000001Z.conf"]);
    expect(readFileSync(confPath(), "utf8")).toBe(
      readFileSync(join(root, "etc/backups", backupNames()[0] ?? ""), "utf8"),
    );
    expect(statSync(confPath()).mode & 0o777).toBe(0o600);
    expect(statSync(join(root, "etc/backups", backupNames()[0] ?? "")).mode & 0o777).toBe(0o600);
    expect(readdirSync(join(root, "etc"))).toEqual(["backups", "wg0.conf"]);
    expect(drawnGeneration(await open().newest())).toBe("1: A@1!7~25 B@2");
  });

  it("can be read by its number, and is named where there is none", async () => {
    await write(1, "A@1");
    await write(2, "A@1 B@2");
    expect(drawnGeneration(await files.read(1))).toBe("1: A@1");
    expect((await files.list()).map(({ generation }) => generation)).toEqual([2, 1]);
    expect(await faultOf(files.read(3))).toEqual({ code: "config.no-generation", generation: 3 });
  });

  it("leaves as many backups as are wanted, and others' files alone", async () => {
    const few = open(3);
    for (let generation = 1; generation <= 6; generation++) await write(generation, "A@1", few);
    writeFileSync(join(root, "etc/backups/notes.txt"), "mine");
    await write(7, "A@1", few);
    expect(backupNames()).toHaveLength(4);
    expect(backupNames().at(-1)).toMatch(/-00000007-/);
    expect(backupNames()).toContain("notes.txt");
  });

  it("is written after the one before it, however fast they come", async () => {
    await Promise.all([1, 2, 3, 4].map((generation) => write(generation, "A@1")));
    expect(drawnGeneration(await open().newest())).toBe("4: A@1");
    expect(await files.list()).toHaveLength(4);
  });
});

describe("wg0.conf", () => {
  beforeEach(async () => {
    await write(1, "A@1");
    await write(2, "A@1 B@2");
  });

  const ways: readonly (readonly [string, () => void])[] = [
    ["edited", () => writeFileSync(confPath(), readFileSync(confPath(), "utf8").replace("51820", "51821"))],
    ["appended to", () => appendFileSync(confPath(), "PostUp = reboot\n")],
    ["emptied", () => truncateSync(confPath())],
    ["cut off", () => truncateSync(confPath(), 100)],
    ["deleted", () => rmSync(confPath())],
    [
      "replaced by a directory",
      () => {
        rmSync(confPath());
        mkdirSync(confPath());
      },
    ],
    [
      "replaced by a link to nowhere",
      () => {
        rmSync(confPath());
        symlinkSync("/nowhere", confPath());
      },
    ],
  ];
  test.each(ways)("that was %s is noticed, and the newest backup serves in its place", async (_, damage) => {
    expect(await files.isIntact()).toBe(true);
    damage();
    expect(await files.isIntact()).toBe(false);
    const after = open();
    expect(drawnGeneration(await after.newest())).toBe("2: A@1 B@2");
    expect(await after.isIntact()).toBe(false);
  });

  it("and the newest backup, both damaged, leave the one before", async () => {
    truncateSync(confPath(), 200);
    truncateSync(join(root, "etc/backups", backupNames()[1] ?? ""), 200);
    expect(drawnGeneration(await open().newest())).toBe("1: A@1");
  });

  it("is not intact without any backup", async () => {
    rmSync(join(root, "etc/backups"), { recursive: true });
    expect(await files.isIntact()).toBe(false);
    await write(3, "A@1");
    expect(await files.isIntact()).toBe(true);
    expect(backupNames()).toHaveLength(1);
  });

  it("is intact for an agent that has read it", async () => {
    const after = open();
    expect(await after.isIntact()).toBe(false);
    await after.newest();
    expect(await after.isIntact()).toBe(true);
  });

  it("that no agent wrote is copied beside it before it is replaced, each once", async () => {
    const copies: string[] = [];
    for (const [generation, theirs] of ["their only key", "another", "their only key"].entries()) {
      writeFileSync(confPath(), theirs, { mode: 0o600 });
      await files.write(conf(3 + generation), peersOf("C@3").values(), (copy) => copies.push(copy));
      const copy = copies.at(-1) ?? "";
      expect(readFileSync(copy, "utf8")).toBe(theirs);
      expect(statSync(copy).mode & 0o777).toBe(0o600);
    }
    expect(new Set(copies).size).toBe(2);
    expect(readdirSync(join(root, "etc"))).toHaveLength(4);
    expect(drawnGeneration(await open().newest())).toBe("5: C@3");
  });

  it("that no agent wrote is copied also after a crash that left half a copy", async () => {
    writeFileSync(confPath(), "theirs");
    writeFileSync(join(root, "etc/.wg0.found.tmp"), "the");
    await write(3, "C@3");
    const copies = readdirSync(join(root, "etc")).filter((name) => name.includes("found"));
    expect(copies.map((name) => readFileSync(join(root, "etc", name), "utf8"))).toEqual(["theirs"]);
  });

  it("that no agent wrote stays where it cannot be copied", async () => {
    writeFileSync(confPath(), "theirs");
    mkdirSync(join(root, "etc/.wg0.found.tmp"));
    expect(await faultOf(write(3, "C@3"))).toMatchObject({ code: "config.unwritten", path: `${confPath()}.found` });
    expect(readFileSync(confPath(), "utf8")).toBe("theirs");
  });

  it("that is a link is replaced; what it pointed to is not touched, nor read", async () => {
    const elsewhere = join(root, "elsewhere");
    renameSync(confPath(), elsewhere);
    const content = readFileSync(elsewhere, "utf8");
    symlinkSync(elsewhere, confPath());
    rmSync(join(root, "etc/backups"), { recursive: true });
    expect(await open().newest()).toBeUndefined();
    await write(3, "C@3");
    expect(lstatSync(confPath()).isFile()).toBe(true);
    expect(readFileSync(elsewhere, "utf8")).toBe(content);
  });

  it("is the newer one also where no backup can be kept, which is said", async () => {
    rmSync(join(root, "etc/backups"), { recursive: true });
    writeFileSync(join(root, "etc/backups"), "in the way");
    const path = join(root, "etc/backups");
    expect(await faultOf(write(3, "C@3"))).toMatchObject({ code: "config.unwritten", path });
    expect(drawnGeneration(await open().newest())).toBe("3: C@3");
  });

  it("is left as it was where the new one cannot be written", async () => {
    mkdirSync(join(root, "etc/.wg0.conf.tmp"));
    expect(await faultOf(write(3, "C@3"))).toMatchObject({ code: "config.unwritten", path: confPath() });
    expect(drawnGeneration(await open().newest())).toBe("2: A@1 B@2");
  });

  it("is named where its directory cannot be made, and made with all of its directories where it can", async () => {
    const inDirectory = (configDir: string) => openFiles({ interfaceName: "wg0", configDir, maxBackups: 1 });
    const nowhere = inDirectory("/proc/1/config/deep").write(conf(1), []);
    expect(await faultOf(nowhere)).toMatchObject({ code: "config.unwritten", problem: "ENOENT" });
    const deep = inDirectory(join(root, "some/where/deep"));
    await deep.write(conf(1), []);
    expect(await deep.isIntact()).toBe(true);
    expect(statSync(join(root, "some")).mode & 0o777).toBe(0o700);
  });

  it("is cleaned of the drafts of a crash", async () => {
    for (const draft of ["etc/.wg0.conf.tmp", "etc/.wg0.found.tmp", "etc/backups/.wg0.conf.tmp"])
      writeFileSync(join(root, draft), "half");
    await files.thin();
    expect(readdirSync(join(root, "etc"))).toEqual(["backups", "wg0.conf"]);
    expect(backupNames()).toHaveLength(2);
  });
});

describe("evidence of an earlier life", () => {
  it("is a configuration, whatever is in it, or a backup", async () => {
    expect(await files.evidence()).toBeUndefined();
    mkdirSync(join(root, "etc/backups"), { recursive: true });
    expect(await files.evidence()).toBeUndefined();
    writeFileSync(confPath(), "");
    expect(await files.evidence()).toBe(confPath());
    rmSync(confPath());
    await write(1, "A@1");
    rmSync(confPath());
    expect(await files.evidence()).toBe(join(root, "etc/backups"));
  });
});
