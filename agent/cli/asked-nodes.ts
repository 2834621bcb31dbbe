/** What running nodes say of one token, each by its own HTTP; with the admin token also whether they shook hands with it. */
import type { PublicKey, Secret } from "../model.ts";
import { type Answer, accepted, askAgent } from "./agent-http.ts";
import { ending } from "./failure.ts";
import type { Finding } from "./holding.ts";
import { shown } from "./output.ts";

export interface Wanted {
  readonly tokenId: bigint;
  /** The key that the nodes should have; undefined where they should have none. */
  readonly key: PublicKey | undefined;
  /** The block that the nodes must have read to know it. */
  readonly block: number;
}

export async function askNode(url: URL, wanted: Wanted, token: Secret | undefined, nowMs: number): Promise<Finding[]> {
  try {
    const { body } = await askAgent(url, "/health");
    const findings = [healthFinding(url.host, body, wanted.block)];
    if (token === undefined || wanted.key === undefined) return findings;
    const device = accepted(url, await askAgent(url, "/wireguard", { token }));
    return [...findings, peerFinding(url.host, device, wanted, nowMs)];
  } catch (error) {
    const mend = "try another network, or ask whoever runs it: a node's HTTP is often closed to holders";
    return [{ about: "node", state: "unknown", code: "node.unreachable", says: ending(error).text, mend }];
  }
}

/** Pure. */
export function healthFinding(host: string, body: Answer["body"], block: number): Finding {
  const components = body["components"] as Readonly<Record<string, Answer["body"] | undefined>> | undefined;
  const cursor = components?.["chain"]?.["cursorBlock"];
  const status = body["status"];
  if (typeof status !== "string" || typeof components !== "object") {
    const says = `${host} answers as no node does`;
    return { about: "node", state: "unknown", code: "node.strange", says, mend: "check the address after --node" };
  }
  const wait = "wait a moment; if it lasts, tell whoever runs the node";
  if (typeof cursor !== "number" || cursor < block) {
    const says = `node ${host} has read up to block ${shown(String(cursor))}, not yet to ${block}`;
    return { about: "node", state: "unknown", code: "node.behind", says, mend: wait };
  }
  if (body["ready"] === false || status === "unhealthy") {
    const reasons = Array.isArray(body["reasons"]) ? (body["reasons"] as readonly Answer["body"][]) : [];
    const codes = reasons.map((reason) => shown(String(reason?.["code"])).slice(0, 40)).join(", ");
    const says = `node ${host} is ${shown(status).slice(0, 40)} and not ready (${codes || "it does not say why"})`;
    return { about: "node", state: "unknown", code: "node.not-ready", says, mend: wait };
  }
  return { about: "node", state: "ok", code: "node.ready", says: `node ${host} is ready and has read block ${cursor}` };
}

/** WireGuard shakes hands every two minutes while packets flow, and gives a session up after three. */
const STALE_MS = 180_000;

/** Pure. @param device what `/wireguard` answers to its administrator */
export function peerFinding(host: string, device: Answer["body"], { tokenId, key }: Wanted, nowMs: number): Finding {
  const all = Array.isArray(device["peers"]) ? (device["peers"] as readonly Answer["body"][]) : [];
  const peer = all.find((each) => each?.["publicKey"] === key);
  if (peer === undefined) {
    const says = `node ${host} has no peer for token ${tokenId}`;
    const mend = "wait a moment; if it lasts, its administrator runs dstack-vpn resync";
    return { about: "node", state: "bad", code: "peer.missing", says, mend };
  }
  const at = timeOf(peer["latestHandshakeAt"]);
  // A node answers with what it saw when it last looked at its device, half a minute ago or more where it is large.
  const lookedAt = timeOf(device["asOf"]) ?? nowMs;
  const mend =
    "switch the tunnel on, and ask again in a minute; if it stays so, this network may block UDP: see config --proxy";
  if (at === undefined) {
    const looked = Math.max(0, Math.round((nowMs - lookedAt) / 1_000));
    const says = `node ${host} had not shaken hands with token ${tokenId} when it last looked, ${looked} s ago`;
    return { about: "node", state: "unknown", code: "handshake.none", says, mend };
  }
  const seconds = Math.round((nowMs - at) / 1_000);
  if (lookedAt - at > STALE_MS) {
    const says = `node ${host} shook hands with token ${tokenId} ${seconds} s ago, and not since`;
    return { about: "node", state: "unknown", code: "handshake.stale", says, mend };
  }
  const says = `node ${host} shook hands with token ${tokenId} ${Math.max(0, seconds)} s ago`;
  return { about: "node", state: "ok", code: "handshake.fresh", says };
}

function timeOf(text: unknown): number | undefined {
  const at = typeof text === "string" ? Date.parse(text) : Number.NaN;
  return Number.isNaN(at) ? undefined : at;
}
