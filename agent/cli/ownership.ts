/** `accept-ownership`: the second step of `transfer-ownership`, by whoever was offered the contract. */
import type { Command } from "commander";
import { type Shape, write, writing } from "./writing.ts";

export function acceptCommand(): Command {
  return writing("accept-ownership", "become the contract's owner, as its present one has offered (you sign)")
    .addHelpText("after", "\nExample: dstack-vpn accept-ownership --keystore wallet.json")
    .action((typed: Shape) => write(typed, "acceptOwnership", []));
}
