import { describe, expect, it, test } from "vitest";
import { type PublicKey, parseTokenId, type TokenId } from "../model.ts";
import { keyOf, letterOf } from "../test/peers.ts";
import { succeed, succession } from "./gateways.ts";

const ids = new Map(["A", "B", "C"].map((letter, i) => [letter, parseTokenId(BigInt(i + 1))]));
const gateway = (letter: string) => ({ tokenId: ids.get(letter) as TokenId, key: keyOf(letter) });
const nameOf = (id: TokenId | undefined) => [...ids].find(([, other]) => other === id)?.[0] ?? "-";

const MINUTE = 60_000;
const START = Date.UTC(2026, 0, 2);

/**
 * A timeline of one character a minute for each gateway: `x` where it shook hands in that minute, `.` where not, and a
 * space where it is no gateway. Gives who was primary in each minute.
 */
function played(timeline: Readonly<Record<string, string>>, carrier?: string): string {
  let state = succession(carrier === undefined ? undefined : ids.get(carrier), START);
  const handshakes = new Map<string, number>();
  const minutes = Math.max(...Object.values(timeline).map((line) => line.length));
  let primaries = "";
  for (let minute = 0; minute < minutes; minute++) {
    const nowMs = START + minute * MINUTE;
    const present = Object.entries(timeline).filter(([, line]) => line[minute] !== " ");
    for (const [letter, line] of present) if (line[minute] === "x") handshakes.set(letter, nowMs);
    // Backwards, because the order must not matter.
    const gateways = present.map(([letter]) => gateway(letter)).reverse();
    state = succeed(state, gateways, (key) => handshakes.get(letterOf(key)) ?? 0, nowMs);
    primaries += nameOf(state.primary);
  }
  return primaries;
}

describe("the primary gateway", () => {
  test.each([
    ["is the one with the lowest token id", { A: "xxxx", B: "xxxx" }, "AAAA"],
    ["is the lowest before anybody shook hands, too", { A: "....", B: "...." }, "AAAA"],
    ["is the one that answers at the start", { A: "....", B: "xxxx" }, "BBBB"],
    ["moves when its handshake is 180 s old", { A: "x......", B: "xxxxxxx" }, "AAABBBB"],
    ["stays where nobody else answers either", { A: "x......", B: "x......" }, "AAAAAAA"],
    ["moves as soon as somebody answers", { A: "x......", B: "x....xx" }, "AAAAABB"],
    ["has three minutes to shake hands for the first time", { A: ".......", B: "....xxx" }, "AAAABBB"],
    ["moves at once when the gateway is one no more", { A: "xx  ", B: "xxxx" }, "AABB"],
    ["is nobody without gateways", { A: "x   " }, "A---"],
    ["takes a new lower gateway once that has answered", { A: "  ..x", B: "xxxxx" }, "BBBBA"],
  ])("%s", (_, timeline, primaries) => {
    expect(played(timeline)).toBe(primaries);
  });

  it("returns once the first has been back for ten minutes", () => {
    const timeline = { A: `x...${"x".repeat(14)}`, B: "x".repeat(18) };
    expect(played(timeline)).toBe(`AAA${"B".repeat(11)}AAAA`);
  });

  it("counts the ten minutes anew after every gap", () => {
    const timeline = { A: `x...xxxxx...${"x".repeat(12)}`, B: "x".repeat(24) };
    expect(played(timeline)).toBe(`AAA${"B".repeat(19)}AA`);
  });

  it("does not wait for the ten minutes when the second fails", () => {
    expect(played({ A: "x...xxxxx", B: "xxxxx...." })).toBe("AAABBBBAA");
  });

  it("is left where it is by a restart of the agent", () => {
    expect(played({ A: "..xxxxx", B: "xxxxxxx" }, "B")).toBe("BBAAAAA");
    expect(played({ A: ".......", B: "xxxxxxx" }, "B")).toBe("BBBBBBB");
    expect(played({ A: "......", B: "xxxxxx" }, "A")).toBe("AAABBB");
  });

  it("is not waited for after a restart where its last handshake is long ago", () => {
    const handshakeAt = (key: PublicKey) => START - (key === keyOf("A") ? 4 : 1) * MINUTE;
    const { primary } = succeed(succession(ids.get("A"), START), [gateway("A"), gateway("B")], handshakeAt, START);
    expect(nameOf(primary)).toBe("B");
  });
});
