import { Command } from "commander";
import { PrivateKey } from "../model.ts";
import { print } from "./output.ts";
import { createFile } from "./own-files.ts";

export function keysCommand(): Command {
  return new Command("keys")
    .description("make a WireGuard key pair: the private key alone goes to a file, the public key is printed")
    .requiredOption("--out <file>", "where the private key goes, 0600; never over a file that is there")
    .addHelpText("after", "\nExample: dstack-vpn keys --out phone.key")
    .action(({ out }: { out: string }) => {
      const key = PrivateKey.generate();
      createFile(out, `${key.reveal()}\n`);
      print(key.publicKey);
    });
}
