/** The contract's tokens as of the chain's head: the agent's own reader, fold and admission, with nobody as the node. */
import { readKeys } from "../chain/audit.ts";
import { follow, newFollower, origin, tipOf } from "../chain/follower.ts";
import { overlayPrefix } from "../chain/prefix.ts";
import { headOf } from "../chain/questions.ts";
import { connect, type Rpc } from "../chain/rpc.ts";
import type { Settings } from "../config.ts";
import { AgentError } from "../errors.ts";
import { AFTER_LOGS, type BlockRef, type Cidr, type PublicKey, type TokenId, ZERO_HASH } from "../model.ts";
import { addresses, addressPlan } from "../registry/addresses.ts";
import { advance, emptyLedger, type Ledger, observe, trail, unread } from "../registry/ledger.ts";
import { type Registry, size } from "../registry/registry.ts";
import { type Roster, rosterOf } from "../registry/roster.ts";
import { type Cache, openCache } from "./cache.ts";
import { EXIT, Failure } from "./failure.ts";
import { remark } from "./output.ts";
import { mustBeAccessContract } from "./probe.ts";

export interface ChainView {
  readonly block: BlockRef;
  readonly registry: Registry;
  /** The verdicts of a node that has no token of its own. */
  readonly roster: Roster;
  readonly overlay: readonly Cidr[];
  /** Empty where the token can have none. */
  addressesOf(id: TokenId): readonly Cidr[];
}

/** @param options.cache false: the whole history is read again. @throws AgentError | Failure */
export async function readChain(settings: Settings, { cache = true } = {}): Promise<ChainView> {
  const { chainId, contract, rpcUrls, startBlock } = settings;
  const rpc = connect({ urls: rpcUrls, expect: { chainId, contract } });
  const stop = new AbortController();
  try {
    // The first answer comes from an upstream that serves this chain, and with it what cache is of this chain.
    await rpc.ask(headOf("latest"));
    const known = cache ? await openCache({ chainId, contract, genesis: rpc.genesis() }, startBlock) : undefined;
    try {
      const ledger = await withCache(rpc, settings, known, stop.signal);
      if (size(ledger.registry) === 0) await mustBeAccessContract(rpc, contract);
      return viewOf(settings, await withAnnouncedKeys(rpc, contract, ledger, stop.signal));
    } finally {
      await known?.close();
    }
  } finally {
    stop.abort();
    rpc.close();
  }
}

/** A cache that the chain contradicts is as good as none. */
async function withCache(rpc: Rpc, settings: Settings, cache: Cache | undefined, signal: AbortSignal): Promise<Ledger> {
  const empty = emptyLedger(origin(settings.startBlock));
  let ledger: Ledger;
  try {
    ledger = await readLedger(rpc, settings, cache?.ledger ?? empty, signal);
  } catch (error) {
    const isOutage = error instanceof AgentError && error.fault.code === "chain.request-failed";
    if (cache?.ledger === undefined || isOutage) throw error;
    ledger = await readLedger(rpc, settings, empty, signal);
  }
  await cache?.save(ledger);
  return ledger;
}

const POLLS = 3;

async function readLedger(
  rpc: Rpc,
  { contract, startBlock }: Settings,
  from: Ledger,
  signal: AbortSignal,
): Promise<Ledger> {
  const follower = newFollower();
  const options = { contract, startBlock, signal, now: () => performance.now(), wallMs: Date.now };
  let ledger = from;
  // A poll without a usable head ends as quietly as one without news.
  for (let polls = 0; polls < POLLS && !isAtHead(ledger, follower.figures.headBlock); polls++) {
    for await (const step of follow(rpc, trail(ledger), options, follower)) {
      ledger = advance(ledger, step).ledger;
      const { cursorBlock, headBlock } = follower.figures;
      if (step.kind === "history" && process.stderr.isTTY) remark(`read up to block ${cursorBlock} of ${headBlock}`);
    }
  }
  if (!isAtHead(ledger, follower.figures.headBlock)) {
    throw new Failure(EXIT.unreachable, "the upstreams show no head that can be followed: try again, or name others");
  }
  return ledger;
}

function isAtHead(ledger: Ledger, head: number | undefined): boolean {
  const tip = tipOf(trail(ledger));
  return head !== undefined && tip.hash !== ZERO_HASH && tip.number >= head;
}

/** Settles what owners announced without naming a token. */
async function withAnnouncedKeys(rpc: Rpc, contract: Settings["contract"], ledger: Ledger, signal: AbortSignal) {
  const ids = unread(ledger);
  if (ids.length === 0) return ledger;
  const block = tipOf(trail(ledger));
  const at = { block: block.number, logIndex: AFTER_LOGS };
  const common = { kind: "key-read", at, blockHash: block.hash, transaction: ZERO_HASH } as const;
  const keys = await readKeys(rpc, contract, ids, block, signal);
  return observe(
    ledger,
    [...keys].map(([tokenId, key]) => ({ ...common, tokenId, key })),
  ).ledger;
}

// No token has this key, so none is taken for the node's own.
const NO_KEY = "" as PublicKey;

function viewOf(settings: Settings, ledger: Ledger): ChainView {
  const { chainId, contract, overlayIpv4, gateways, peerEndpoints, maxPeers, maxTokensPerOwner } = settings;
  const ipv6Prefix = overlayPrefix(chainId, contract);
  const plan = addressPlan({ ipv6Prefix, overlayIpv4 }, { ipv6: true });
  const roster = rosterOf({
    ...{ nodeId: "", ownKey: NO_KEY, confirmations: settings.grantConfirmations, maxTokensPerOwner, maxPeers },
    ...{ addresses: plan, gateways: new Set(gateways), peerEndpoints },
  });
  const block = tipOf(trail(ledger));
  roster.rebuild(ledger.registry, block.number);
  const addressesOf = (id: TokenId) => {
    const own = addresses(plan, id);
    return own.kind === "addresses" ? own.cidrs : [];
  };
  return { block, registry: ledger.registry, roster, overlay: [overlayIpv4, ipv6Prefix], addressesOf };
}
