/** The log: JSON lines on stdout, an event's name plus fields, never a sentence made of values. */
import { pino } from "pino";
import { createOutput } from "./output.ts";
import { ascii, printable } from "./printable.ts";

export type Level = "fatal" | "error" | "warn" | "info" | "debug" | "trace";
/** `log.info({ block, removed }, "pass.applied")`: fields, then the event's name, which is always one of ours. */
export type Write = (fields: Readonly<Record<string, unknown>>, event: string) => void;

export interface Log extends Readonly<Record<Level, Write>> {
  /** Resolves when every line is written, or after a second if nobody reads them. To be awaited before any exit. */
  flush(): Promise<void>;
}

export interface LogOptions {
  readonly level: Level;
  /** In every line, if given. */
  readonly nodeId?: string;
  /** Where the lines go: a file descriptor, standard output if left out. */
  readonly fd?: number;
}

/** What waits for a reader that has stopped reading; beyond it lines are dropped, and revokes go on. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;

export function createLog({ level, nodeId, fd = 1 }: LogOptions): Log {
  const output = createOutput(fd, MAX_WAITING_BYTES, (lines) => {
    return `${JSON.stringify({ level: "warn", time: new Date().toISOString(), lines, event: "log.lines-dropped" })}\n`;
  });
  const logger = pino(
    {
      level,
      base: nodeId === undefined ? null : { node: nodeId },
      messageKey: "event",
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: {
        level: (label) => ({ level: label }),
        log: (fields) => unreserved(printable(fields) as Readonly<Record<string, unknown>>),
      },
      // pino would print errors with stack and every property; `printable` has seen them before it can.
      serializers: { err: (value: unknown) => value, error: (value: unknown) => value },
    },
    { write: (line: string) => output.write(ascii(line)) },
  );
  const write =
    (at: Level): Write =>
    (fields, event) =>
      logger[at](fields, event);
  return {
    ...{ fatal: write("fatal"), error: write("error"), warn: write("warn") },
    ...{ info: write("info"), debug: write("debug"), trace: write("trace") },
    flush: () => output.flush(1_000),
  };
}

const RESERVED: readonly string[] = ["level", "time", "node", "event"];

/** No field may pass for the line's own level, time or event. */
function unreserved(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [RESERVED.includes(name) ? `${name}_` : name, value]),
  );
}
