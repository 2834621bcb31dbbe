/** What `config` and `join` share: from the chain as it is read and a holder's wishes to the text of a configuration. */

import { isIP } from "node:net";
import { type Command, InvalidArgumentError } from "commander";
import { getAddress as checksummed } from "ethers/address";
import { renderUnicodeCompact } from "uqr";
import type { Settings } from "../config.ts";
import { type Admitted, type Endpoint, type PrivateKey, parseEndpoint, parseTokenId, type TokenId } from "../model.ts";
import { named } from "../registry/registry.ts";
import type { ChainView } from "./chain-view.ts";
import { EXIT, Failure } from "./failure.ts";
import { dialable, headLine, type Membership, memberConf, primaryGateway } from "./member-conf.ts";
import { print, remark, shown } from "./output.ts";
import type { Detour } from "./proxied.ts";
import { typedIp, typedToken } from "./typed.ts";

export interface Wanted {
  readonly token: TokenId;
  readonly keyFile: string;
  readonly exit?: string;
  readonly dns?: string;
  readonly proxy?: Endpoint | true;
  readonly via?: string;
}

export function wishes(command: Command): Command {
  return command
    .requiredOption("--token <id>", "the token's number", typedToken)
    .requiredOption("--key-file <file>", "the private key of the token's public key, as keys --out made it")
    .option("--exit <gateway>", "send all traffic through this gateway (its name or number), not only the VPN's")
    .option("--dns <address>", "the name server to use while connected; none without it", typedIp)
    .option("--proxy [host:port]", "go by TCP, through udp2tcp; without a value, PROXY_PORT of the node", typedProxy)
    .option("--via <node>", "the node behind that proxy (default: the exit, else the primary gateway, else the first)");
}

function typedProxy(text: string): Endpoint {
  const endpoint = parseEndpoint(text);
  if (endpoint === undefined) throw new InvalidArgumentError("It must be host:port, such as 192.0.2.1:5001.");
  return endpoint;
}

export interface Conf {
  /** How a file of this token starts, whatever block it was computed at. */
  readonly mark: string;
  /** Without a key, a text that may be seen. */
  text(key: PrivateKey | undefined): string;
}

/** @throws Failure where there is nobody to dial, or a wish cannot be granted */
export function holderConf(view: ChainView, settings: Settings, wanted: Wanted): Conf {
  const { overlay, block } = view;
  const contract = checksummed(settings.contract);
  const addresses = view.addressesOf(wanted.token);
  const membership: Membership = {
    ...{ tokenId: wanted.token, addresses, chainId: settings.chainId, contract, block, overlay },
  };
  const nodes = dialable(view.roster.everybody(), wanted.token, overlay);
  if (nodes.length === 0) {
    throw new Failure(
      EXIT.failed,
      "no node or gateway of this contract says where it can be dialled: nothing to connect to",
    );
  }
  const exit = wanted.exit === undefined ? undefined : dialled(view, nodes, wanted.exit);
  if (wanted.exit !== undefined && exit?.role !== "gateway") {
    throw new Failure(EXIT.failed, `${shown(wanted.exit)} is no gateway that can be dialled: see dstack-vpn list`);
  }
  const proxy = proxyOf(view, nodes, exit, wanted, settings.proxyPort);
  return {
    mark: `${headLine(membership)}\n`,
    text: (key) => memberConf(membership, key, nodes, { exit: exit?.tokenId, dns: wanted.dns, proxy }),
  };
}

function proxyOf(
  view: ChainView,
  nodes: readonly Admitted[],
  exit: Admitted | undefined,
  { proxy, via }: Wanted,
  port: number,
): Detour | undefined {
  if (proxy === undefined) {
    if (via !== undefined) throw new Failure(EXIT.usage, "--via needs --proxy");
    return undefined;
  }
  const primary = primaryGateway(nodes);
  const first = nodes.toSorted((a, b) => (a.tokenId < b.tokenId ? -1 : 1))[0];
  const usual = exit ?? nodes.find(({ tokenId }) => tokenId === primary) ?? first;
  const node = via === undefined ? usual : dialled(view, nodes, via);
  if (node?.endpoint === undefined) {
    throw new Failure(EXIT.failed, `${shown(via ?? "")} is no node that can be dialled: see dstack-vpn list`);
  }
  if (exit !== undefined && exit !== node) {
    throw new Failure(EXIT.usage, "--exit and --via name different nodes: by proxy there is only one");
  }
  const address = proxy === true ? { host: node.endpoint.host, port } : proxy;
  if (exit !== undefined && isIP(address.host) === 0) {
    throw new Failure(
      EXIT.usage,
      `with --exit the way to the proxy stays outside the tunnel: name its IP address, as in --proxy 192.0.2.1:${address.port}`,
    );
  }
  return { node, address };
}

/** By name or number; a name may consist of digits, and counts first. */
function dialled({ registry }: ChainView, nodes: readonly Admitted[], text: string): Admitted | undefined {
  const id = named(registry, text)[0]?.id ?? parseTokenId(text);
  return nodes.find(({ tokenId }) => tokenId === id);
}

/** As it stands where the terminal is wide enough, else without its comments, which no app reads. */
export function showQrCode(text: string): void {
  // Where there is no terminal, or one that does not know its size, neither is told.
  const columns = process.stdout.columns || Number.POSITIVE_INFINITY;
  const rows = process.stdout.rows || Number.POSITIVE_INFINITY;
  const whole = qrCode(text);
  const code = widthOf(whole) <= columns ? whole : qrCode(text.replace(/^#.*\n/gm, ""));
  print(code);
  const [wide, high] = [widthOf(code), code.split("\n").length];
  if (wide <= columns && high < rows) return;
  remark(`the code takes ${wide} columns and ${high} lines of this terminal: enlarge it, or make its letters smaller`);
}

const widthOf = (code: string) => code.indexOf("\n");

function qrCode(text: string): string {
  try {
    return renderUnicodeCompact(text, { ecc: "L" });
  } catch (cause) {
    // 2,953 bytes, ISO/IEC 18004.
    throw new Failure(EXIT.failed, "the configuration is too long for a QR code: use --out", { cause });
  }
}
