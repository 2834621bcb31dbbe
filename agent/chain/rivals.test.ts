import { describe, expect, it } from "vitest";
import type { Hash, Trail } from "../model.ts";
import { rivals } from "./rivals.ts";
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
/** The heads that upstreams told last; `!` for one that is not well, `-` for one that has told none. */
function upstreams(drawing: string): () => UpstreamStatus[] {
  return () =>
    drawing.split(" ").map((told) => {
      const [name = "", head = "-"] = told.replace("!", "").split(":");
      const isTold = head !== "-";
      const parent = `${Number.parseInt(head, 10) - 1}${head.at(-1)}`;
      return {
        ...{ name, healthy: !told.endsWith("!"), latencyMs: 1, requests: 1, errors: {} as never, inFlight: 0 },
        headBlock: isTold ? Number.parseInt(head, 10) : undefined,
        ...{
          headHash: isTold ? hash(head) : undefined,
          headParent: isTold ? hash(parent) : undefined,
          headTimestamp: undefined,
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
