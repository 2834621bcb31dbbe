import { describe, expect, it } from "vitest";
import { ago, bytes, clock, count, counted, duration, latency, rate, shortAddress } from "./format.js";

describe("a figure", () => {
  it.each<[text: string, expected: string]>([
    [count(1_234_567), "1,234,567"],
    [count(0), "0"],
    [bytes(0), "0 B"],
    [bytes(999), "999 B"],
    [bytes(1_000), "1.00 kB"],
    [bytes(99_960), "100 kB"],
    [bytes(999_600), "1.00 MB"],
    [bytes(12_345_678), "12.3 MB"],
    [bytes(9e18), "9000 PB"],
    [rate(1_500), "1.50 kB/s"],
    [latency(0.4312), "0.43 ms"],
    [latency(4), "4 ms"],
    [latency(4.26), "4.3 ms"],
    [latency(37.9), "38 ms"],
    [latency(999.4), "999 ms"],
    [latency(999.6), "1 s"],
    [latency(12_600), "13 s"],
    [duration(59.9), "59 s"],
    [duration(60), "1 min"],
    [duration(3_600), "1 h"],
    [duration(7_500), "2 h 5 min"],
    [duration(86_400), "1 d"],
    [duration(100_000), "1 d 3 h"],
    [ago(0.4), "just now"],
    [ago(12), "12 s ago"],
    [ago(-3), "just now"],
    [counted(1, "node"), "1 node"],
    [counted(1_200, "node"), "1,200 nodes"],
    [shortAddress("0x37d2106badb01dd5be1926e45d172cb4203c4186"), "0x37d2…4186"],
    [shortAddress("0xnot\u202e"), "0xnot\u202e"],
  ])("reads %j", (text, expected) => {
    expect(text).toBe(expected);
  });

  it.each([count, bytes, rate, latency, duration, ago])("that is not known is a dash: %o", (format) => {
    for (const unknown of [null, undefined, Number.NaN, Number.POSITIVE_INFINITY]) expect(format(unknown)).toBe("–");
  });
});

it("a time of another day says which", () => {
  const now = new Date(2026, 10, 21, 14, 3, 22).getTime();
  expect(clock(now - 60_000, now)).toBe("14:02:22");
  expect(clock(now - 86_400_000, now)).toBe("Nov 20, 14:03:22");
  expect(clock(Number.NaN, now)).toBe("–");
});
