/** Environment → Settings: one schema, every mistake at once, never a value in a message (it might be a secret). */
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { z } from "zod";
import { WRITTEN_ADDRESS, writtenAddress } from "./checksum.ts";
import type { Fault } from "./errors.ts";
import {
  type Address,
  type Cidr,
  type Endpoint,
  overlaps,
  PrivateKey,
  parseCidr,
  parseEndpoint,
  prefixOf,
  Secret,
} from "./model.ts";

export const NETWORKS = {
  base: { chainId: 8453, contract: "0x37d2106bADB01dd5bE1926e45D172Cb4203C4186", startBlock: undefined },
  "base-sepolia": { chainId: 84532, contract: undefined, startBlock: undefined },
  // The first contract that anvil's first account deploys.
  devnet: { chainId: 31337, contract: "0x5FbDB2315678afecb367f032d93F642f64180aa3", startBlock: 0 },
} as const;
export type Network = keyof typeof NETWORKS;

export type Settings = ReturnType<typeof settingsOf>;
type Environment = Readonly<Record<string, string | undefined>>;
type Parsed = z.output<typeof SCHEMA>;

/** @throws nothing: the mistakes are the other result. Reads the files that `…_FILE` settings name. */
export function parseSettings(environment: Environment): { settings: Settings } | { mistakes: Fault[] } {
  const mistakes: Fault[] = [];
  const values = withFiles(environment, mistakes);
  const parsed = SCHEMA.safeParse(values);
  if (!parsed.success) {
    for (const { path, message } of parsed.error.issues) {
      const setting = path.join(".");
      mistakes.push({
        code: "config.invalid",
        setting,
        problem: values[setting] === undefined ? (REQUIRED[setting] ?? message) : message,
      });
    }
  }
  mistakes.push(...together(values));
  return parsed.success && mistakes.length === 0 ? { settings: settingsOf(parsed.data) } : { mistakes };
}

/** The settings as `/config` shows them: a list of fields that may be seen, so that a new secret is left out by default. */
export function publicSettings(settings: Settings): Record<string, unknown> {
  const { nodeId, network, chainId, contract, startBlock, pollIntervalMs, syncIntervalMs, grantConfirmations } =
    settings;
  const { interfaceName, configDir, stateDir, listenPort, overlayIpv4, gateways, maxPeers, maxTokensPerOwner } =
    settings;
  const { exit, inbound, isolation, mtu, maxStalenessSeconds, maxBackups, bootPolicy, downOnExit, logLevel } = settings;
  return {
    ...{ nodeId, network, chainId, contract, startBlock, pollIntervalMs, syncIntervalMs, grantConfirmations },
    ...{ interfaceName, configDir, stateDir, listenPort, overlayIpv4, gateways, maxPeers, maxTokensPerOwner },
    ...{ exit, inbound, isolation, mtu, maxStalenessSeconds, maxBackups, bootPolicy, downOnExit, logLevel },
    peerEndpoints: Object.fromEntries(
      [...settings.peerEndpoints].map(([name, { host, port }]) => {
        return [name, `${host.includes(":") ? `[${host}]` : host}:${port}`];
      }),
    ),
    upstreams: settings.rpcUrls.map((url) => url.host),
    adminToken: settings.adminToken !== undefined,
  };
}

/** Settings that hold a secret; each can come from a file named by its `_FILE` twin. */
export const SECRETS = ["RPC_URL", "WIREGUARD_PRIVATE_KEY", "CONTRACT_PRIVATE_KEY", "ADMIN_TOKEN"] as const;

const text = (pattern: RegExp, expected: string) => z.string().regex(pattern, `must be ${expected}`);
const parsedBy = <T>(parse: (value: string) => T | undefined, expected: string) =>
  z.string().transform((value, context): T => {
    const result = parse(value);
    if (result !== undefined) return result;
    context.issues.push({ code: "custom", message: `must be ${expected}`, input: "" });
    return z.NEVER;
  });
const integer = (low: number, high: number, unit = "a whole number") =>
  parsedBy((value) => {
    const number = /^[0-9]{1,15}$/.test(value) ? Number(value) : Number.NaN;
    return number >= low && number <= high ? number : undefined;
  }, `${unit} from ${low} to ${high}`);
const choice = <const T extends readonly string[]>(...values: T) =>
  z.enum(values, `must be one of ${values.join(", ")}`);
const onOff = (fallback: "on" | "off") =>
  choice("on", "off")
    .default(fallback)
    .transform((value) => value === "on");
const trueFalse = choice("true", "false")
  .default("false")
  .transform((value) => value === "true");
const list = (value: string) =>
  value
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "");
const listOf = <T>(parse: (item: string) => T | undefined, expected: string) =>
  parsedBy((value) => {
    const items = list(value).map(parse);
    return items.includes(undefined) ? undefined : (items as T[]);
  }, expected);

const NODE_ID = /^[a-z0-9-]{1,63}$/;
const named = (item: string): [string, Endpoint] | undefined => {
  const [name = "", target = ""] = item.split(/=(.*)/s);
  const endpoint = parseEndpoint(target);
  return NODE_ID.test(name) && endpoint !== undefined ? [name, endpoint] : undefined;
};
const rpcUrl = (item: string): URL | undefined => {
  const url = URL.canParse(item) ? new URL(item) : undefined;
  return url !== undefined && ["http:", "https:", "ws:", "wss:"].includes(url.protocol) && url.hostname !== ""
    ? url
    : undefined;
};
const origin = (item: string) =>
  URL.canParse(item) && new URL(item).origin === item && /^https?:/.test(item) ? item : undefined;
const hostName = (item: string) => (/^[A-Za-z0-9.:[\]-]{1,255}$/.test(item) ? item.toLowerCase() : undefined);
/** An upstream that is named twice is no witness for itself. */
const onceEach = (urls: readonly URL[]) => [...new Map(urls.map((url) => [url.href, url])).values()];
/** An IPv6 address may be in brackets, as in a URL. */
const listenHost = (item: string) => {
  const host = hostName(item)?.replace(/^\[(.*)\]$/, "$1");
  return host !== undefined && (isIP(host) !== 0 || /^[a-z0-9.-]+$/.test(host)) ? host : undefined;
};
const overlay = (value: string): Cidr | undefined => {
  const cidr = parseCidr(value);
  if (cidr === undefined) return undefined;
  const { bits, width } = prefixOf(cidr);
  return width === 32 && bits >= 8 && bits <= 30 ? cidr : undefined;
};
// Of IANA's registry, RFC 6890, what no host routes: this network, loopback, link-local, multicast, reserved.
const UNROUTED = list("0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/4, 240.0.0.0/4") as Cidr[];
/** `wg show` and /proc/sys/net take them for something else. */
const TAKEN = ["all", "default", "interfaces"];
const path = text(/^\/[^\0]*$/, "an absolute path");

const SCHEMA = z.object({
  NODE_ID: text(NODE_ID, "1 to 63 characters of a-z 0-9 -, the name of this node's token"),
  NETWORK: choice("base", "base-sepolia", "devnet").optional(),
  CHAIN_ID: integer(1, 2 ** 48).optional(),
  CONTRACT_ADDRESS: parsedBy(writtenAddress, `the access contract's address: ${WRITTEN_ADDRESS}`).optional(),
  RPC_URL: listOf(rpcUrl, "one or more http(s) or ws(s) URLs, separated by commas")
    .refine((urls) => urls.length > 0, "must name at least one URL")
    .transform(onceEach),
  START_BLOCK: integer(0, 2 ** 48).optional(),
  CONTRACT_PRIVATE_KEY: z.string().optional(),
  WIREGUARD_PRIVATE_KEY: parsedBy(
    (value) => PrivateKey.parse(value),
    "a WireGuard private key as wg genkey prints it (44 base64 characters)",
  ).optional(),
  SYNC_INTERVAL: integer(100, 86_400_000, "milliseconds").default(30_000),
  POLL_INTERVAL: integer(50, 600_000, "milliseconds").default(1_000),
  GRANT_CONFIRMATIONS: integer(1, 10_000).default(1),
  LOG_LEVEL: choice("fatal", "error", "warn", "info", "debug", "trace").default("info"),
  HEALTH_CHECK_HOST: parsedBy(listenHost, "an address or host name to listen on").default("127.0.0.1"),
  HEALTH_CHECK_PORT: integer(1, 65_535).default(8080),
  PROXY_PORT: integer(1, 65_535).default(5001),
  ADMIN_TOKEN: text(/^[!-~]{1,256}$/, "1 to 256 printable characters without spaces (use 16 or more)")
    .transform((value) => new Secret(value))
    .optional(),
  ALLOWED_HOSTS: listOf(hostName, "host names, separated by commas").default([]),
  CORS_ORIGINS: listOf(origin, "origins such as https://example.org, separated by commas").default([]),
  WG_INTERFACE: text(/^[A-Za-z0-9_][A-Za-z0-9_=+.-]{0,14}$/, "an interface name of at most 15 characters")
    .refine((name) => !TAKEN.includes(name), `must be none of ${TAKEN.join(", ")}, which are no names to wg and sysctl`)
    .default("wg0"),
  WG_CONFIG_DIR: path.default("/etc/wireguard"),
  STATE_DIR: path.default("/var/lib/dstack-vpn"),
  LISTEN_PORT: integer(1, 65_535).default(51_820),
  OVERLAY_IPV4: parsedBy(overlay, "an IPv4 network from /8 to /30 such as 10.213.0.0/16")
    .refine(
      (cidr) => !UNROUTED.some((range) => overlaps(range, cidr)),
      `must share no address with ${UNROUTED.join(", ")}, which no host routes`,
    )
    .default("10.213.0.0/16" as Cidr),
  PEER_ENDPOINTS: listOf(named, "name=host:port pairs, separated by commas")
    .refine((pairs) => new Map(pairs).size === pairs.length, "must name each node once")
    .default([]),
  GATEWAYS: listOf((item) => (NODE_ID.test(item) ? item : undefined), "node names, separated by commas").default([]),
  MAX_PEERS: integer(1, 65_000).default(60_000),
  MAX_TOKENS_PER_OWNER: integer(0, 1_000_000).default(0),
  MAX_BACKUPS: integer(1, 1_000).default(10),
  MAX_STALENESS: integer(1, 31_536_000, "seconds").optional(),
  BOOT_POLICY: choice("last-good", "wait").default("last-good"),
  INBOUND: onOff("on"),
  ISOLATION: onOff("on"),
  EXIT: onOff("off"),
  MTU: integer(1_280, 9_000).default(1_420),
  DOWN_ON_EXIT: trueFalse,
  ALLOW_INSECURE_RPC: trueFalse,
});

/** Every setting's name, for `env.example` and the documentation to be compared with. */
export const SETTINGS: readonly string[] = Object.keys(SCHEMA.shape);

const REQUIRED: Readonly<Record<string, string>> = {
  NODE_ID: "is required: the name of this node's token, 1 to 63 characters of a-z 0-9 -",
  RPC_URL: "is required: one or more JSON-RPC endpoints of the chain, separated by commas",
};

/** An empty value counts as unset, as compose files pass it; a `_FILE` twin is read in place of its setting. */
export function withFiles(environment: Environment, mistakes: Fault[]): Record<string, string> {
  const values: Record<string, string> = {};
  for (const name of SETTINGS) {
    const value = environment[name]?.trim();
    if (value !== undefined && value !== "") values[name] = value;
  }
  for (const name of SECRETS) {
    const file = environment[`${name}_FILE`]?.trim();
    if (file === undefined || file === "") continue;
    if (values[name] !== undefined) {
      mistakes.push({
        code: "config.invalid",
        setting: `${name}_FILE`,
        problem: `is set together with ${name}: keep one of them`,
      });
      continue;
    }
    try {
      const content = readFileSync(file, "utf8").trim();
      if (content === "")
        mistakes.push({ code: "config.invalid", setting: `${name}_FILE`, problem: "names an empty file" });
      else values[name] = content;
    } catch (error) {
      const problem = `names a file that cannot be read (${(error as NodeJS.ErrnoException).code ?? "unknown error"})`;
      mistakes.push({ code: "config.invalid", setting: `${name}_FILE`, problem });
    }
  }
  return values;
}

/** Rules that bind several settings, also where another setting is wrong by itself. */
function together(values: Readonly<Record<string, string>>): Fault[] {
  const mistakes: Fault[] = [];
  const wrong = (setting: string, problem: string) => mistakes.push({ code: "config.invalid", setting, problem });
  const preset = Object.hasOwn(NETWORKS, values["NETWORK"] ?? "") ? NETWORKS[values["NETWORK"] as Network] : undefined;
  if (values["NETWORK"] === undefined && values["CHAIN_ID"] === undefined) {
    wrong("NETWORK", "is required: base, base-sepolia or devnet (or set CHAIN_ID and CONTRACT_ADDRESS)");
  }
  if (
    values["CONTRACT_ADDRESS"] === undefined &&
    preset?.contract === undefined &&
    (preset !== undefined || values["CHAIN_ID"] !== undefined)
  ) {
    wrong("CONTRACT_ADDRESS", "is required: this network has no preset contract");
  }
  const chainId = Number(values["CHAIN_ID"] ?? preset?.chainId);
  const isElsewhere = preset?.contract !== undefined && Number.isInteger(chainId) && chainId !== preset.chainId;
  if (isElsewhere && values["CONTRACT_ADDRESS"] === undefined && values["NETWORK"] !== "devnet") {
    wrong(
      "CONTRACT_ADDRESS",
      `is required: CHAIN_ID is not that of NETWORK=${values["NETWORK"]}, whose contract is elsewhere`,
    );
  }
  const insecure = list(values["RPC_URL"] ?? "")
    .map(rpcUrl)
    .some((url) => url !== undefined && ["http:", "ws:"].includes(url.protocol) && !isPrivateHost(url.hostname));
  if (insecure && values["ALLOW_INSECURE_RPC"] !== "true") {
    wrong(
      "RPC_URL",
      "must be https or wss (http only to loopback and to container names): or set ALLOW_INSECURE_RPC=true",
    );
  }
  if (values["EXIT"] === "on" && values["INBOUND"] === "off") {
    wrong("EXIT", "needs INBOUND=on: a node that accepts no packets cannot be an exit");
  }
  return mistakes;
}

/** Loopback, or a name of one label as containers have it. */
export function isPrivateHost(host: string): boolean {
  return (
    host === "localhost" || host === "[::1]" || /^127(\.[0-9]+){3}$/.test(host) || /^[a-z][a-z0-9_-]*$/i.test(host)
  );
}

function settingsOf(parsed: Parsed) {
  const preset = parsed.NETWORK === undefined ? undefined : NETWORKS[parsed.NETWORK];
  const isPreset = parsed.CONTRACT_ADDRESS === undefined && parsed.CHAIN_ID === undefined;
  return {
    nodeId: parsed.NODE_ID,
    network: parsed.NETWORK,
    chainId: parsed.CHAIN_ID ?? preset?.chainId ?? 0,
    contract: parsed.CONTRACT_ADDRESS ?? (preset?.contract?.toLowerCase() as Address),
    rpcUrls: parsed.RPC_URL,
    /** Absent: found by bisecting `eth_getCode`. */
    startBlock: parsed.START_BLOCK ?? (isPreset || parsed.NETWORK === "devnet" ? preset?.startBlock : undefined),
    pollIntervalMs: parsed.POLL_INTERVAL,
    syncIntervalMs: parsed.SYNC_INTERVAL,
    grantConfirmations: parsed.GRANT_CONFIRMATIONS,
    contractPrivateKeyGiven: parsed.CONTRACT_PRIVATE_KEY !== undefined,
    privateKey: parsed.WIREGUARD_PRIVATE_KEY,
    interfaceName: parsed.WG_INTERFACE,
    configDir: parsed.WG_CONFIG_DIR,
    stateDir: parsed.STATE_DIR,
    listenPort: parsed.LISTEN_PORT,
    overlayIpv4: parsed.OVERLAY_IPV4,
    peerEndpoints: new Map(parsed.PEER_ENDPOINTS),
    gateways: parsed.GATEWAYS,
    maxPeers: parsed.MAX_PEERS,
    /** 0 is no limit. */
    maxTokensPerOwner: parsed.MAX_TOKENS_PER_OWNER,
    maxBackups: parsed.MAX_BACKUPS,
    maxStalenessSeconds: parsed.MAX_STALENESS,
    bootPolicy: parsed.BOOT_POLICY,
    inbound: parsed.INBOUND,
    isolation: parsed.ISOLATION,
    exit: parsed.EXIT,
    mtu: parsed.MTU,
    downOnExit: parsed.DOWN_ON_EXIT,
    httpHost: parsed.HEALTH_CHECK_HOST,
    httpPort: parsed.HEALTH_CHECK_PORT,
    proxyPort: parsed.PROXY_PORT,
    adminToken: parsed.ADMIN_TOKEN,
    allowedHosts: parsed.ALLOWED_HOSTS,
    corsOrigins: parsed.CORS_ORIGINS,
    logLevel: parsed.LOG_LEVEL,
  };
}
