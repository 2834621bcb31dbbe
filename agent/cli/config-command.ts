/** `config`: from a token and its key file to a file that any WireGuard app reads. */
import { Command, Option } from "commander";
import type { PrivateKey } from "../model.ts";
import { token } from "../registry/registry.ts";
import { type ChainView, readChain } from "./chain-view.ts";
import { EXIT, Failure } from "./failure.ts";
import { holderConf, showQrCode, type Wanted, wishes } from "./holder-conf.ts";
import { printJson, remark } from "./output.ts";
import { readKey, replaceFile } from "./own-files.ts";
import { chainSettings } from "./settings.ts";
import { why } from "./tokens.ts";

interface Typed extends Wanted {
  readonly qr?: true;
  readonly out?: string;
  readonly json?: true;
}

export function configCommand(): Command {
  const command = new Command("config").description(
    "compute the WireGuard configuration of a token's holder, for any app on any device",
  );
  return wishes(command)
    .addOption(new Option("--qr", "show it as a QR code for a phone, private key included").conflicts("json"))
    .option("--out <file>", "write it, private key included, 0600; only over an earlier one of this token")
    .option("--json", "print JSON: the configuration without its private key, and the block it was computed at")
    .addHelpText("after", "\nWithout --qr and --out it is printed for reading, without the private key.")
    .addHelpText(
      "after",
      `
Example: dstack-vpn config --token 3 --key-file phone.key --out dstack.conf
         dstack-vpn config --token 3 --key-file phone.key --exit gate --dns 9.9.9.9 --qr
         dstack-vpn config --token 3 --key-file phone.key --proxy 192.0.2.1:5001 --out dstack.conf`,
    )
    .action(config);
}

async function config(typed: Typed): Promise<void> {
  const settings = chainSettings(process.env);
  const key = readKey(typed.keyFile);
  const view = await readChain(settings);
  checkHolder(view, typed, key);
  const conf = holderConf(view, settings, typed);
  if (typed.qr) showQrCode(conf.text(key));
  if (typed.out !== undefined) {
    replaceFile(typed.out, conf.text(key), conf.mark);
    remark(`wrote ${typed.out}`);
  }
  if (typed.json) printJson({ block: view.block, config: conf.text(undefined), out: typed.out ?? null });
  else if (typed.out === undefined && !typed.qr) process.stdout.write(conf.text(undefined));
}

/** @throws Failure unless the key in the file is the one that the token has, and the nodes admit it */
function checkHolder({ registry, roster }: ChainView, { token: id, keyFile }: Wanted, key: PrivateKey): void {
  const known = token(registry, id);
  if (known?.grantedAt === undefined) throw new Failure(EXIT.failed, `there is no token ${id}`);
  const verdict = roster.verdict(id);
  // Whoever is to set a key is told which; a public key is no secret.
  const setKey = `dstack-vpn set-key --token ${id} --key ${key.publicKey}`;
  if (known.active && !known.claim?.key) {
    throw new Failure(EXIT.failed, `token ${id} has no key registered; if it is yours, register this one: ${setKey}`);
  }
  if (known.active && known.claim?.key !== key.publicKey) {
    throw new Failure(EXIT.failed, `token ${id} has another key than ${keyFile}; if it is yours: ${setKey}`);
  }
  if (verdict !== "admitted" && verdict !== "self") {
    throw new Failure(EXIT.failed, `the nodes do not admit token ${id} (${verdict}): ${why(verdict)}`);
  }
}
