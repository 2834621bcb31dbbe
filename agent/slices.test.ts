import { describe, expect, it } from "vitest";
import { AgentError, type Fault } from "./errors.ts";
import { inSlices, SLICE } from "./slices.ts";
import type { Outcome } from "./wireguard/apply.ts";

const many = Array.from({ length: 2 * SLICE + 10 }, (_, i) => i);
const FAILED: Fault = { code: "device.command-failed", command: "wg", exit: 1, problem: "told to" };
const HUNG: Fault = { code: "device.command-timeout", command: "wg", timeoutMs: 3_000 };

/** Carries out what `refuses` lets through, and remembers it. */
function device(
  refuses: (slice: readonly number[]) => boolean,
  fault = FAILED,
  kind: "rolled-back" | "failed" = "rolled-back",
) {
  const [done, slices]: [number[], number[]] = [[], []];
  const carryOut = async (slice: readonly number[]): Promise<Outcome> => {
    slices.push(slice.length);
    if (refuses(slice)) return { kind, error: new AgentError(fault) };
    done.push(...slice);
    return { kind: "applied" };
  };
  return { done, slices, carryOut };
}

describe("much work", () => {
  it("is done in order, in slices", async () => {
    const { done, slices, carryOut } = device(() => false);
    expect(await inSlices(many, carryOut)).toEqual({ kind: "applied" });
    expect(done).toEqual(many);
    expect(slices).toEqual([SLICE, SLICE, 10]);
  });

  it("that is nothing is not asked for", async () => {
    const { slices, carryOut } = device(() => false);
    expect(await inSlices([], carryOut)).toEqual({ kind: "applied" });
    expect(slices).toEqual([]);
  });

  it("loses only what is at fault", async () => {
    const { done, carryOut } = device((slice) => slice.includes(SLICE + 7));
    expect(await inSlices(many, carryOut)).toMatchObject({ kind: "rolled-back", error: { fault: FAILED } });
    expect(done).toEqual(many.filter((item) => item !== SLICE + 7));
  });

  it("is done in the end where a failure passes", async () => {
    let failures = 1;
    const { done, carryOut } = device(() => failures-- > 0);
    expect(await inSlices(many, carryOut)).toEqual({ kind: "applied" });
    expect(done).toEqual(many);
  });

  it("is left for later where the device takes nobody", async () => {
    const { done, slices, carryOut } = device(() => true);
    expect(await inSlices(many, carryOut)).toMatchObject({ kind: "rolled-back" });
    expect(done).toEqual([]);
    expect(slices.length).toBeLessThan(30);
  });

  it.each([
    ["does not answer", HUNG, "rolled-back"],
    ["is in a state that nobody knows", FAILED, "failed"],
  ] as const)("is left at once where the device %s", async (_, fault, kind) => {
    const { slices, carryOut } = device((slice) => slice.includes(3), fault, kind);
    expect(await inSlices(many, carryOut)).toMatchObject({ kind, error: { fault } });
    expect(slices).toEqual([SLICE]);
  });
});
