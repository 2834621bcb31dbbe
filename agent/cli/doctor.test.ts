/** What `doctor` says of a host, as a table; and of a chain, as people run it. */

import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseSettings } from "../config.ts";
import { ALICE, type Anvil, dstackVpn, type Env, startAnvil, startSilence } from "../test/cli.ts";
import { clockFinding } from "./doctor-chain.ts";
import { type HostFacts, hostFindings } from "./doctor-findings.ts";

const GB = 1024 ** 3;
const parsed = parseSettings({ NODE_ID: "node-a", NETWORK: "devnet", RPC_URL: "http://localhost" });
const SOUND: HostFacts = {
  ...{
    capabilities: 1n << 12n,
    tunProblem: undefined,
    missingPrograms: [],
    kernelWireGuard: "loaded",
    running: undefined,
  },
  ...{ uplinks: [{ name: "eth0", mtu: 1500 }], isUdpPortTaken: false, tcpPort: "free", keyMode: 0o100600 },
  folders: [{ setting: "STATE_DIR", path: "/s", problem: undefined, freeBytes: GB }],
};

/** What is not well, as `verdict topic`. */
function judged(change: Partial<HostFacts>) {
  if (!("settings" in parsed)) throw new Error("the settings must parse");
  return hostFindings({ ...SOUND, ...change }, parsed.settings)
    .filter(({ verdict }) => verdict !== "ok")
    .map(({ verdict, topic, mend }) => `${verdict} ${topic}: ${mend}`);
}

describe("a host", () => {
  const userspace = { kernelWireGuard: "absent" } as const;
  it.each<[string, Partial<HostFacts>, string[]]>([
    ["that is well has nothing to mend", {}, []],
    ["whose agent runs has its ports in use", { running: "kernel", isUdpPortTaken: true, tcpPort: "agent" }, []],
    ["without NET_ADMIN", { capabilities: 0x1fn }, ["fail privileges: run as root"]],
    ["that is no Linux", { capabilities: undefined }, ["fail privileges: run the node on Linux"]],
    ["with wireguard-go alone", userspace, ["warn wireguard: modprobe wireguard"]],
    ["without tun either", { ...userspace, tunProblem: "ENOENT" }, ["fail wireguard: give the container devices"]],
    [
      "without either WireGuard",
      { ...userspace, missingPrograms: ["wireguard-go"] },
      ["fail wireguard: modprobe wireguard, or"],
    ],
    [
      "with a module to load and no wireguard-go",
      { kernelWireGuard: "loadable", missingPrograms: ["wireguard-go"] },
      [],
    ],
    [
      "without wg and conntrack",
      { missingPrograms: ["wg", "conntrack"] },
      ["fail programs: apt-get install wireguard-tools", "warn programs: apt-get install conntrack"],
    ],
    [
      "behind a narrower link",
      {
        uplinks: [
          { name: "a", mtu: 1500 },
          { name: "b", mtu: 1480 },
        ],
      },
      ["warn mtu: set MTU=1400"],
    ],
    ["with exactly room for IPv6", { uplinks: [{ name: "a", mtu: 1500 }] }, []],
    ["without a network", { uplinks: [] }, ["warn mtu: bring the network up"]],
    ["with its UDP port taken", { isUdpPortTaken: true }, ["fail ports: free it, or set LISTEN_PORT"]],
    ["with its TCP port taken", { tcpPort: "taken" }, ["fail ports: free it, or set HEALTH_CHECK_PORT"]],
    [
      "with a full disk",
      { folders: [{ setting: "STATE_DIR", path: "/s", problem: undefined, freeBytes: 1e6 }] },
      ["fail disk: free space"],
    ],
    [
      "with a filling disk",
      { folders: [{ setting: "STATE_DIR", path: "/s", problem: undefined, freeBytes: 1e8 }] },
      ["warn disk: free space"],
    ],
    [
      "with a read-only folder",
      { folders: [{ setting: "WG_CONFIG_DIR", path: "/w", problem: "EROFS", freeBytes: GB }] },
      ["fail disk: make it writable"],
    ],
    ["with a key that all read", { keyMode: 0o100644 }, ["warn key: chmod 600"]],
  ])("%s", (_, change, findings) => {
    expect(judged(change)).toEqual(findings.map((text) => expect.stringContaining(text)));
  });
});

describe("a clock", () => {
  const at = (seconds: number) => ({ head: { timestamp: Date.now() / 1000 + seconds } as never });
  it.each([
    ["beside upstreams that agree with it", [0, 2], [at(-3)], "ok"],
    ["ten seconds off", [10], [], "warn"],
    ["a minute behind", [-60], [], "fail"],
    ["right by one upstream, wrong by another", [300, 1], [], "ok"],
    ["that no upstream tells", [undefined], [at(-3)], "warn"],
    ["from before the newest block", [undefined], [at(120)], "fail"],
  ] as const)("%s", (_, skews, seen, verdict) => {
    expect(clockFinding(skews, seen, "base").verdict).toBe(verdict);
  });
});

describe("doctor", { timeout: 240_000 }, () => {
  let anvil: Anvil;
  let env: Env;
  const folder = mkdtempSync(join(tmpdir(), "dstack-vpn-doctor-"));
  beforeAll(async () => {
    anvil = await startAnvil();
    const place = { STATE_DIR: join(folder, "state"), WG_CONFIG_DIR: join(folder, "wireguard"), NODE_ID: "node-a" };
    env = { ...anvil.settings(await anvil.deploy()), ...place };
  }, 60_000);
  afterAll(async () => {
    await anvil.close();
    rmSync(folder, { recursive: true });
  });
  const findings = async (more: Env) => {
    const { out, err, exit } = await dstackVpn(["doctor", "--json"], { ...env, ...more });
    return {
      exit,
      text: out + err,
      all: JSON.parse(out).findings as { topic: string; verdict: string; said: string }[],
    };
  };

  it("looks at a working upstream and contract, and changes nothing", async () => {
    const { out } = await dstackVpn(["doctor"], env);
    expect(out).toMatch(
      /^ok {4}upstream {4}127\.0\.0\.1:[0-9]+: chain 31337, block 1, [0-9]+ s old, logs of 2 blocks at once$/m,
    );
    expect(out).toMatch(/^ok {4}contract {4}0x[0-9a-fA-F]{40} is an access contract$/m);
    expect(out).toMatch(/^ok {4}clock /m);
    expect(existsSync(join(folder, "state"))).toBe(false);
  });

  it("tells each bad upstream from the good one, and none of their secrets", async () => {
    const silence = await startSilence();
    const urls = [anvil.url, "http://user:planted@127.0.0.1:1/planted", silence.url];
    const { exit, all, text } = await findings({ RPC_URL: urls.join(","), ADMIN_TOKEN: "planted-token" });
    silence.close();
    expect(exit).toBe(1);
    expect(all.filter(({ topic }) => topic === "upstream").map(({ verdict }) => verdict)).toEqual([
      "ok",
      "fail",
      "fail",
    ]);
    expect(text).not.toMatch(/planted|hidden/);
  });

  it.each([
    ["an address without code", { CONTRACT_ADDRESS: ALICE.address }, "contract", /no access contract/],
    ["another chain", { NETWORK: "base" }, "upstream", /serves chain 31337, not 8453/],
  ])("fails at %s", async (_, more, topic, said) => {
    const { exit, all } = await findings(more);
    expect(exit).toBe(1);
    expect(all).toContainEqual(expect.objectContaining({ topic, verdict: "fail", said: expect.stringMatching(said) }));
  });

  it("warns where no upstream can doubt another", async () => {
    const saidOf = async (RPC_URL: string) => {
      const { all } = await findings({ NETWORK: "base", RPC_URL });
      return all.flatMap(({ topic, verdict, said }) => (topic === "upstreams" ? [`${verdict} ${said}`] : []));
    };
    expect(await saidOf(anvil.url)).toEqual(["warn there is one alone, and nobody to doubt it"]);
    const ofOneHost = [anvil.url, `${anvil.url}/v2`, anvil.url.replace("http", "ws")].join(",");
    expect(await saidOf(ofOneHost)).toEqual(["warn all are of one host, and nobody to doubt it"]);
    expect(await saidOf(`${anvil.url},${anvil.url.replace("127.0.0.1", "localhost")}`)).toEqual([]);
  });

  it("tells an agent's port from one that another program has", async () => {
    const other = createServer((socket) => socket.end("no\n")).listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as { port: number };
    const { all } = await findings({ HEALTH_CHECK_PORT: String(port) });
    other.close();
    expect(all).toContainEqual(
      expect.objectContaining({ topic: "ports", said: `TCP ${port} is taken by another program` }),
    );
  });

  it("tells every wrong setting with exit code 78, and looks at the host all the same", async () => {
    const { exit, all } = await findings({ RPC_URL: "", MTU: "9" });
    expect({ exit, topics: all.map(({ topic }) => topic).slice(0, 3) }).toEqual({
      exit: 78,
      topics: ["settings", "settings", "privileges"],
    });
  });
});
