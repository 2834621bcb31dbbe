import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { resync, rollback } from "./actions.ts";
import type { PublicKey } from "./model.ts";
import { Boot, keyOf } from "./test/boot.ts";

const [A, B, C] = [keyOf(1), keyOf(2), keyOf(3)] as const;
let boot: Boot;
afterEach(() => boot.end());

describe("a rollback", () => {
  it("holds additions, lets go of the no longer admitted, and ends with a resync", async () => {
    boot = new Boot();
    const [a = 0n] = boot.grant(A);
    await boot.poll();
    await boot.fullPass();
    const { generation } = boot.agent;
    boot.grant(B);
    await boot.poll();
    await boot.fullPass();

    expect(await rollback(boot.agent, undefined)).toEqual({ generation });
    expect(boot.holds(A, B)).toEqual([true, false]);
    boot.contract.revoke(a);
    boot.grant(C);
    await boot.poll();
    await boot.fullPass();
    expect(boot.holds(A, B, C)).toEqual([false, false, false]);

    await resync(boot.agent, boot.signal);
    expect(boot.holds(A, B, C)).toEqual([false, true, true]);
  });

  it("is not undone by a restart, but by a resync", async () => {
    boot = new Boot();
    boot.grant(A);
    await boot.poll();
    await boot.fullPass();
    boot.grant(B);
    await boot.poll();
    await boot.fullPass();
    await rollback(boot.agent, undefined);
    await boot.poll();
    for (const held of [
      [true, false],
      [true, true],
    ]) {
      await boot.restart();
      await boot.fullPass();
      await boot.poll();
      await boot.fullPass();
      expect(boot.holds(A, B)).toEqual(held);
      await resync(boot.agent, boot.signal);
      await boot.poll();
    }
  });

  it("and its end are not undone by a restart either where the chain is silent", async () => {
    boot = new Boot();
    boot.grant(A);
    await boot.poll();
    await boot.fullPass();
    boot.grant(B);
    await boot.poll();
    await boot.fullPass();
    await rollback(boot.agent, undefined);
    await boot.restart();
    await boot.fullPass();
    expect(boot.holds(A, B)).toEqual([true, false]);
    await resync(boot.agent, boot.signal);
    await boot.restart();
    await boot.fullPass();
    expect(boot.holds(A, B)).toEqual([true, true]);
  });

  const heldAt = async (...keys: readonly PublicKey[]) => {
    boot = new Boot();
    for (const key of keys) {
      boot.grant(key);
      await boot.poll();
      await boot.fullPass();
    }
    await rollback(boot.agent, undefined);
  };

  it("is not undone by a restart that finds none of the files", async () => {
    await heldAt(A, B);
    rmSync(dirname(boot.agent.files.path), { recursive: true });
    await boot.restart();
    await boot.fullPass();
    await boot.poll();
    await boot.fullPass();
    expect(boot.holds(A, B)).toEqual([true, false]);
  });

  it("that an earlier agent has held without noting its keys has those of its file", async () => {
    await heldAt(A, B);
    await boot.agent.store.save(boot.agent.ledger, { heldKeys: "" });
    await boot.restart();
    expect(boot.agent.held?.keys).toEqual(new Set([A]));
  });

  it("that is asked for again goes further back, not to where the first came from", async () => {
    boot = new Boot();
    for (const key of [A, B, C]) {
      boot.grant(key);
      await boot.poll();
      await boot.fullPass();
    }
    for (const held of [
      [true, true, false],
      [true, false, false],
    ]) {
      await rollback(boot.agent, undefined);
      expect(boot.holds(A, B, C)).toEqual(held);
    }
    await expect(rollback(boot.agent, undefined)).rejects.toMatchObject({ fault: { code: "config.no-generation" } });
    expect(boot.holds(A, B, C)).toEqual([true, false, false]);
  });

  it("that names no generation passes over one that is damaged, and one that does is refused", async () => {
    boot = new Boot();
    for (const key of [A, B, C]) {
      boot.grant(key);
      await boot.poll();
      await boot.fullPass();
    }
    const directory = join(dirname(boot.agent.files.path), "backups");
    const [oldest, damaged] = (await boot.agent.files.list()).map(({ generation }) => generation).toReversed();
    const name = readdirSync(directory).find((name) => name.includes(`-0000000${damaged}-`)) ?? "";
    writeFileSync(join(directory, name), "half of");
    await expect(rollback(boot.agent, damaged)).rejects.toMatchObject({ fault: { code: "config.no-generation" } });
    expect(await rollback(boot.agent, undefined)).toEqual({ generation: oldest });
    expect(boot.holds(A, B, C)).toEqual([true, false, false]);
  });

  it("leaves nobody in doubt whom neither its generation nor the registry has", async () => {
    boot = new Boot();
    const members = Array.from({ length: 20 }, (_, i) => keyOf(i + 1));
    boot.grant(...members);
    await boot.poll();
    await boot.fullPass();
    const { generation } = boot.agent;
    const late = boot.grant(...Array.from({ length: 10 }, (_, i) => keyOf(100 + i)));
    await boot.poll();
    await boot.fullPass();
    for (const id of late) boot.contract.revoke(id);
    boot.contract.mine();
    await boot.poll();
    expect(boot.held().length).toBeGreaterThan(20);
    await rollback(boot.agent, generation);
    expect(boot.held()).toHaveLength(20);
  });

  it("to a generation that is not there changes nothing", async () => {
    boot = new Boot();
    await expect(rollback(boot.agent, 7)).rejects.toMatchObject({ fault: { code: "config.no-generation" } });
    expect(boot.agent.held).toBeUndefined();
  });
});
