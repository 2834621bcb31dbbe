/** scripts/deploy-docker.sh against an engine made of files (test/engine): what it starts, keeps, restores and says. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { health } from "../observe/health.ts";
import { run } from "./lab/command.ts";
import { NOW, snapshot } from "./snapshot.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

vi.setConfig({ testTimeout: 60_000 });

let here: string;
beforeEach(() => {
  here = mkdtempSync(join(tmpdir(), "dstack-vpn-deploy-"));
  for (const part of ["running", "ready"]) mkdirSync(join(here, part));
});
afterEach(() => rmSync(here, { recursive: true }));

const SETTINGS = { NETWORK: "base", RPC_URL: "https://first.example", ADMIN_TOKEN: "first-token" };

/** Runs to its end and gives what it said. @throws with that where it fails */
function deployDocker(words: string, settings: Readonly<Record<string, string>> = {}): Promise<string> {
  return run([join(ROOT, "scripts/deploy-docker.sh"), ...words.split(" ")], {
    env: {
      ...{ PATH: `${join(ROOT, "agent/test/engine")}:${process.env["PATH"]}`, ENGINE: here, DEPLOY_DIR: here },
      ...{ BASE: "base", RUNTIME: "runtime", HEALTHY_WITHIN: "1" },
      ...SETTINGS,
      ...settings,
    },
    deadlineMs: 50_000,
  });
}

/** The secrets that a container started with, after the sum of its settings. */
const started = (service: string) =>
  readFileSync(join(here, "running", service), "utf8")
    .trimEnd()
    .split("\n")
    .slice(1);
const isRunning = (service: string) => existsSync(join(here, "running", service));
const targets = () => readFileSync(join(here, ".deploy/targets/nodes.yml"), "utf8").match(/node-[a-h]:[0-9]+/g);
const calls = () => readFileSync(join(here, "calls"), "utf8").split("\n");
/** What /ready of a node answers, one line after the other, until it is healthy. */
const readyOf = (node: string, ...lines: string[]) =>
  writeFileSync(join(here, "ready", node), lines.map((line) => `${line}\n`).join(""));

// Its preflight wants the device, which it checks for itself and not through the engine.
const canDeploy = existsSync("/dev/net/tun") || process.env["CI"] === "true";
if (!canDeploy)
  console.warn("THE TESTS OF deploy-docker.sh ARE SKIPPED: there is no /dev/net/tun (try: modprobe tun).");
describe.skipIf(!canDeploy)("deploy", () => {
  it("is done with once everything is healthy, and changes nothing when it is repeated", async () => {
    expect(await deployDocker("deploy")).toMatch(/node-a is healthy[\s\S]*deployed in/);
    expect(started("node-b")).toEqual(["https://first.example", "first-token"]);
    expect(await deployDocker("deploy")).toContain("nothing has changed");
  });

  it("names the settings that have no say in containers", async () => {
    expect(await deployDocker("deploy --dry-run", { LISTEN_PORT: "51999", STATE_DIR: "/srv/vpn" })).toMatch(
      /note: not used here, .*: LISTEN_PORT STATE_DIR\n/,
    );
    expect(await deployDocker("deploy --dry-run")).not.toContain("note: not used here");
  });

  it("goes back to the RPC URL before, when the nodes cannot do with a new one", async () => {
    await deployDocker("deploy");
    await expect(deployDocker("deploy", { RPC_URL: "https://dead.example" })).rejects.toThrow(
      "the earlier deployment runs again",
    );
    expect(started("node-a")).toEqual(["https://first.example", "first-token"]);
  });

  it("gives the nodes a new admin token, also where nothing else has changed", async () => {
    await deployDocker("deploy");
    await deployDocker("deploy", { ADMIN_TOKEN: "second-token" });
    for (const node of ["node-a", "node-b"]) expect(started(node)).toEqual(["https://first.example", "second-token"]);
  });

  it("keeps a new admin token when it goes back: who replaced it did not trust the old one", async () => {
    await deployDocker("deploy");
    const both = { RPC_URL: "https://dead.example", ADMIN_TOKEN: "second-token" };
    await expect(deployDocker("deploy", both)).rejects.toThrow("the earlier deployment runs again");
    for (const node of ["node-a", "node-b"]) expect(started(node)).toEqual(["https://first.example", "second-token"]);
    expect(await deployDocker("deploy", { ADMIN_TOKEN: "second-token" })).toContain("nothing has changed");
  });
});

describe.skipIf(!canDeploy)("waiting", () => {
  // What the agent itself says while it catches up: the script reads the block out of it.
  const readyAt = (cursorBlock: number, headBlock: number) => {
    const { chain } = snapshot();
    return JSON.stringify(health(snapshot({ chain: { ...chain, caughtUp: false, cursorBlock, headBlock } }), NOW));
  };
  it("goes on for as long as a node comes further in the chain's history", async () => {
    readyOf("node-a", ...Array.from({ length: 15 }, (_, block) => readyAt(block, 100)));
    expect(await deployDocker("deploy")).toContain("node-a is healthy");
  });

  it("ends when a node comes no further, even if the head does", async () => {
    readyOf("node-a", ...Array.from({ length: 40 }, (_, block) => readyAt(7, 100 + block)));
    await expect(deployDocker("deploy")).rejects.toThrow("not healthy after 1 s: node-a");
  });
});

describe.skipIf(!canDeploy)("Prometheus and Grafana", () => {
  it("are there with --observability, and no longer where a deployment comes without it", async () => {
    expect(await deployDocker("deploy --observability")).toMatch(/prometheus +healthy +http:[\s\S]*grafana +healthy/);
    await deployDocker("deploy --observability --nodes 1");
    expect(isRunning("prometheus") && isRunning("grafana")).toBe(true);
    expect(await deployDocker("deploy")).toContain("prometheus is deployed no longer, and removed");
    expect(isRunning("prometheus") || isRunning("grafana")).toBe(false);
  });

  it("come back with the deployment that had them", async () => {
    await deployDocker("deploy --observability");
    await deployDocker("deploy");
    await deployDocker("rollback");
    expect(isRunning("prometheus") && isRunning("grafana")).toBe(true);
  });

  it("ask the nodes that are deployed, whatever their number", async () => {
    await deployDocker("deploy --observability --nodes 1");
    expect(targets()).toEqual(["node-a:8080"]);
    await deployDocker("deploy --observability --nodes 3");
    expect(targets()).toEqual(["node-a:8080", "node-b:8080", "node-c:8080"]);
    await deployDocker("rollback");
    expect(targets()).toEqual(["node-a:8080"]);
  });

  it("touch nothing where their images cannot be had", async () => {
    await deployDocker("deploy");
    writeFileSync(join(here, "no-registry"), "");
    await expect(deployDocker("deploy --observability --nodes 1")).rejects.toThrow(/cannot be pulled, and nothing was/);
    expect(isRunning("node-b")).toBe(true);
  });
});

describe.skipIf(!canDeploy)("with a key and an owner", () => {
  it("grants a node that waits, and says what makes others dial it", async () => {
    const reasons = health(snapshot({ registry: { ...snapshot().registry, selfTokenId: undefined } }), NOW);
    readyOf("node-b", ...Array(40).fill(JSON.stringify(reasons)));
    const owner = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
    const said = await deployDocker("deploy", { CONTRACT_PRIVATE_KEY: "the-key", NODE_OWNER: owner });
    expect(said).toMatch(/node-b waits for a grant[\s\S]*granting node-b to 0x7099[\s\S]*node-b is healthy/);
    expect(said).toMatch(
      /dstack-vpn set-role --token 5 [\s\S]*dstack-vpn set-endpoint --token 5 --endpoint HOST:51821\n/,
    );
    expect(readFileSync(join(here, "stdin"), "utf8").trim()).toBe("the-key");
    expect(calls().join("\n")).toMatch(/ grant --to 0x7099\S+ --node-id node-b --key KEY$/m);
    expect(calls().join("\n")).not.toContain("the-key");
  });
});

describe("setup", () => {
  const secret = (name: string) => readFileSync(join(here, ".secrets", name), "utf8").trim();
  const file = (name: string, text: string) => {
    writeFileSync(join(here, name), text);
    return join(here, name);
  };

  it.each(["", " --devnet"])("takes the admin token from the file that ADMIN_TOKEN_FILE names%s", async (flag) => {
    await deployDocker(`setup${flag}`, { ADMIN_TOKEN: "", ADMIN_TOKEN_FILE: file("token", "token-of-a-file\n") });
    expect(secret("admin_token")).toBe("token-of-a-file");
  });

  it.each<[string, Record<string, string>, string]>([
    ["a chain without a contract", { NETWORK: "", CHAIN_ID: "10" }, "CONTRACT_ADDRESS in .env: chain 10 has no preset"],
    ["a network that nobody knows", { NETWORK: "bass" }, "NETWORK in .env: base, base-sepolia or devnet"],
    ["a contract that is no address", { CONTRACT_ADDRESS: "0x12" }, "CONTRACT_ADDRESS in .env as an address"],
    ["a file that is not there", { ADMIN_TOKEN: "", ADMIN_TOKEN_FILE: "/nowhere" }, "the file that ADMIN_TOKEN_FILE"],
    ["an empty file", { RPC_URL: "", RPC_URL_FILE: "/dev/null" }, "the file that RPC_URL_FILE names"],
    ["a secret that is given twice", { ADMIN_TOKEN_FILE: "/etc/hostname" }, "one of ADMIN_TOKEN and ADMIN_TOKEN_FILE"],
  ])("refuses %s, and writes nothing", async (_what, settings, says) => {
    await expect(deployDocker("setup", settings)).rejects.toThrow(says);
    expect(existsSync(join(here, ".secrets"))).toBe(false);
  });
});

describe.skipIf(!canDeploy)("start and restart", () => {
  it.each(["start", "restart"])("%s waits for the services that it names, and for no other", async (verb) => {
    await deployDocker("deploy");
    readyOf("node-b", ...Array(30).fill("{}"));
    expect(await deployDocker(`${verb} node-a`)).toBe("  node-a is healthy\n");
    await expect(deployDocker(verb)).rejects.toThrow("not healthy after 1 s: node-b");
  });

  it("take the page along with node-b, in whose network it lives", async () => {
    await deployDocker("deploy");
    expect(await deployDocker("start node-b")).toContain("web is healthy");
    expect(calls()).toContain("compose restart web");
  });
});

describe.skipIf(!canDeploy)("run", () => {
  it("gives a command to compose as it is, and its output and nothing else", async () => {
    await deployDocker("deploy");
    expect(await deployDocker("run node-a dstack-vpn backup create --out archive")).toBe("ran archive\n");
    expect(calls()).toContain("compose run --rm -T --no-deps node-a dstack-vpn backup create --out archive");
  });
});

describe.skipIf(!canDeploy)("cleanup", () => {
  it("says with --dry-run what it would remove, and removes nothing", async () => {
    await deployDocker("deploy");
    const said = await deployDocker("cleanup --dry-run");
    expect(said).toMatch(/^would: docker rm -f monitoring mullvad-proxy node-a node-b web$/m);
    expect(isRunning("node-a")).toBe(true);
  });
});

describe.skipIf(!canDeploy)("rollback", () => {
  it("brings back the RPC URL of the deployment before, and again that of the one after", async () => {
    await deployDocker("deploy");
    await deployDocker("deploy", { RPC_URL: "https://second.example" });
    await deployDocker("rollback");
    expect(started("node-a")[0]).toBe("https://first.example");
    await deployDocker("rollback");
    expect(started("node-a")[0]).toBe("https://second.example");
  });
});
