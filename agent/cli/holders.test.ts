/** Ring 2: what a holder types, on our contract. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { Interface } from "ethers/abi";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ALICE, OWNER } from "../test/cli.ts";
import { Typing, typedAtTerminal } from "../test/typing.ts";

let typing: Typing;
let token: string;

beforeAll(async () => {
  typing = await Typing.open("DstackAccessNFT");
  const gateway = await keyPair("gate.key");
  await typing.owner("grant", "--to", ALICE.address, "--node-id", "gate", "--key", gateway);
  await typing.owner("set-role", "--token", "1", "--role", "gateway");
  await typing.as(ALICE.key, "set-endpoint", "--token", "1", "--endpoint", "192.0.2.1:51820");
  token = (await typing.owner("grant", "--to", ALICE.address, "--node-id", "phone")).tokenId;
}, 120_000);
afterAll(() => typing?.[Symbol.asyncDispose]());

const at = (file: string) => join(typing.folder, file);
const keyPair = async (file: string) => (await typing.run(["keys", "--out", file])).out.trim();
const check = (id: string, ...more: readonly string[]) => typing.run(["check", "--token", id, ...more]);
const joining = (...more: readonly string[]) => ["join", "--token", token, "--key-file", "phone.key", ...more];

describe("a holder joins", { timeout: 120_000 }, () => {
  it("hears from check that there is no key yet, and what to do", async () => {
    const ran = await check(token);
    expect(ran).toMatchObject({ exit: 1, err: "" });
    expect(ran.out).toContain(
      `no  token ${token} has no key yet\n    register yours: dstack-vpn join --token ${token} `,
    );
    expect(ran.out).toMatch(/^No access\. \(block \d+\)$/m);
  });

  it("is given the exact transaction to sign elsewhere, and told to come back", async () => {
    const key = await keyPair("phone.key");
    const [plain, json] = await Promise.all([
      typing.run(joining("--wait", "0")),
      typing.run(joining("--wait", "0", "--json")),
    ]);
    expect(plain.out).toContain(
      `to        ${typing.chain["CONTRACT_ADDRESS"]}\nvalue     0\nchain id  31337\ndata      0x`,
    );
    expect(plain).toMatchObject({
      exit: 1,
      err: expect.stringMatching(/^the key is not registered yet: run the same /),
    });
    const { sign, by } = JSON.parse(json.out);
    expect(by).toBe(ALICE.address);
    const setKey = await typing.run(["set-key", "--token", token, "--key", key, "--json"]);
    expect(sign).toEqual(JSON.parse(setKey.out));
    const config = await typing.run(["config", "--token", token, "--key-file", "phone.key"]);
    const missing = `token ${token} has no key registered; if it is yours, register this one: dstack-vpn set-key --token `;
    expect(config).toEqual({ exit: 1, out: "", err: expect.stringContaining(missing) });
  });

  it("is not let in by somebody else's wallet, and nothing is sent", async () => {
    const ran = await typing.as(OWNER.key, ...joining());
    expect(ran).toMatchObject({
      exit: 1,
      err: expect.stringMatching(`^token ${token} is not yours: it belongs to ${ALICE.address}`),
    });
  });

  it("registers the key once and writes a configuration that only its owner reads", async () => {
    const first = await typing.as(ALICE.key, ...joining("--json", "--out", "phone.conf"));
    expect(first.exit).toBe(0);
    expect(JSON.parse(first.out)).toMatchObject({
      tokenId: token,
      transaction: expect.stringMatching(/^0x/),
      late: [],
    });
    const conf = readFileSync(at("phone.conf"), "utf8");
    expect(conf).toContain(`PrivateKey = ${readFileSync(at("phone.key"), "utf8")}`);
    expect(statSync(at("phone.conf")).mode & 0o777).toBe(0o600);
    const again = await typing.as(ALICE.key, ...joining("--json", "--out", "phone.conf"));
    expect(JSON.parse(again.out)).toMatchObject({ transaction: null });
    expect(readFileSync(at("phone.conf"), "utf8")).toBe(conf);
  });

  it("keeps its hands off a file that is something else, also another token's", async () => {
    const other = "# dstack-vpn: token 99 of another\n";
    writeFileSync(at("other.conf"), other);
    const ran = await typing.run(joining("--out", "other.conf"));
    expect(ran).toMatchObject({
      exit: 1,
      err: expect.stringMatching(/^other\.conf exists and is not a configuration/),
    });
    expect(readFileSync(at("other.conf"), "utf8")).toBe(other);
  });

  it("asks at the terminal before it goes over something else", async () => {
    const other = readFileSync(at("other.conf"), "utf8");
    const over = (answer: string) =>
      typedAtTerminal(typing, joining("--out", "other.conf", "--no-qr"), /Overwrite it\? \[y\/N\] /, answer);
    const no = await over("\r");
    expect(no.out).toContain("is left alone");
    expect(no.exit).toBe(1);
    expect(readFileSync(at("other.conf"), "utf8")).toBe(other);
    expect((await over("yes\r")).exit).toBe(0);
    expect(readFileSync(at("other.conf"), "utf8")).toMatch(/^# dstack-vpn: token 2 of /);
  });

  it("reads check in colours at a terminal, unless NO_COLOR is set", async () => {
    const words = ["check", "--token", token];
    const [coloured, plain] = await Promise.all([
      typedAtTerminal(typing, words, /never asked/, ""),
      typedAtTerminal(typing, words, /never asked/, "", { NO_COLOR: "1" }),
    ]);
    expect(coloured.out).toContain("\u001b[32mok\u001b[0m  the nodes admit the token");
    expect(plain.out).toContain("ok  the nodes admit the token");
    expect(plain.out).not.toContain("\u001b[");
  });

  it("shows the QR code in a terminal, or where it is asked for, and no key otherwise", async () => {
    const [quiet, asked] = await Promise.all([
      typing.run(joining("--out", "a.conf")),
      typing.run(joining("--out", "b.conf", "--qr")),
    ]);
    expect(quiet).toMatchObject({ exit: 0, out: "" });
    expect(asked.out).toMatch(/[▀▄█]{20}/);
  });

  it("shows no QR code, which holds the key, where JSON goes to a script", async () => {
    const words = ["--token", token, "--key-file", "phone.key", "--json", "--qr"];
    const [config, join] = await Promise.all([typing.run(["config", ...words]), typing.run(["join", ...words])]);
    const refused = { exit: 2, out: "", err: expect.stringMatching(/--qr.* cannot be used with .*--json/) };
    expect([config, join]).toEqual([refused, refused]);
    expect((await typing.run(joining("--out", "c.conf", "--json", "--no-qr"))).exit).toBe(0);
  });

  it("shows a QR code that the terminal is wide enough for, if need be without the comments", async () => {
    const widest = async (columns: number) => {
      const { argv, env } = typing.command(joining("--out", "qr.conf"));
      const line = `stty cols ${columns} rows 99; ${argv.map((word) => `'${word}'`).join(" ")}`;
      const { stdout } = await promisify(execFile)("script", ["-qefc", line, "/dev/null"], { env, cwd: typing.folder });
      const code = stdout.split("\r\n").filter((each) => /^[ ▀▄█]+$/.test(each));
      return { width: Math.max(...code.map(({ length }) => length)), isTooWide: /enlarge it/.test(stdout) };
    };
    const [wide, usual, narrow] = await Promise.all([200, 80, 40].map(widest));
    expect(wide).toMatchObject({ width: expect.toSatisfy((width: number) => width > 80), isTooWide: false });
    expect(usual).toMatchObject({ width: expect.toSatisfy((width: number) => width <= 80), isTooWide: false });
    expect(narrow).toMatchObject({ isTooWide: true });
  });

  it("hears of a node that has read all of the token, though not the newest block", async () => {
    const { tokens, block } = JSON.parse((await typing.run(["list", "--json"])).out);
    expect(tokens.length).toBeGreaterThan(0);
    await typing.rpc("anvil_mine", "0x5");
    const health = (cursorBlock: number) =>
      JSON.stringify({ status: "healthy", ready: true, components: { chain: { cursorBlock } } });
    let cursor = block.number;
    const node = createServer((_, response) => response.end(health(cursor))).listen(0, "127.0.0.1");
    await once(node, "listening");
    const url = `http://127.0.0.1:${(node.address() as AddressInfo).port}`;
    try {
      expect((await check(token, "--node", url)).exit).toBe(0);
      cursor = 1;
      expect(await check(token, "--node", url)).toMatchObject({
        exit: 69,
        out: expect.stringMatching(/has read up to block 1, not yet to/),
      });
    } finally {
      node.close();
    }
  });

  it("hears that access works, and the key that is not the token's is named", async () => {
    await keyPair("other.key");
    const [good, bad, json] = await Promise.all([
      check(token, "--key-file", "phone.key"),
      check(token, "--key-file", "other.key"),
      check(token, "--json"),
    ]);
    expect(good).toMatchObject({
      exit: 0,
      out: expect.stringContaining("ok  the nodes admit the token with its key\n"),
    });
    expect(bad).toMatchObject({
      exit: 1,
      out: expect.stringMatching(/no {2}token \d+ has another key than your file/),
    });
    expect(JSON.parse(json.out)).toMatchObject({ tokenId: token, access: "works" });
  });
});

describe("config --proxy", { timeout: 60_000 }, () => {
  it("dials the local end of udp2tcp, says how to start it, and keeps the proxy out of the tunnel", async () => {
    const config = ["config", "--token", token, "--key-file", "phone.key", "--proxy"];
    const [split, full, named, strange] = await Promise.all([
      typing.run(config, { PROXY_PORT: "5999" }),
      typing.run([...config, "192.0.2.1:443", "--exit", "gate"]),
      typing.run([...config, "proxy.example.org:443", "--exit", "gate"]),
      typing.run([...config, "--via", "phone"]),
    ]);
    expect(split.out).toContain("Endpoint = 127.0.0.1:51821\n");
    expect(split.out).toContain("udp2tcp --udp-listen 127.0.0.1:51821 --tcp-forward 192.0.2.1:5999 --nodelay\n");
    expect(full.out).not.toMatch(/0\.0\.0\.0\/0|192\.0\.2\.1\/32/);
    expect(full.out).toMatch(/, 192\.0\.2\.0\/32.*, ::\/0\n/);
    expect(named).toMatchObject({ exit: 2, err: expect.stringMatching(/name its IP address/) });
    expect(strange).toMatchObject({ exit: 1, err: "phone is no node that can be dialled: see dstack-vpn list\n" });
  });
});

describe("what ends access, in words", { timeout: 120_000 }, () => {
  it("no such token, a revoked one, one that changed hands", async () => {
    const spare = await typing.owner("grant", "--to", ALICE.address, "--node-id", "spare");
    await typing.owner("revoke", spare.tokenId);
    const moved = await typing.owner(
      "grant",
      "--to",
      ALICE.address,
      "--node-id",
      "moved",
      "--key",
      await keyPair("moved.key"),
    );
    const transfer = new Interface(["function transferFrom(address, address, uint256)"]);
    const data = transfer.encodeFunctionData("transferFrom", [ALICE.address, `0x${"b".repeat(40)}`, moved.tokenId]);
    await typing.rpc("eth_sendTransaction", { from: ALICE.address, to: typing.chain["CONTRACT_ADDRESS"], data });
    const [none, revoked, gone] = await Promise.all([check("999"), check(spare.tokenId), check(moved.tokenId)]);
    expect(gone).toMatchObject({
      exit: 1,
      out: expect.stringMatching(
        /^no {2}token \d+ changed hands in block \d+, and its new owner has registered no key/m,
      ),
    });
    expect(none).toMatchObject({ exit: 1, out: expect.stringMatching(/^no {2}there is no token 999\n {4}compare /) });
    expect(revoked.out).toMatch(/^no {2}token \d+ is revoked, for good\n {4}ask the contract's owner for a new one$/m);
    expect(revoked.exit).toBe(1);
  });

  it("a node that does not answer is not known, and neither access nor none", async () => {
    const ran = await check(token, "--node", "http://127.0.0.1:1");
    expect(ran).toMatchObject({ exit: 69, out: expect.stringMatching(/^\? {3}127\.0\.0\.1:1 does not answer/m) });
  });
});
