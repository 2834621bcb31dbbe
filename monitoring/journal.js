/** The journals of all nodes as one: what several nodes saw of one thing is one line. Pure. */
import { counted, shortAddress } from "./format.js";

/**
 * @typedef {import("./answers.js").Entry} Entry
 * @typedef {{ key: string, at: string, kind: string, fields: Readonly<Record<string, string>>, nodes: readonly string[] }} Line
 * @typedef {{ kind: string, node: string }} Choice empty for all; a kind, or the name of a group of kinds
 * @typedef {string | { said: string } | { name: string }} Part `said` and `name` are other people's texts
 */

/** Every kind of entry, in the groups that the filter offers. */
export const GROUPS = {
  Access: {
    grant: "Grant",
    revoke: "Revoke",
    transfer: "Transfer",
    "key-update": "Key update",
    role: "Role",
    endpoint: "Endpoint",
    quarantine: "Quarantine",
    admit: "Admit",
  },
  Device: {
    apply: "Apply",
    rollback: "Rollback",
    resync: "Resync",
    "drift-repair": "Drift repair",
    gateway: "Gateway",
  },
  Chain: {
    reorg: "Reorg",
    upstream: "Upstream",
    "audit-repair": "Audit repair",
    "invalid-log": "Invalid log",
  },
  Agent: { start: "Start", fault: "Fault" },
};

/** @type {Readonly<Record<string, string>>} */
const LABELS = Object.assign({}, ...Object.values(GROUPS));

/** @param {string} kind */
export function labelOf(kind) {
  return Object.hasOwn(LABELS, kind) ? String(LABELS[kind]) : kind;
}

/** Two nodes that judge one token do it within a poll or two of each other. */
const SAME_JUDGEMENT_MS = 120_000;

/**
 * Newest first.
 * @param {ReadonlyMap<string, readonly Entry[]>} journals by node
 * @returns {Line[]}
 */
export function mergedJournal(journals) {
  const all = [...journals].flatMap(([node, entries]) => entries.map((entry) => ({ node, ...entry })));
  all.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : a.node.localeCompare(b.node) || a.id - b.id));
  /** @type {(Line & { nodes: string[] })[]} */
  const lines = [];
  /** @type {Map<string, Line & { nodes: string[] }>} */
  const newest = new Map();
  for (const { node, id, at, kind, fields } of all) {
    const same = sameness(kind, fields);
    const line = same === undefined ? undefined : newest.get(same);
    // What one node tells twice did happen twice: once more after a reorg, for example.
    if (line !== undefined && !line.nodes.includes(node) && isSameTime(line, kind, at)) {
      line.nodes.push(node);
      continue;
    }
    const started = { key: `${node} ${id} ${at}`, at, kind, fields, nodes: [node] };
    lines.push(started);
    if (same !== undefined) newest.set(same, started);
  }
  return lines.reverse();
}

/** What makes entries of several nodes one: the same log of the chain, or the same judgement of a token. @param {string} kind @param {Line["fields"]} fields */
function sameness(kind, fields) {
  const isOfChain = fields["block"] !== undefined && fields["tokenId"] !== undefined;
  if (!isOfChain && kind !== "quarantine" && kind !== "admit") return undefined;
  return JSON.stringify([kind, ...Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1))]);
}

/** @param {Line} line @param {string} kind @param {string} at */
function isSameTime(line, kind, at) {
  if (kind !== "quarantine" && kind !== "admit") return true;
  return Date.parse(at) - Date.parse(line.at) <= SAME_JUDGEMENT_MS;
}

/** @param {Line} line @param {Choice} choice */
export function isChosen({ kind, nodes }, choice) {
  if (choice.node !== "" && !nodes.includes(choice.node)) return false;
  if (choice.kind === "" || choice.kind === kind) return true;
  const group = Object.entries(GROUPS).find(([name]) => name === choice.kind)?.[1] ?? {};
  return Object.hasOwn(group, kind);
}

/** What happened, as a sentence. @param {Pick<Line, "kind" | "fields">} line @returns {Part[]} */
export function sentence({ kind, fields }) {
  const token = tokenOf(fields);
  const block = fields["block"] === undefined ? "" : ` in block ${Number(fields["block"]).toLocaleString("en")}`;
  switch (kind) {
    case "grant":
      return [...token, " was granted", ...toward(fields["owner"]), block];
    case "revoke":
      return [...token, " was revoked", block];
    case "transfer":
      return [...token, " changed hands, from ", address(fields["from"]), ...toward(fields["to"]), block];
    case "key-update":
      return [...token, " has a new key", block];
    case "role":
      return [...token, " is now a ", said(fields["role"]), block];
    case "endpoint":
      return fields["endpoint"] === ""
        ? [...token, " has no endpoint any more", block]
        : [...token, " can be dialled at ", said(fields["endpoint"]), block];
    case "quarantine":
      return [...token, " gets no peer: ", said(fields["code"])];
    case "admit":
      return [...token, " gets a peer"];
    case "apply":
      return [`Peers on the device: ${amounts(fields, ["added", "removed", "changed"])}`];
    case "rollback":
      return fields["changes"] === undefined
        ? [`Generation ${fields["generation"] ?? "?"} was put back by hand; nobody is added until a resync`]
        : [`${counted(Number(fields["changes"]), "change")} failed and were put back: `, said(fields["code"])];
    case "resync":
      return ["Everything is compared with the chain again, as asked by hand"];
    case "drift-repair":
      return fields["repairs"] === undefined
        ? [`Peers put right on the device: ${amounts(fields, ["missing", "unknown", "changed"])}`]
        : ["Put right: ", said(fields["repairs"])];
    case "gateway":
      return fields["tokenId"] === undefined ? ["There is no gateway any more"] : [...token, " is the primary gateway"];
    case "upstream":
      return ["Upstream ", said(fields["upstream"]), ": ", said(fields["change"])];
    case "start":
      return [`The agent started, version ${fields["version"] ?? "?"}`];
    case "reorg":
      return [`The chain was followed back to block ${Number(fields["block"]).toLocaleString("en")}`];
    case "audit-repair":
      return [...token, " was corrected by the audit: ", said(fields["state"]), block];
    case "invalid-log":
      return ["A log of the contract does not decode: ", said(fields["reason"]), block];
    case "fault":
      return [said(fields["code"]), ": ", said(fields["detail"])];
    default:
      return [labelOf(kind), ...others(fields)];
  }
}

/** @param {Line["fields"]} fields @returns {Part[]} */
function tokenOf(fields) {
  const name = fields["nodeId"];
  const id = `Token ${fields["tokenId"] ?? "?"}`;
  return name === undefined || name === "" ? [id] : [`${id} `, { name }];
}

/** @param {Line["fields"]} fields @param {readonly string[]} names */
function amounts(fields, names) {
  const told = names.flatMap((name) => (Number(fields[name] ?? 0) > 0 ? [`${fields[name]} ${name}`] : []));
  return told.length === 0 ? "none" : told.join(", ");
}

/** Fields that no sentence knows. @param {Line["fields"]} fields @returns {Part[]} */
function others(fields) {
  return Object.entries(fields).flatMap(([name, value], index) => [index === 0 ? ": " : ", ", `${name} `, said(value)]);
}

/** @param {string | undefined} owner @returns {Part[]} */
const toward = (owner) => (owner === undefined ? [] : [" to ", address(owner)]);
/** @param {string | undefined} owner */
const address = (owner) => said(shortAddress(owner ?? "?"));
/** @param {string | undefined} value @returns {Part} */
const said = (value) => ({ said: value ?? "?" });
