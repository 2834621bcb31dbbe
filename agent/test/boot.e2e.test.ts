/** Ring 4: a start from the database alone, with an upstream that takes every question and answers none. */
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { AT_HEAD } from "../agent.ts";
import { NETWORKS } from "../config.ts";
import {
  type AccessEvent,
  type Address,
  type Hash,
  PrivateKey,
  parseTokenId,
  type TokenId,
  ZERO_HASH,
} from "../model.ts";
import { advance, emptyLedger } from "../registry/ledger.ts";
import { openStore } from "../registry/store.ts";
import { until } from "./lab/command.ts";
import type { Host } from "./lab/host.ts";
import { LAB_ADDRESS, Lab } from "./lab/lab.ts";

const MEMBERS = 1_000;
const GONE = 7;
const nodeKey = PrivateKey.generate();
const memberKey = (index: number) => Buffer.alloc(32, `member ${index}`).toString("base64");

let lab: Lab;
let node: Host;
/** What the agent has asked the chain, and not been told. */
let questions = 0;
const silent = createServer(() => questions++);

beforeAll(async () => {
  lab = await Lab.open();
  node = await lab.host("node-a");
  await new Promise<void>((resolve) => silent.listen(8545, LAB_ADDRESS, resolve));
  writeFileSync(node.file("/run/node.key"), nodeKey.reveal(), { mode: 0o600 });
  // SQLite follows the link that the host's directory is seen through, and ends up in ours.
  await saveRegistry("/run/ledger.sqlite");
  mkdirSync(node.file("/run/state"));
  copyFileSync("/run/ledger.sqlite", node.file("/run/state/ledger.sqlite"));
});

afterAll(async () => {
  silent.closeAllConnections();
  silent.close();
  await lab?.[Symbol.asyncDispose]();
});

/** As an agent leaves it that has followed the chain: the node's own token, its members, and one who was revoked. */
async function saveRegistry(path: string): Promise<void> {
  const { chainId, contract } = NETWORKS.devnet;
  const address = contract.toLowerCase() as Address;
  const hash = `0x${"ab".repeat(32)}` as Hash;
  const at = (logIndex: number) => ({ at: { block: 5, logIndex }, blockHash: hash, transaction: ZERO_HASH });
  const grants = Array.from({ length: MEMBERS + 1 }, (_, i): AccessEvent => {
    const token = { tokenId: id(i + 1), nodeId: i === 0 ? "node-a" : `m-${i}`, owner: address };
    return { kind: "grant", ...token, key: i === 0 ? nodeKey.publicKey : memberKey(i), ...at(i) };
  });
  const revoked: AccessEvent = { kind: "revoke", tokenId: id(GONE + 1), ...at(grants.length) };
  const { store } = openStore(path, { chainId, contract: address });
  const empty = emptyLedger({ number: 0, hash: ZERO_HASH });
  const { ledger } = advance(empty, { kind: "history", to: { number: 5, hash }, events: [...grants, revoked] });
  await store.save(ledger, { [AT_HEAD]: "yes" });
  await store.close();
}

function id(value: number): TokenId {
  const parsed = parseTokenId(BigInt(value));
  if (parsed === undefined) throw new Error(`${value} is no token id`);
  return parsed;
}

const settings = {
  ...{ RPC_URL: `http://${LAB_ADDRESS}:8545`, WIREGUARD_PRIVATE_KEY_FILE: "/run/node.key", SYNC_INTERVAL: "1000" },
};
const peers = async () => {
  const lines = await node.wg("peers").catch(() => []);
  return new Set(lines.map(([key = ""]) => key));
};

describe("with a chain that does not answer, an agent", () => {
  it("fills an empty device from its database", async () => {
    const startedAt = performance.now();
    await using agent = node.agent(settings);
    await until("every peer to be there", 30_000, async () => (await peers()).size === MEMBERS - 1, 50);
    console.info(`${MEMBERS} peers ${Math.round(performance.now() - startedAt)} ms after the start, without the chain`);
    expect((await peers()).has(memberKey(GONE))).toBe(false);
    await until("the chain to be asked", 10_000, () => questions > 0);
    const { components } = await agent.get("/health");
    expect(components).toMatchObject({ wireguard: { peers: MEMBERS - 1 }, registry: { admitted: MEMBERS - 1 } });
    expect(components.chain.headBlock ?? null).toBeNull();
    expect(await agent.isReady()).toBe(false);
  });

  it("takes whoever is revoked off a device that outlived it, touches nobody else, and leaves what came later", async () => {
    const later = memberKey(MEMBERS + 77);
    await node.run(["wg", "set", "wg0", "peer", memberKey(GONE), "allowed-ips", `10.213.0.${GONE + 1}/32`]);
    await node.run(["wg", "set", "wg0", "peer", later, "allowed-ips", "10.213.9.9/32"]);
    await node.run(["wg", "set", "wg0", "peer", memberKey(1), "remove"]);
    await using _agent = node.agent(settings);
    await until("the revoked peer to go", 30_000, async () => !(await peers()).has(memberKey(GONE)));
    await until("the missing peer to come", 30_000, async () => (await peers()).has(memberKey(1)));
    expect((await peers()).has(later)).toBe(true);
    expect((await peers()).size).toBe(MEMBERS);
  });
});
