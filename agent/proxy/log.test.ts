import { expect, it } from "vitest";
import { createLog } from "./log.ts";

it("writes an event as one line of JSON, and a flood of it as a few lines and a number", () => {
  const lines: string[] = [];
  let now = 0;
  const log = createLog(
    (line) => lines.push(line),
    () => now,
    2,
  );
  for (let i = 0; i < 5; i++) log("connection.refused", { limit: 7 });
  log("listening", { tcp: [1] });
  now = 61_000;
  log("connection.refused", { limit: 7 });
  const refused = { event: "connection.refused", limit: 7 };
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    { time: "1970-01-01T00:00:00.000Z", ...refused },
    { time: "1970-01-01T00:00:00.000Z", ...refused },
    { time: "1970-01-01T00:00:00.000Z", event: "listening", tcp: [1] },
    { time: "1970-01-01T00:01:01.000Z", ...refused, unwritten: 3 },
  ]);
  expect(lines.every((line) => line.indexOf("\n") === line.length - 1)).toBe(true);
});
