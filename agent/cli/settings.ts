/** The settings that commands need, out of the same environment and by the same rules as the agent's (config.ts). */
import { parseSettings, type Settings, withFiles } from "../config.ts";
import type { Fault } from "../errors.ts";
import { Secret } from "../model.ts";
import { wrongSettings } from "./failure.ts";

type Environment = Readonly<Record<string, string | undefined>>;

const CHAIN = ["NETWORK", "CHAIN_ID", "CONTRACT_ADDRESS", "RPC_URL", "RPC_URL_FILE", "START_BLOCK"];
const RULES = ["GRANT_CONFIRMATIONS", "OVERLAY_IPV4", "PEER_ENDPOINTS", "GATEWAYS", "MAX_PEERS", "PROXY_PORT"];
const LIMITS = ["MAX_TOKENS_PER_OWNER", "ALLOW_INSECURE_RPC"];
const HOST = ["NODE_ID", "STATE_DIR", "WG_CONFIG_DIR", "WG_INTERFACE", "LISTEN_PORT", "MTU", "MAX_BACKUPS"];
const KEYS = ["WIREGUARD_PRIVATE_KEY", "WIREGUARD_PRIVATE_KEY_FILE"];
const HTTP = ["HEALTH_CHECK_HOST", "HEALTH_CHECK_PORT", "ADMIN_TOKEN", "ADMIN_TOKEN_FILE"];

/** For commands that read or write the chain. @throws Failure every mistake at once */
export function chainSettings(environment: Environment): Settings {
  return parsed({ ...only(environment, [...CHAIN, ...RULES, ...LIMITS]), NODE_ID: "no-node" });
}

/** For a command that makes the contract: the chain without one. @throws Failure every mistake at once */
export function deploymentSettings(environment: Environment): Settings {
  const names = ["NETWORK", "CHAIN_ID", "RPC_URL", "RPC_URL_FILE", "ALLOW_INSECURE_RPC"];
  return parsed({ ...only(environment, names), NODE_ID: "no-node", CONTRACT_ADDRESS: `0x${"0".repeat(40)}` });
}

/** For commands about this host: an agent's, but what only a running one needs may be missing. @throws Failure */
export function hostSettings(environment: Environment): Settings {
  const given = Object.entries(only(environment, [...CHAIN, ...HOST, ...KEYS, ...HTTP, "ALLOW_INSECURE_RPC"]));
  const set = Object.fromEntries(given.filter(([, value]) => value !== undefined && value.trim() !== ""));
  const hasUpstream = "RPC_URL" in set || "RPC_URL_FILE" in set;
  return parsed({ NODE_ID: UNNAMED, ...(hasUpstream ? {} : { RPC_URL: "http://localhost" }), ...set });
}

/** For a command that looks at this host whatever else is wrong: what is right of it, and the defaults for the rest. */
export function settingsDespite(environment: Environment, mistakes: readonly Fault[]): Settings | undefined {
  const wrong = new Set(mistakes.map((fault) => (fault.code === "config.invalid" ? fault.setting : "")));
  const right = [...HOST, "HEALTH_CHECK_PORT"].filter((name) => !wrong.has(name));
  const standIns = { NODE_ID: UNNAMED, NETWORK: "devnet", RPC_URL: "http://localhost" };
  const result = parseSettings({ ...only(environment, right), ...standIns });
  return "mistakes" in result ? undefined : result.settings;
}

/** Stands in for NODE_ID where none is set. */
export const UNNAMED = "no-node";

/** For commands that talk to an agent; nothing of its chain is in them. @throws Failure every mistake at once */
export function httpSettings(environment: Environment): Settings {
  const unused = { NODE_ID: "no-node", NETWORK: "devnet", RPC_URL: "http://localhost" };
  return parsed({ ...only(environment, HTTP), ...unused });
}

/** 32 bytes of hex; undefined where none is set. @throws Failure */
export function signingKey(environment: Environment): Secret | undefined {
  const mistakes: Fault[] = [];
  const names = ["CONTRACT_PRIVATE_KEY", "CONTRACT_PRIVATE_KEY_FILE"];
  const text = withFiles(only(environment, names), mistakes)["CONTRACT_PRIVATE_KEY"];
  if (text !== undefined && !isPrivateKey(text)) {
    const problem = "must be 32 bytes of hex, the key of the account that signs";
    mistakes.push({ code: "config.invalid", setting: "CONTRACT_PRIVATE_KEY", problem });
  }
  if (mistakes.length > 0) throw wrongSettings(mistakes);
  return text === undefined ? undefined : new Secret(`0x${text.replace(/^0x/, "")}`);
}

/** Of secp256k1: 32 bytes, not 0 and below the order of the curve. */
function isPrivateKey(text: string): boolean {
  const digits = text.replace(/^0x/, "");
  if (!/^[0-9a-fA-F]{64}$/.test(digits)) return false;
  const value = BigInt(`0x${digits}`);
  return value > 0n && value < 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
}

function parsed(environment: Environment): Settings {
  const result = parseSettings(environment);
  if ("mistakes" in result) throw wrongSettings(result.mistakes);
  return result.settings;
}

function only(environment: Environment, names: readonly string[]): Environment {
  return Object.fromEntries(names.map((name) => [name, environment[name]]));
}
