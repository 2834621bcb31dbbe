import { describe, expect, it } from "vitest";
import { PrivateKey } from "../model.ts";
import { healthFinding, peerFinding } from "./asked-nodes.ts";
import { clockFinding } from "./check.ts";
import { conclusion, type Finding } from "./holding.ts";

const key = PrivateKey.generate().publicKey;
const NOW = Date.parse("2026-01-01T00:10:00Z");
const wanted = { tokenId: 3n, key, block: 100 };
const finding = (state: Finding["state"]): Finding => ({ about: "node", state, code: "x", says: "x" });

describe("what a node's health says of a token", () => {
  const health = (cursorBlock: unknown, more: object = {}) => ({
    ...{ status: "healthy", ready: true, components: { chain: { cursorBlock } } },
    ...more,
  });
  it.each([
    ["a node that has read the block", health(100), "ok node.ready"],
    ["a node that is behind", health(99), "unknown node.behind"],
    ["a node that has read nothing", health(null), "unknown node.behind"],
    [
      "a node that is not ready",
      health(100, { ready: false, reasons: [{ code: "chain.stale" }] }),
      "unknown node.not-ready",
    ],
    ["an unhealthy node", health(100, { status: "unhealthy" }), "unknown node.not-ready"],
    ["something else", { hello: 1 }, "unknown node.strange"],
    ["something that lies about its parts", health({}, { components: "x" }), "unknown node.strange"],
  ])("%s", (_, body, drawing) => {
    const { state, code } = healthFinding("node-a", body, 100);
    expect(`${state} ${code}`).toBe(drawing);
  });

  it("moves no cursor of whoever reads it", () => {
    const says = healthFinding("node-a", health(100, { status: "unhealthy\u001b[2J" }), 100).says;
    expect(says).not.toContain("\u001b");
  });
});

describe("what a node's peers say of a token", () => {
  const peer = (latestHandshakeAt: unknown) => [{ publicKey: key, latestHandshakeAt }];
  it.each([
    ["a fresh handshake", peer("2026-01-01T00:08:00Z"), "ok handshake.fresh"],
    ["a handshake of three minutes ago and more", peer("2026-01-01T00:06:59Z"), "unknown handshake.stale"],
    ["none ever", peer(null), "unknown handshake.none"],
    ["a peer with another key", [{ publicKey: "x" }], "bad peer.missing"],
    ["no list", 7, "bad peer.missing"],
  ])("%s", (_, peers, drawing) => {
    const { state, code } = peerFinding("node-a", { peers }, wanted, NOW);
    expect(`${state} ${code}`).toBe(drawing);
  });

  it("is judged by when the node last looked", () => {
    const asOf = "2026-01-01T00:09:15Z";
    const { code } = peerFinding("node-a", { asOf, peers: peer("2026-01-01T00:06:30Z") }, wanted, NOW);
    expect(code).toBe("handshake.fresh");
    const { says } = peerFinding("node-a", { asOf, peers: peer(null) }, wanted, NOW);
    expect(says).toBe("node node-a had not shaken hands with token 3 when it last looked, 45 s ago");
  });
});

describe("the clock against the newest block", () => {
  it.each([
    ["a block of just now", 0, "ok clock.right"],
    ["a block some seconds ahead", -59, "ok clock.right"],
    ["a block from the future", -61, "bad clock.behind"],
    ["an old block", 601, "unknown chain.stale"],
  ])("%s", (_, age, drawing) => {
    const { state, code } = clockFinding(1_000_000, 1_000_000 + age, false);
    expect(`${state} ${code}`).toBe(drawing);
  });

  it("says nothing of a chain that makes blocks only when asked to", () => {
    expect(clockFinding(0, 1_000_000, true).state).toBe("ok");
  });
});

describe("all findings together", () => {
  it.each([
    [["ok", "ok"], "works"],
    [["ok", "unknown"], "unknown"],
    [["unknown", "bad"], "no-access"],
  ] as const)("%o", (states, word) => {
    expect(conclusion(states.map(finding))).toBe(word);
  });
});
