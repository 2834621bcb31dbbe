/** What a snapshot says, as Prometheus series: one row a metric, labels from closed sets, none per peer or per token. */
import { Counter, Gauge, type Registry } from "prom-client";
import { REFUSALS } from "../model.ts";
import { FAULT_CODES, type Health, type Now, type Snapshot } from "./health.ts";
import { HANDSHAKE_AGE_BUCKETS, type HandshakeAges } from "./readings.ts";

/** A snapshot, and what it means by now. */
export interface Moment extends Snapshot {
  readonly now: Now;
  readonly health: Health;
}
export type Show = (moment: Moment) => void;

/** Registers the series; each `Show` sets some of them to a moment. */
export function snapshotSeries(registry: Registry): Show[] {
  const registers = [registry];
  const gauge = (name: string, help: string, value: (moment: Moment) => number | undefined): Show => {
    const metric = new Gauge({ name: `dstack_vpn_${name}`, help, registers });
    return (moment) => {
      const present = value(moment);
      // Absent, not 0: a head that nobody has seen is not block 0.
      if (present === undefined) metric.remove();
      else metric.set(present);
    };
  };
  const counter = (name: string, help: string, value: (moment: Moment) => number): Show => {
    const metric = new Counter({ name: `dstack_vpn_${name}`, help, registers });
    return (moment) => {
      metric.reset();
      metric.inc(value(moment));
    };
  };
  const labelled = (
    name: string,
    help: string,
    label: string,
    values: (moment: Moment) => Iterable<readonly [string, number | undefined]>,
  ): Show => {
    const metric = new Gauge({ name: `dstack_vpn_${name}`, help, labelNames: [label], registers });
    return (moment) => {
      metric.reset();
      for (const [of, value] of values(moment)) if (value !== undefined) metric.set({ [label]: of }, value);
    };
  };
  const upstreams = (value: (upstream: Snapshot["chain"]["upstreams"][number]) => number | undefined) => {
    return ({ chain }: Moment) => chain.upstreams.map((upstream) => [upstream.name, value(upstream)] as const);
  };
  const age = (at: number | undefined, now: number) => (at === undefined ? undefined : Math.max(0, now - at) / 1000);

  return [
    labelled("build_info", "Always 1; the version is the label.", "version", ({ version }) => [[version, 1]]),
    gauge("ready", "1 while the node is ready.", ({ health }) => Number(health.ready)),
    labelled("health_status", "1 for the status that the node has.", "status", ({ health }) =>
      (["healthy", "degraded", "unhealthy"] as const).map((each) => [each, Number(each === health.status)]),
    ),
    labelled("fault_active", "1 while this is a reason for not being healthy.", "code", ({ health }) => {
      const active = new Set(health.reasons.map(({ code }) => code));
      return FAULT_CODES.map((code) => [code, Number(active.has(code))]);
    }),

    labelled(
      "upstream_healthy",
      "1 while the upstream answers for our chain and contract.",
      "upstream",
      upstreams(({ healthy }) => Number(healthy)),
    ),
    labelled(
      "upstream_latency_seconds",
      "Moving average of the upstream's answers.",
      "upstream",
      upstreams(({ latencyMs }) => latencyMs / 1000),
    ),
    labelled(
      "upstream_head_block",
      "The last head that the upstream told.",
      "upstream",
      upstreams(({ headBlock }) => headBlock),
    ),
    labelled(
      "upstream_requests_in_flight",
      "Requests that the upstream has not answered.",
      "upstream",
      upstreams(({ inFlight }) => inFlight),
    ),
    upstreamErrors(registry),

    gauge("chain_head_block", "The newest block that was seen.", ({ chain }) => chain.headBlock),
    gauge("chain_cursor_block", "The block that the registry stands at.", ({ chain }) => chain.cursorBlock),
    gauge("chain_finalized_block", "The newest final block.", ({ chain }) => chain.finalizedBlock),
    gauge("chain_lag_blocks", "Blocks between the head and the registry.", ({ chain }) => lagBlocks(chain)),
    gauge("chain_head_age_seconds", "Age of the newest block by its own timestamp.", ({ chain, now }) =>
      age(chain.headAt, now.wallMs),
    ),
    gauge("chain_head_seen_age_seconds", "Time since an upstream last told a valid head.", ({ chain, now }) =>
      age(chain.headSeenSteadyMs, now.steadyMs),
    ),
    counter("chain_reorgs_total", "Reorgs that were followed.", ({ chain }) => chain.reorgs),
    gauge("chain_reorg_depth_blocks", "The deepest reorg since the start.", ({ chain }) => chain.reorgDepth),
    counter("chain_invalid_logs_total", "Logs of the contract that do not decode.", ({ chain }) => chain.invalidLogs),
    counter(
      "chain_divergences_total",
      "Times that two readings of the same blocks differed.",
      ({ chain }) => chain.divergences,
    ),
    counter("audit_repairs_total", "Tokens that the audit had to correct.", ({ chain }) => chain.auditRepairs),

    gauge("tokens", "Tokens of the contract.", ({ registry: { tokens } }) => tokens),
    gauge("tokens_admitted", "Tokens that have a peer.", ({ registry: { admitted } }) => admitted),
    labelled("tokens_quarantined", "Active tokens without a peer, by reason.", "reason", ({ registry }) =>
      REFUSALS.filter((code) => code !== "inactive").map((code) => [code, registry.quarantined[code] ?? 0]),
    ),

    gauge("peers_configured", "Peers on the device.", ({ wireguard }) => wireguard.peers),
    gauge(
      "peers_connected",
      "Peers with a handshake in the last three minutes.",
      ({ wireguard }) => wireguard.connected,
    ),
    counter("rx_bytes_total", "Received from all peers.", ({ wireguard }) => wireguard.rxBytes),
    counter("tx_bytes_total", "Sent to all peers.", ({ wireguard }) => wireguard.txBytes),
    gauge("device_verified", "1 while the device holds what was applied.", ({ wireguard }) =>
      Number(wireguard.verified),
    ),
    gauge("device_pending_changes", "Changes that wait for the device.", ({ wireguard }) => wireguard.pending),
    gauge("device_read_age_seconds", "Time since a full pass read the device.", ({ wireguard, now }) =>
      age(wireguard.readSteadyMs, now.steadyMs),
    ),

    gauge("generation", "The generation of the device.", ({ config }) => config.generation),
    gauge("last_applied_timestamp_seconds", "When the device was last changed.", ({ config }) =>
      unix(config.lastAppliedAt),
    ),
    gauge("last_backup_timestamp_seconds", "When a backup was last written.", ({ config }) =>
      unix(config.lastBackupAt),
    ),
    counter("rollbacks_total", "Generations put back, by hand or after a failure.", ({ config }) => config.rollbacks),
  ];
}

const unix = (at: number | undefined) => (at === undefined ? undefined : at / 1000);

/** Blocks between the head and the registry; undefined before both are known. */
export function lagBlocks({ headBlock, cursorBlock }: Snapshot["chain"]): number | undefined {
  return headBlock === undefined || cursorBlock === undefined ? undefined : Math.max(0, headBlock - cursorBlock);
}

function upstreamErrors(registry: Registry): Show {
  const metric = new Counter({
    name: "dstack_vpn_upstream_errors_total",
    help: "Requests that the upstream failed, by kind.",
    labelNames: ["upstream", "kind"],
    registers: [registry],
  });
  return ({ chain }) => {
    metric.reset();
    for (const { name, errors } of chain.upstreams) {
      for (const [kind, count] of Object.entries(errors)) metric.inc({ upstream: name, kind }, count);
    }
  };
}

/**
 * The distribution at the last reading, not over time: its counts fall as peers go, so it is asked without `rate`.
 * Written out here, because a histogram of prom-client can only be observed, once per peer and scrape.
 */
export function handshakeAgeText({ buckets, sumSeconds, count }: HandshakeAges): string {
  const name = "dstack_vpn_peer_handshake_age_seconds";
  const upTo = (index: number) => buckets.slice(0, index + 1).reduce((sum, each) => sum + each, 0);
  return [
    `# HELP ${name} Age of the peers' latest handshakes.`,
    `# TYPE ${name} histogram`,
    ...HANDSHAKE_AGE_BUCKETS.map((bound, index) => `${name}_bucket{le="${bound}"} ${upTo(index)}`),
    `${name}_bucket{le="+Inf"} ${count}`,
    `${name}_sum ${sumSeconds}`,
    `${name}_count ${count}`,
    "",
  ].join("\n");
}
