/** Ring 2: the door to the private key, against a real directory. Mounts are in agent/test/files.e2e.test.ts. */
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
import { afterEach, beforeEach, describe, expect, it, test } from "vitest";
import { PrivateKey } from "../model.ts";
import { faultOf } from "../test/fault-of.ts";
import { loadPrivateKey } from "./private-key.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "dstack-vpn-key-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

describe("the private key", () => {
  const path = () => join(root, "state/private.key");
  const fresh = async () => undefined;

  it("is made once, for root alone, and is the same from then on", async () => {
    const first = await loadPrivateKey(path(), fresh);
    expect(readFileSync(path(), "utf8")).toBe(`${first.reveal()}\n`);
    expect(statSync(path()).mode & 0o777).toBe(0o600);
    expect((await loadPrivateKey(path(), async () => "/etc/wireguard/wg0.conf")).reveal()).toBe(first.reveal());
    expect(readdirSync(join(root, "state"))).toEqual(["private.key"]);
  });

  it("is one for all who ask at once", async () => {
    const keys = await Promise.all(Array.from({ length: 8 }, () => loadPrivateKey(path(), fresh)));
    expect(new Set(keys.map((key) => key.reveal())).size).toBe(1);
  });

  it("is the other's where somebody was faster", async () => {
    const other = PrivateKey.generate();
    const key = await loadPrivateKey(path(), async () => {
      mkdirSync(join(root, "state"));
      writeFileSync(path(), other.reveal());
      return undefined;
    });
    expect(key.publicKey).toBe(other.publicKey);
    expect(readdirSync(join(root, "state"))).toEqual(["private.key"]);
  });

  it("is never made where there was one", async () => {
    const lost = loadPrivateKey(path(), async () => "/etc/wireguard/wg0.conf");
    expect(await faultOf(lost)).toEqual({ code: "key.lost", path: path(), evidence: "/etc/wireguard/wg0.conf" });
    expect(existsSync(path())).toBe(false);
  });

  test.each([
    ["empty", "", "it is empty"],
    ["half a key", "half a k", "it is not a WireGuard private key"],
    ["zeros", `${"A".repeat(43)}=\n`, "it is not a WireGuard private key"],
    ["two keys", `${PrivateKey.generate().reveal()}\n`.repeat(2), "it is not a WireGuard private key"],
  ])("is never replaced where it is %s", async (_, content, problem) => {
    mkdirSync(join(root, "state"));
    writeFileSync(path(), content);
    expect(await faultOf(loadPrivateKey(path(), fresh))).toEqual({ code: "key.unreadable", path: path(), problem });
    expect(readFileSync(path(), "utf8")).toBe(content);
  });

  it("is never replaced where it cannot be read", async () => {
    mkdirSync(path(), { recursive: true });
    expect(await faultOf(loadPrivateKey(path(), fresh))).toMatchObject({ code: "key.unreadable", problem: "EISDIR" });
  });

  it("is not made where it cannot be kept", async () => {
    writeFileSync(join(root, "state"), "a file in the way");
    expect(await faultOf(loadPrivateKey(path(), fresh))).toMatchObject({ code: "key.unreadable" });
  });

  it("leaves no drafts of an earlier crash behind", async () => {
    await loadPrivateKey(path(), fresh);
    writeFileSync(`${path()}.0badcafe.tmp`, PrivateKey.generate().reveal());
    await loadPrivateKey(path(), fresh);
    expect(readdirSync(join(root, "state"))).toEqual(["private.key"]);
  });
});
