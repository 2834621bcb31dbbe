/** Whose key signs: one from the environment or a file, or an encrypted JSON keystore (version 3) and its passphrase. */
import type { Command } from "commander";
import { isKeystoreJson, Wallet } from "ethers/wallet";
import { Secret } from "../model.ts";
import { EXIT, Failure } from "./failure.ts";
import { remark } from "./output.ts";
import { readText } from "./own-files.ts";
import { signingKey } from "./settings.ts";
import { askPassphrase } from "./terminal.ts";

export interface Signing {
  readonly keystore?: string;
  readonly passphraseFile?: string;
}

/** The key as 0x and 64 hex digits; asks for a passphrase where it must. @throws Failure */
export type Unlock = () => Promise<Secret>;

export function signs(command: Command): Command {
  return command
    .option("--keystore <file>", "sign with this encrypted JSON keystore (v3); asks for its passphrase")
    .option("--passphrase-file <file>", "the keystore's passphrase, where there is no terminal to ask at")
    .addHelpText(
      "after",
      "\nSigns with --keystore, CONTRACT_PRIVATE_KEY_FILE or CONTRACT_PRIVATE_KEY; without one, prints the transaction to sign elsewhere.",
    );
}

/** Undefined where nobody is to sign here. @throws Failure what can be seen to be wrong before anything is asked */
export function signer({ keystore, passphraseFile }: Signing, environment: NodeJS.ProcessEnv): Unlock | undefined {
  const key = signingKey(environment);
  if (keystore === undefined) {
    if (passphraseFile !== undefined) throw new Failure(EXIT.usage, "--passphrase-file needs --keystore");
    return key === undefined ? undefined : async () => key;
  }
  if (key !== undefined) {
    throw new Failure(EXIT.settings, "CONTRACT_PRIVATE_KEY is set together with --keystore: keep one of them");
  }
  const json = readText(keystore);
  if (!isKeystoreJson(json)) throw new Failure(EXIT.failed, `${keystore} is no encrypted JSON keystore of version 3`);
  const given = passphraseFile === undefined ? undefined : new Secret(readText(passphraseFile).replace(/\r?\n$/, ""));
  return async () => unlocked(keystore, json, given ?? (await askPassphrase(`Passphrase of ${keystore}: `)));
}

async function unlocked(path: string, json: string, passphrase: Secret): Promise<Secret> {
  remark(`unlocking ${path}, which takes some seconds`);
  let told = 0;
  const tell = (part: number) => {
    const percent = Math.floor(part * 4) * 25;
    if (percent <= told || percent >= 100) return;
    told = percent;
    remark(`unlocking: ${percent} %`);
  };
  try {
    const wallet = await Wallet.fromEncryptedJson(json, passphrase.reveal(), tell);
    return new Secret(wallet.privateKey);
  } catch (error) {
    // Its message may quote what it was given, and is not passed on.
    const isWrong = error instanceof Error && /incorrect password/i.test(error.message);
    const why = isWrong ? "the passphrase does not open it" : "it is damaged, or made in a way that is not understood";
    throw new Failure(EXIT.failed, `${path} stays locked: ${why}`);
  }
}
