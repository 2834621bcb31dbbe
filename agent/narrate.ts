/** What the chain said, as lines of the journal. Texts from the chain go in as fields, never into a sentence. */
import type { AccessEvent, TokenId } from "./model.ts";

export interface Line {
  readonly kind: "grant" | "revoke" | "transfer" | "key-update" | "role" | "endpoint" | "audit-repair" | "invalid-log";
  readonly fields: Readonly<Record<string, string | number>>;
}

type NameOf = (id: TokenId) => string | undefined;

/** The lines of the newest `limit` events, in the chain's order: a journal is for people, and bounded. */
export function narrate(events: readonly AccessEvent[], nameOf: NameOf, limit: number): Line[] {
  return events.slice(-limit).flatMap((event) => line(event, nameOf));
}

function line(event: AccessEvent, nameOf: NameOf): Line[] {
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
