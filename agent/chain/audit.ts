/**
 * The registry held against the contract's own state (DESIGN section 5, "Re-reading and audit"): what logs left out or
 * made up shows here. An audit may always remove; it adds only where told that it may, and never a key that the token
 * held before its last transfer, because plain contracts go on showing it.
 */
import {
  type Address,
  AFTER_LOGS,
  type BlockRef,
  type Observed,
  ROLES,
  type Token,
  type TokenId,
  type TokenState,
  ZERO_ADDRESS,
  ZERO_HASH,
} from "../model.ts";
import { type Call, callAll, type Reading } from "./calls.ts";
import { addressIn, LIMITS, textIn, UNREADABLE, wordIn } from "./events.ts";
import type { Rpc } from "./rpc.ts";

/** `getNodeAccess` and `ownerOf` after `block`. A token that is absent from the result was not proven either way. */
export async function readTokens(
  rpc: Rpc,
  contract: Address,
  ids: readonly TokenId[],
  block: BlockRef,
  signal: AbortSignal,
  reading: Reading = {},
): Promise<Map<TokenId, TokenState>> {
  const ask = (selector: string) => ids.map((id) => calling(contract, selector, id));
  const calls = [...ask(GET_NODE_ACCESS), ...ask(OWNER_OF)];
  const outcomes = await callAll(rpc, calls, block, { ...reading, signal });
  const states = ids.map((id, i): [TokenId, TokenState | undefined] => {
    const [access, owner] = [outcomes[i], outcomes[ids.length + i]];
    // A revert says that there is no such token; any other failure says nothing.
    if (access?.kind === "reverted" || owner?.kind === "reverted") return [id, { kind: "missing" }];
    return [id, access && owner && stateIn(access.data, owner.data)];
  });
  return new Map(states.filter((entry): entry is [TokenId, TokenState] => entry[1] !== undefined));
}

/** `getPublicKeyByTokenId` after `block`: empty for no key and for no token; absent where it was not told. */
export async function readKeys(
  rpc: Rpc,
  contract: Address,
  ids: readonly TokenId[],
  block: BlockRef,
  signal: AbortSignal,
  reading: Reading = {},
): Promise<Map<TokenId, string>> {
  const calls = ids.map((id) => calling(contract, GET_PUBLIC_KEY, id));
  const outcomes = await callAll(rpc, calls, block, { ...reading, signal });
  const keys = new Map<TokenId, string>();
  for (const [i, id] of ids.entries()) {
    const outcome = outcomes[i];
    const key = outcome?.kind === "returned" ? textIn(outcome.data, 0, LIMITS.key) : outcome && "";
    if (key !== undefined) keys.set(id, key);
  }
  return keys;
}

/**
 * Whether `getRole` and `getEndpoint` after `block` are as these tokens have them. A contract without such a view speaks
 * against nothing; a token that is absent from the result was not told of.
 */
export async function dutiesAgree(
  rpc: Rpc,
  contract: Address,
  tokens: readonly Pick<Token, "id" | "role" | "endpoint">[],
  block: BlockRef,
  signal: AbortSignal,
  reading: Reading,
): Promise<Map<TokenId, boolean>> {
  const ask = (selector: string) => tokens.map(({ id }) => calling(contract, selector, id));
  const outcomes = await callAll(rpc, [...ask(GET_ROLE), ...ask(GET_ENDPOINT)], block, { ...reading, signal });
  const words = new Map<TokenId, boolean>();
  for (const [i, { id, role, endpoint }] of tokens.entries()) {
    const [ofRole, ofEndpoint] = [outcomes[i], outcomes[tokens.length + i]];
    if (ofRole === undefined || ofEndpoint === undefined) continue;
    const toldRole = ofRole.kind === "returned" ? ROLES[wordIn(ofRole.data, 0) ?? -1] : undefined;
    const told = ofEndpoint.kind === "returned" ? textIn(ofEndpoint.data, 0, LIMITS.endpoint) : undefined;
    words.set(id, (toldRole ?? role) === role && (told ?? endpoint) === endpoint);
  }
  return words;
}

/**
 * Pure: what differs, as events after the logs of `block`. `tokens` must be the registry after that very block.
 * `mayAdd`: the block is final.
 */
export function compare(
  tokens: { get(id: TokenId): Token | undefined },
  states: ReadonlyMap<TokenId, TokenState>,
  block: BlockRef,
  mayAdd: boolean,
): Observed[] {
  const events: Observed[] = [];
  for (const [tokenId, state] of states) {
    const repair = repaired(tokens.get(tokenId), state, mayAdd);
    if (repair === undefined) continue;
    const at = { block: block.number, logIndex: AFTER_LOGS };
    events.push({ kind: "observed", tokenId, state: repair, at, blockHash: block.hash, transaction: ZERO_HASH });
  }
  return events;
}

/** As many tokens beyond those known are looked for at a time. */
const PROBED = 16;

/** The lowest unknown ids from 1. Not a row: what was revoked untold is unknown for good. */
export function probeIds(isKnown: (id: TokenId) => boolean): TokenId[] {
  const ids: TokenId[] = [];
  for (let id = 1n as TokenId; ids.length < PROBED; id = (id + 1n) as TokenId) if (!isKnown(id)) ids.push(id);
  return ids;
}

/** A sample's usual size; ten of them see every token of a registry of a thousand. */
const SAMPLE = 100;

/** The tokens to look at in the `turn`th round; those that come meanwhile are behind the others. */
export function sample(ids: readonly TokenId[], turn: number): TokenId[] {
  const rounds = Math.max(1, Math.ceil(ids.length / SAMPLE));
  const from = SAMPLE * (turn % rounds);
  return ids.slice(from, from + SAMPLE);
}

/** The state that the registry should take over, or undefined where it is right or must not follow. */
function repaired(token: Token | undefined, state: TokenState, mayAdd: boolean): TokenState | undefined {
  if (state.kind === "missing" || !state.active || state.owner === ZERO_ADDRESS) {
    return token?.active ? state : undefined;
  }
  const adds = mayAdd && isReadable(state);
  const isFormer = token?.formerKeys.includes(state.key) === true;
  if (!token?.active) return adds ? { ...state, key: isFormer ? "" : state.key } : undefined;
  const held = token.claim?.key ?? "";
  const named = adds ? state : { ...state, nodeId: token.nodeId };
  if (token.owner !== state.owner) return { ...named, key: adds && !isFormer && state.key !== held ? state.key : "" };
  // An announced key is settled by a read of its own.
  if (token.unreadSince !== undefined) return undefined;
  const key = adds && !isFormer ? state.key : "";
  if (state.key !== held && (held !== "" || key !== "")) return { ...named, key };
  return named.nodeId === token.nodeId ? undefined : { ...named, key: held };
}

/** A grant whose texts do not decode is never obeyed, whoever tells of it. */
function isReadable({ nodeId, key }: Extract<TokenState, { kind: "present" }>): boolean {
  return nodeId !== UNREADABLE && key !== UNREADABLE;
}

// --- the contract's views --------------------------------------------------------------------------------------------

const GET_NODE_ACCESS = "0x6a572da6";
const OWNER_OF = "0x6352211e";
const GET_ROLE = "0x5312fdc2";
const GET_ENDPOINT = "0x937bbc4a";
const GET_PUBLIC_KEY = "0x9a89a18c";

function calling(to: Address, selector: string, id: TokenId): Call {
  return { to, data: `${selector}${id.toString(16).padStart(64, "0")}` };
}

/** `(string nodeId, string wireguardPublicKey, uint256 createdAt, bool isActive)` and an address; undefined where it is not. */
function stateIn(access: string, owner: string): TokenState | undefined {
  const [nodeId, key] = [textIn(access, 0, LIMITS.nodeId), textIn(access, 1, LIMITS.key)];
  const isActive = wordIn(access, 3);
  const holder = addressIn(owner);
  if (nodeId === undefined || key === undefined || holder === undefined) return undefined;
  if (isActive !== 0 && isActive !== 1) return undefined;
  return { kind: "present", nodeId, owner: holder, key, active: isActive === 1 };
}
