/** What the chain said, as lines of the journal. Texts from the chain go in as fields, never into a sentence. */
import type { AccessEvent, Advance, TokenId } from "./model.ts";

export interface Line {
  readonly kind:
    | "grant"
    | "revoke"
    | "transfer"
    | "key-update"
    | "role"
    | "endpoint"
    | "audit-repair"
    | "invalid-log"
    | "reorg";
  readonly fields: Readonly<Record<string, string | number>>;
}

/** The newest `limit` lines of one step, in the chain's order: a journal is for people, and bounded. */
export function narrate(step: Advance, nameOf: (id: TokenId) => string | undefined, limit: number): Line[] {
  switch (step.kind) {
    case "history":
    case "extend":
      return step.events.slice(-limit).flatMap((event) => line(event, nameOf));
    case "finalise":
      return step.missed.slice(-limit).flatMap((event) => line(event, nameOf));
    case "rewind":
      return [{ kind: "reorg", fields: { block: step.to.number } }];
  }
}

export function line(event: AccessEvent, nameOf: (id: TokenId) => string | undefined): Line[] {
  const about = (tokenId: TokenId, nodeId = nameOf(tokenId)) => ({
    block: event.at.block,
    tokenId: String(tokenId),
    ...(nodeId === undefined ? {} : { nodeId }),
  });
  switch (event.kind) {
    case "grant":
      return [{ kind: "grant", fields: { ...about(event.tokenId, event.nodeId), owner: event.owner } }];
    case "revoke":
      return [{ kind: "revoke", fields: about(event.tokenId) }];
    case "transfer":
      // A mint's own Transfer repeats the grant.
      if (/^0x0+$/.test(event.from)) return [];
      return [{ kind: "transfer", fields: { ...about(event.tokenId), from: event.from, to: event.to } }];
    case "key-update":
    case "key-read":
      return [{ kind: "key-update", fields: about(event.tokenId) }];
    case "role":
      return [{ kind: "role", fields: { ...about(event.tokenId), role: event.role } }];
    case "endpoint":
      return [{ kind: "endpoint", fields: { ...about(event.tokenId), endpoint: event.endpoint } }];
    case "observed":
      return [{ kind: "audit-repair", fields: { ...about(event.tokenId), state: event.state.kind } }];
    case "invalid":
      return [{ kind: "invalid-log", fields: { block: event.at.block, reason: event.reason } }];
    case "owner-key-update":
      return []; // told when the key-read settles which token it was
  }
}
