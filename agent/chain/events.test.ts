import { AbiCoder, Interface, id } from "ethers";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type AccessEvent, type Address, type Hash, ROLES } from "../model.ts";
import { strings } from "../test/scripted-contract.ts";
import { decodeLogs, isInvalid, LIMITS, TOPIC, TOPICS, UNREADABLE } from "./events.ts";
import type { RawLog } from "./log-list.ts";

const SIGNATURES = {
  grant: "NodeAccessGranted(uint256 indexed tokenId, string nodeId, address indexed owner, string wireguardPublicKey)",
  revoke: "NodeAccessRevoked(uint256 indexed tokenId, string nodeId)",
  transfer: "Transfer(address indexed from, address indexed to, uint256 indexed tokenId)",
  ownerKeyUpdate: "PublicKeyUpdated(address indexed owner, string wireguardPublicKey)",
  keyUpdate: "TokenPublicKeyUpdated(uint256 indexed tokenId, string key)",
  role: "RoleUpdated(uint256 indexed tokenId, uint8 role)",
  endpoint: "EndpointUpdated(uint256 indexed tokenId, string endpoint)",
} as const;
type Name = keyof typeof SIGNATURES;
const ABI = new Interface(Object.values(SIGNATURES).map((signature) => `event ${signature}`));

const KEY = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
const ALICE = `0x${"a1".repeat(20)}` as Address;
const BOB = `0x${"b0".repeat(20)}` as Address;
const CONTRACT = `0x${"c0".repeat(20)}` as Address;
const TX = `0x${"77".repeat(32)}` as Hash;

function log(name: Name, ...args: unknown[]): RawLog {
  const { topics, data } = ABI.encodeEventLog(SIGNATURES[name].replace(/\(.*/, ""), args);
  return { ...at(1, 0), topics: topics as Hash[], data };
}
function at(block: number, logIndex: number, transactionHash: Hash = TX) {
  const blockHash = `0x${block.toString(16).padStart(64, "0")}` as Hash;
  return { address: CONTRACT, blockNumber: block, blockHash, transactionHash, logIndex, topics: [], data: "0x" };
}
/** What was said and nothing else, short enough for a table. */
function said(logs: readonly RawLog[]): string[] {
  return decodeLogs(logs).map((event) => `${event.at.block}.${event.at.logIndex} ${words(event)}`);
}
function words(event: AccessEvent): string {
  switch (event.kind) {
    case "grant":
      return `grant ${event.tokenId} ${event.nodeId} ${event.owner} ${event.key}`;
    case "transfer":
      return `transfer ${event.tokenId} ${event.from} ${event.to}`;
    case "owner-key-update":
      return `owner-key-update ${event.owner} ${event.key}`;
    case "key-update":
      return `key-update ${event.tokenId} ${event.key}`;
    case "endpoint":
      return `endpoint ${event.tokenId} ${event.endpoint}`;
    case "role":
      return `role ${event.tokenId} ${event.role}`;
    case "invalid":
      return "invalid";
    default:
      return `${event.kind} ${event.tokenId}`;
  }
}

describe("the events of the contract", () => {
  it("are known by the hashes of their signatures", () => {
    for (const [name, topic] of Object.entries(TOPIC)) {
      expect(topic, name).toBe(ABI.getEvent(SIGNATURES[name as Name].replace(/\(.*/, ""))?.topicHash);
    }
    expect(TOPICS).toHaveLength(Object.keys(SIGNATURES).length);
  });

  const top = 2n ** 256n - 1n;
  it.each([
    ["a grant", log("grant", 7, "node-a", ALICE, KEY), `grant 7 node-a ${ALICE} ${KEY}`],
    ["a grant without a key yet", log("grant", 7, "node-a", ALICE, ""), `grant 7 node-a ${ALICE} `],
    ["the largest token id", log("revoke", top, "node-a"), `revoke ${top}`],
    ["a transfer", log("transfer", ALICE, BOB, 7), `transfer 7 ${ALICE} ${BOB}`],
    ["an owner's key update", log("ownerKeyUpdate", ALICE, KEY), `owner-key-update ${ALICE} ${KEY}`],
    ["a token's key update", log("keyUpdate", 7, KEY), `key-update 7 ${KEY}`],
    ["a role", log("role", 7, 2), "role 7 gateway"],
    ["an endpoint", log("endpoint", 7, "a.example:51820"), "endpoint 7 a.example:51820"],
  ])("decode: %s", (_, raw, expected) => {
    expect(said([raw])).toEqual([`1.0 ${expected}`]);
  });

  it("are told in the chain's order, each once, whatever order they come in", () => {
    const logs = [
      { ...log("revoke", 3, ""), blockNumber: 9, logIndex: 0 },
      { ...log("revoke", 2, ""), blockNumber: 8, logIndex: 5 },
      { ...log("revoke", 2, ""), blockNumber: 8, logIndex: 5 },
      { ...log("revoke", 1, ""), blockNumber: 8, logIndex: 4 },
    ];
    expect(said(logs)).toEqual(["8.4 revoke 1", "8.5 revoke 2", "9.0 revoke 3"]);
  });

  it("leave out an owner's key update that its transaction repeats with the token's name", () => {
    const other = `0x${"88".repeat(32)}` as Hash;
    const logs = [
      { ...log("ownerKeyUpdate", ALICE, KEY), logIndex: 0 },
      { ...log("keyUpdate", 7, KEY), logIndex: 1 },
      { ...log("ownerKeyUpdate", ALICE, "another key"), logIndex: 2 },
      { ...log("ownerKeyUpdate", ALICE, KEY), logIndex: 3, transactionHash: other },
    ];
    expect(said(logs)).toEqual([
      `1.1 key-update 7 ${KEY}`,
      `1.2 owner-key-update ${ALICE} another key`,
      `1.3 owner-key-update ${ALICE} ${KEY}`,
    ]);
  });
});

describe("poison", () => {
  const grant = log("grant", 7, "node-a", ALICE, KEY);
  const word = (n: number | bigint) => n.toString(16).padStart(64, "0");
  const badUtf8 = `0x${word(32)}${word(2)}${"c328".padEnd(64, "0")}`;
  const badGrant = `0x${word(64)}${word(128)}${word(2)}${"c328".padEnd(64, "0")}${word(0)}`;
  const [event = "0x", ...rest] = grant.topics;

  it.each([
    ["a grant whose name is no UTF-8", { ...grant, data: badGrant }, "invalid"],
    ["a grant whose offsets leave the data", { ...grant, data: `0x${word(64)}${word(2 ** 32)}${word(0)}` }, "invalid"],
    ["an offset that wraps around 2^256", { ...grant, data: `0x${word(2n ** 256n - 32n)}${word(64)}` }, "invalid"],
    ["a length that leaves the data", { ...grant, data: `0x${word(64)}${word(64)}${word(1e9)}` }, "invalid"],
    ["a grant without data", { ...grant, data: "0x" }, "invalid"],
    ["a grant without its owner", { ...grant, topics: grant.topics.slice(0, 2) }, "invalid"],
    [
      "an owner of more than 20 bytes",
      { ...grant, topics: [event, ...rest.map(() => `0x${"f".repeat(64)}`)] },
      "invalid",
    ],
    [
      "an ERC-20 Transfer",
      { ...log("transfer", ALICE, BOB, 7), topics: log("transfer", ALICE, BOB, 7).topics.slice(0, 3) },
      "invalid",
    ],
    ["a revoke of two tokens", { ...log("revoke", 7, ""), topics: grant.topics.with(0, TOPIC.revoke) }, "invalid"],
    ["a role that there is not", log("role", 7, 3), "invalid"],
    ["a role behind dirty bytes", { ...log("role", 7, 1), data: `0x${word(257)}` }, "invalid"],
    ["a revoke with a poisoned name still revokes", { ...log("revoke", 7, ""), data: badUtf8 }, "revoke 7"],
    ["a revoke without data still revokes", { ...log("revoke", 7, ""), data: "0x" }, "revoke 7"],
    [
      "a key update to what is no text still takes the old key",
      { ...log("keyUpdate", 7, ""), data: badUtf8 },
      `key-update 7 ${UNREADABLE}`,
    ],
    [
      "and so does an owner's",
      { ...log("ownerKeyUpdate", ALICE, ""), data: "0x" },
      `owner-key-update ${ALICE} ${UNREADABLE}`,
    ],
    ["an endpoint that is no text", { ...log("endpoint", 7, ""), data: badUtf8 }, "invalid"],
  ])("%s", (_, raw, expected) => {
    const events = decodeLogs([raw as RawLog]);
    expect(events.map(words)).toEqual([expected]);
    expect(events.map(isInvalid)).toEqual([!expected.startsWith("revoke ")]);
  });

  it("of other events and of none is passed over", () => {
    const approval = { ...grant, topics: [id("Approval(address,address,uint256)") as Hash, ...grant.topics.slice(1)] };
    expect(said([approval, { ...grant, topics: [] }])).toEqual([]);
  });

  it.each([
    ["a plain text", "x".repeat(3_000_000), "x".repeat(LIMITS.nodeId)],
    ["an emoji on the cut", `${"x".repeat(LIMITS.nodeId - 1)}😀`, "x".repeat(LIMITS.nodeId - 1)],
    ["three bytes a character", "€".repeat(LIMITS.nodeId + 1), "€".repeat(LIMITS.nodeId)],
    ["four bytes a character", "😀".repeat(LIMITS.nodeId), "😀".repeat(LIMITS.nodeId / 2)],
    ["exactly as long as may be", "é".repeat(LIMITS.nodeId), "é".repeat(LIMITS.nodeId)],
  ])("of great length is cut at a character: %s", (_, nodeId, expected) => {
    // By hand: ethers takes seconds to encode megabytes.
    const raw = { ...log("grant", 7, "", ALICE, KEY), data: strings(nodeId, KEY) };
    expect(said([raw])).toEqual([`1.0 grant 7 ${expected} ${ALICE} ${KEY}`]);
  });

  it("behind the cut counts as well", () => {
    const long = log("keyUpdate", 7, "x".repeat(1_000));
    expect(said([{ ...long, data: long.data.replace(/7878(0*)$/, "78ff$1") }])).toEqual([
      `1.0 key-update 7 ${UNREADABLE}`,
    ]);
  });
});

describe("against ethers", () => {
  const seed = Number(process.env["FUZZ_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`events.test.ts: FUZZ_SEED=${seed}`);
  const uint = fc.bigInt({ min: 0n, max: 2n ** 256n - 1n });
  const address = fc
    .uint8Array({ minLength: 20, maxLength: 20 })
    .map((bytes) => `0x${Buffer.from(bytes).toString("hex")}`);
  const text = fc.string({ unit: "binary", maxLength: 400 });
  const anyLog: fc.Arbitrary<RawLog> = fc.oneof(
    fc.tuple(uint, text, address, text).map((args) => log("grant", ...args)),
    fc.tuple(uint, text).map((args) => log("revoke", ...args)),
    fc.tuple(address, address, uint).map((args) => log("transfer", ...args)),
    fc.tuple(address, text).map((args) => log("ownerKeyUpdate", ...args)),
    fc.tuple(uint, text).map((args) => log("keyUpdate", ...args)),
    fc.tuple(uint, fc.nat(2)).map((args) => log("role", ...args)),
    fc.tuple(uint, text).map((args) => log("endpoint", ...args)),
  );

  it("every well-formed log says the same", () => {
    fc.assert(
      fc.property(anyLog, (raw) => {
        expect(decodeLogs([raw]).map(words)).toEqual([wordsOfEthers(raw)]);
      }),
      { seed, numRuns: 300 },
    );
  }, 30_000);

  it("a damaged log never throws, and says the same wherever ethers can read it", () => {
    fc.assert(
      fc.property(anyLog, fc.array(damage, { minLength: 1, maxLength: 3 }), (raw, damages) => {
        const damaged = damages.reduce((log, hurt) => hurt(log), raw);
        expect(decodeLogs([damaged]).map(words)).toEqual([wordsOfEthers(damaged)]);
      }),
      { seed, numRuns: 1_000 },
    );
  }, 30_000);

  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
  const damage: fc.Arbitrary<(log: RawLog) => RawLog> = fc.oneof(
    // A small number in some word is the likeliest to be a plausible offset or length.
    fc.tuple(fc.nat(20), fc.nat(700)).map(
      ([word, value]) =>
        (log: RawLog) =>
          overwrite(log, 32 * word + 28, value.toString(16).padStart(8, "0")),
    ),
    fc.tuple(fc.nat(900), fc.uint8Array({ minLength: 1, maxLength: 40 })).map(
      ([offset, bytes]) =>
        (log: RawLog) =>
          overwrite(log, offset, hex(bytes)),
    ),
    fc.nat(900).map((length) => (log: RawLog) => ({ ...log, data: log.data.slice(0, 2 + 2 * length) })),
    fc.uint8Array({ maxLength: 70 }).map((tail) => (log: RawLog) => ({ ...log, data: log.data + hex(tail) })),
    fc.nat(3).map((count) => (log: RawLog) => ({ ...log, topics: log.topics.slice(0, count + 1) })),
    fc.tuple(fc.nat(2), fc.uint8Array({ minLength: 32, maxLength: 32 })).map(([i, bytes]) => (log: RawLog) => ({
      ...log,
      topics: log.topics.map((topic, j) => (j === i + 1 ? (`0x${hex(bytes)}` as Hash) : topic)),
    })),
  );
  function overwrite(log: RawLog, offset: number, digits: string): RawLog {
    const start = Math.min(2 + 2 * offset, log.data.length);
    return {
      ...log,
      data: (log.data.slice(0, start) + digits + log.data.slice(start + digits.length)).slice(0, log.data.length),
    };
  }

  /** What ethers reads, brought to our words; the deliberate differences are the lines with a reason. */
  function wordsOfEthers(raw: RawLog): string {
    const event = ABI.getEvent(raw.topics[0] ?? "");
    if (event === null) throw new Error("an unknown event");
    const indexed = event.inputs.filter((input) => input.indexed);
    // ethers lets surplus topics pass; no compiler emits them.
    if (raw.topics.length !== indexed.length + 1) return "invalid";
    const coder = AbiCoder.defaultAbiCoder();
    const read = <T>(decode: () => T): T | undefined => {
      try {
        return decode();
      } catch {
        return undefined;
      }
    };
    const topics = indexed.map((input, i) => read(() => coder.decode([input], raw.topics[i + 1] ?? "")[0] as unknown));
    const rest = event.inputs.filter((input) => !input.indexed);
    const data = read(() => coder.decode(rest, raw.data, true).toArray()) ?? [];
    const isWhole = read(() => ABI.parseLog(raw)?.args.toArray()) !== undefined;
    const [first, second, third] = topics.map((value) => String(value).toLowerCase());
    const [a, b] = data.map(String);
    if (topics.includes(undefined)) return "invalid";
    switch (event.topicHash) {
      case TOPIC.grant:
        return isWhole ? `grant ${first} ${cut(a, LIMITS.nodeId)} ${second} ${cut(b, LIMITS.key)}` : "invalid";
      // What removes never depends on a text.
      case TOPIC.revoke:
        return `revoke ${first}`;
      case TOPIC.transfer:
        return `transfer ${third} ${first} ${second}`;
      case TOPIC.keyUpdate:
        return `key-update ${first} ${isWhole ? cut(a, LIMITS.key) : UNREADABLE}`;
      case TOPIC.ownerKeyUpdate:
        return `owner-key-update ${first} ${isWhole ? cut(a, LIMITS.key) : UNREADABLE}`;
      case TOPIC.endpoint:
        return isWhole ? `endpoint ${first} ${cut(a, LIMITS.endpoint)}` : "invalid";
      default: {
        // ethers masks a uint8 to its last byte.
        const role = isWhole && raw.data.slice(2, 64) === "0".repeat(62) ? ROLES[Number(a)] : undefined;
        return role === undefined ? "invalid" : `role ${first} ${role}`;
      }
    }
  }
  function cut(text = "", limit: number): string {
    const part = text.slice(0, limit);
    return /[\ud800-\udbff]$/.test(part) ? part.slice(0, -1) : part;
  }
});
