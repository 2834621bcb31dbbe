/** The composition root: settings in, parts wired, signals, the hourly audit; no decisions. */
import "./heap.ts";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import cron from "node-cron";
import { backoffMs } from "./access.ts";
import { resync, rollback } from "./actions.ts";
import { type Agent, newAgent } from "./agent.ts";
import { attempt, auditAll, auditRolling } from "./auditing.ts";
import { followChain, judgeStaleness, watchStaleness } from "./bridge.ts";
import { origin, tipOf } from "./chain/follower.ts";
import { overlayPrefix } from "./chain/prefix.ts";
import { connect, type UpstreamChange } from "./chain/rpc.ts";
import { parseSettings, publicSettings, type Settings } from "./config.ts";
import { heedRivals } from "./contest.ts";
import { AgentError, describe, type FaultCode } from "./errors.ts";
import { report } from "./faults.ts";
import { writeLast } from "./generations.ts";
import { preferSize } from "./heap.ts";
import { holdAgain } from "./hold.ts";
import { type Cidr, overlaps, parseCidr } from "./model.ts";
import { createJournal, type Journal } from "./observe/journal.ts";
import { createLog, type Log } from "./observe/log.ts";
import { createMetrics } from "./observe/metrics.ts";
import { serve } from "./observe/server.ts";
import { witnessRemovals } from "./proving.ts";
import { addressPlan } from "./registry/addresses.ts";
import type { Identity } from "./registry/file.ts";
import { emptyLedger, trail } from "./registry/ledger.ts";
import { openStore, openUnwritable } from "./registry/store.ts";
import { heedRetellings } from "./retelling.ts";
import { save } from "./saving.ts";
import { snapshot } from "./snapshot.ts";
import { fullPass, tendDevice } from "./tend.ts";
import { vouchAdditions } from "./vouching.ts";
import { openDevice } from "./wireguard/device.ts";
import { createEndpoints } from "./wireguard/endpoints.ts";
import { openFiles } from "./wireguard/files.ts";
import { loadPrivateKey } from "./wireguard/private-key.ts";
import { lookUp } from "./wireguard/resolver.ts";

/** `EX_CONFIG` of sysexits.h: starting again changes nothing until somebody mends what the log names. */
const EXIT_CONFIG = 78;
/** `EX_SOFTWARE`: nobody foresaw it, and starting again may help. */
const EXIT_SOFTWARE = 70;
/** What waiting does not mend when the device is first touched. */
const SETTINGS_MEND: ReadonlySet<FaultCode> = new Set<FaultCode>([
  "address.overlap",
  "device.foreign",
  "device.in-use",
  "device.missing-privilege",
  "device.port-in-use",
  "key.interface-differs",
]);
const ACTION_MS = 60_000;
/** However many heads an upstream announces, it is asked some fifty times a second at most. */
const WAKE_MS = 20;

const parsed = parseSettings(process.env);
const log = createLog(
  "settings" in parsed ? { level: parsed.settings.logLevel, nodeId: parsed.settings.nodeId } : { level: "info" },
);
let isHung = false;
process.exitCode = await main();
await log.flush();
// Node waits for its threads, and one that hangs in a disk never ends.
if (isHung) process.kill(process.pid, "SIGKILL");
process.exit();

async function main(): Promise<number> {
  if ("mistakes" in parsed) {
    for (const mistake of parsed.mistakes) log.fatal({ ...mistake, detail: describe(mistake) }, "config.invalid");
    return EXIT_CONFIG;
  }
  try {
    await run(parsed.settings, log);
    log.info({}, "agent.stopped");
    return 0;
  } catch (error) {
    if (!(error instanceof AgentError)) {
      log.fatal({ error }, "agent.failed");
      return EXIT_SOFTWARE;
    }
    log.fatal({ ...error.fault, detail: error.message }, error.fault.code);
    return EXIT_CONFIG;
  }
}

async function run(settings: Settings, log: Log): Promise<void> {
  const stop = new AbortController();
  for (const name of ["SIGTERM", "SIGINT"] as const) process.once(name, () => stop.abort());
  const { agent, close } = await wire(settings, log);
  try {
    await firstPass(agent, stop.signal);
    await Promise.all(loops(agent, stop));
    await save(agent);
    await writeLast(agent);
    if (settings.downOnExit) await agent.device.remove();
  } finally {
    stop.abort();
    await close();
    isHung = agent.writing !== undefined;
  }
}

/** Every part, from the disk up; whatever is wrong with the settings shows here or in the first pass. */
async function wire(settings: Settings, log: Log): Promise<{ agent: Agent; close: () => Promise<void> }> {
  const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  log.info({ version, ...publicSettings(settings) }, "agent.starting");
  if (settings.contractPrivateKeyGiven) log.warn({ setting: "CONTRACT_PRIVATE_KEY" }, "config.not-needed");
  const now = () => ({ wallMs: Date.now(), steadyMs: performance.now() });

  const { chainId, contract } = settings;
  const databasePath = join(settings.stateDir, "ledger.sqlite");
  const files = openFiles(settings);
  const lastGood = await files.newest();
  const isKnownHost = async () =>
    (await files.evidence()) ??
    [databasePath, `/sys/class/net/${settings.interfaceName}`].find((path) => existsSync(path));
  // Asked first: what fails to make a database may leave the beginning of one.
  const hasRun = (await isKnownHost()) !== undefined;
  const privateKey = settings.privateKey ?? (await loadPrivateKey(join(settings.stateDir, "private.key"), isKnownHost));
  const { store, ledger, fault } = openLedger(databasePath, { chainId, contract }, hasRun);
  const journal = createJournal({ now: Date.now, restored: entriesIn(store.note("journal")) });
  journal.add("start", { version });

  const formerKeys = lastGood === undefined ? [] : [lastGood.conf.privateKey.publicKey];
  const device = openDevice({ interfaceName: settings.interfaceName, privateKey, formerKeys });
  const ipv6Prefix = overlayPrefix(chainId, contract);
  const hasIpv6 = await device.hasIpv6();
  const pinned = store.genesis === undefined ? {} : { genesis: store.genesis };
  const expected = { chainId, contract, ...pinned };
  const rpc = connect({ urls: settings.rpcUrls, expect: expected, onChange: told(log, journal) });
  const overlay = hasIpv6 ? [settings.overlayIpv4, ipv6Prefix] : [settings.overlayIpv4];
  const parts = {
    ...{ overlay, settings, version, privateKey, rpc, store, device, files, journal, log, now },
    rules: {
      ...{ nodeId: settings.nodeId, ownKey: privateKey.publicKey, confirmations: settings.grantConfirmations },
      ...{ maxTokensPerOwner: settings.maxTokensPerOwner, maxPeers: settings.maxPeers },
      ...{ gateways: new Set(settings.gateways), peerEndpoints: settings.peerEndpoints },
      addresses: addressPlan({ ipv6Prefix, overlayIpv4: settings.overlayIpv4 }, { ipv6: hasIpv6 }),
    },
    endpoints: createEndpoints(lookUp, overlay),
    metrics: createMetrics(),
  };
  const agent = newAgent(parts, ledger ?? emptyLedger(origin(settings.startBlock)), lastGood, ledger !== undefined);
  await holdAgain(agent);
  // A backup may be newer than the newest that can be read: no number comes twice.
  agent.generation = Math.max(agent.generation, (await files.list())[0]?.generation ?? 0);
  if (fault !== undefined) report(agent, fault);
  if (!hasIpv6) report(agent, new AgentError({ code: "address.no-ipv6" }));
  const server = await serve({
    ...{ host: settings.httpHost, port: settings.httpPort, allowedHosts: settings.allowedHosts },
    ...{ corsOrigins: settings.corsOrigins, adminToken: settings.adminToken, settings: publicSettings(settings) },
    ...{ snapshot: () => snapshot(agent), journal, metrics: agent.metrics, now },
    isOverlayAddress: (ip) => isWithin(agent.overlay, ip),
    actions: { resync: () => resync(agent, AbortSignal.timeout(ACTION_MS)), rollback: (to) => rollback(agent, to) },
    onError: (error) => log.error({ error }, "http.failed"),
  });
  const close = async () => {
    rpc.close();
    agent.metrics.close();
    await server.close();
    await store.close();
  };
  return { agent, close };
}

/** Who was let in by a node that has run before must go when the chain says so, whatever its disk does. */
function openLedger(path: string, identity: Identity, hasRun: boolean) {
  try {
    const { corrupt: fault, ...opened } = openStore(path, identity);
    return { ...opened, fault };
  } catch (error) {
    if (!hasRun || !(error instanceof AgentError) || error.fault.code !== "store.unsaved") throw error;
    return { ...openUnwritable(path, identity), fault: error };
  }
}

/** The registry's last state is on the device before the chain is asked. @throws AgentError what only settings mend */
async function firstPass(agent: Agent, signal: AbortSignal): Promise<void> {
  agent.roster.rebuild(agent.ledger.registry, tipOf(trail(agent.ledger)).number);
  await judgeStaleness(agent);
  try {
    await fullPass(agent, signal);
  } catch (error) {
    // Behind an interface that runs and is ours, nobody would be left who revokes.
    const isFatal = !(error instanceof AgentError) || (SETTINGS_MEND.has(error.fault.code) && !agent.hasAdopted);
    if (isFatal) throw error;
    report(agent, error);
    agent.tend.nudge(backoffMs(1));
  }
}

function loops(agent: Agent, stop: AbortController): Promise<void>[] {
  const { signal } = stop;
  const hourly = cron.schedule("7 * * * *", async () => {
    const audited = attempt(agent, signal, () => auditAll(agent, signal));
    await audited.catch((error: unknown) => agent.log.error({ error }, "audit.failed"));
    await agent.files.thin().catch((error: unknown) => agent.log.warn({ error }, "backups.unthinned"));
  });
  signal.addEventListener("abort", () => void hourly.stop());
  const all = [
    followChain(agent, signal),
    watchStaleness(agent, signal),
    wakeByHeads(agent, signal),
    tendDevice(agent, signal),
    auditRolling(agent, signal),
    witnessRemovals(agent, signal),
    vouchAdditions(agent, signal),
    heedRivals(agent, signal),
    heedRetellings(agent, signal),
    agent.device.watch(() => agent.tend.nudge(), agent.overlay, signal),
    saveMemory(agent, signal),
  ];
  // One that fails for good takes the others along.
  return all.map((loop) =>
    loop.catch((error: unknown) => {
      stop.abort();
      throw error;
    }),
  );
}

/** Once the history has been read and everybody is on the device, what comes is small. */
async function saveMemory(agent: Agent, signal: AbortSignal): Promise<void> {
  while (!(agent.isCaughtUp && agent.isVerified)) {
    await sleep(1_000, undefined, { signal }).catch(() => {});
    if (signal.aborted) return;
  }
  preferSize();
}

/** A journal that does not parse is only a journal. */
function entriesIn(text: string | undefined): readonly unknown[] {
  try {
    const entries: unknown = JSON.parse(text ?? "[]");
    return Array.isArray(entries) ? entries : [];
  } catch {
    return [];
  }
}

async function wakeByHeads(agent: Agent, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await agent.rpc.nextHead(signal);
    agent.poll.nudge();
    await sleep(WAKE_MS, undefined, { signal }).catch(() => {});
  }
}

function told(log: Log, journal: Journal): (change: UpstreamChange) => void {
  return ({ kind, upstream, ...fields }) => {
    log[kind === "recovered" ? "info" : "warn"]({ upstream, ...fields }, `upstream.${kind}`);
    journal.add("upstream", { upstream, change: kind });
  };
}

function isWithin(overlay: readonly Cidr[], ip: string): boolean {
  const host = parseCidr(`${ip}/${ip.includes(":") ? 128 : 32}`);
  return host !== undefined && overlay.some((prefix) => overlaps(prefix, host));
}
