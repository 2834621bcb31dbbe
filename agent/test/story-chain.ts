/**
 * A contract of neither kind and of both: it says everything that any contract may say, in any order that one may say it
 * in. Each block keeps what the tokens are after it, so that a reorg is a shorter list.
 */
import type { AccessEvent, Address, Block, Hash, Said, TokenId } from "../model.ts";
import { ROLES, ZERO_ADDRESS, ZERO_HASH } from "../model.ts";
import { type At, type Held, type Holdings, keyed } from "./story-fold.ts";
import { type Chance, Tally } from "./story-seeds.ts";

export interface StoryBlock {
  readonly block: Block;
  readonly events: readonly AccessEvent[];
  /** After the block. */
  readonly holdings: Holdings;
}

const OWNERS = Array.from({ length: 8 }, (_, i) => `0x${String(i + 1).padStart(40, "0")}` as Address);
/** Keys that several owners want, and texts that are none. */
const CONTESTED = Array.from({ length: 6 }, (_, i) => Buffer.alloc(32, i + 1).toString("base64"));
const POISON = ["", "not a key", "A".repeat(43).concat("=")];
const ODD_IDS = [0n, 65_535n, 70_000n, 1n << 80n];

export class StoryChain {
  readonly blocks: StoryBlock[];
  readonly tally = new Tally();
  /** Deeds, each an event of the story. */
  deeds = 0;
  readonly #chance: Chance;
  readonly #ownKey: string;
  readonly #names: readonly string[];
  #hashes = 0;
  #keys = 0;
  #ids = 1n;

  /** Token 1 is `names[0]` with `ownKey`; the other names are in somebody's settings. */
  constructor(chance: Chance, ownKey: string, names: readonly string[]) {
    this.#chance = chance;
    this.#ownKey = ownKey;
    this.#names = names;
    this.blocks = [{ block: this.#header(0, ZERO_HASH), events: [], holdings: new Map() }];
    const first = this.#draft();
    this.#grant(first, 1n, OWNERS[0] as Address, names[0] ?? "", ownKey);
    this.#seal(first);
  }

  get head(): StoryBlock {
    return this.blocks.at(-1) as StoryBlock;
  }

  mine(deeds: number): void {
    const draft = this.#draft();
    for (let i = 0; i < deeds; i++) this.#deed(draft);
    this.#seal(draft);
  }

  /** Drops the newest blocks; what takes their place is mined afterwards. */
  drop(depth: number): void {
    this.blocks.length -= depth;
  }

  /** What a plain contract answers for the token now. */
  shown(id: TokenId): string {
    return this.head.holdings.get(id)?.shown ?? "";
  }

  #deed(draft: Draft): void {
    const chance = this.#chance;
    this.deeds++;
    const others = [...draft.holdings.values()].filter(({ id }) => id !== 1n);
    const token = chance.oneOf(others.filter(({ isActive }) => isActive));
    const gone = chance.oneOf(others.filter(({ isActive }) => !isActive));
    const anyone = () => chance.oneOf(OWNERS) as Address;
    const luck = chance.next();
    if (token === undefined || luck < 0.3) this.#mint(draft);
    else if (luck < 0.47) this.#revoke(draft, token);
    else if (luck < 0.62) this.#transfer(draft, token, anyone());
    else if (luck < 0.65) this.#transfer(draft, token, ZERO_ADDRESS);
    else if (luck < 0.76) this.#update(draft, token, this.#anyKey());
    else if (luck < 0.85) this.#announce(draft, token);
    else if (luck < 0.93) this.#appoint(draft, token);
    else if (gone === undefined) this.#mint(draft);
    else if (luck < 0.96) this.#transfer(draft, gone, anyone());
    else this.#grantAgain(draft, gone, gone.owner === ZERO_ADDRESS ? anyone() : (gone.owner as Address));
  }

  #grantAgain(draft: Draft, gone: Held, owner: Address): void {
    this.tally.add("grants of a token that was gone");
    this.#grant(draft, gone.id as TokenId, owner, gone.name, this.#anyKey());
  }

  #mint(draft: Draft): void {
    const chance = this.#chance;
    const odd = chance.happens(0.03) ? ODD_IDS.find((id) => !draft.holdings.has(id)) : undefined;
    let id = odd ?? ++this.#ids;
    // A reorg drops grants, and the contract counts on from where it stood; odd ids are in its way now and then.
    while (draft.holdings.has(id)) id = ++this.#ids;
    const name = chance.happens(0.05) ? (chance.oneOf(this.#names) ?? "") : `m-${id}`;
    this.tally.add("grants");
    this.#grant(draft, id as TokenId, chance.oneOf(OWNERS) as Address, name, this.#anyKey());
  }

  #grant(draft: Draft, tokenId: bigint, owner: Address, nodeId: string, key: string): void {
    const id = tokenId as TokenId;
    const moved: Said = { kind: "transfer", tokenId: id, from: ZERO_ADDRESS, to: owner };
    const granted: Said = { kind: "grant", tokenId: id, nodeId, owner, key };
    // A contract may log the one before the other.
    const isMoved = draft.holdings.get(id)?.owner !== owner;
    const isFirst = this.#chance.happens(0.5);
    if (isMoved && isFirst) draft.say(moved);
    const at = draft.say(granted);
    if (isMoved && !isFirst) draft.say(moved);
    const before = draft.holdings.get(id) ?? { ...NOBODY, id };
    const held = keyed(draft.holdings, { ...before, owner }, key, at);
    draft.put({ ...held, name: nodeId, isActive: true, grantedAt: before.isActive ? before.grantedAt : at });
  }

  #revoke(draft: Draft, token: Held): void {
    this.tally.add("revokes");
    draft.say({ kind: "revoke", tokenId: token.id as TokenId });
    draft.put({ ...token, isActive: false });
  }

  #transfer(draft: Draft, token: Held, to: Address): void {
    const tokenId = token.id as TokenId;
    const isFirstOwner = token.owner === ZERO_ADDRESS;
    this.tally.add(to === ZERO_ADDRESS ? "burns" : "transfers");
    const moved: Said = { kind: "transfer", tokenId, from: token.owner as Address, to };
    draft.say(moved);
    // `NodeAccessTransferred` repeats it.
    if (this.#chance.happens(0.5)) draft.say(moved);
    if (to === token.owner) return;
    const isActive = token.isActive && to !== ZERO_ADDRESS;
    const bare = { key: "", keyAt: undefined, isLost: false, endpoint: "" };
    draft.put(isFirstOwner ? { ...token, owner: to } : { ...token, ...bare, owner: to, isActive });
    if ((token.role ?? "member") !== "member" && this.#chance.happens(0.5)) this.#clearDuty(draft, tokenId);
  }

  #clearDuty(draft: Draft, tokenId: TokenId): void {
    const roleAt = draft.say({ kind: "role", tokenId, role: "member" });
    const endpointAt = draft.say({ kind: "endpoint", tokenId, endpoint: "" });
    const token = draft.holdings.get(tokenId) as Held;
    draft.put({ ...token, role: "member", roleAt, endpoint: "", endpointAt });
  }

  #update(draft: Draft, token: Held, key: string): void {
    this.tally.add("key updates");
    const at = draft.say({ kind: "key-update", tokenId: token.id as TokenId, key });
    draft.put(keyed(draft.holdings, token, key, at));
  }

  /**
   * Names the owner alone. A key that others want as well is neither announced nor let go of in this way: until the
   * contract has been read nobody knows which token was meant, and whoever asks for the key meanwhile has lost it.
   */
  #announce(draft: Draft, token: Held): void {
    if (CONTESTED.includes(token.key)) {
      this.#update(draft, token, this.#newKey());
      return;
    }
    this.tally.add("key updates without a token's name");
    const key = this.#newKey();
    const at = draft.say({ kind: "owner-key-update", owner: token.owner as Address, key });
    draft.put(keyed(draft.holdings, token, key, at));
  }

  #appoint(draft: Draft, token: Held): void {
    const tokenId = token.id as TokenId;
    this.tally.add("roles and endpoints");
    const role = this.#chance.oneOf(ROLES) ?? "member";
    const roleAt = draft.say({ kind: "role", tokenId, role });
    draft.put({ ...token, role, roleAt });
    if (this.#chance.happens(0.3)) return;
    const endpoint = `192.0.2.${1 + this.#chance.below(250)}:51820`;
    const endpointAt = draft.say({ kind: "endpoint", tokenId, endpoint });
    draft.put({ ...(draft.holdings.get(tokenId) as Held), endpoint, endpointAt });
  }

  #anyKey(): string {
    const luck = this.#chance.next();
    if (luck < 0.03) return this.#ownKey;
    if (luck < 0.1) return this.#chance.oneOf(POISON) ?? "";
    return luck < 0.4 ? (this.#chance.oneOf(CONTESTED) ?? "") : this.#newKey();
  }

  #newKey(): string {
    const bytes = Buffer.alloc(32, 9);
    bytes.writeUInt32LE(++this.#keys, 8);
    return bytes.toString("base64");
  }

  #draft(): Draft {
    return new Draft(this.#header(this.head.block.number + 1, this.head.block.hash), this.head.holdings);
  }

  #seal({ block, events, holdings }: Draft): void {
    this.blocks.push({ block, events, holdings });
  }

  #header(number: number, parentHash: Hash): Block {
    const hash = `0x${(++this.#hashes).toString(16).padStart(64, "0")}` as Hash;
    return { number, hash, parentHash, timestamp: number };
  }
}

/** A block that is being filled. */
class Draft {
  readonly block: Block;
  readonly events: AccessEvent[] = [];
  readonly holdings: Map<bigint, Held>;

  constructor(block: Block, holdings: Holdings) {
    this.block = block;
    this.holdings = new Map(holdings);
  }

  say(said: Said): At {
    const at = { block: this.block.number, logIndex: this.events.length };
    this.events.push({ at, blockHash: this.block.hash, transaction: ZERO_HASH, ...said });
    return at;
  }

  put(token: Held): void {
    this.holdings.set(token.id, token);
  }
}

const NOBODY: Held = {
  ...{ id: 0n, name: "", owner: ZERO_ADDRESS, isActive: false, grantedAt: { block: 0, logIndex: 0 } },
  ...{ key: "", keyAt: undefined, isLost: false, shown: "" },
  ...{ role: undefined, roleAt: undefined, endpoint: "", endpointAt: undefined },
};
