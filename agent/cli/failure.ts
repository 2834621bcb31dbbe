/** How a command ends badly: one sentence for the person at the terminal, one number for the script. */
import { CommanderError } from "commander";
import { RpcError } from "../chain/rpc.ts";
import { AgentError, type Fault, type FaultCode } from "../errors.ts";
import { scrub } from "../observe/printable.ts";
import { withChecksums } from "./output.ts";

/** The last two are EX_UNAVAILABLE and EX_CONFIG of sysexits.h. */
export const EXIT = { ok: 0, failed: 1, usage: 2, unreachable: 69, settings: 78 } as const;
export type Exit = (typeof EXIT)[keyof typeof EXIT];

export const EXIT_CODES =
  "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 69 the chain or the agent does not answer, 78 wrong settings.";

/** Its message is for the person who typed the command, and names no secret. */
export class Failure extends Error {
  readonly exit: Exit;
  constructor(exit: Exit, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.exit = exit;
  }
}

/** Every mistake in the settings at once. */
export function wrongSettings(mistakes: readonly Fault[]): Failure {
  return new Failure(EXIT.settings, mistakes.map((fault) => new AgentError(fault).message).join("\n"));
}

/** What to tell of whatever was thrown; an empty text has been told already. */
export function ending(error: unknown): { readonly exit: Exit; readonly text: string } {
  if (error instanceof Failure) return { exit: error.exit, text: error.message };
  // Commander writes its own sentence before it throws.
  if (error instanceof CommanderError) return { exit: error.exitCode === 0 ? EXIT.ok : EXIT.usage, text: "" };
  if (error instanceof AgentError) return { exit: exitOf(error.fault.code), text: withChecksums(error.message) };
  if (error instanceof RpcError) {
    return { exit: EXIT.unreachable, text: `the chain's upstream refuses to answer: ${error.message}` };
  }
  return { exit: EXIT.failed, text: `unexpected: ${scrub(error instanceof Error ? error.message : String(error))}` };
}

function exitOf(code: FaultCode): Exit {
  switch (code) {
    case "chain.unreachable":
    case "chain.request-failed":
    case "chain.reply-refused":
      return EXIT.unreachable;
    case "chain.wrong-network":
    case "chain.other-genesis":
    case "chain.no-contract":
    case "chain.no-start-block":
    case "chain.before-start":
    case "config.invalid":
      return EXIT.settings;
    default:
      return EXIT.failed;
  }
}
