/** Pure: what one upstream tells of the past, held against the registry that was folded from another one's telling. */
import {
  type AccessEvent,
  AFTER_LOGS,
  comparePositions,
  type Position,
  type Token,
  type TokenId,
  ZERO_ADDRESS,
} from "../model.ts";
import { ownedBy, type Registry, token, tokens } from "./registry.ts";

/** The tokens that are as they are in spite of this event: whoever told us left it out, or it is made up. */
export function against(registry: Registry, event: AccessEvent): TokenId[] {
  const { at } = event;
  const isAfter = (earlier: Position | undefined) => earlier === undefined || comparePositions(earlier, at) < 0;
  const hasOther = ({ claim }: Token, key: string) => claim !== undefined && claim.key !== key && isAfter(claim.at);
  if (event.kind === "owner-key-update") {
    const { owner, key } = event;
    return ownedBy(registry, owner).flatMap((one) => (hasOther(one, key) ? one.id : []));
  }
  const known = "tokenId" in event ? token(registry, event.tokenId) : undefined;
  if (!known?.active) return [];
  switch (event.kind) {
    case "revoke":
      return isAfter(known.grantedAt) ? [known.id] : [];
    case "transfer": {
      // Burnt, it is back by a grant alone.
      const isSince = isAfter(known.grantedAt) && (event.to === ZERO_ADDRESS || isAfter(known.transferredAt));
      return event.to !== known.owner && isSince ? [known.id] : [];
    }
    case "grant":
    case "key-update":
      return hasOther(known, event.key) ? [known.id] : [];
    default:
      return [];
  }
}

/** The active tokens whose key was set in these blocks, by what logs said. */
export function claimedWithin(registry: Registry, from: number, to: number): Map<TokenId, Token> {
  const isWithin = ({ active, claim }: Token) =>
    active && claim !== undefined && claim.at.block >= from && claim.at.block <= to && claim.at.logIndex !== AFTER_LOGS;
  return new Map(tokens(registry).flatMap((one) => (isWithin(one) ? [[one.id, one]] : [])));
}

/** Takes out of `open` whose key this event has set. */
export function confirm(open: Map<TokenId, Token>, registry: Registry, event: AccessEvent): void {
  const isIt = ({ claim }: Token, key: string) => claim?.key === key && comparePositions(claim.at, event.at) === 0;
  if (event.kind === "owner-key-update") {
    for (const one of ownedBy(registry, event.owner)) if (isIt(one, event.key)) open.delete(one.id);
  } else if (event.kind === "grant" || event.kind === "key-update") {
    const one = open.get(event.tokenId);
    if (one !== undefined && isIt(one, event.key)) open.delete(one.id);
  }
}
