/** Ring 4: what an operator got wrong is named, with exit code 78, and costs nothing that was there. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Chain } from "./lab/chain.ts";
import { until } from "./lab/command.ts";
import { Lab } from "./lab/lab.ts";
import { LabNode } from "./lab/node.ts";

const CONFIG_ERROR = 78;
const SOFTWARE_ERROR = 70;
type Settings = Readonly<Record<string, string>>;

describe("an agent that cannot run as configured says why, ends with 78 and", () => {
  let lab: Lab;
  let chain: Chain;
  /** Has run before: its device and files are what may be lost. */
  let node: LabNode;
  /** Has never run. */
  let fresh: LabNode;

  beforeAll(async () => {
    lab = await Lab.open();
    chain = await Chain.start();
    node = await LabNode.create(lab, chain, "node-a", chain.account(1));
    fresh = await LabNode.create(lab, chain, "node-b", chain.account(3));
    const member = await lab.member("alice");
    await chain.grant(chain.account(2), "alice", member.publicKey);
    const agent = node.agent();
    await agent.ready();
    await until("a generation to be written", 10_000, () =>
      readdirSync(node.host.file("/run/config")).includes("wg0.conf"),
    );
    await agent.end("SIGTERM");
  });

  afterAll(async () => {
    await chain?.end();
    await lab?.[Symbol.asyncDispose]();
  });

  /** Starts an agent that should refuse; gives its log. A node's device and files must be what they were. */
  async function refusal(on: LabNode, settings: Settings, wrapper: readonly string[] = []): Promise<string> {
    const before = await world(on);
    const agent = on.agent(settings, wrapper);
    const late = setTimeout(() => agent.end("SIGKILL"), 20_000);
    const { code } = await agent.exited.finally(() => clearTimeout(late));
    expect(code, agent.log).toBe(CONFIG_ERROR);
    // A host that never ran has nothing to lose, and keeps the interface that was made for it.
    if (on === node) expect(await world(on)).toEqual(before);
    for (const line of agent.log.trim().split("\n")) expect(() => JSON.parse(line), line).not.toThrow();
    return agent.log;
  }

  it("lists every missing or wrong setting at once", async () => {
    const log = await refusal(node, { NODE_ID: "", RPC_URL: "", NETWORK: "", LISTEN_PORT: "none", EXIT: "perhaps" });
    for (const name of ["NODE_ID", "RPC_URL", "NETWORK", "LISTEN_PORT", "EXIT"]) expect(log).toContain(name);
  });

  it("names a directory that nobody can make", async () => {
    const log = await refusal(fresh, { STATE_DIR: "/proc/1/state/deep" });
    expect(log).toContain("/proc/1/state/deep/ledger.sqlite cannot be written (ENOENT");
  });

  it("leaves the database of another contract alone", async () => {
    const [mine, log] = [chain.contract, await refusal(node, { CONTRACT_ADDRESS: await another(chain) })];
    expect(log).toContain("store.other-chain");
    expect(log.toLowerCase()).toContain(mine);
    expect(log).toContain("STATE_DIR");
  });

  it("leaves the database of another chain alone", async () => {
    await using far = await Chain.start("DstackAccessNFT", { chainId: 4242, port: 8546 });
    const log = await refusal(node, { RPC_URL: far.url, CHAIN_ID: "4242", CONTRACT_ADDRESS: far.contract });
    expect(log).toContain("store.other-chain");
    expect(log).toContain("4242");
  });

  it("never replaces a key that it cannot read", async () => {
    const file = "/run/broken/private.key";
    mkdirSync(fresh.host.file("/run/broken"));
    writeFileSync(fresh.host.file(file), "half a k");
    const log = await refusal(fresh, { STATE_DIR: "/run/broken", WIREGUARD_PRIVATE_KEY_FILE: "" });
    expect(log).toContain("key.unreadable");
    expect(log).toContain(file);
    expect(log).not.toContain("half a k");
    expect(readFileSync(fresh.host.file(file), "utf8")).toBe("half a k");
  });

  it("never swaps the key of a running interface", async () => {
    const key = await node.host.run(["wg", "genkey"]);
    writeFileSync(node.host.file("/run/other.key"), key, { mode: 0o600 });
    const log = await refusal(node, { WIREGUARD_PRIVATE_KEY_FILE: "/run/other.key", STATE_DIR: "/run/other" });
    expect(log).toMatch(/key\.interface-differs|device\.foreign/);
    expect(log).not.toContain(key.trim());
  });

  it("names the HTTP port that is taken", async () => {
    await using taken = node.host.start([process.execPath, "-e", LISTEN_TCP, node.host.address]);
    await taken.says(/up/);
    const log = await refusal(node, {});
    expect(log).toContain("http.port-in-use");
    expect(log).toContain("HEALTH_CHECK_PORT");
  });

  it("names the UDP port that is taken", async () => {
    await using taken = fresh.host.start([process.execPath, "-e", BIND_UDP]);
    await taken.says(/up/);
    const log = await refusal(fresh, {});
    expect(log).toContain("device.port-in-use");
    expect(log).toContain("51820");
  });

  it("names the privilege that is missing", async () => {
    const log = await refusal(fresh, {}, ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]);
    expect(log).toContain("device.missing-privilege");
    expect(log).toContain("NET_ADMIN");
  });

  it("names the address without code", async () => {
    const address = `0x${"0d".repeat(20)}`;
    const log = await refusal(fresh, { CONTRACT_ADDRESS: address, STATE_DIR: "/run/typo" });
    expect(log).toContain("chain.no-contract");
    expect(log).toContain(address);
  });

  it("names the upstream of another chain", async () => {
    const log = await refusal(fresh, { CHAIN_ID: "8453", STATE_DIR: "/run/wrong" });
    expect(log).toContain("chain.wrong-network");
    expect(log).toContain("31337");
  });

  it("tells of what nobody foresaw in a line of the log, without the secret that was in it, with 70", async () => {
    const broken = `const { once } = process;
      process.once = function (name, listener) {
        if (name === "SIGTERM") throw new TypeError("no way to https://rpc.example/v2/" + "key".repeat(3));
        return once.call(this, name, listener);
      };`;
    const NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(broken)}`;
    const agent = fresh.agent({ NODE_OPTIONS });
    expect((await agent.exited).code, agent.log).toBe(SOFTWARE_ERROR);
    const last: unknown = JSON.parse(agent.log.trim().split("\n").at(-1) ?? "");
    expect(last).toMatchObject({ level: "fatal", event: "agent.failed", error: { name: "TypeError" } });
    expect(agent.log).not.toContain("keykeykey");
  });

  it("leaves a second agent's interface to the first", async () => {
    await using first = node.agent();
    await first.ready();
    const log = await refusal(node, { HEALTH_CHECK_PORT: "8181" });
    expect(log).toMatch(/store\.locked|device\.in-use/);
    expect(await first.isReady()).toBe(true);
  });
});

const LISTEN_TCP = 'require("net").createServer().listen(8080, process.argv[1], () => console.log("up"))';
const BIND_UDP = 'require("dgram").createSocket("udp4").bind(51820, () => console.log("up"))';

async function another(chain: Chain): Promise<string> {
  const first = chain.contract;
  const second = await chain.deploy("DstackAccessNFT");
  chain.at(first);
  return second;
}

/** Everything that a refusal must not cost: the device as it is, every generation and every key. */
async function world({ host }: LabNode): Promise<{ device: readonly string[]; files: Record<string, string> }> {
  // wireguard-go lists its peers in any order.
  const device = (await host.run(["sh", "-c", "wg showconf wg0 || echo none"])).trim().split("\n\n").sort();
  const files = ["/run/config", "/run/state"]
    .map((folder) => host.file(folder))
    .filter((folder) => existsSync(folder))
    .flatMap((folder) =>
      readdirSync(folder, { recursive: true, encoding: "utf8" })
        .map((path) => join(folder, path))
        .filter((path) => /(\.conf|\.key)$/.test(path))
        .map((path) => [path, createHash("sha256").update(readFileSync(path)).digest("hex")]),
    );
  return { device, files: Object.fromEntries(files) };
}
