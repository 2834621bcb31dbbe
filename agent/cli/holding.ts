/** How one token stands: whether its holder has access, and if not why and what to do. Pure. */
import { getAddress as checksummed } from "ethers/address";
import type { PublicKey, Refusal, Token, TokenId } from "../model.ts";
import { claimants, token } from "../registry/registry.ts";
import type { Verdict } from "../registry/roster.ts";
import type { ChainView } from "./chain-view.ts";
import { why } from "./tokens.ts";

/** One thing that was looked at. `unknown` is no reason against access, and none for it. */
export interface Finding {
  readonly about: "token" | "key" | "address" | "node" | "clock" | "chain";
  readonly state: "ok" | "bad" | "unknown";
  /** A refusal of the nodes, or a word of our own; for scripts. */
  readonly code: string;
  readonly says: string;
  readonly mend?: string;
}

/** @param own the key that the holder has; undefined where no file was named */
export function standing(view: ChainView, id: TokenId, own: PublicKey | undefined): Finding[] {
  const known = token(view.registry, id);
  if (known?.grantedAt === undefined) {
    const mend = "compare the number with your grant, and NETWORK and CONTRACT_ADDRESS with your provider's";
    return [{ about: "token", state: "bad", code: "no-token", says: `there is no token ${id}`, mend }];
  }
  if (!known.active) {
    const says = `token ${id} is revoked, for good`;
    return [{ about: "token", state: "bad", code: "inactive", says, mend: "ask the contract's owner for a new one" }];
  }
  const found: Finding = {
    ...{ about: "token", state: "ok", code: "active" },
    says: `token ${id} is active and belongs to ${checksummed(known.owner)}`,
  };
  const verdict = view.roster.verdict(id);
  const keyed = keyFindings(view, known, verdict, own);
  return [found, ...keyed];
}

function keyFindings(view: ChainView, known: Token, verdict: Verdict, own: PublicKey | undefined): Finding[] {
  const { id, claim } = known;
  const findings: Finding[] = [];
  if (own !== undefined && claim !== undefined && claim.key !== own) {
    const says = `token ${id} has another key than your file, whose public key is ${own}`;
    const mend = `use the file of the token's key, or register yours: ${join(id)}`;
    findings.push({ about: "key", state: "bad", code: "key.differs", says, mend });
  } else if (own !== undefined && claim !== undefined) {
    findings.push({ about: "key", state: "ok", code: "key.same", says: "your file holds the token's key" });
  }
  if (verdict === "admitted" || verdict === "self") {
    findings.push({ about: "key", state: "ok", code: "admitted", says: "the nodes admit the token with its key" });
  } else findings.push(refused(view, known, verdict));
  return findings;
}

function refused(view: ChainView, known: Token, verdict: Refusal): Finding {
  const about = verdict.startsWith("address") ? "address" : verdict.startsWith("key") ? "key" : "token";
  const { says, mend } = words(view, known, verdict);
  // What only time has to settle is no "no".
  const isPending = verdict === "grant.unconfirmed" || verdict === "key.unread";
  return { about, state: isPending ? "unknown" : "bad", code: verdict, says, mend };
}

function words(view: ChainView, { id, claim, transferredAt }: Token, verdict: Refusal) {
  const anew = `make a new key with dstack-vpn keys, and register it: ${join(id)}`;
  switch (verdict) {
    case "key.missing":
      return {
        says:
          transferredAt === undefined
            ? `token ${id} has no key yet`
            : `token ${id} changed hands in block ${transferredAt.block}, and its new owner has registered no key since`,
        mend: `register yours: ${join(id)}`,
      };
    case "key.claimed": {
      const first = claimants(view.registry, claim?.key ?? "").find((each) => each.id !== id);
      const whose = first === undefined ? "another token" : `token ${first.id}`;
      return {
        says: `${whose} has the same key, and set it first or set it again: a key serves one token`,
        mend: anew,
      };
    }
    case "key.malformed":
    case "key.weak":
    case "key.own":
      return { says: `the nodes refuse the key of token ${id} (${verdict})`, mend: anew };
    default: {
      const [says = "", ...mends] = why(verdict).split("; ");
      return { says: `${verdict}: ${says}`, mend: mends.join("; ") || "ask whoever runs the nodes" };
    }
  }
}

const join = (id: TokenId) => `dstack-vpn join --token ${id} --key-file FILE`;

/** The whole in one word: access as far as could be seen, none, or not to be told. */
export function conclusion(findings: readonly Finding[]): "works" | "no-access" | "unknown" {
  if (findings.some(({ state }) => state === "bad")) return "no-access";
  return findings.some(({ state }) => state === "unknown") ? "unknown" : "works";
}
