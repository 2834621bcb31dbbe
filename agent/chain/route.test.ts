import { describe, expect, it } from "vitest";
import { AgentError } from "../errors.ts";
import type { Block, BlockRef, Trail } from "../model.ts";
import { hashOf, nameOf } from "../test/drawn-chain.ts";
import { Moved, type Route, routeTo } from "./route.ts";

const ref = (name: string): BlockRef => ({ number: Number(name.slice(1)), hash: hashOf(name) });
const block = (name: string, parent: string): Block => ({ ...ref(name), parentHash: hashOf(parent), timestamp: 0 });

/** Blocks as `name<parent`, the last one the head; asked for by number, and counted. */
function chainOf(drawing: string) {
  const blocks = drawing.split(" ").map((text) => block(...(text.split("<") as [string, string])));
  const head = blocks.at(-1) as Block;
  const asked: number[] = [];
  const at = async (number: number) => {
    asked.push(number);
    const found = blocks.find((one) => one.number === number);
    if (found === undefined) throw new Error(`there is no block ${number}`);
    return found;
  };
  const holds = async ({ number, hash }: BlockRef) => (await at(number)).hash === hash;
  return { head, asked, headers: { at, holds } };
}
const trail = (final: string, ...unfinal: string[]): Trail => ({ final: ref(final), unfinal: unfinal.map(ref) });
const drawn = (route: Route) =>
  route.kind === "onward"
    ? `${nameOf(route.from.hash)}: ${route.run.map(({ hash }) => nameOf(hash)).join(" ")}`
    : route.kind;

describe("the route to a head", () => {
  it.each([
    // what                             what we hold                        the chain                             the route  asked
    ["is none to the tip", trail("a1", "a2"), "a1<a0 a2<a1", "same", 0],
    ["is none to a block we have", trail("a1", "a2", "a3"), "a1<a0 a2<a1", "behind", 0],
    ["is none to a block below all of them", trail("a5"), "a3<a2", "behind", 0],
    ["costs nothing for the next block", trail("a1", "a2"), "a3<a2", "a2: a3", 0],
    ["goes over the headers between", trail("a1"), "a2<a1 a3<a2 a4<a3", "a1: a2 a3 a4", 2],
    ["costs nothing for a sibling of the tip", trail("a1", "a2"), "a1<a0 b2<a1", "a1: b2", 0],
    ["goes back to where a fork began", trail("a1", "a2", "a3"), "a1<a0 b2<a1 b3<b2 b4<b3", "a1: b2 b3 b4", 4],
    ["leads to a shorter fork", trail("a1", "a2", "a3", "a4"), "a1<a0 b2<a1 b3<b2", "a1: b2 b3", 2],
    ["is known to a block after a gap", trail("a1", "a2", "a6"), "a2<a1 a3<a2 a4<a3 b5<a4 b6<b5", "a2: a3 a4 b5 b6", 4],
  ] as const)("%s", async (_, held, drawing, expected, cost) => {
    const { head, asked, headers } = chainOf(drawing);
    expect(drawn(await routeTo(head, held, headers))).toBe(expected);
    expect(asked).toHaveLength(cost);
  });

  it.each([
    ["headers that do not link", trail("a1"), "a2<a1 b3<b2 a4<a3"],
    ["a fork whose root we do not hold", trail("a1", "a2"), "a1<a0 a2<a1 b3<b2"],
    ["a number that its parent does not have", trail("a1", "a2"), "a1<a0 a2<a1 a3<a2 a5<a2"],
    ["our tip under another number", trail("a1", "a2"), "a1<a0 a2<a1 a3<a1"],
  ] as const)("is none over %s", async (_, held, drawing) => {
    const { head, headers } = chainOf(drawing);
    await expect(routeTo(head, held, headers)).rejects.toThrow();
  });

  it.each([
    ["the final block itself", trail("a5", "a6"), "b5<a4 b6<b5"],
    ["a block below it", trail("a5", "a6"), "b4<a3 b5<b4 b6<b5 b7<b6"],
    ["a sibling of the final block", trail("a5", "a6"), "b5<a4"],
  ] as const)("is none through a fork of %s", async (_, held, drawing) => {
    const { head, headers } = chainOf(drawing);
    const failure: unknown = await routeTo(head, held, headers).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(AgentError);
    expect((failure as AgentError).fault).toEqual({ code: "chain.fork-below-finality", block: 5 });
  });

  it("says that the chain has moved where headers contradict one another", async () => {
    const { head, headers } = chainOf("a2<a1 b3<b2 a4<a3");
    await expect(routeTo(head, trail("a1"), headers)).rejects.toBeInstanceOf(Moved);
  });

  it("finds a deep fork by halving", async () => {
    const names = Array.from({ length: 60 }, (_, i) => `a${i + 2}`);
    const forked = Array.from({ length: 60 }, (_, i) => `${i < 10 ? "a" : "b"}${i + 2}<${i < 11 ? "a" : "b"}${i + 1}`);
    const { head, headers, asked } = chainOf(`a1<a0 ${forked.join(" ")}`);
    expect(drawn(await routeTo(head, trail("a1", ...names), headers))).toMatch(/^a11: b12 b13 .* b61$/);
    expect(asked.length).toBeLessThan(49 + 15);
  });
});
