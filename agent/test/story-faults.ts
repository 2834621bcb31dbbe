/** Everything that upstreams do to the story's agent: each fault by its name, from one moment to the next `heal`. */
import { id } from "ethers";
import {
  ahead,
  behind,
  cappedBlocks,
  cappedBytes,
  cappedResults,
  changedLogs,
  elsewhere,
  flapping,
  frozen,
  type Json,
  lateLogs,
  refusal,
  refusedTags,
  silentCut,
  TAG_REFUSALS,
} from "./rpc-lies.ts";
import type { Lie, RpcProxy, Where } from "./rpc-proxy.ts";
import type { Backend } from "./scripted-chain.ts";
import { strings, word } from "./scripted-contract.ts";
import type { Chance } from "./story-seeds.ts";
import type { WireFault } from "./wire-faults.ts";

export interface StoryFault {
  readonly name: string;
  /** What it says can be believed for a while: peers may come and go with it. */
  readonly misleads: boolean;
  begin(upstreams: readonly RpcProxy[], chance: Chance): void | Promise<void>;
}

/** `other` is a chain with the same genesis that went another way. */
export function faults(other: Backend): readonly StoryFault[] {
  const flap = () => {
    let isOther = false;
    return elsewhere(other, () => (isOther = !isOther));
  };
  return [
    ...WIRE.map(([name, fault, where]) => onTheWire(name, fault, where)),
    ...LIES.map(([name, lie]) => told(name, lie, { misleads: MISLEADING.has(name) })),
    ...TAG_REFUSALS.map(({ client, outcome }) => told(`tags as ${client} refuses them`, () => refusedTags(outcome))),
    told("split brain", () => elsewhere(other, () => true)),
    told("split brain, every other answer", flap),
    told("split brain of both", () => elsewhere(other, () => true), { of: "both" }),
    told("logs left out by both", () => omission(2), { of: "both", misleads: true }),
    told("errors of both", () => () => refusal(-32000, "busy"), { of: "both" }),
    { name: "silence of both", misleads: false, begin: (upstreams) => each(upstreams, (one) => one.stop()) },
    { name: "connections cut", misleads: false, begin: (upstreams) => each(upstreams, (one) => one.cut()) },
    { name: "a crashed host", misleads: false, begin: ([one]) => one?.hang() },
    { name: "nobody listens", misleads: false, begin: ([, one]) => one?.stop() },
  ];
}

/** For long: each of these with its share of the probability. What cuts people by design, since removals act at once, is left out. */
export function sprinkled(proxy: RpcProxy, probability: number, chance: Chance): void {
  const lies = LIES.filter(([name]) => name !== "a revoke made up").map(([, lie]) => lie(chance));
  const each = { chance: probability / (WIRE.length + lies.length), random: chance.next };
  for (const [, fault] of WIRE) proxy.misbehave(fault, each);
  for (const lie of lies) proxy.lie(lie, each);
}

const ENVELOPES: Readonly<Record<string, (reply: Json) => unknown>> = {
  "another id": (reply) => ({ ...reply, id: "other" }),
  "no jsonrpc": ({ jsonrpc: _, ...reply }) => reply,
  "result and error": (reply) => ({ ...reply, error: { code: 1, message: "both" } }),
  "neither result nor error": ({ id: number }) => ({ jsonrpc: "2.0", id: number }),
  "an array": (reply) => [reply],
};

const HALF = { chance: 0.5 };
/** What ends in a deadline of seconds is done once in a while. */
const ONCE = { times: 1 };
const WIRE: readonly (readonly [string, WireFault, Where])[] = [
  ["delay", { kind: "delay", ms: 30 }, HALF],
  ["drip", { kind: "drip", bytes: 100, everyMs: 1 }, HALF],
  ["a drip past every deadline", { kind: "drip", bytes: 1, everyMs: 40 }, ONCE],
  ["drop", { kind: "drop" }, ONCE],
  ["reset", { kind: "reset" }, HALF],
  ["status 500", { kind: "status", status: 500 }, HALF],
  ["status 429", { kind: "status", status: 429, retryAfter: "1" }, ONCE],
  ["status 503 and html", { kind: "status", status: 503, body: "<html>" }, HALF],
  ["redirect", { kind: "redirect", to: "http://127.0.0.1:1/" }, HALF],
  ["html", { kind: "text", text: "<!doctype html>" }, HALF],
  ["nothing", { kind: "text", text: "" }, HALF],
  ["null", { kind: "text", text: "null" }, HALF],
  ["gzip that is none", { kind: "text", text: "{}", encoding: "gzip" }, HALF],
  ["truncate", { kind: "truncate" }, HALF],
  ["bomb", { kind: "bomb", megabytes: 64 }, { times: 2 }],
  ["flood", { kind: "flood", megabytes: 10 }, { times: 2 }],
  ["flood of values", { kind: "flood", megabytes: 2, piece: Buffer.from("{},") }, { times: 2 }],
  ["null for an answer", { kind: "answer", outcome: { result: null } }, HALF],
  ["an answer of another kind", { kind: "answer", outcome: { result: { number: "0x-1" } } }, HALF],
  ["an error without sense", { kind: "answer", outcome: refusal(0, "\u0000") }, HALF],
  ...Object.entries(ENVELOPES).map(([name, change]) => [name, { kind: "envelope", change }, HALF] as const),
];

const GRANTED = id("NodeAccessGranted(uint256,string,address,string)");
const REVOKED = id("NodeAccessRevoked(uint256,string)");
const ATTACKER = word(`0x${"66".repeat(20)}`);
/** A peer with this key is on the device only while a lie is believed. */
export const MADE_UP_KEY = Buffer.alloc(32, 66).toString("base64");

const LIES: readonly (readonly [string, (chance: Chance) => Lie])[] = [
  ["behind", () => behind(3)],
  ["far behind", () => behind(40)],
  ["frozen", () => frozen()],
  ["flapping", () => flapping(5)],
  ["ahead", () => ahead(1_000)],
  ["logs left out", () => omission(2)],
  ["all logs left out", () => changedLogs(() => [])],
  ["logs duplicated", () => changedLogs((logs) => [...logs, ...logs])],
  ["logs reordered", () => changedLogs((logs) => logs.toReversed())],
  ["logs late", () => lateLogs(2)],
  [
    "logs of another block",
    () => changedLogs((logs) => logs.map((log) => ({ ...log, blockHash: log["transactionHash"] }))),
  ],
  [
    "logs of another contract",
    () => changedLogs((logs) => logs.map((log) => ({ ...log, address: ATTACKER.slice(-42) }))),
  ],
  [
    "logs cut short",
    () => changedLogs((logs) => logs.map((log) => ({ ...log, data: String(log["data"]).slice(0, 66) }))),
  ],
  ["logs in one place", () => changedLogs((logs) => logs.map((log) => ({ ...log, logIndex: "0x0" })))],
  ["logs without topics", () => changedLogs((logs) => logs.map((log) => ({ ...log, topics: [] })))],
  ["a grant made up", () => madeUp([GRANTED, word(9_999n), ATTACKER], strings("evil", MADE_UP_KEY))],
  ["a revoke made up", (chance) => madeUp([REVOKED, word(BigInt(2 + chance.below(20)))], strings("x"))],
  ["blocks capped", () => cappedBlocks(2)],
  ["results capped", () => cappedResults(3)],
  ["bytes capped", () => cappedBytes(3_000)],
  ["a silent cut", () => silentCut(2)],
  ["calls refused", () => refused("eth_call", () => true)],
  ["block hashes refused", () => refused("eth_getLogs", (params) => JSON.stringify(params).includes("blockHash"))],
  ["state read as empty", () => emptyState],
];
const MISLEADING = new Set([
  ...["logs left out", "all logs left out", "logs late", "logs cut short", "logs without topics", "a silent cut"],
  ...["logs of another contract", "a grant made up", "a revoke made up", "state read as empty"],
]);

function onTheWire(name: string, fault: WireFault, where: Where): StoryFault {
  return {
    name,
    misleads: false,
    begin(upstreams, chance) {
      // Mostly of one of them; the other one serves then.
      const all = chance.happens(0.2) ? upstreams : [chance.oneOf(upstreams)];
      for (const one of all) one?.misbehave(fault, { ...where, random: chance.next });
    },
  };
}

function told(
  name: string,
  lie: (chance: Chance) => Lie,
  { of = "one", misleads = false }: { of?: "one" | "both"; misleads?: boolean } = {},
): StoryFault {
  return {
    name,
    misleads,
    begin(upstreams, chance) {
      for (const one of of === "both" ? upstreams : [chance.oneOf(upstreams)]) one?.lie(lie(chance));
    },
  };
}

/** Every n-th transaction leaves no logs, whoever asks and however often. */
function omission(n: number): Lie {
  return changedLogs((logs) =>
    logs.filter(({ transactionHash }) => Number(String(transactionHash).slice(0, 10)) % n > 0),
  );
}

/** In a block that has logs of the contract, so that no bloom contradicts it. */
function madeUp(topics: readonly string[], data: string): Lie {
  return changedLogs((logs) => {
    const last = logs.at(-1);
    if (last === undefined) return logs;
    const transactionHash = `0x${"6".repeat(64)}`;
    return [
      ...logs,
      { ...last, topics, data, transactionHash, logIndex: `0x${(Number(last["logIndex"]) + 1).toString(16)}` },
    ];
  });
}

function refused(method: string, isRefused: (params: readonly unknown[]) => boolean): Lie {
  return function refuse(call, next) {
    const isMeant = call.method === method && isRefused(call.params);
    return isMeant ? refusal(-32000, "not supported here") : next(call.method, call.params);
  };
}

/** As an upstream answers that has lost its state: no code, no storage. */
const emptyState: Lie = ({ method, params }, next) => (method === "eth_call" ? { result: "0x" } : next(method, params));

async function each(upstreams: readonly RpcProxy[], act: (one: RpcProxy) => void | Promise<void>): Promise<void> {
  await Promise.all(upstreams.map(act));
}
