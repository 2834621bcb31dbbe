/** Ring 4: a node's archive, made while it runs, brings it back on another machine. */
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { AgentProcess } from "./lab/agent.ts";
import { Chain } from "./lab/chain.ts";
import { until } from "./lab/command.ts";
import type { Host } from "./lab/host.ts";
import { Lab } from "./lab/lab.ts";
import { LabNode } from "./lab/node.ts";

const CLI = fileURLToPath(new URL("../cli/main.ts", import.meta.url));

const PATIENCE_MS = 60_000;

describe("a backup", { timeout: 5 * PATIENCE_MS }, () => {
  let lab: Lab;
  let chain: Chain;
  let old: LabNode;

  beforeAll(async () => {
    lab = await Lab.open();
    chain = await Chain.start();
    old = await LabNode.create(lab, chain, "node-a", chain.account(1));
  });
  afterAll(async () => {
    await chain?.end();
    await lab?.[Symbol.asyncDispose]();
  });

  const cli = (host: Host, ...args: readonly string[]) => {
    const settings = {
      ...{ NETWORK: "devnet", CONTRACT_ADDRESS: chain.contract, NODE_ID: "node-a" },
      ...{ STATE_DIR: "/run/state", WG_CONFIG_DIR: "/run/config" },
      // The old node's key comes from its settings, and the new one's from the archive.
      ...(host === old.host ? { WIREGUARD_PRIVATE_KEY_FILE: "/run/node.key" } : {}),
    };
    const environment = Object.entries(settings).map(([name, value]) => `${name}=${value}`);
    return host.run(["env", ...environment, process.execPath, CLI, "backup", ...args]);
  };
  const addressesOf = async (host: Host) => {
    const [link] = JSON.parse(await host.run(["ip", "-j", "address", "show", "dev", "wg0"]));
    const all: { local: string; scope: string }[] = link.addr_info;
    return all.flatMap(({ local, scope }) => (scope === "link" ? [] : [local])).toSorted();
  };
  const generationsOf = async (host: Host) => JSON.parse(await cli(host, "list", "--json")).generations;

  it("of a running node makes it the same node elsewhere: key, addresses, registry, generations", async () => {
    const member = await lab.member("alice");
    const agent = old.agent();
    await agent.ready(PATIENCE_MS);
    await chain.grant(chain.account(2), "alice", member.publicKey);
    await until("the member to be admitted", PATIENCE_MS, () => old.host.hasPeer(member.publicKey));
    await until("a generation to be listed", PATIENCE_MS, async () => (await generationsOf(old.host)).length > 0);

    await cli(old.host, "create", "--out", "/run/node-a.tar.gz");
    const archive = await old.host.run(["base64", "-w0", "/run/node-a.tar.gz"]);
    const refused = await cli(old.host, "restore", "/run/node-a.tar.gz").catch(String);
    expect(refused).toMatch(/an agent runs on \/run\/state: stop it first/);
    const addresses = await addressesOf(old.host);
    await agent.end("SIGKILL");

    const host = await lab.host("node-new");
    await host.run(["sh", "-c", "base64 -d > /run/node-a.tar.gz"], { stdin: archive });
    await cli(host, "restore", "/run/node-a.tar.gz");
    expect(await generationsOf(host)).not.toEqual([]);
    // Without the chain: what serves is what was restored.
    const settings = { NODE_ID: "node-a", CONTRACT_ADDRESS: chain.contract };
    const restored: AgentProcess = host.agent({ ...settings, RPC_URL: "http://127.0.0.1:1" });
    await until("the restored node to have its peers", PATIENCE_MS, () =>
      host.hasPeer(member.publicKey).catch(() => false),
    );
    expect((await host.run(["wg", "show", "wg0", "public-key"])).trim()).toBe(old.publicKey);
    expect(await addressesOf(host)).toEqual(addresses);
    expect((await restored.get("/health")).components.registry.tokens).toBe(2);
    await restored.end("SIGTERM");

    // And with it: what happened since the archive was made.
    await chain.revoke(2n);
    const again = host.agent({ ...settings, RPC_URL: chain.url });
    await again.ready(PATIENCE_MS);
    await until("the member's peer to be gone", PATIENCE_MS, async () => !(await host.hasPeer(member.publicKey)));
    await again.end("SIGTERM");
  });
});
