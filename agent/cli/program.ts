/** Every command of `dstack-vpn`, each from the file that does it, and the manners that they share. */
import { Command } from "commander";
import { agentCommands } from "./agents.ts";
import { backupCommand } from "./backup.ts";
import { checkCommand } from "./check.ts";
import { configCommand } from "./config-command.ts";
import { deployCommand } from "./deploy.ts";
import { discreet } from "./discreet.ts";
import { doctorCommand } from "./doctor.ts";
import { EXIT_CODES } from "./failure.ts";
import { grantCommands } from "./grants.ts";
import { joinCommand } from "./join.ts";
import { keysCommand } from "./keys.ts";
import { ownershipCommands } from "./ownership.ts";
import { tokenCommands } from "./tokens.ts";

export function program(): Command {
  const root = new Command("dstack-vpn")
    .description(
      "A WireGuard VPN whose access list is a smart contract: give and take access, read the chain, run nodes.",
    )
    .addHelpText(
      "after",
      `\nSettings come from the environment, as in env.example: NETWORK, RPC_URL, CONTRACT_ADDRESS.\n${EXIT_CODES}`,
    );
  for (const command of [
    keysCommand(),
    deployCommand(),
    ...grantCommands(),
    ...ownershipCommands(),
    ...tokenCommands(),
    configCommand(),
    joinCommand(),
    checkCommand(),
    ...agentCommands(),
    backupCommand(),
    doctorCommand(),
  ]) {
    // What sub-commands inherit is settled when they are made, and these were made before.
    for (const each of command.commands) each.configureOutput(output);
    root.addCommand(
      command
        .configureOutput(output)
        .exitOverride()
        .addHelpText("after", EXIT_CODES)
        .showHelpAfterError("(see --help)"),
    );
  }
  return root.configureOutput(output).exitOverride().showHelpAfterError("(see --help)");
}

const output = { outputError: (message: string, write: (text: string) => void) => write(discreet(message)) };
