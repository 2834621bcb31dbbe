/**
 * Whom an audit took by the state alone: an upstream that answered wrongly for a moment must not keep them out for good, and
 * a restart would forget that no log has revoked them. Saved in one transaction with the ledger.
 */
import type { Agent, Parts } from "./agent.ts";
import { parseTokenId, type TokenId } from "./model.ts";
import { noted, rowsIn } from "./notes.ts";
import { token } from "./registry/registry.ts";

/** What the database has to learn together with the ledger. */
export function auditedNote({ auditedOut, ledger, store }: Agent): Record<string, string> {
  const out = [...auditedOut].filter((id) => token(ledger.registry, id)?.active === false);
  const text = out.length === 0 ? "" : JSON.stringify(out.map((id) => [String(id)]));
  return noted(store, NOTE, text);
}

/** As the agent before us left it. */
export function auditedBefore({ store }: Pick<Parts, "store">): Set<TokenId> {
  return new Set(rowsIn(store.note(NOTE)).flatMap(([text]) => parseTokenId(String(text)) ?? []));
}

const NOTE = "auditedOut";
