/** What the nodes answer, read at the door: a field that is missing or of another type is unknown, never an error. Pure. */

/**
 * @typedef {number | null} Figure
 * @typedef {"healthy" | "degraded" | "unhealthy"} Status
 * @typedef {{ code: string, detail: string }} Reason
 * @typedef {{ name: string, isHealthy: boolean, latencyMs: Figure, headBlock: Figure, errors: number }} Upstream
 * @typedef {ReturnType<typeof readHealth>} Health
 * @typedef {ReturnType<typeof readStats>} Stats
 * @typedef {ReturnType<typeof readDevice>} Device
 * @typedef {ReturnType<typeof readPeer>} Peer
 * @typedef {{ id: number, at: string, kind: string, fields: Readonly<Record<string, string>> }} Entry
 */

/** The names of the nodes, from `["node-a"]` or `[{"name": "node-a"}]`, bare or as `nodes`. @param {unknown} json */
export function readNodes(json) {
  const entries = Array.isArray(json) ? json : list(record(json)["nodes"]);
  const names = entries.map((entry) => (typeof entry === "string" ? entry : text(record(entry)["name"])));
  // The name becomes a path of this very origin, and nothing else.
  return [...new Set(names.filter((name) => /^[a-z0-9-]{1,63}$/.test(name)))];
}

/** Undefined where it is not an agent's health. @param {unknown} json */
export function readHealth(json) {
  const body = record(json);
  const status = statusOf(body["status"]);
  if (status === undefined) return undefined;
  const components = record(body["components"]);
  const [chain, registry, wireguard, config] = ["chain", "registry", "wireguard", "config"].map((name) =>
    record(components[name]),
  );
  return {
    status,
    isReady: body["ready"] === true,
    nodeId: text(body["nodeId"]),
    version: text(body["version"]),
    uptimeSeconds: figure(body["uptimeSeconds"]),
    reasons: list(body["reasons"]).map((each) => ({
      code: text(record(each)["code"]),
      detail: text(record(each)["detail"]),
    })),
    parts: {
      chain: statusOf(chain?.["status"]),
      registry: statusOf(registry?.["status"]),
      wireguard: statusOf(wireguard?.["status"]),
      config: statusOf(config?.["status"]),
    },
    headBlock: figure(chain?.["headBlock"]),
    finalizedBlock: figure(chain?.["finalizedBlock"]),
    lagBlocks: figure(chain?.["lagBlocks"]),
    headAgeSeconds: figure(chain?.["headAgeSeconds"]),
    upstreams: list(chain?.["upstreams"]).map(readUpstream),
    interface: text(wireguard?.["interface"]),
    listenPort: figure(wireguard?.["listenPort"]),
    generation: figure(config?.["generation"]),
    lastAppliedAt: time(config?.["lastAppliedAt"]),
    lastBackupAt: time(config?.["lastBackupAt"]),
    rollbacks: figure(config?.["rollbacks"]),
  };
}

/** @param {unknown} json */
export function readStats(json) {
  const body = record(json);
  const [peers, applies, latency, chain] = ["peers", "applies", "eventToDevice", "chain"].map((name) =>
    record(body[name]),
  );
  return {
    tokens: figure(body["tokens"]),
    admitted: figure(body["admitted"]),
    quarantined: counts(body["quarantined"]),
    configured: figure(peers?.["configured"]),
    connected: figure(peers?.["connected"]),
    applies: figure(applies?.["total"]),
    failedApplies: figure(applies?.["failed"]),
    applyP50Ms: figure(applies?.["p50Ms"]),
    applyP99Ms: figure(applies?.["p99Ms"]),
    latencyP50Ms: figure(latency?.["p50Ms"]),
    latencyP99Ms: figure(latency?.["p99Ms"]),
    latencyMaxMs: figure(latency?.["maxMs"]),
    reorgs: figure(chain?.["reorgs"]),
    invalidLogs: figure(chain?.["invalidLogs"]),
    auditRepairs: figure(chain?.["auditRepairs"]),
  };
}

/** @param {unknown} json */
export function readDevice(json) {
  const body = record(json);
  return {
    publicKey: text(body["publicKey"]),
    addresses: list(body["addresses"]).map(text),
    rxBytes: figure(body["rxBytes"]),
    txBytes: figure(body["txBytes"]),
    /** When the device was last read: what `rxBytes`, `txBytes` and the connected peers are of. */
    asOf: time(body["asOf"]),
    /** Undefined unless the answer is the administrator's. */
    peers: Array.isArray(body["peers"]) ? body["peers"].map(readPeer) : undefined,
    /** Whether the answer is the one for everybody, which counts its peers and names none. */
    isPublic: figure(record(body["peers"])["configured"]) !== null,
  };
}

/** Entries and where to go on; `next` is undefined where the answer is none. @param {unknown} json */
export function readEvents(json) {
  const body = record(json);
  const next = figure(body["next"]);
  // It is sent back: what no agent takes would be refused for ever.
  const isId = Number.isSafeInteger(next) && Number(next) >= 0 && Number(next) < 1e15;
  return { events: list(body["events"]).flatMap(readEntry), next: isId ? Number(next) : undefined };
}

/** @param {unknown} json @returns {Entry[]} */
function readEntry(json) {
  const { id, at, kind, ...fields } = record(json);
  if (typeof id !== "number" || typeof at !== "string" || typeof kind !== "string") return [];
  const shown = Object.entries(fields).filter(([, value]) => ["string", "number", "boolean"].includes(typeof value));
  return [{ id, at, kind, fields: Object.fromEntries(shown.map(([name, value]) => [name, String(value)])) }];
}

/** @param {unknown} json */
function readPeer(json) {
  const body = record(json);
  return {
    tokenId: text(body["tokenId"]),
    nodeId: text(body["nodeId"]),
    publicKey: text(body["publicKey"]),
    endpoint: text(body["endpoint"]),
    allowedIps: list(body["allowedIps"]).map(text),
    latestHandshakeAt: time(body["latestHandshakeAt"]),
    rxBytes: figure(body["rxBytes"]),
    txBytes: figure(body["txBytes"]),
  };
}

/** By code; undefined where nobody says, which is not nobody. @param {unknown} value @returns {Readonly<Record<string, number>> | undefined} */
function counts(value) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  return Object.fromEntries(
    Object.entries(value).flatMap(([code, amount]) => {
      const known = figure(amount);
      return known === null || known <= 0 ? [] : [[code, known]];
    }),
  );
}

/** @param {unknown} json @returns {Upstream} */
function readUpstream(json) {
  const body = record(json);
  const errors = Object.values(record(body["errors"])).reduce(
    (/** @type {number} */ sum, each) => sum + (figure(each) ?? 0),
    0,
  );
  return {
    name: text(body["name"]),
    isHealthy: body["healthy"] === true,
    latencyMs: figure(body["latencyMs"]),
    headBlock: figure(body["headBlock"]),
    errors,
  };
}

/** @param {unknown} value @returns {Readonly<Record<string, unknown>>} */
const record = (value) =>
  typeof value === "object" && value !== null ? /** @type {Record<string, unknown>} */ (value) : {};
/** @param {unknown} value @returns {readonly unknown[]} */
const list = (value) => (Array.isArray(value) ? value : []);
/** @param {unknown} value */
const text = (value) => (typeof value === "string" ? value : "");
/** @param {unknown} value @returns {Figure} */
const figure = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);
/** Milliseconds since the epoch. @param {unknown} value @returns {Figure} */
const time = (value) => figure(Date.parse(text(value)));
/** @param {unknown} value @returns {Status | undefined} */
const statusOf = (value) => (value === "healthy" || value === "degraded" || value === "unhealthy" ? value : undefined);
