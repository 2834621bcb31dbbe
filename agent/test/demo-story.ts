/** `scripts/demo.sh`'s inner half: the story, told as it happens, in the namespaces of the lab. */
import { type AddressInfo, connect, type Server, type Socket } from "node:net";
import type { AgentProcess } from "./lab/agent.ts";
import { Chain } from "./lab/chain.ts";
import { until } from "./lab/command.ts";
import type { Host } from "./lab/host.ts";
import { Lab } from "./lab/lab.ts";
import type { Member } from "./lab/member.ts";
import { configOf, LabNode } from "./lab/node.ts";

/** What can be reached from outside, on this port of loopback or, where it is taken, on any. */
export const DOORS = { chain: 18545, "node-a": 18081, "node-b": 18082 } as const;

async function main(): Promise<void> {
  let isTold = false;
  // Leaving is all the cleaning up there is: the namespaces take everything along.
  process.on("disconnect", () => process.exit(isTold ? 0 : 130));
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
  const servers = receiveServers();
  try {
    const { chain, agents } = await story();
    isTold = true;
    if (process.argv.includes("--once")) process.exit(0);
    await until("the listening sockets", 10_000, () => servers.size === Object.keys(DOORS).length);
    say("\nUp until Ctrl-C:\n");
    for (const agent of agents) {
      const url = forward(servers.get(agent.host.name), new URL(agent.url("/")));
      say(`  ${agent.host.name}  ${url}health  ${url}stats  ${url}events  ${url}metrics`);
    }
    say(
      `  chain   ${forward(servers.get("chain"), new URL(chain.url))}  (JSON-RPC; the contract is ${chain.contract})`,
    );
  } catch (error) {
    say(`  ✗ ${error instanceof Error ? error.message : error}`);
    process.exit(1);
  }
}

async function story(): Promise<{ chain: Chain; agents: readonly AgentProcess[] }> {
  say("dstack-vpn: who may connect is a list on a chain\n");
  const lab = await step("a network of its own, with a bridge", () => Lab.open());
  const chain = await step("a local chain, with the access contract on it", () => Chain.start());
  const nodes = await step("the contract grants node-a and node-b, the two nodes", async () => [
    await LabNode.create(lab, chain, "node-a", chain.account(1)),
    await LabNode.create(lab, chain, "node-b", chain.account(2)),
  ]);
  const agents = nodes.map((node) => node.agent({ POLL_INTERVAL: "200" }));
  for (const agent of agents) await step(`the agent of ${agent.host.name} is ready`, () => agent.ready(60_000));
  const [, server] = nodes as [LabNode, LabNode];
  await step(`node-b serves a web page at ${pageOf(server)}, inside the VPN only`, () => servePage(server));

  const alice = await lab.member("alice");
  const tokenId = await step("the contract grants alice, who has a standard WireGuard app and no agent", async () => {
    const token = await chain.grant(chain.account(3), "alice", alice.publicKey);
    // As dstack-vpn join does: a handshake that comes too early is tried again only five seconds later.
    const hasJoined = async () => !(await holding(alice, nodes)).includes(false);
    await until("her key to come", 30_000, hasJoined, 5);
    await alice.join(configOf(chain, token, nodes));
    return token;
  });
  const page = await step("alice opens the page through the tunnel", () =>
    until("alice to see the page", 30_000, () => see(alice.host, server)),
  );
  say(`      she sees: ${page}`);

  await step(`the contract revokes her token, ${tokenId}`, () => chain.revoke(tokenId));
  await step("her key is off both nodes", () =>
    until("the key to go", 30_000, async () => !(await holding(alice, nodes)).includes(true), 5),
  );
  await step("alice opens the page again, and gets no answer", async () => {
    if ((await see(alice.host, server)) !== undefined) throw new Error("the page still answers");
  });
  return { chain, agents };
}

async function step<T>(sentence: string, act: () => Promise<T>): Promise<T> {
  if (process.stdout.isTTY) process.stdout.write(`  … ${sentence}`);
  const startedAt = performance.now();
  const result = await act();
  const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
  if (process.stdout.isTTY) process.stdout.write("\r\x1b[K");
  say(`  ✓ ${sentence} (${seconds} s)`);
  return result;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

const pageOf = (node: LabNode) => `http://${node.addresses.ipv4}/`;

/** Bound to the overlay address alone, so whoever sees it came through the tunnel. */
async function servePage(node: LabNode): Promise<void> {
  const serve = `
    const page = (request, response) => response.end("Hello " + request.socket.remoteAddress + ", this is node-b");
    require("http").createServer(page).listen(80, process.argv[1], () => console.log("serving"))`;
  await node.host.start([process.execPath, "-e", serve, node.addresses.ipv4]).says(/serving/);
}

/** The page as `host` gets it, undefined where it does not come within two seconds. */
async function see(host: Host, node: LabNode): Promise<string | undefined> {
  const get = "fetch(process.argv[1], { signal: AbortSignal.timeout(2000) }).then((r) => r.text()).then(console.log)";
  return host.run([process.execPath, "-e", get, pageOf(node)]).then(
    (text) => text.trim(),
    () => undefined,
  );
}

/** Whether each node has the member's key on its device. */
function holding(member: Member, nodes: readonly LabNode[]): Promise<boolean[]> {
  return Promise.all(nodes.map(({ host }) => host.hasPeer(member.publicKey)));
}

/** Sockets of the outer process arrive with their names; they listen on the loopback outside. */
function receiveServers(): ReadonlyMap<string, Server> {
  const servers = new Map<string, Server>();
  process.on("message", (name, server) => servers.set(String(name), server as Server));
  return servers;
}

/** Carries every connection on to `target`, and gives the address to type into a browser. */
function forward(server: Server | undefined, target: URL): string {
  server?.on("connection", (outer: Socket) => {
    const inner = connect(Number(target.port), target.hostname);
    for (const [one, end] of [
      [outer, inner],
      [inner, outer],
    ] as const)
      one.on("error", () => end.destroy());
    outer.pipe(inner).pipe(outer);
  });
  return `http://127.0.0.1:${(server?.address() as AddressInfo | undefined)?.port}/`;
}

if (import.meta.main) await main();
