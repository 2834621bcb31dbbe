/** Ring 4: what an operator got wrong is named, with exit code 78, and costs nothing that was there. */
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Chain } from "./lab/chain.ts";
import { until } from "./lab/command.ts";
import { Lab } from "./lab/lab.ts";
import { LabNode } from "./lab/node.ts";

const CONFIG_ERROR = 78;

describe("an agent that cannot run as configured says why, ends with 78 and", () => {
  let lab: Lab;
  let chain: Chain;
  let node: LabNode;

  beforeAll(async () => {
    lab = await Lab.open();
    chain = await Chain.start();
    node = await LabNode.create(lab, chain, "node-a", chain.account(1));
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

  /** Starts an agent that should refuse; gives its log. Device and files must be what they were. */
  async function refusal(settings: Readonly<Record<string, string>>, wrapper: readonly string[] = []): Promise<string> {
    const before = await world(node);
    const agent = node.agent(settings, wrapper);
    const late = setTimeout(() => agent.end("SIGKILL"), 20_000);
    const { code } = await agent.exited.finally(() => clearTimeout(late));
    expect(code, agent.log).toBe(CONFIG_ERROR);
    expect(await world(node)).toEqual(before);
    for (const line of agent.log.trim().split("\n")) expect(() => JSON.parse(line), line).not.toThrow();
    return agent.log;
  }

  it("lists every missing or wrong setting at once", async () => {
    const log = await refusal({ NODE_ID: "", RPC_URL: "", NETWORK: "", LISTEN_PORT: "none", EXIT: "perhaps" });
    for (const name of ["NODE_ID", "RPC_URL", "NETWORK", "LISTEN_PORT", "EXIT"]) expect(log).toContain(name);
  });

  it("leaves the database of another contract alone", async () => {
    const [mine, log] = [chain.contract, await refusal({ CONTRACT_ADDRESS: await another(chain) })];
    expect(log).toContain("store.other-chain");
    expect(log.toLowerCase()).toContain(mine);
    expect(log).toContain("STATE_DIR");
  });

  it("leaves the database of another chain alone", async () => {
    await using far = await Chain.start("DstackAccessNFT", { chainId: 4242, port: 8546 });
    const log = await refusal({ RPC_URL: far.url, CHAIN_ID: "4242", CONTRACT_ADDRESS: far.contract });
    expect(log).toContain("store.other-chain");
    expect(log).toContain("4242");
  });

  it("never replaces a key that it cannot read", async () => {
    mkdirSync(node.host.file("/run/broken"));
    writeFileSync(node.host.file("/run/broken/private.key"), "half a k");
    const log = await refusal({
      STATE_DIR: "/run/broken",
      WIREGUARD_PRIVATE_KEY_FILE: "",
      WG_INTERFACE: "wg7",
      LISTEN_PORT: "51999",
    });
    expect(log).toContain("key.unreadable");
    expect(log).toContain("/run/broken/private.key");
    expect(log).not.toContain("half a k");
    expect(readFileSync(node.host.file("/run/broken/private.key"), "utf8")).toBe("half a k");
  });

  it("never swaps the key of a running interface", async () => {
    const key = await node.host.run(["wg", "genkey"]);
    writeFileSync(node.host.file("/run/other.key"), key, { mode: 0o600 });
    const log = await refusal({ WIREGUARD_PRIVATE_KEY_FILE: "/run/other.key", STATE_DIR: "/run/other" });
    expect(log).toMatch(/key\.interface-differs|device\.foreign/);
    expect(log).not.toContain(key.trim());
  });

  it("names the HTTP port that is taken", async () => {
    const taken = node.host.start([process.execPath, "-e", LISTEN_TCP, node.host.address]);
    await taken.says(/up/);
    const log = await refusal({});
    expect(log).toContain("http.port-in-use");
    expect(log).toContain("HEALTH_CHECK_PORT");
    await taken.end();
  });

  it("names the UDP port that is taken", async () => {
    const taken = node.host.start([process.execPath, "-e", BIND_UDP]);
    await taken.says(/up/);
    const log = await refusal({ WG_INTERFACE: "wg7", STATE_DIR: "/run/second", LISTEN_PORT: "51999" });
    expect(log).toContain("device.port-in-use");
    expect(log).toContain("51999");
    await taken.end();
  });

  it("names the privilege that is missing", async () => {
    const log = await refusal({}, ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]);
    expect(log).toContain("device.missing-privilege");
    expect(log).toContain("NET_ADMIN");
  });

  it("names the address without code", async () => {
    const address = `0x${"0d".repeat(20)}`;
    const log = await refusal({
      CONTRACT_ADDRESS: address,
      STATE_DIR: "/run/empty",
      WG_INTERFACE: "wg7",
      LISTEN_PORT: "51999",
    });
    expect(log).toContain("chain.no-contract");
    expect(log).toContain(address);
  });

  it("names the upstream of another chain", async () => {
    const log = await refusal({ CHAIN_ID: "8453", STATE_DIR: "/run/wrong", WG_INTERFACE: "wg7", LISTEN_PORT: "51999" });
    expect(log).toContain("chain.wrong-network");
    expect(log).toContain("31337");
  });

  it("leaves a second agent's interface to the first", async () => {
    const first = node.agent();
    await first.ready();
    const log = await refusal({ HEALTH_CHECK_PORT: "8181" });
    expect(log).toMatch(/store\.locked|device\.in-use/);
    expect(await first.isReady()).toBe(true);
    await first.end();
  });
});

const LISTEN_TCP = 'require("net").createServer().listen(8080, process.argv[1], () => console.log("up"))';
const BIND_UDP = 'require("dgram").createSocket("udp4").bind(51999, () => console.log("up"))';

async function another(chain: Chain): Promise<string> {
  const first = chain.contract;
  const second = await chain.deploy("DstackAccessNFT");
  chain.at(first);
  return second;
}

/** Everything that a refusal must not cost: the device as it is, and every file's content. */
async function world(node: LabNode): Promise<{ device: string; files: Record<string, string> }> {
  const device = await node.host.run(["wg", "showconf", "wg0"]);
  const folders = ["/run/config", "/run/state"].map((folder) => node.host.file(folder));
  const files = folders.flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: "utf8" })
      .map((path) => join(folder, path))
      // SQLite keeps its write-ahead log and shared memory beside the database as it likes.
      .filter((path) => statSync(path).isFile() && !/-(wal|shm)$|\.lock$/.test(path))
      .map((path) => [path, createHash("sha256").update(readFileSync(path)).digest("hex")]),
  );
  return { device, files: Object.fromEntries(files) };
}
