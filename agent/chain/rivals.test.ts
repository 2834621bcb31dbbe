import { describe, expect, it } from "vitest";
import type { Hash, Trail } from "../model.ts";
import { hasStalled, rivals } from "./rivals.ts";
import type { UpstreamStatus } from "./rpc.ts";

const hash = (text: string) => `0x${Buffer.from(text).toString("hex").padEnd(64, "0")}` as Hash;
/** Our blocks, `5a` for number 5 with hash a; the first is final. */
function trail(drawing: string): Trail {
  const [final, ...unfinal] = drawing
    .split(" ")
    .map((block) => ({ number: Number.parseInt(block, 10), hash: hash(block) }));
  if (final === undefined) throw new Error("a trail has a final block");
  return { final, unfinal };
}
/** The heads that upstreams told last, at so many seconds; `!` for one that is not well, `-` for one that has told none, `.` for one that stands. */
function upstreams(drawing: string): () => UpstreamStatus[] {
  return () =>
    drawing.split(" ").map((told) => {
      const [name = "", head = "-", seconds] = told.replace(/[!.]$/, "").split(":");
      const isTold = head !== "-";
      const parent = `${Number.parseInt(head, 10) - 1}${head.at(-1)}`;
      return {
        ...{ name, healthy: !told.endsWith("!"), latencyMs: 1, requests: 1, errors: {} as never, inFlight: 0 },
        headBlock: isTold ? Number.parseInt(head, 10) : undefined,
        ...{
          headHash: isTold ? hash(head) : undefined,
          headParent: isTold ? hash(parent) : undefined,
          ...{ headTimestamp: seconds === undefined ? undefined : Number(seconds), isMoving: !told.endsWith(".") },
          fault: undefined,
        },
      };
    });
}

describe("rivals, by the heads that were told last", () => {
  it.each([
    ["whoever has our tip is none", "4a 5a 6a", "A:6a B:6a", ""],
    ["whoever is behind on our chain is none", "4a 5a 6a", "A:6a B:5a", ""],
    ["whoever is a block ahead on our chain is none", "4a 5a 6a", "A:6a B:7a", ""],
    ["whoever is a block ahead on a chain of its own is one", "4a 5a 6a", "A:6a B:7b", "B"],
    ["whoever is further ahead may be one", "4a 5a 6a", "A:6a B:8a", "B"],
    ["whoever stands below what is final here is none", "4a 5a 6a", "A:6a B:3b", ""],
    ["whoever has another block in place of ours is one", "4a 5a 6a", "A:6a B:6b", "B"],
    ["so is one that is behind on a chain of its own", "4a 5a 6a", "A:6a B:5b C:6c", "B C"],
    ["whoever stands on a block that we passed over may be one", "4a 6a", "A:6a B:5b", "B"],
    ["whoever is not well is none", "4a 5a 6a", "A:6a B:6b!", ""],
    ["whoever has told no head is none", "4a 5a 6a", "A:6a B:-", ""],
    ["an only upstream has no rival", "4a 5a 6a", "A:6b", ""],
  ])("%s", (_, held, told, expected) => {
    expect(rivals({ upstreams: upstreams(told) }, trail(held)).join(" ")).toBe(expected);
  });
});

describe("a head made at second 1,000", () => {
  it.each([
    ["beside one that is as old", "A:6a:1000 B:6a:1045", 2_000, false],
    ["beside one that was made 46 seconds later", "A:6a:1000 B:6a:1046", 2_000, true],
    ["of which our own clock has nothing yet", "A:6a:1000 B:6a:1046", 1_045, false],
    ["beside one of three that is alone with its time", "A:6a:1000 B:6a:1000 C:6a:5000", 5_000, false],
    ["beside two of three that agree about it", "A:6a:1000 B:6a:4999 C:6a:5000", 5_000, true],
    ["beside one that moves and two that do not", "A:6a:1000. B:6a:1000. C:6a:5000", 5_000, true],
    [
      "beside one that moves, one that does not, and its own upstream that does",
      "A:6a:1000 B:6a:1000. C:6a:5000",
      5_000,
      true,
    ],
    ["where nobody moves", "A:6a:1000. B:6a:5000.", 5_000, true],
    ["beside one that is not well", "A:6a:1000 B:6a:5000!", 5_000, false],
    ["where nobody has told a head", "A:- B:-", 5_000, false],
  ])("%s", (_, told, wallSeconds, expected) => {
    expect(hasStalled({ timestamp: 1_000 }, { upstreams: upstreams(told) }, wallSeconds * 1_000)).toBe(expected);
  });
});
