#!/usr/bin/env node
/** `dstack-vpn`: what operators and holders type. Every command is a file beside this one. */
import { Command } from "commander";
import { agentCommands } from "./agents.ts";
import { backupCommand } from "./backup.ts";
import { checkCommand } from "./check.ts";
import { configCommand } from "./config-command.ts";
import { deployCommand } from "./deploy.ts";
import { discreet, refuseSecrets } from "./discreet.ts";
import { doctorCommand } from "./doctor.ts";
import { EXIT, EXIT_CODES, ending } from "./failure.ts";
import { grantCommands } from "./grants.ts";
import { joinCommand } from "./join.ts";
import { keysCommand } from "./keys.ts";
import { remark } from "./output.ts";
import { acceptCommand } from "./ownership.ts";
import { tokenCommands } from "./tokens.ts";

const program = new Command("dstack-vpn")
  .description(
    "A WireGuard VPN whose access list is a smart contract: give and take access, read the chain, run nodes.",
  )
  .addHelpText(
    "after",
    `\nSettings come from the environment, as in env.example: NETWORK, RPC_URL, CONTRACT_ADDRESS.\n${EXIT_CODES}`,
  );

const output = { outputError: (message: string, write: (text: string) => void) => write(discreet(message)) };

for (const command of [
  keysCommand(),
  deployCommand(),
  ...grantCommands(),
  acceptCommand(),
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
  program.addCommand(
    command.configureOutput(output).exitOverride().addHelpText("after", EXIT_CODES).showHelpAfterError("(see --help)"),
  );
}
program.configureOutput(output).exitOverride().showHelpAfterError("(see --help)");

// A reader that has seen enough, `head` for one, is no failure.
process.stdout.on("error", ({ code }: NodeJS.ErrnoException) => {
  if (code === "EPIPE") process.exit(EXIT.ok);
  remark(`the output cannot be written (${code})`);
  process.exit(EXIT.failed);
});
try {
  refuseSecrets(process.argv.slice(2));
  await program.parseAsync();
} catch (error) {
  const { exit, text } = ending(error);
  if (text !== "") remark(text);
  process.exitCode = exit;
}
