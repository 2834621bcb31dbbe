import { Command } from "commander";
import { PrivateKey } from "../model.ts";
import { print, printJson } from "./output.ts";
import { createFile } from "./own-files.ts";

export function keysCommand(): Command {
  return new Command("keys")
    .description("make a WireGuard key pair: the private key alone goes to a file, the public key is printed")
    .requiredOption("--out <file>", "where the private key goes, 0600; never over a file that is there")
    .option("--json", "print JSON: the public key and the file")
    .addHelpText("after", "\nExample: dstack-vpn keys --out phone.key")
    .action(({ out, json }: { out: string; json?: true }) => {
      const key = PrivateKey.generate();
      createFile(out, `${key.reveal()}\n`);
      if (json) printJson({ publicKey: key.publicKey, out });
      else print(key.publicKey);
    });
}
