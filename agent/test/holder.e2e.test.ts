/** Ring 4: a new user with the command line, a token and wg-quick, and nothing else of ours. */
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { AgentProcess } from "./lab/agent.ts";
import { Chain } from "./lab/chain.ts";
import { type Running, until } from "./lab/command.ts";
import type { Host } from "./lab/host.ts";
import { Lab } from "./lab/lab.ts";
import { LabNode } from "./lab/node.ts";

const CLI = fileURLToPath(new URL("../cli/main.ts", import.meta.url));
const UDP2TCP = fileURLToPath(new URL("../proxy/main.ts", import.meta.url));
/** Of the fourth account of anvil's well-known mnemonic. */
const WALLET = "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6";
/** Not on the user's own network: only the default route leads there. */
const PROXY = "198.51.100.7";

const SERVE = (address: string) =>
  `require("node:http").createServer((_, answer) => answer.end("inside")).listen(80, "${address}", () => console.log("up"))`;
const FETCH = (address: string) =>
  `fetch("http://${address}/", { signal: AbortSignal.timeout(1000) }).then((a) => a.text()).then(console.log)`;

describe("a new user", () => {
  let lab: Lab;
  let chain: Chain;
  let node: LabNode;
  let agent: AgentProcess;
  let user: Host;
  let page: Running;
  let token: bigint;

  beforeAll(async () => {
    lab = await Lab.open();
    chain = await Chain.start();
    node = await LabNode.create(lab, chain, "node-a", chain.account(1));
    await chain.setRole(node.tokenId, 2);
    agent = node.agent({ POLL_INTERVAL: "200", EXIT: "on" });
    await agent.ready();
    page = node.host.start([process.execPath, "-e", SERVE(node.addresses.ipv4)]);
    await page.says(/^up$/m);
    user = await lab.host("user");
  });

  afterAll(async () => {
    await chain?.end();
    await lab?.[Symbol.asyncDispose]();
  });

  const dstackVpn = async (...args: readonly string[]) => {
    const settings = { NETWORK: "devnet", RPC_URL: chain.url, CONTRACT_ADDRESS: chain.contract };
    const env = {
      PATH: process.env["PATH"],
      HOME: "/run",
      ALLOW_INSECURE_RPC: "true",
      CONTRACT_PRIVATE_KEY: WALLET,
      ...settings,
    };
    const running = user.start([process.execPath, CLI, ...args], { env });
    const { code } = await running.exited;
    return { exit: code, said: running.output };
  };
  const sees = () =>
    user
      .run([process.execPath, "-e", FETCH(node.addresses.ipv4)], { deadlineMs: 5_000 })
      .then((text) => text === "inside\n")
      .catch(() => false);

  it("makes a key, joins with it, and reaches a page through the tunnel", async () => {
    const made = await dstackVpn("keys", "--out", "/run/laptop.key");
    expect(made.exit).toBe(0);
    token = await chain.grant(chain.account(3), "laptop", "");
    const held = ["--token", String(token), "--key-file", "/run/laptop.key"];
    const joined = await dstackVpn("join", ...held, "--out", "/run/dstack.conf", "--node", agent.url(""));
    expect(joined.said).toMatch(/is admitted as of block \d+; wrote \/run\/dstack\.conf\n$/);
    expect(joined.exit).toBe(0);
    expect(await sees()).toBe(false);
    await user.run(["wg-quick", "up", "/run/dstack.conf"]);
    await until("the page through the tunnel", 15_000, sees);
    const checked = await dstackVpn("check", ...held, "--node", agent.url(""));
    expect(checked.said).toMatch(/^ok {2}the nodes admit the token with its key$/m);
    expect(checked.exit).toBe(0);
    await user.run(["wg-quick", "down", "/run/dstack.conf"]);
  });

  it("goes by TCP where UDP is blocked, with all traffic through the tunnel but what carries it", async () => {
    await node.host.run(["ip", "addr", "add", `${PROXY}/32`, "dev", "lo"]);
    const serve = ["tcp2udp", "--tcp-listen", `${PROXY}:443`, "--udp-forward", "127.0.0.1:51820", "--nodelay"];
    const server = node.host.start([process.execPath, UDP2TCP, ...serve]);
    await server.says(/"listening"/);
    await user.run(["ip", "route", "replace", "default", "via", node.host.address]);
    await user.run(["nft", "add table inet wall; add chain inet wall out { type filter hook output priority 0; }"]);
    await user.run(["nft", "add rule inet wall out oif eth0 meta l4proto udp drop"]);
    const wishes = ["--exit", "node-a", "--proxy", `${PROXY}:443`, "--out", "/run/proxied.conf"];
    const conf = await dstackVpn("config", "--token", String(token), "--key-file", "/run/laptop.key", ...wishes);
    expect(conf.exit).toBe(0);
    // The command that the file itself names.
    const [, args = ""] =
      /^# +npx node agent\/proxy\/main\.ts (.*)$/m.exec(await user.run(["cat", "/run/proxied.conf"])) ?? [];
    const client = user.start([process.execPath, UDP2TCP, ...args.split(" ")]);
    await client.says(/"listening"/);
    await user.run(["wg-quick", "up", "/run/proxied.conf"]);
    await until("the page through the proxy", 20_000, sees);
    const route = (address: string) => user.run(["ip", "route", "get", address]);
    expect(await route(PROXY)).toContain("dev eth0");
    expect(await route("203.0.113.1")).toContain("dev proxied");
    await user.run(["wg-quick", "down", "/run/proxied.conf"]);
    await user.run(["nft", "delete table inet wall"]);
    await client.end();
    await server.end();
  });

  it("loses the page with the token, and reads why and what to do", async () => {
    await user.run(["wg-quick", "up", "/run/dstack.conf"]);
    await until("the page once more", 15_000, sees);
    await chain.revoke(token);
    await until("the page to be gone", 10_000, async () => !(await sees()));
    const { exit, said } = await dstackVpn("check", "--token", String(token), "--key-file", "/run/laptop.key");
    expect(said).toMatch(/^no {2}token \d+ is revoked, for good\n {4}ask the contract's owner for a new one$/m);
    expect(exit).toBe(1);
  });
});
