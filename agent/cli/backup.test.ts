/** Ring 2: archives of a node's folders, made while a store is being written, and restored to other folders. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Address, type Hash, PrivateKey, type TokenId, ZERO_HASH } from "../model.ts";
import { advance, emptyLedger } from "../registry/ledger.ts";
import { token, tokens } from "../registry/registry.ts";
import { openStore } from "../registry/store.ts";
import { dstackVpn, type Env } from "../test/cli.ts";
import { cidr, peersOf } from "../test/peers.ts";
import { openFiles } from "../wireguard/files.ts";
import { digest, type File, pack, unpack } from "./backup-archive.ts";
import { archiveIn, collected } from "./backup-files.ts";
import { hostSettings } from "./settings.ts";

const CONTRACT = "0x5fbdb2315678afecb367f032d93f642f64180aa3" as Address;
const OTHER = `0x${"1".repeat(40)}`;
const OWNER = `0x${"2".repeat(40)}` as Address;
const identity = { chainId: 31337, contract: CONTRACT, genesis: `0x${"a".repeat(64)}` as Hash };

let root: string;
const folders = (name: string) => ({ state: join(root, name, "state"), config: join(root, name, "wireguard") });
const env = (name: string, more: Env = {}): Env => ({
  ...{ NETWORK: "devnet", NODE_ID: "node-a", STATE_DIR: folders(name).state, WG_CONFIG_DIR: folders(name).config },
  ...more,
});
const backup = (name: string, ...args: string[]) => dstackVpn(["backup", ...args], env(name));

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "dstack-vpn-backup-"));
});
afterEach(() => rmSync(root, { recursive: true }));

/** What an agent leaves on its host: a key, tokens up to `blocks`, three generations. */
async function aNode(name: string, contract = CONTRACT, blocks = 5) {
  const { state, config } = folders(name);
  mkdirSync(state, { recursive: true, mode: 0o700 });
  const key = PrivateKey.generate();
  writeFileSync(join(state, "private.key"), `${key.reveal()}\n`, { mode: 0o600 });
  const store = openStore(join(state, "ledger.sqlite"), { ...identity, contract }).store;
  for (let block = 1; block <= blocks; block++) await store.save(ledgerAt(block));
  const files = openFiles({ interfaceName: "wg0", configDir: config, maxBackups: 10 });
  for (let generation = 1; generation <= 3; generation++) {
    const writtenAt = Date.UTC(2026, 0, 1, 0, 0, generation);
    const conf = { generation, writtenAt, block: 7, privateKey: key, listenPort: 51820, mtu: 1420 };
    await files.write({ ...conf, addresses: [cidr("10.213.0.1/32")] }, peersOf("A@2 B@3").values());
  }
  return { key, store, archive: join(root, `${name}.tar.gz`) };
}

/** As many tokens as blocks, all final. */
function ledgerAt(blocks: number) {
  const events = Array.from({ length: blocks }, (_, i) => ({
    ...{ kind: "grant" as const, tokenId: BigInt(i + 1) as TokenId, nodeId: `member-${i}`, owner: OWNER, key: "" },
    ...{ at: { block: i + 1, logIndex: 0 }, blockHash: ZERO_HASH, transaction: ZERO_HASH },
  }));
  const to = { number: blocks, hash: `0x${"b".repeat(64)}` as Hash };
  return advance(emptyLedger({ number: -1, hash: ZERO_HASH }), { kind: "history", to, events }).ledger;
}

/** Every file below the node's folders, and what is in it. */
function all(name: string, but = "none"): Record<string, string> {
  const paths = existsSync(join(root, name))
    ? readdirSync(join(root, name), { recursive: true, encoding: "utf8" })
    : [];
  const files = paths.filter(
    (path) => statSync(join(root, name, path)).isFile() && !path.endsWith(".pid") && !path.endsWith(but),
  );
  return Object.fromEntries(
    files.toSorted().map((path) => [path, readFileSync(join(root, name, path)).toString("base64")]),
  );
}

describe("backup", { timeout: 240_000 }, () => {
  it("is made while the store is being written, and restored elsewhere with key, registry and generations", async () => {
    const { key, store, archive } = await aNode("old", CONTRACT, 50);
    let blocks = 50;
    let isWriting = true;
    const writing = (async () => {
      for (; isWriting; blocks++) await store.save(ledgerAt(blocks));
    })();
    for (let i = 0; i < 3; i++) {
      rmSync(archive, { force: true });
      const { exit, err } = await backup("old", "create", "--out", archive);
      expect({ exit, err }).toEqual({ exit: 0, err: "" });
      rmSync(join(root, `new`), { recursive: true, force: true });
      const restored = await backup("new", "restore", archive);
      expect(restored).toMatchObject({ exit: 0, out: expect.stringContaining(key.publicKey) });
      const { store: reopened, ledger, corrupt } = openStore(join(folders("new").state, "ledger.sqlite"), identity);
      await reopened.close();
      expect(corrupt).toBeUndefined();
      // Of one moment: the cursor and the tokens up to it.
      expect(ledger && tokens(ledger.registry).length).toBe(ledger?.final.number);
      expect(ledger && token(ledger.registry, 50n as TokenId)?.nodeId).toBe("member-49");
    }
    isWriting = false;
    await writing;
    await store.close();
    expect(statSync(archive).mode & 0o777).toBe(0o600);
    const { state, config } = folders("new");
    expect(readFileSync(join(state, "private.key"), "utf8").trim()).toBe(key.reveal());
    for (const path of [join(state, "private.key"), join(state, "ledger.sqlite"), join(config, "wg0.conf")]) {
      expect(statSync(path).mode & 0o777).toBe(0o600);
    }
    const files = openFiles({ interfaceName: "wg0", configDir: config, maxBackups: 10 });
    expect((await files.list()).map(({ generation }) => generation)).toEqual([3, 2, 1]);
    expect(readFileSync(join(config, "wg0.conf"))).toEqual(readFileSync(join(folders("old").config, "wg0.conf")));
    expect(Object.keys(all("new")).filter((path) => /backup-|restore-/.test(path))).toEqual([]);
  });

  it("goes through pipes, and is listed with the generations", async () => {
    const { store } = await aNode("old");
    await store.close();
    expect((await backup("old", "create")).out).toMatch(/archives\/node-a-[0-9T]+Z\.tar\.gz\n$/);
    writeFileSync(join(folders("old").state, "archives", "spoiled.tar.gz"), "nonsense");
    const listed = await backup("old", "list");
    expect(listed.out).toMatch(/^\S+node-a-\S+ +node-a +generation 3 /m);
    expect(listed.out).toMatch(/^\S+spoiled\.tar\.gz +the archive is refused/m);
    expect(listed.out).toMatch(/^3 +2026-01-01T00:00:03.000Z$/m);
    const json = JSON.parse((await backup("old", "list", "--json")).out);
    expect(json.generations.map(({ generation }: { generation: number }) => generation)).toEqual([3, 2, 1]);
    const piped = await dstackVpn(["backup", "create", "--out", "-"], env("old"));
    const restored = await dstackVpn(["backup", "restore", "-"], env("new"), Buffer.from(piped.out, "latin1"));
    expect(restored).toMatchObject({ exit: 0 });
    expect(all("new")["state/private.key"]).toBe(all("old")["state/private.key"]);
  });

  it("is not put over a running agent", async () => {
    const { store, archive } = await aNode("old");
    expect((await backup("old", "create", "--out", archive)).exit).toBe(0);
    // A process that closes any file of its own database lets go of the lock on it.
    const others = () => Object.entries(all("old", "ledger.sqlite"));
    const before = others();
    const refused = { exit: 1, err: expect.stringMatching(/an agent runs on .*: stop it first/) };
    expect(await backup("old", "restore", archive)).toMatchObject(refused);
    expect(await backup("old", "restore", "--replace", archive)).toMatchObject(refused);
    expect(others()).toEqual(before);
    await store.close();
    // What was saved last was in the log alone.
    expect((await backup("new", "restore", archive)).exit).toBe(0);
    const restored = openStore(join(folders("new").state, "ledger.sqlite"), identity);
    await restored.store.close();
    expect(restored.ledger?.final.number).toBe(5);
  });

  it("says how to put it over another contract's state, and keeps what was there", async () => {
    const { store, archive, key } = await aNode("old");
    await store.close();
    await backup("old", "create", "--out", archive);
    const other = await aNode("other", OTHER as Address);
    await other.store.close();
    const before = all("other");
    const refused = await backup("other", "restore", archive);
    expect(refused).toMatchObject({
      exit: 1,
      err: expect.stringMatching(`state of contract ${OTHER} on chain 31337.*--replace`),
    });
    expect(all("other")).toEqual(before);
    expect((await backup("other", "restore", "--replace", archive)).exit).toBe(0);
    const { state } = folders("other");
    expect(readFileSync(join(state, "private.key"), "utf8").trim()).toBe(key.reveal());
    const kept = readdirSync(state).find((name) => name.startsWith("replaced-")) ?? "none";
    expect(readFileSync(join(state, kept, "private.key"), "utf8").trim()).toBe(other.key.reveal());
    expect(existsSync(join(state, kept, "ledger.sqlite"))).toBe(true);
  });

  it.each([
    [
      "another contract",
      { CONTRACT_ADDRESS: OTHER },
      /set CHAIN_ID=31337 and CONTRACT_ADDRESS=0x5FbDB2315678afecb367f032d93F642f64180aa3/,
    ],
    ["another node", { NODE_ID: "node-b" }, /set NODE_ID=node-a/],
    ["another interface", { WG_INTERFACE: "wg1" }, /set WG_INTERFACE=wg0/],
    ["another key", { WIREGUARD_PRIVATE_KEY: PrivateKey.generate().reveal() }, /unset WIREGUARD_PRIVATE_KEY/],
  ])("is refused where the settings are of %s", async (_, settings, message) => {
    const { store, archive } = await aNode("old");
    await store.close();
    await backup("old", "create", "--out", archive);
    const ran = await dstackVpn(["backup", "restore", archive], env("new", settings));
    expect(ran).toMatchObject({ exit: 78, err: expect.stringMatching(message) });
    expect(all("new")).toEqual({});
  });

  it.each<[string, (archive: Buffer) => Buffer]>([
    ["cut off", (archive) => archive.subarray(0, archive.length - 100)],
    ["cut to nothing", () => Buffer.alloc(0)],
    ["flipped in a bit", (archive) => flipped(archive, archive.length >> 1)],
    ["of another key", (archive) => with_(archive, "private.key", Buffer.from(`${PrivateKey.generate().reveal()}\n`))],
    ["edited in its configuration", (archive) => with_(archive, "wg0.conf", Buffer.from("[Interface]\nPostUp = id\n"))],
    ["edited in its state", (archive) => with_(archive, "ledger.sqlite", Buffer.from("nonsense"))],
    ["with a path that leads out", (archive) => renamed(archive, "../../etc/cron.d/x")],
    ["with a path from the root", (archive) => renamed(archive, "/etc/passwd")],
    ["with a symbolic link", (archive) => typed(archive, "2")],
    ["with a hard link", (archive) => typed(archive, "1")],
    ["with a folder", (archive) => typed(archive, "5")],
    [
      "with a file more",
      (archive) => pack([...filesOf(archive), { name: "authorized_keys", content: Buffer.alloc(9) }], new Date(0)),
    ],
    ["with a file less", (archive) => pack(filesOf(archive).slice(0, -1), new Date(0))],
    ["with something behind its end", (archive) => gzipSync(Buffer.concat([gunzipSync(archive), Buffer.from("more")]))],
    ["of zeros that inflate beyond all measure", () => Buffer.concat(Array(10).fill(gzipSync(Buffer.alloc(2 ** 26))))],
  ])("is refused %s", async (_, spoil) => {
    const { store } = await aNode("old");
    await store.close();
    const settings = hostSettings(env("old"));
    const archive = await collected(settings, new Date());
    expect(archiveIn(archive).manifest.generation).toBe(3);
    expect(() => archiveIn(spoil(archive))).toThrow(/^the archive is refused, and nothing was changed: /);
  });

  it("is refused with a state that is none, and nothing is changed", async () => {
    const { store, archive } = await aNode("old");
    await store.close();
    const sound = await collected(hostSettings(env("old")), new Date());
    const ledger = Buffer.from("nonsense");
    const [manifest, ...files] = filesOf(sound);
    const { sha256, ...rest } = JSON.parse(manifest?.content.toString() ?? "");
    const sums = { ...rest, sha256: { ...sha256, "ledger.sqlite": digest(ledger) } };
    const spoiled = files.map((file) => (file.name === "ledger.sqlite" ? { ...file, content: ledger } : file));
    writeFileSync(
      archive,
      pack([{ name: "manifest.json", content: Buffer.from(JSON.stringify(sums)) }, ...spoiled], new Date(0)),
    );
    const { exit, err } = await backup("new", "restore", archive);
    expect({ exit, err }).toMatchObject({ exit: 1, err: expect.stringMatching(/the state in it cannot be read/) });
    expect(all("new")).toEqual({});
  });

  it.each([
    ["nothing to back up", "new", ["create"], /no agent has run here/],
    ["no such archive", "new", ["restore", "/none"], /cannot be read \(ENOENT\)/],
    ["a folder that cannot be written", "old", ["create", "--out", "/proc/none/a"], /cannot be written/],
  ])("%s", async (_, name, args, message) => {
    const { store } = await aNode("old");
    await store.close();
    expect(await backup(name, ...args)).toMatchObject({ exit: 1, err: expect.stringMatching(message) });
  });
});

function filesOf(archive: Buffer): readonly File[] {
  const unpacked = unpack(archive);
  if (unpacked.kind === "refused") throw new Error(unpacked.why);
  return unpacked.files;
}

/** The manifest as before. */
function with_(archive: Buffer, name: string, content: Buffer): Buffer {
  return pack(
    filesOf(archive).map((file) => (file.name === name ? { name, content } : file)),
    new Date(0),
  );
}

function flipped(archive: Buffer, at: number): Buffer {
  const copy = Buffer.from(archive);
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
}

/** The second file's header with another name or type, and the sum that belongs to it. */
function header(archive: Buffer, change: (block: Buffer) => void): Buffer {
  const tar = gunzipSync(archive);
  const [first] = filesOf(archive);
  const at = 512 + 512 * Math.ceil((first?.content.length ?? 0) / 512);
  const block = tar.subarray(at, at + 512);
  change(block);
  block.fill(" ", 148, 156);
  block.write(
    `${block
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, "0")}\0 `,
    148,
    "latin1",
  );
  return gzipSync(tar);
}
const renamed = (archive: Buffer, name: string) =>
  header(archive, (block) => {
    block.fill(0, 0, 100);
    block.write(name, 0, "latin1");
  });
const typed = (archive: Buffer, type: string) => header(archive, (block) => void block.write(type, 156, "latin1"));
