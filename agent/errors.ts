/**
 * Every way this agent can fail, each with its numbers. A code is also a heading in `monitoring/RUNBOOK.md`.
 * Nothing here may hold a key, a secret, a URL with its path, or a string from the chain.
 */
export type Fault =
  // settings
  | { code: "config.invalid"; setting: string; problem: string }
  // the chain
  /** `maxStaleness` seconds have passed as well, and so everybody is off. */
  | { code: "chain.unreachable"; seconds: number; upstreams: number; maxStaleness?: number }
  | { code: "chain.stale"; ageSeconds: number; limitSeconds: number }
  | { code: "chain.catching-up"; block: number; head: number }
  | { code: "chain.wrong-network"; upstream: string; expected: number; got: number }
  | { code: "chain.other-genesis"; upstream: string }
  | { code: "chain.no-contract"; contract: string; upstream: string }
  | { code: "chain.no-start-block"; upstream: string }
  | { code: "chain.before-start"; startBlock: number; head: number; upstream: string }
  | { code: "chain.fork-below-finality"; block: number }
  | { code: "chain.request-failed"; method: string; upstream: string; problem: string }
  | { code: "chain.reply-refused"; method: string; upstream: string; problem: string }
  | { code: "chain.mass-removal-held"; removals: number; limit: number }
  | { code: "chain.grant-disputed"; tokens: number }
  // this node's own token
  | { code: "self.no-token"; nodeId: string; publicKey: string }
  | { code: "self.key-mismatch"; nodeId: string; tokenId: string; publicKey: string }
  // addresses
  | { code: "address.no-ipv6" }
  | { code: "address.overlap"; overlay: string; route: string }
  // the store
  | { code: "store.other-chain"; path: string; field: string; expected: string; got: string }
  | { code: "store.locked"; path: string; pid: number }
  | { code: "store.corrupt"; path: string; problem: string }
  | { code: "store.unsaved"; path: string; problem: string }
  // keys
  | { code: "key.unreadable"; path: string; problem: string }
  | { code: "key.interface-differs"; interface: string }
  | { code: "key.lost"; path: string; evidence: string }
  // the device
  | { code: "device.missing-privilege"; need: string; mend: string }
  | { code: "device.foreign"; interface: string }
  | { code: "device.in-use"; interface: string; pid: number }
  | { code: "device.port-in-use"; port: number }
  | { code: "device.command-failed"; command: string; exit: number; problem: string }
  | { code: "device.command-timeout"; command: string; timeoutMs: number }
  | { code: "device.unreadable"; problem: string }
  | { code: "device.unverified"; differences: number }
  | { code: "device.changing"; pending: number }
  // wg0.conf and its backups
  | { code: "config.unwritten"; path: string; problem: string }
  | { code: "config.no-generation"; generation: number }
  | { code: "config.held"; generation: number }
  // HTTP
  | { code: "http.port-in-use"; host: string; port: number };

export type FaultCode = Fault["code"];

export class AgentError extends Error {
  override readonly name = "AgentError";
  readonly fault: Fault;
  constructor(fault: Fault, options?: { cause?: unknown }) {
    super(describe(fault), options);
    this.fault = fault;
  }
}

/** One sentence with the numbers, then what to do; the runbook says the rest. */
export function describe(fault: Fault): string {
  switch (fault.code) {
    case "config.invalid":
      return `${fault.setting}: ${fault.problem}`;
    case "chain.unreachable":
      return `no valid head from any of ${fault.upstreams} upstream(s) for ${fault.seconds} s: check RPC_URL and the network; ${consequence(fault)}`;
    case "chain.stale":
      return `the newest block is ${fault.ageSeconds} s old (limit ${fault.limitSeconds} s): the upstream lags or the chain has halted`;
    case "chain.catching-up":
      return `read up to block ${fault.block} of ${fault.head}`;
    case "chain.wrong-network":
      return `upstream ${fault.upstream} serves chain ${fault.got}, not ${fault.expected}: set RPC_URL or NETWORK/CHAIN_ID right`;
    case "chain.other-genesis":
      return `upstream ${fault.upstream} serves another chain with the same chain id (its genesis block differs): remove it from RPC_URL`;
    case "chain.no-contract":
      return `no code at ${fault.contract} according to ${fault.upstream}: set CONTRACT_ADDRESS to the deployed access contract`;
    case "chain.no-start-block":
      return `upstream ${fault.upstream} has no state old enough to find the contract's first block: set START_BLOCK`;
    case "chain.before-start":
      return `the first block to read, ${fault.startBlock}, is above the newest of ${fault.upstream}, ${fault.head}: set START_BLOCK to the block of the contract's deployment, or wait for the upstream`;
    case "chain.fork-below-finality":
      return `block ${fault.block} was final and is no longer canonical: additions are frozen; compare upstreams, then run dstack-vpn resync`;
    case "chain.request-failed":
      return `${fault.method} on ${fault.upstream} failed: ${fault.problem}`;
    case "chain.reply-refused":
      return `${fault.method} on ${fault.upstream} answered what cannot be used: ${fault.problem}`;
    case "chain.grant-disputed":
      return `upstreams disagree about ${fault.tokens} token(s), which get no peer until two agree`;
    case "chain.mass-removal-held":
      return `${fault.removals} removals in ten minutes (limit ${fault.limit}): each further one waits for a second witness`;
    case "self.no-token":
      return `no active token is named ${fault.nodeId}: have the contract's owner run dstack-vpn grant --to OWNER --node-id ${fault.nodeId} --key ${fault.publicKey}`;
    case "self.key-mismatch":
      return `token ${fault.tokenId} is named ${fault.nodeId} but holds another key: have its owner run dstack-vpn set-key --token ${fault.tokenId} --key ${fault.publicKey}`;
    case "address.no-ipv6":
      return "this host has IPv6 switched off: tokens get their IPv4 address only; enable net.ipv6.conf.all.disable_ipv6=0";
    case "address.overlap":
      return fault.overlay.includes(":")
        ? `the contract's own ${fault.overlay} has the route ${fault.route} on this host already: another interface here is in the same VPN, so run this node in a network namespace (a container) of its own`
        : `OVERLAY_IPV4 ${fault.overlay} overlaps the route ${fault.route} on this host: remove that interface where this node left it behind, or choose another OVERLAY_IPV4 on every node`;
    case "store.other-chain":
      return `${fault.path} belongs to another ${fault.field} (${fault.got}, not ${fault.expected}): point STATE_DIR elsewhere or move the file away`;
    case "store.locked":
      return `${fault.path} is held by process ${fault.pid}: one agent per STATE_DIR`;
    case "store.corrupt":
      return `${fault.path} cannot be used (${fault.problem}): it is set aside and the chain is read again; nobody is cut meanwhile`;
    case "store.unsaved":
      return `${fault.path} cannot be written (${fault.problem}): free space, remount it or clear its way; access still follows the chain`;
    case "key.unreadable":
      return `the private key in ${fault.path} cannot be used (${fault.problem}): restore it from a backup; it is never replaced`;
    case "key.interface-differs":
      return `${fault.interface} runs with another private key than the one configured: it is never swapped; set the right key, or remove the interface first`;
    case "key.lost":
      return `there is no private key in ${fault.path} although ${fault.evidence} exists: restore the key, or remove that on purpose, or choose another WG_INTERFACE where it is not this node's; none is made over it`;
    case "device.missing-privilege":
      return `missing ${fault.need}: ${fault.mend}`;
    case "device.foreign":
      return `${fault.interface} exists and is not ours (another private key, or not WireGuard): set WG_INTERFACE or remove it`;
    case "device.in-use":
      return `${fault.interface} is driven by process ${fault.pid}: one agent per interface`;
    case "device.port-in-use":
      return `UDP port ${fault.port} is taken by another program: free it or set LISTEN_PORT`;
    case "device.command-failed":
      return `${fault.command} ended with ${fault.exit}: ${fault.problem}`;
    case "device.command-timeout":
      return `${fault.command} did not end within ${fault.timeoutMs} ms`;
    case "device.unreadable":
      return `the device cannot be read: ${fault.problem}`;
    case "device.unverified":
      return `the device differs from what was applied in ${fault.differences} place(s); the next full pass repairs it`;
    case "device.changing":
      return `${fault.pending} change(s) wait for the device`;
    case "config.unwritten":
      return `${fault.path} cannot be written (${fault.problem}): free space, remount it or clear its way; the device itself is right`;
    case "config.no-generation":
      return `there is no generation ${fault.generation}: dstack-vpn backup list shows those that there are`;
    case "config.held":
      return `generation ${fault.generation} was restored by hand: additions are held until dstack-vpn resync`;
    case "http.port-in-use":
      return `${fault.host}:${fault.port} is taken: free it or set HEALTH_CHECK_PORT`;
  }
}

const consequence = ({ maxStaleness }: { readonly maxStaleness?: number }) =>
  maxStaleness === undefined
    ? "tunnels keep running"
    : `nobody is connected until there is a new one, as MAX_STALENESS=${maxStaleness} says`;
