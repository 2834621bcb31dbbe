/** `config`: from a token and its key file to a file that any WireGuard app reads. */
import { Command } from "commander";
import { getAddress as checksummed } from "ethers/address";
import { renderUnicodeCompact } from "uqr";
import { type PrivateKey, parseTokenId, type TokenId } from "../model.ts";
import { named, token } from "../registry/registry.ts";
import { type ChainView, readChain } from "./chain-view.ts";
import { EXIT, Failure } from "./failure.ts";
import { dialable, MARK, type Membership, memberConf } from "./member-conf.ts";
import { print, remark, shown } from "./output.ts";
import { readKey, replaceFile } from "./own-files.ts";
import { chainSettings } from "./settings.ts";
import { why } from "./tokens.ts";
import { typedIp, typedToken } from "./typed.ts";

interface Typed {
  readonly token: TokenId;
  readonly keyFile: string;
  readonly exit?: string;
  readonly dns?: string;
  readonly qr?: true;
  readonly out?: string;
}

export function configCommand(): Command {
  return new Command("config")
    .description("compute the WireGuard configuration of a token's holder, for any app on any device")
    .requiredOption("--token <id>", "the token's number", typedToken)
    .requiredOption("--key-file <file>", "the private key of the token's public key, as keys --out made it")
    .option("--exit <gateway>", "send all traffic through this gateway (its name or number), not only the VPN's")
    .option("--dns <address>", "the name server to use while connected; none without it", typedIp)
    .option("--qr", "show it as a QR code for a phone, private key included")
    .option("--out <file>", "write it, private key included, 0600; only over an earlier configuration of ours")
    .addHelpText("after", "\nWithout --qr and --out it is printed for reading, without the private key.")
    .addHelpText("after", "\nExample: dstack-vpn config --token 3 --key-file phone.key --out dstack.conf")
    .action(config);
}

async function config(typed: Typed): Promise<void> {
  const settings = chainSettings(process.env);
  const key = readKey(typed.keyFile);
  const view = await readChain(settings);
  checkHolder(view, typed, key);
  const { chainId } = settings;
  const contract = checksummed(settings.contract);
  const { overlay, block } = view;
  const addresses = view.addressesOf(typed.token);
  const membership: Membership = { tokenId: typed.token, addresses, chainId, contract, block, overlay };
  const nodes = dialable(view.roster.everybody(), typed.token, overlay);
  if (nodes.length === 0) {
    throw new Failure(
      EXIT.failed,
      "no node or gateway of this contract says where it can be dialled: nothing to connect to",
    );
  }
  const exit = typed.exit === undefined ? undefined : gatewayNamed(view, typed.exit);
  if (typed.exit !== undefined && !nodes.some(({ tokenId, role }) => tokenId === exit && role === "gateway")) {
    throw new Failure(EXIT.failed, `${shown(typed.exit)} is no gateway that can be dialled: see dstack-vpn list`);
  }
  const render = (shownKey: PrivateKey | undefined) =>
    memberConf(membership, shownKey, nodes, { exit, dns: typed.dns });
  if (typed.qr) print(qrCode(render(key)));
  if (typed.out !== undefined) {
    replaceFile(typed.out, render(key), MARK);
    remark(`wrote ${typed.out}`);
  } else if (!typed.qr) process.stdout.write(render(undefined));
}

/** @throws Failure unless the key in the file is the one that the token has, and the nodes admit it */
function checkHolder({ registry, roster }: ChainView, { token: id, keyFile }: Typed, key: PrivateKey): void {
  const known = token(registry, id);
  if (known?.grantedAt === undefined) throw new Failure(EXIT.failed, `there is no token ${id}`);
  const verdict = roster.verdict(id);
  // Whoever is to set a key is told which; a public key is no secret.
  const setKey = `dstack-vpn set-key --token ${id} --key ${key.publicKey}`;
  if (known.active && known.claim?.key !== key.publicKey) {
    throw new Failure(EXIT.failed, `token ${id} has another key than ${keyFile}; if it is yours: ${setKey}`);
  }
  if (verdict !== "admitted" && verdict !== "self") {
    throw new Failure(EXIT.failed, `the nodes do not admit token ${id} (${verdict}): ${why(verdict)}`);
  }
}

function gatewayNamed({ registry }: ChainView, text: string): TokenId | undefined {
  return named(registry, text)[0]?.id ?? parseTokenId(text);
}

function qrCode(text: string): string {
  try {
    return renderUnicodeCompact(text, { ecc: "L" });
  } catch (cause) {
    // 2,953 bytes, ISO/IEC 18004.
    throw new Failure(EXIT.failed, "the configuration is too long for a QR code: use --out", { cause });
  }
}
