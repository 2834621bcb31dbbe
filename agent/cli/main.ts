#!/usr/bin/env node
/** `dstack-vpn`: what operators and holders type. */
import { refuseSecrets } from "./discreet.ts";
import { EXIT, ending } from "./failure.ts";
import { remark } from "./output.ts";
import { program } from "./program.ts";

// A reader that has seen enough, `head` for one, is no failure.
process.stdout.on("error", ({ code }: NodeJS.ErrnoException) => {
  if (code === "EPIPE") process.exit(EXIT.ok);
  remark(`the output cannot be written (${code})`);
  process.exit(EXIT.failed);
});
try {
  refuseSecrets(process.argv.slice(2));
  await program().parseAsync();
} catch (error) {
  const { exit, text } = ending(error);
  if (text !== "") remark(text);
  process.exitCode = exit;
}
