/** The log: JSON lines on stdout, an event name plus fields. */
import { pino } from "pino";

export type Level = "fatal" | "error" | "warn" | "info" | "debug" | "trace";
/** `log.info({ block, removed }, "pass.applied")`: fields, then the event's name. Never a sentence. */
export type Write = (fields: Readonly<Record<string, unknown>>, event: string) => void;
export interface Log extends Readonly<Record<Level, Write>> {
  /** Resolves when every line is written, or after a second if nobody reads them. Call before exiting. */
  flush(): Promise<void>;
}
export function createLog(_options: { level: Level; node?: string; write?: (line: string) => void }): Log {
  return pino() as unknown as Log;
}
