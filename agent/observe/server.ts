/** The room's door: what the last pass left behind, over HTTP. A closed surface: what is not asked for by name is refused. */
import type { Secret } from "../model.ts";
import type { Now, Snapshot } from "./health.ts";
import type { Journal } from "./journal.ts";
import type { Metrics } from "./metrics.ts";

export interface ServeOptions {
  readonly host: string;
  /** 0 for any free one. */
  readonly port: number;
  readonly allowedHosts: readonly string[];
  readonly corsOrigins: readonly string[];
  readonly adminToken: Secret | undefined;
  /** What /config shows: `publicSettings(settings)`. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly snapshot: () => Snapshot;
  readonly journal: Pick<Journal, "after">;
  readonly metrics: Pick<Metrics, "render" | "totals">;
  /** Connections that arrive at such a local address are closed at once. */
  readonly isOverlayAddress: (ip: string) => boolean;
  /** What an administrator may start; an AgentError becomes a 4xx or 5xx with its code and sentence. The result is the answer's body. */
  readonly actions: {
    resync(): Promise<Readonly<Record<string, unknown>>>;
    /** Undefined: the generation before the present one. */
    rollback(generation: number | undefined): Promise<Readonly<Record<string, unknown>>>;
  };
  readonly now?: () => Now;
  /** Told of what went wrong inside, which an answer never shows. */
  readonly onError?: (error: unknown) => void;
}

/** @throws AgentError http.port-in-use */
export async function serve(_options: ServeOptions): Promise<{ port: number; close: () => Promise<void> }> {
  throw new Error("not yet");
}
