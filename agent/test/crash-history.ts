/** What was done on the chain, and what follows from it for a device: a second fold, that shares nothing with the agent's. */

export interface Holding {
  readonly owner: string;
  /** Empty where the token has none. */
  readonly key: string;
  readonly isActive: boolean;
}

interface Deed {
  readonly block: number;
  readonly tokenId: bigint;
  readonly holding: Holding;
}

/** A peer and the blocks between which it belongs on devices: from the first, until before the last. */
interface Span {
  readonly tokenId: bigint;
  readonly key: string;
  readonly from: number;
  readonly until: number;
}

export class History {
  readonly #deeds: Deed[] = [];
  readonly #now = new Map<bigint, Holding>();
  readonly #spans = new Map<string, Span>();

  /** The token is so from this block on. Blocks come in order. */
  note(block: number, tokenId: bigint, holding: Holding): void {
    const before = this.#now.get(tokenId);
    this.#deeds.push({ block, tokenId, holding });
    this.#now.set(tokenId, holding);
    const [was, is] = [peerKey(before), peerKey(holding)];
    if (was === is) return;
    const span = was === undefined ? undefined : this.#spans.get(was);
    if (span !== undefined) this.#spans.set(span.key, { ...span, until: block });
    if (is !== undefined) this.#spans.set(is, { tokenId, key: is, from: block, until: Number.POSITIVE_INFINITY });
  }

  /** All tokens as they were after a block. */
  at(block: number): Map<bigint, Holding> {
    const tokens = new Map<bigint, Holding>();
    for (const deed of this.#deeds) if (deed.block <= block) tokens.set(deed.tokenId, deed.holding);
    return tokens;
  }

  /** How many tokens there are; the next one's id is one more. */
  get size(): number {
    return this.#now.size;
  }

  token(tokenId: bigint): Holding | undefined {
    return this.#now.get(tokenId);
  }

  /** The keys that belong on the device of `self` now, each with its token. */
  peers(self: bigint): Map<string, bigint> {
    const all = [...this.#now].flatMap(([id, holding]): [string, bigint][] => {
      const key = peerKey(holding);
      return key === undefined || id === self ? [] : [[key, id]];
    });
    return new Map(all);
  }

  tokenOf(key: string): bigint | undefined {
    return this.#spans.get(key)?.tokenId;
  }

  hasAccess(key: string): boolean {
    return this.#spans.get(key)?.until === Number.POSITIVE_INFINITY;
  }

  /**
   * Why there was never a moment at which these were the peers; undefined where there was one. A later block's removals
   * may be among it without its additions: they come first.
   */
  whyNeverSo(keys: ReadonlySet<string>, self: bigint): string | undefined {
    const spans = [...keys].map((key) => this.#spans.get(key));
    const known = spans.filter((span) => span !== undefined);
    if (known.length < keys.size) return "there is a key that was never granted";
    const newest = Math.max(0, ...known.map(({ from }) => from));
    const firstLost = Math.min(Number.POSITIVE_INFINITY, ...known.map(({ until }) => until));
    if (firstLost <= newest) return `one lost its access in block ${firstLost}, another got it in block ${newest} only`;
    const lacking = [...this.#spans.values()].filter(
      ({ key, tokenId, from, until }) => tokenId !== self && from <= newest && until >= firstLost && !keys.has(key),
    );
    return lacking.length === 0 ? undefined : `${lacking.length} are not there that had access all that time`;
  }
}

function peerKey(holding: Holding | undefined): string | undefined {
  return holding?.isActive && holding.key !== "" ? holding.key : undefined;
}
