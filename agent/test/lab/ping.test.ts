import { expect, it } from "vitest";
import { unwrapped } from "./ping.ts";

it.each([
  ["few pings are as they are numbered", [1, 2, 4], [1, 2, 4]],
  ["numbers go on behind the largest", [65_534, 65_535, 0, 1], [65_534, 65_535, 65_536, 65_537]],
  ["a late answer is not another round's", [65_535, 1, 65_534, 0], [65_535, 65_537, 65_534, 65_536]],
  ["the second time as well", [60_000, 10_000, 40_000, 5_000], [60_000, 75_536, 105_536, 136_072]],
])("%s", (_, numbers, expected) => expect(unwrapped(numbers)).toEqual(expected));
