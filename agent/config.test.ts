import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterAll, describe, expect, it } from "vitest";
import { parseSettings, publicSettings, SECRETS, SETTINGS, type Settings } from "./config.ts";
import { describe as sentence } from "./errors.ts";
import { PrivateKey } from "./model.ts";

const CONTRACT = `0x${"ab".repeat(20)}`;
const LEAST = { NODE_ID: "node-a", NETWORK: "base", RPC_URL: "https://rpc.example/v1/topsecret" };

const scratch = mkdtempSync(join(tmpdir(), "config-"));
afterAll(() => rmSync(scratch, { recursive: true }));
const file = (name: string, content: string) => {
  writeFileSync(join(scratch, name), content);
  return join(scratch, name);
};

function settings(environment: Readonly<Record<string, string>>): Settings {
  const result = parseSettings(environment);
  if ("mistakes" in result) throw new Error(result.mistakes.map(sentence).join("\n"));
  return result.settings;
}

/** The settings that are complained of, in order; every sentence must name its own. */
function wrong(environment: Readonly<Record<string, string>>): string[] {
  const result = parseSettings(environment);
  if (!("mistakes" in result)) return [];
  return result.mistakes.map((fault) => {
    if (fault.code !== "config.invalid") throw new Error(`unexpected ${fault.code}`);
    expect(sentence(fault)).toContain(fault.setting);
    return fault.setting;
  });
}

describe("the environment", () => {
  it("needs a name, a network and an upstream, and says so of all three at once", () => {
    expect(wrong({}).sort()).toEqual(["NETWORK", "NODE_ID", "RPC_URL"]);
    expect(wrong(LEAST)).toEqual([]);
  });

  it("gives every mistake at once", () => {
    const mistakes = { ...LEAST, NODE_ID: "Node A", LISTEN_PORT: "0", EXIT: "yes", OVERLAY_IPV4: "10.0.0.1/16" };
    expect(wrong({ ...mistakes, WIREGUARD_PRIVATE_KEY_FILE: join(scratch, "absent") }).sort()).toEqual([
      "EXIT",
      "LISTEN_PORT",
      "NODE_ID",
      "OVERLAY_IPV4",
      "WIREGUARD_PRIVATE_KEY_FILE",
    ]);
  });

  it("takes an empty value as unset, and blanks around a value as nothing", () => {
    expect(settings({ ...LEAST, NODE_ID: " node-a ", LISTEN_PORT: "", ADMIN_TOKEN: "  " })).toEqual(settings(LEAST));
  });

  it.each([
    ["base has its contract", { NETWORK: "base" }, [8453, "0x37d2106badb01dd5be1926e45d172cb4203c4186"]],
    ["a contract of one's own on base", { NETWORK: "base", CONTRACT_ADDRESS: CONTRACT }, [8453, CONTRACT]],
    ["a chain without a preset", { NETWORK: "", CHAIN_ID: "10", CONTRACT_ADDRESS: CONTRACT }, [10, CONTRACT]],
    [
      "the devnet on another chain id",
      { NETWORK: "devnet", CHAIN_ID: "1337", CONTRACT_ADDRESS: CONTRACT },
      [1337, CONTRACT],
    ],
  ])("%s", (_, given, expected) => {
    const { chainId, contract } = settings({ ...LEAST, ...given });
    expect([chainId, contract]).toEqual(expected);
  });
});

it("an upstream that is named twice is one", () => {
  const RPC_URL = "https://a.example/v2,wss://a.example,https://A.example:443/v2";
  expect(settings({ ...LEAST, RPC_URL }).rpcUrls.map(String)).toEqual(["https://a.example/v2", "wss://a.example/"]);
});

describe("the address to listen on", () => {
  it.each([
    ["::1", "::1"],
    ["[::1]", "::1"],
    ["Node-A.example", "node-a.example"],
  ])("%s is %s", (HEALTH_CHECK_HOST, expected) => {
    expect(settings({ ...LEAST, HEALTH_CHECK_HOST }).httpHost).toBe(expected);
  });
});

describe("a mistake is found", () => {
  it.each<[string, Record<string, string>, string[]]>([
    ["an unknown network", { NETWORK: "mainnet" }, ["NETWORK"]],
    ["a network whose name every object has", { NETWORK: "constructor" }, ["NETWORK"]],
    ["a network without a preset contract", { NETWORK: "base-sepolia" }, ["CONTRACT_ADDRESS"]],
    ["a chain id without a contract", { NETWORK: "", CHAIN_ID: "10" }, ["CONTRACT_ADDRESS"]],
    ["a contract address that is too short", { CONTRACT_ADDRESS: "0xab" }, ["CONTRACT_ADDRESS"]],
    [
      "a contract address with a digit mistyped",
      { CONTRACT_ADDRESS: "0x5FbDB2315678afecb367f032d93F642f64180aa4" },
      ["CONTRACT_ADDRESS"],
    ],
    ["a file as upstream", { RPC_URL: "file:///etc/passwd" }, ["RPC_URL"]],
    ["one of two upstreams wrong", { RPC_URL: "https://a.example,nonsense" }, ["RPC_URL"]],
    ["a chain id that is no number", { NETWORK: "base", CHAIN_ID: "abc" }, ["CHAIN_ID"]],
    [
      "another chain than the preset's, which has no contract",
      { NETWORK: "base-sepolia", CHAIN_ID: "10" },
      ["CONTRACT_ADDRESS"],
    ],
    ["base's own contract on another chain", { NETWORK: "base", CHAIN_ID: "84532" }, ["CONTRACT_ADDRESS"]],
    ["a port in the address to listen on", { HEALTH_CHECK_HOST: "localhost:80" }, ["HEALTH_CHECK_HOST"]],
    ["commas and no upstream", { RPC_URL: ",," }, ["RPC_URL"]],
    ["plain http to the internet", { RPC_URL: "http://rpc.example" }, ["RPC_URL"]],
    ["plain ws to an address", { RPC_URL: "https://a.example,ws://192.0.2.7:8546" }, ["RPC_URL"]],
    ["a number in hex", { LISTEN_PORT: "0x50" }, ["LISTEN_PORT"]],
    ["a number with a unit", { POLL_INTERVAL: "1s" }, ["POLL_INTERVAL"]],
    ["a negative number", { MAX_PEERS: "-1" }, ["MAX_PEERS"]],
    ["a fraction", { GRANT_CONFIRMATIONS: "1.5" }, ["GRANT_CONFIRMATIONS"]],
    ["a port beyond the last", { HEALTH_CHECK_PORT: "65536" }, ["HEALTH_CHECK_PORT"]],
    ["more peers than wireguard-go holds", { MAX_PEERS: "65001" }, ["MAX_PEERS"]],
    ["a switch that is neither on nor off", { ISOLATION: "true" }, ["ISOLATION"]],
    ["an exit that accepts no packets", { EXIT: "on", INBOUND: "off" }, ["EXIT"]],
    [
      "an exit that accepts no packets, beside another mistake",
      { EXIT: "on", INBOUND: "off", MTU: "1" },
      ["MTU", "EXIT"],
    ],
    ["an overlay with host bits", { OVERLAY_IPV4: "10.213.0.1/16" }, ["OVERLAY_IPV4"]],
    ["an overlay in IPv6", { OVERLAY_IPV4: "fd00::/16" }, ["OVERLAY_IPV4"]],
    ["an overlay of one address", { OVERLAY_IPV4: "10.213.0.0/32" }, ["OVERLAY_IPV4"]],
    ["an overlay of this very network", { OVERLAY_IPV4: "0.0.0.0/8" }, ["OVERLAY_IPV4"]],
    ["an overlay of loopback", { OVERLAY_IPV4: "127.1.0.0/16" }, ["OVERLAY_IPV4"]],
    ["an overlay around link-local addresses", { OVERLAY_IPV4: "169.0.0.0/8" }, ["OVERLAY_IPV4"]],
    ["an overlay of multicast", { OVERLAY_IPV4: "224.0.0.0/8" }, ["OVERLAY_IPV4"]],
    ["an overlay of reserved addresses", { OVERLAY_IPV4: "255.255.255.0/24" }, ["OVERLAY_IPV4"]],
    ["an interface name that stands for all of them", { WG_INTERFACE: "all" }, ["WG_INTERFACE"]],
    ["an interface name that stands for new ones", { WG_INTERFACE: "default" }, ["WG_INTERFACE"]],
    ["an interface name that asks wg for a list", { WG_INTERFACE: "interfaces" }, ["WG_INTERFACE"]],
    ["an interface name that is a path", { WG_INTERFACE: "../wg0" }, ["WG_INTERFACE"]],
    ["an interface name that is an option", { WG_INTERFACE: "-f" }, ["WG_INTERFACE"]],
    ["an interface name of 16 characters", { WG_INTERFACE: "a".repeat(16) }, ["WG_INTERFACE"]],
    ["a relative path", { STATE_DIR: "state" }, ["STATE_DIR"]],
    [
      "a WireGuard key of 31 bytes",
      { WIREGUARD_PRIVATE_KEY: Buffer.alloc(31, 1).toString("base64") },
      ["WIREGUARD_PRIVATE_KEY"],
    ],
    ["an admin token with a blank", { ADMIN_TOKEN: "two words" }, ["ADMIN_TOKEN"]],
    ["a node without a port", { PEER_ENDPOINTS: "node-b=vpn.example" }, ["PEER_ENDPOINTS"]],
    ["a node with two endpoints", { PEER_ENDPOINTS: "b=192.0.2.1:1,c=192.0.2.2:1,b=192.0.2.3:1" }, ["PEER_ENDPOINTS"]],
    ["a node without a name", { PEER_ENDPOINTS: "=vpn.example:51820" }, ["PEER_ENDPOINTS"]],
    ["a gateway in capitals", { GATEWAYS: "node-a,Node-B" }, ["GATEWAYS"]],
    ["an origin with a path", { CORS_ORIGINS: "https://a.example/x" }, ["CORS_ORIGINS"]],
    ["any origin", { CORS_ORIGINS: "*" }, ["CORS_ORIGINS"]],
    ["plain http to a name that begins like loopback", { RPC_URL: "http://127.example.org" }, ["RPC_URL"]],
    ["a setting and its file", { ADMIN_TOKEN: "x", ADMIN_TOKEN_FILE: "/proc/version" }, ["ADMIN_TOKEN_FILE"]],
  ])("%s", (_, given, expected) => {
    expect(wrong({ ...LEAST, ...given })).toEqual(expected);
  });

  it.each([
    ["loopback", "http://127.0.0.1:8545,http://localhost:8545,ws://[::1]:8546"],
    ["a container's name", "http://devnet:8545"],
  ])("but plain http to %s is none", (_, RPC_URL) => {
    expect(wrong({ ...LEAST, RPC_URL })).toEqual([]);
  });

  it("but plain http anywhere is none where it is allowed", () => {
    expect(wrong({ ...LEAST, RPC_URL: "http://192.0.2.7", ALLOW_INSECURE_RPC: "true" })).toEqual([]);
  });
});

it("what /config shows of endpoints can be set again", () => {
  const given = { a: "192.0.2.1:1", b: "[2001:db8::1]:2", c: "vpn.example:3" };
  const list = Object.entries(given).map(([name, endpoint]) => `${name}=${endpoint}`);
  expect(publicSettings(settings({ ...LEAST, PEER_ENDPOINTS: list.join() }))["peerEndpoints"]).toEqual(given);
});

describe("a secret", () => {
  const key = PrivateKey.generate().reveal();

  it("may come from the file that its twin names", () => {
    const { privateKey, adminToken, rpcUrls } = settings({
      ...{ ...LEAST, RPC_URL: "", RPC_URL_FILE: file("rpc", `${LEAST.RPC_URL}\n`) },
      WIREGUARD_PRIVATE_KEY_FILE: file("key", `${key}\n`),
      ADMIN_TOKEN_FILE: file("token", "token-of-16-char\n"),
    });
    expect([privateKey?.reveal(), adminToken?.reveal(), rpcUrls.map(String)]).toEqual([
      key,
      "token-of-16-char",
      [LEAST.RPC_URL],
    ]);
  });

  it("in a file that is empty or cannot be read is a mistake of the twin's", () => {
    expect(wrong({ ...LEAST, ADMIN_TOKEN_FILE: file("empty", "\n") })).toEqual(["ADMIN_TOKEN_FILE"]);
    expect(wrong({ ...LEAST, ADMIN_TOKEN_FILE: scratch })).toEqual(["ADMIN_TOKEN_FILE"]);
  });

  it("is never in a complaint about it", () => {
    const secret = "hush hush, very secret";
    const environment = { ...LEAST, ...Object.fromEntries(SECRETS.map((name) => [name, secret])) };
    const result = parseSettings(environment);
    expect("mistakes" in result && result.mistakes.length).toBeGreaterThan(1);
    expect(JSON.stringify(result)).not.toContain("hush");
  });

  it("is in nothing that can be printed, nor in what /config shows", () => {
    const given = {
      ...LEAST,
      WIREGUARD_PRIVATE_KEY: key,
      ADMIN_TOKEN: "token-of-16-char",
      CONTRACT_PRIVATE_KEY: `0x${"c".repeat(64)}`,
    };
    const all = settings(given);
    for (const secret of [key, "token-of-16-char", "c".repeat(64)]) {
      expect(inspect(all, { depth: 9 }) + JSON.stringify(all)).not.toContain(secret);
    }
    // The path of an RPC URL often holds its API key.
    expect(JSON.stringify(publicSettings(all))).not.toMatch(/topsecret|token-of-16/);
    expect(publicSettings(all)).toMatchObject({ upstreams: ["rpc.example"], adminToken: true });
  });
});

describe("env.example", () => {
  const lines = readFileSync(new URL("../env.example", import.meta.url), "utf8").split("\n");
  const assignments = lines.flatMap((line) => {
    const [, off, name, value] = /^(# )?([A-Z][A-Z0-9_]*)=(.*)$/.exec(line) ?? [];
    return name === undefined || value === undefined ? [] : [{ name, value, isDefault: off !== undefined }];
  });

  it("names every setting and every file twin once, and nothing else", () => {
    const expected = [...SETTINGS, ...SECRETS.map((name) => `${name}_FILE`)];
    expect(assignments.map(({ name }) => name).sort()).toEqual(expected.sort());
  });

  it("works as it stands, and what is commented out is the default", () => {
    const given = assignments.filter(({ isDefault }) => !isDefault).map(({ name, value }) => [name, value]);
    const all = assignments.map(({ name, value }) => [name, value]);
    expect(settings(Object.fromEntries(all))).toEqual(settings(Object.fromEntries(given)));
  });
});
