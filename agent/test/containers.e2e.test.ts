/** Ring 5: the real images, alone, in pairs, and deployed. */
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Interface } from "ethers";
import { Network, type StartedNetwork, type StartedTestContainer } from "testcontainers";
import { afterAll, afterEach, beforeAll, describe, expect, it, test } from "vitest";
import { readArtifact } from "../../contracts/artifact.ts";
import { NETWORKS } from "../config.ts";
import { PrivateKey } from "../model.ts";
import { type Lack, ready, startChain, startNode } from "./containers.ts";
import { docker } from "./docker.ts";
import { type Running, run, start, until } from "./lab/command.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const CONTRACT = NETWORKS.devnet.contract;
const PROJECT = `dstack-vpn-ring5-${process.pid}`;
const deployDir = mkdtempSync(join(tmpdir(), "dstack-vpn-ring5-"));
const deploy = (...args: readonly (string | Record<string, string>)[]) => {
  const settings = Object.assign({}, ...args.filter((arg) => typeof arg === "object"));
  return run([`${ROOT}scripts/deploy-docker.sh`, ...args.filter((arg) => typeof arg === "string")], {
    env: { ...process.env, COMPOSE_PROJECT_NAME: PROJECT, DEPLOY_DIR: deployDir, ...settings },
    deadlineMs: 400_000,
  });
};

beforeAll(async () => {
  console.log(await deploy("build", "--devnet"));
}, 400_000);
afterAll(() => rmSync(deployDir, { recursive: true, force: true }));

describe("the node's image", () => {
  const inside = (...command: string[]) =>
    docker(
      "run",
      "--rm",
      "--network",
      "none",
      "--entrypoint",
      command[0] ?? "",
      "dstack-vpn-node",
      ...command.slice(1),
    );

  it("has no compiler, no npm and no shell tools to fetch with", async () => {
    const found = await inside(
      "bash",
      "-c",
      "for c in npm npx yarn cc gcc g++ make python3 curl wget git; do command -v $c; done; true",
    );
    expect(found).toBe("");
  });

  it("is at most 280 MB and says what it is", async () => {
    const [image] = JSON.parse(await docker("image", "inspect", "dstack-vpn-node"));
    expect(image.Size).toBeLessThanOrEqual(280_000_000);
    expect(image.Config.Labels).toMatchObject({
      "org.opencontainers.image.title": "dstack-vpn node",
      "org.opencontainers.image.version": JSON.parse(await run(["cat", `${ROOT}package.json`])).version,
    });
  });
});

async function kernelHasWireguard(): Promise<boolean> {
  const add = [
    "--cap-add",
    "NET_ADMIN",
    "--entrypoint",
    "ip",
    "dstack-vpn-node",
    "link",
    "add",
    "wg0",
    "type",
    "wireguard",
  ];
  return docker("run", "--rm", "--network", "none", ...add).then(
    () => true,
    () => false,
  );
}

describe("one node, hardened", () => {
  let network: StartedNetwork;
  let chain: StartedTestContainer;
  // Of tokens that are granted once, while every container here has a volume of its own.
  const keys = { "node-a": PrivateKey.generate(), "node-b": PrivateKey.generate() };
  const started: StartedTestContainer[] = [];
  const startHere = async (name: keyof typeof keys, lacks: readonly Lack[] = [], settings = {}) => {
    const key = { WIREGUARD_PRIVATE_KEY: keys[name].reveal() };
    const node = await startNode(network, name, { tun, lacks, settings: { ...key, ...settings } });
    started.push(node);
    return node;
  };
  // As some hosts have it: root's alone.
  const tun = join(deployDir, "tun");
  beforeAll(async () => {
    await run(["mknod", "-m", "0600", tun, "c", "10", "200"]);
    network = await new Network().start();
    chain = await startChain(network, "node-a:51820:gateway,node-b:51821:node");
  }, 60_000);
  afterEach(async () => {
    await Promise.all(started.splice(0).map((node) => node.stop()));
  });
  afterAll(async () => {
    await chain.stop();
    await network.stop();
  });

  it("is ready, as a user of its own that has NET_ADMIN and can get nothing else", async () => {
    const startedAt = performance.now();
    const node = await startHere("node-a");
    await until("node-a to be ready", 30_000, async () => (await ready(node)).status === "ready");
    console.log(`from docker run to ready: ${Math.round(performance.now() - startedAt)} ms`);
    for (const pid of ["1", "$(grep -l 'dist/[m]ain.js' /proc/[0-9]*/cmdline | cut -d/ -f3 | head -n 1)"]) {
      const { output } = await node.exec([
        "bash",
        "-c",
        `grep -E '^(Uid|Cap|NoNewPrivs|Seccomp:)' /proc/${pid}/status`,
      ]);
      expect(output.replaceAll("\t", " ")).toBe(
        "Uid: 51820 51820 51820 51820\nCapInh: 0000000000001000\nCapPrm: 0000000000001000\nCapEff: 0000000000001000\n" +
          "CapBnd: 0000000000001000\nCapAmb: 0000000000001000\nNoNewPrivs: 1\nSeccomp: 2\n",
      );
    }
    expect((await node.exec(["touch", "/app/x"])).output).toContain("Read-only file system");
    expect((await node.exec(["entrypoint", "wg", "show", "wg0", "listen-port"])).output.trim()).toBe("51820");
  }, 60_000);

  test.each<[Lack, RegExp]>([
    ["tun", /missing .*\/dev\/net\/tun.*devices/],
    ["NET_ADMIN", /missing .*NET_ADMIN.*cap_add/],
    ["SETUID", /missing CAP_SETUID: add it \(cap_add/],
    ["ip_forward", /missing IPv4 forwarding.*net\.ipv4\.ip_forward/],
  ])(
    "names what to add when it lacks %s",
    async (lack, message) => {
      if (lack === "tun" && (await kernelHasWireguard())) return expect(lack).toBe("tun"); // nothing needs it there
      // Its token is a gateway's, and a gateway has to forward.
      const node = await startHere("node-a", [lack]);
      const log = () => docker("logs", node.getId()).catch(String);
      await until(
        `${message}`,
        30_000,
        async () => message.test(await log()) || message.test(JSON.stringify(await ready(node))),
      );
    },
    60_000,
  );

  it("two of them have a tunnel between them", async () => {
    const [a, b] = await Promise.all([startHere("node-a"), startHere("node-b", [], { LISTEN_PORT: "51821" })]);
    for (const node of [a, b]) await until("ready", 30_000, async () => (await ready(node)).status === "ready");
    const ping = async (count: number) =>
      (await a.exec(["ping", "-n", "-c", `${count}`, "-i", "0.2", "10.213.0.2"])).output;
    await until("a handshake", 20_000, async () => / 0% packet loss/.test(await ping(1)));
    expect(await ping(10)).toMatch(/ 0% packet loss/);
  }, 60_000);
});

describe("the deployment", () => {
  const abi = new Interface(JSON.stringify(readArtifact("DstackAccessNFT").abi));
  const container = async (service: string) =>
    (
      await docker(
        ...["ps", "-aq", "--no-trunc", "--filter", `label=com.docker.compose.project=${PROJECT}`],
        ...["--filter", `label=com.docker.compose.service=${service}`],
      )
    ).trim();
  const home = async (service: string) =>
    (await docker("inspect", "-f", "{{.HostConfig.NetworkMode}}", await container(service))).trim();
  const exec = async (service: string, ...command: string[]) => docker("exec", await container(service), ...command);
  const transact = async (method: string, ...args: unknown[]) => {
    const rpc = async (name: string, params: unknown[]) => {
      const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: name, params });
      const response = await fetch("http://127.0.0.1:8545", {
        ...{ method: "POST", headers: { "content-type": "application/json" }, body },
      });
      return ((await response.json()) as { result: string[] & string }).result;
    };
    const [owner, , , , member] = await rpc("eth_accounts", []);
    const data = abi.encodeFunctionData(
      method,
      args.map((arg) => (arg === "member" ? member : arg)),
    );
    await rpc("eth_sendTransaction", [{ from: owner, to: CONTRACT, data }]);
    await rpc("anvil_mine", ["0x1"]);
  };
  const publicKeyOf = async (service: string) =>
    JSON.parse(await exec(service, "healthcheck", "/wireguard")).publicKey as string;
  const hasPeer = async (key: string) =>
    (await exec("node-b", "entrypoint", "wg", "show", "wg0", "peers")).includes(key);

  beforeAll(async () => {
    console.log(await deploy("deploy", "--devnet", "--yes"));
  }, 400_000);
  afterAll(async () => {
    await docker("rm", "-f", `${PROJECT}-member`).catch(() => "");
    await deploy("cleanup", "--yes");
  }, 100_000);

  it("is healthy, and deploying it again replaces nothing", async () => {
    const ids = () => docker("ps", "-q", "--no-trunc", "--filter", `label=com.docker.compose.project=${PROJECT}`);
    const before = await ids();
    await deploy("deploy", "--devnet", "--yes");
    expect(await ids()).toBe(before);
    expect(await deploy("status")).not.toMatch(/unhealthy|starting|absent/);
  }, 200_000);

  it("keeps its secrets to itself", async () => {
    const secrets = join(deployDir, ".secrets");
    expect(statSync(secrets).mode & 0o777).toBe(0o700);
    // Only root can give the files to the containers' user; others rely on the directory.
    const readable = process.getuid?.() === 0 ? 0o600 : 0o644;
    for (const name of readdirSync(secrets)) expect(statSync(join(secrets, name)).mode & 0o777).toBe(readable);
    const key = (await exec("node-a", "entrypoint", "cat", "/var/lib/dstack-vpn/private.key")).trim();
    const token = (await run(["cat", join(secrets, "admin_token")])).trim();
    for (const service of ["node-a", "node-b", "monitoring", "devnet"]) {
      const id = await container(service);
      const shown = (await docker("logs", id)) + (await docker("inspect", id));
      expect(shown).not.toContain(key);
      expect(shown).not.toContain(token);
    }
  }, 60_000);

  it("lets root ask the command line, which is the agent's user all the same", async () => {
    const findings = JSON.parse(await exec("node-a", "dstack-vpn", "doctor", "--json"));
    expect(JSON.stringify(findings)).not.toContain('"fail"');
    const archive = await exec("node-a", "sh", "-c", "dstack-vpn backup create --out - | tar tz");
    expect(archive.split("\n")).toEqual(expect.arrayContaining(["private.key", "ledger.sqlite", "wg0.conf"]));
  }, 60_000);

  it("a grant opens the tunnel to a member and its page, a revoke closes both", async () => {
    const image = (await docker("inspect", "-f", "{{.Config.Image}}", await container("node-b"))).trim();
    await docker(
      ...["run", "-d", "--name", `${PROJECT}-member`, "--network", `${PROJECT}_default`, "--device", "/dev/net/tun"],
      ...["--cap-add", "NET_ADMIN", "--entrypoint", "sleep", image, "infinity"],
    );
    const member = (command: string) => docker("exec", `${PROJECT}-member`, "bash", "-euc", command);
    const key = (await member("umask 077; wg genkey >/run/key; wg pubkey </run/key")).trim();
    await transact("mintNodeAccess", "member", "alice", key, "");
    await until("the peer on node-b", 10_000, () => hasPeer(key));
    const nodeKey = await publicKeyOf("node-b");
    await member(
      `wireguard-go wg0; ip addr add 10.213.0.3/32 dev wg0; ip link set wg0 up; ip route add 10.213.0.0/16 dev wg0; wg set wg0 private-key /run/key peer ${nodeKey} endpoint $(getent hosts node-b | cut -d' ' -f1):51821 allowed-ips 10.213.0.2/32`,
    );
    expect(await member("ping -n -c 3 -i 0.2 -W 2 10.213.0.2")).toMatch(/ 0% packet loss/);
    const page = 'exec 3<>/dev/tcp/10.213.0.2/80; printf "GET / HTTP/1.0\\r\\n\\r\\n" >&3; timeout 2 cat <&3';
    expect(await member(page)).toContain("Hello 10.213.0.3, this is node-b");
    await expect(member("timeout 2 bash -c '</dev/tcp/node-b/80'")).rejects.toThrow();

    // And where only TCP passes: to node-a through the proxy.
    await docker(
      ...["exec", "-d", `${PROJECT}-member`, "node", "/app/dist/proxy/main.js", "udp2tcp"],
      ...["--udp-listen", "127.0.0.1:51899", "--tcp-forward", "mullvad-proxy:5001", "--nodelay"],
    );
    const throughTcp = `wg set wg0 peer ${await publicKeyOf("node-a")} endpoint 127.0.0.1:51899 allowed-ips 10.213.0.1/32`;
    await member(`${throughTcp}; ping -n -c 10 -i 0.2 -W 2 10.213.0.1 | grep ' 0% packet loss'`);

    await transact("revokeNodeAccess", 3n);
    await until("the peer to be gone", 10_000, async () => !(await hasPeer(key)));
    expect(await member("ping -n -c 2 -i 0.2 -W 1 10.213.0.2 || true")).toMatch(/ 100% packet loss/);
  }, 100_000);

  it("a killed agent is back within seconds, and the tunnel has not noticed", async () => {
    const uptime = async () => JSON.parse(await exec("node-b", "healthcheck", "/health")).uptimeSeconds as number;
    const ping = exec("node-a", "ping", "-n", "-i", "0.1", "-c", "100", "10.213.0.2");
    const node = await container("node-b");
    const startOf = (id: string) => docker("inspect", "-f", "{{.State.StartedAt}}", id);
    const startedAt = await startOf(node);
    const kill = "kill -9 $(grep -l 'dist/[m]ain.js' /proc/[0-9]*/cmdline | cut -d/ -f3 | head -n 1)";
    await docker("exec", "-u", "51820", node, "bash", "-c", kill);
    const killedAt = performance.now();
    const isAnother = async () => (await uptime()) * 1_000 < performance.now() - killedAt;
    const isBack = async () => (await isAnother()) && (await exec("node-b", "healthcheck")) !== "";
    await until("node-b to be ready anew", 20_000, () => isBack().catch(() => false));
    console.log(`back ${Math.round(performance.now() - killedAt)} ms after kill -9`);
    expect(await ping).toMatch(/100 packets transmitted, 100 received/);
    expect(await startOf(node)).toBe(startedAt);
  }, 60_000);

  it("a restarted container keeps its key and its addresses, and so does one that is made anew", async () => {
    const face = async () => JSON.parse(await exec("node-b", "healthcheck", "/wireguard"));
    const before = await face();
    await deploy("restart", "node-b");
    const { publicKey, addresses } = await face();
    expect({ publicKey, addresses }).toEqual({ publicKey: before.publicKey, addresses: before.addresses });
    await docker("rm", "-f", await container("node-b"));
    await deploy("deploy", "--devnet", "--yes");
    expect(await publicKeyOf("node-b")).toBe(before.publicKey);
    expect(await home("web")).toBe(`container:${await container("node-b")}`);
    await until("the tunnel", 20_000, () =>
      exec("node-a", "ping", "-n", "-c", "1", "-W", "1", "10.213.0.2").then(
        () => true,
        () => false,
      ),
    );
  }, 200_000);

  it("other settings make every node anew, and the page with the one that it lives in", async () => {
    const before = [await container("node-a"), await container("node-b")];
    expect(await deploy("deploy", "--devnet", "--yes", { MTU: "1380" })).toMatch(/web +healthy/);
    const after = [await container("node-a"), await container("node-b")];
    expect(after.filter((id) => before.includes(id))).toEqual([]);
    expect(await home("web")).toBe(`container:${after[1]}`);
    expect(await exec("node-b", "entrypoint", "cat", "/sys/class/net/wg0/mtu")).toBe("1380\n");
    expect(await deploy("rollback")).toMatch(/web +healthy/);
  }, 300_000);

  it("the dashboard leads to the nodes by its own server", async () => {
    const status = async (path: string, host = "localhost:8082") =>
      (
        await run([
          "curl",
          "-s",
          "-o",
          "/dev/null",
          "-w",
          "%{http_code}",
          "-H",
          `Host: ${host}`,
          `http://127.0.0.1:8082${path}`,
        ])
      ).trim();
    expect(await status("/")).toBe("200");
    expect(await status("/api/node-a/ready")).toBe("200");
    expect(await status("/api/node-a/resync")).toBe("404");
    expect(await status("/api/devnet/ready")).toBe("404");
    expect(await status("/", "rebound.example")).toBe("421");
  });

  it("a deployment that does not become healthy is undone", async () => {
    const running = () => docker("ps", "-q", "--filter", `label=com.docker.compose.project=${PROJECT}`);
    const before = (await running()).split("\n");
    await expect(deploy("deploy", "--devnet", "--yes", { LOG_LEVEL: "nonsense" })).rejects.toThrow(
      /LOG_LEVEL.*must be one of[\s\S]*the earlier deployment runs again/,
    );
    expect(await deploy("status")).not.toMatch(/unhealthy|restarting|exited/);
    // The first node showed it; nothing else was touched.
    const kept = (await running()).split("\n").filter((id) => before.includes(id));
    expect(kept.length).toBe(before.length - 1);
  }, 300_000);
});

describe("on a chain of the operator's own", () => {
  let chain: Running;
  const addresses = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  const machine = addresses.find(({ family, internal }) => family === "IPv4" && !internal)?.address;
  const settings = {
    ...{ CHAIN_ID: "31337", CONTRACT_ADDRESS: CONTRACT, ALLOW_INSECURE_RPC: "true" },
    RPC_URL: `http://${machine}:8545`,
  };
  beforeAll(async () => {
    chain = start(["node", join(ROOT, "scripts/devnet.ts")], { env: { ...process.env, DEVNET_HOST: "0.0.0.0" } });
    await chain.says(/devnet.ready/, 30_000);
  }, 40_000);
  afterAll(async () => {
    await deploy("cleanup", "--yes");
    await chain.end("SIGTERM");
  }, 100_000);

  it("it writes nothing to the chain, says what to grant, and grants it where a key and an owner are given", async () => {
    const said = await deploy("deploy", "--nodes", "1", settings);
    expect(said).toMatch(
      /node-a waits for a grant[\s\S]*dstack-vpn grant --to OWNER --node-id node-a --key [A-Za-z0-9+/]{43}=/,
    );

    // anvil's first account, which deployed the contract there.
    const key = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
    const owner = { CONTRACT_PRIVATE_KEY: key, NODE_OWNER: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8" };
    const granted = await deploy("deploy", "--nodes", "1", { ...settings, ...owner });
    expect(granted).toMatch(/granting node-a[\s\S]*set-role --token \d+ [\s\S]*node-a is healthy/);
    expect(granted).not.toContain(key);
  }, 300_000);

  it("a dead RPC URL is undone, a new admin token reaches the node, and run takes its archive out and in", async () => {
    const dead = { ...settings, RPC_URL: `http://${machine}:9`, HEALTHY_WITHIN: "15" };
    await expect(deploy("deploy", "--nodes", "1", dead)).rejects.toThrow("the earlier deployment runs again");
    expect(await deploy("deploy", "--nodes", "1", settings)).toContain("nothing has changed");

    await deploy("deploy", "--nodes", "1", { ...settings, ADMIN_TOKEN: "another-admin-token-0123456789" });
    const id = await docker(
      "ps",
      "-q",
      "--filter",
      `label=com.docker.compose.project=${PROJECT}`,
      "--filter",
      "name=node-a",
    );
    const secret = await docker("exec", id.trim(), "entrypoint", "cat", "/run/secrets/admin_token");
    expect(secret.trim()).toBe("another-admin-token-0123456789");

    const archive = join(deployDir, "node-a.tar.gz");
    const script = `${ROOT}scripts/deploy-docker.sh`;
    const env = { ...process.env, COMPOSE_PROJECT_NAME: PROJECT, DEPLOY_DIR: deployDir };
    const recipe = `${script} run node-a dstack-vpn backup create --out - > ${archive} && ${script} stop node-a &&
      ${script} run node-a dstack-vpn backup restore --replace - < ${archive} && ${script} start node-a`;
    const said = await run(["sh", "-euc", recipe], { env, deadlineMs: 120_000 });
    expect(said).toMatch(/node +node-a[\s\S]*replaced[\s\S]*node-a is healthy/);
  }, 400_000);
});
