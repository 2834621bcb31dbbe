import { describe, expect, it } from "vitest";
import { Version } from "./versions.ts";

/** Numbers by name; a change sets one or takes it away. */
type Change = readonly [name: string, value: number | undefined];
const fresh = () =>
  new Version<Map<string, number>, Change>(new Map(), (maps, [name, value]) => {
    const before = maps.get(name);
    if (value === undefined) maps.delete(name);
    else maps.set(name, value);
    return [name, before];
  });
const drawn = (version: Version<Map<string, number>, Change>) =>
  [...version.maps]
    .map((entry) => entry.join("="))
    .sort()
    .join(" ");

describe("a version", () => {
  it("stays as it was while others are made of it and of each other", () => {
    const empty = fresh();
    const a = empty.written((_, make) => make(["a", 1]));
    const ab = a.written((_, make) => [make(["b", 2]), make(["a", 3]), make(["a", 4])]);
    const c = a.written((_, make) => [make(["a", undefined]), make(["c", 5])]);
    expect([ab, empty, c, a, ab, c].map(drawn)).toEqual(["a=4 b=2", "", "c=5", "a=1", "a=4 b=2", "c=5"]);
  });

  it("is left as it was by a write that fails half-way", () => {
    const a = fresh().written((_, make) => make(["a", 1]));
    const failing = () =>
      a.written((_, make) => {
        make(["a", 2]);
        make(["b", 3]);
        throw new Error("half-way");
      });
    expect(failing).toThrow("half-way");
    expect(drawn(a)).toBe("a=1");
  });

  it("is its own successor where nothing was written", () => {
    const a = fresh();
    expect(a.written(() => undefined)).toBe(a);
  });

  it("knows its way to those that grew from it, and none to a stranger", () => {
    const empty = fresh();
    const a = empty.written((_, make) => make(["a", 1]));
    const ab = a.written((_, make) => make(["b", 2]));
    const names = (changes: readonly Change[] | undefined) => changes?.map(([name]) => name).sort();
    expect([names(empty.changesTo(ab)), names(ab.changesTo(a)), names(a.changesTo(a))]).toEqual([
      ["a", "b"],
      ["b"],
      [],
    ]);
    expect(a.changesTo(fresh())).toBeUndefined();
  });
});
