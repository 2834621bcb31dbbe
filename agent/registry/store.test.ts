import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, test } from "vitest";
import { AgentError, type FaultCode } from "../errors.ts";
import { type AccessEvent, type Address, type Advance, ZERO_HASH } from "../model.ts";
import { blocks, drawn, events, hashOf, id, keyOf } from "../test/drawn-tokens.ts";
import type { Identity } from "./file.ts";
import { advance, emptyLedger, type Ledger, observe, trail } from "./ledger.ts";
import { openStore, openUnwritable } from "./store.ts";

const identity: Identity = { chainId: 31337, contract: `0x${"c0".repeat(20)}` as Address, genesis: hashOf(0) };
const start = emptyLedger({ number: -1, hash: ZERO_HASH });

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "dstack-vpn-store-"));
  path = join(directory, "ledger.db");
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const extended = (
  ledger: Ledger,
  script: string,
  number = (trail(ledger).unfinal.at(-1) ?? ledger.final).number + 1,
) => {
  const made = blocks(script, number)[0];
  if (made === undefined) throw new Error("a block");
  const block = { ...made.block, parentHash: ZERO_HASH, timestamp: 0 };
  return advance(ledger, { kind: "extend", block, events: made.events }).ledger;
};
const history = (ledger: Ledger, script: string, number: number) =>
  advance(ledger, { kind: "history", to: { number, hash: hashOf(number) }, events: events(script, number) }).ledger;

/** All that a ledger says, as text. */
function drawnLedger(ledger: Ledger | undefined): string {
  if (ledger === undefined) return "nothing";
  const { final, unfinal } = ledger;
  const parts = [ledger.settled, ...unfinal.map(({ registry }) => registry), ledger.registry].map(({ maps }) => [
    [...maps.records.values()].sort((a, b) => (a.id < b.id ? -1 : 1)),
    [...maps.announced].map(([owner, keys]) => [owner, [...keys].sort()]).sort(),
  ]);
  const text = (_: string, value: unknown) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return inText(value);
    return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
  };
  return JSON.stringify([final, unfinal.map(({ block, events }) => [block, events]), parts], text);
}

const inText = (value: unknown) => (typeof value === "bigint" ? String(value) : value === undefined ? "-" : value);

async function saved(ledger: Ledger, notes?: Record<string, string>) {
  const { store } = openStore(path, identity);
  await store.save(ledger, notes);
  await store.close();
}

async function reopened(): Promise<Ledger | undefined> {
  const { store, ledger } = openStore(path, identity);
  await store.close();
  return ledger;
}

function faultOf(work: () => unknown): FaultCode | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    if (error instanceof AgentError) return error.fault.code;
    throw error;
  }
}

describe("a store", () => {
  it("holds nothing when it is new", async () => {
    expect(await reopened()).toBeUndefined();
  });

  it("gives back what was saved, an empty ledger too", async () => {
    await saved(start);
    expect(drawnLedger(await reopened())).toBe(drawnLedger(start));
  });

  it("gives back strings of every kind, and the biggest id", async () => {
    const strange = "\u0000'; DROP TABLE tokens; --\n\u{1F600}\u202e";
    const [grant] = events(`grant ${(1n << 256n) - 1n} A k`);
    if (grant?.kind !== "grant") throw new Error("a grant");
    const told: AccessEvent[] = [{ ...grant, nodeId: strange, key: strange }];
    const ledger = advance(start, { kind: "history", to: { number: 1, hash: hashOf(1) }, events: told }).ledger;
    await saved(ledger);
    expect(drawnLedger(await reopened())).toBe(drawnLedger(ledger));
  });

  it("keeps small texts beside the ledger", async () => {
    await saved(start, { journal: "[1]", other: "x" });
    await saved(start, { journal: "[2]" });
    const { store } = openStore(path, identity);
    expect([store.note("journal"), store.note("other"), store.note("none")]).toEqual(["[2]", "x", undefined]);
    await store.close();
  });

  it("carries saves out one after the other, the last one told last", async () => {
    const { store } = openStore(path, identity);
    const one = history(start, Array.from({ length: 2_500 }, (_, i) => `grant ${i} A k`).join(";"), 1);
    const two = history(one, "key 1 l", 2);
    await Promise.all([store.save(one), store.save(two)]);
    await store.close();
    expect(drawnLedger(await reopened())).toBe(drawnLedger(two));
  });

  it("takes nothing of a save that fails half-way, and the next one whole", async () => {
    const ledger = history(start, "grant 1 A k", 1);
    const { store } = openStore(path, identity);
    await expect(store.save(ledger, { journal: Symbol() as never })).rejects.toMatchObject({
      fault: { code: "store.unsaved" },
    });
    expect(store.note("journal")).toBeUndefined();
    await store.save(ledger);
    await store.close();
    expect(drawnLedger(await reopened())).toBe(drawnLedger(ledger));
  });

  it("replaces everything by a ledger that has nothing to do with the last", async () => {
    const { store } = openStore(path, identity);
    await store.save(extended(history(start, "grant 1 A k; announce A l; grant 2 A m; announce A n", 5), "revoke 1"));
    const other = history(emptyLedger(start.final), "grant 3 B k", 2);
    await store.save(other);
    await store.close();
    expect(drawnLedger(await reopened())).toBe(drawnLedger(other));
  });

  it("lets the event loop turn while it saves many", async () => {
    const many = history(start, Array.from({ length: 9_000 }, (_, i) => `grant ${i} A k${i}`).join(";"), 1);
    const { store } = openStore(path, identity);
    let turns = 0;
    const timer = setInterval(() => turns++, 0);
    await store.save(many);
    clearInterval(timer);
    await store.close();
    expect(turns).toBeGreaterThan(1);
    expect((await reopened())?.settled.maps.records.size).toBe(9_000);
  });
});

const deed = fc.oneof(
  fc.tuple(fc.nat(4), fc.constantFrom(..."AB"), fc.constantFrom(..."kl-")).map(([t, o, k]) => `grant ${t} ${o} ${k}`),
  fc.nat(4).map((t) => `revoke ${t}`),
  fc.tuple(fc.nat(4), fc.constantFrom(..."AB0")).map(([t, o]) => `transfer ${t} ${o}`),
  fc.tuple(fc.nat(4), fc.constantFrom(..."kl")).map(([t, k]) => `key ${t} ${k}`),
  fc.tuple(fc.constantFrom(..."AB"), fc.constantFrom(..."kl")).map(([o, k]) => `announce ${o} ${k}`),
  fc.tuple(fc.nat(4), fc.constantFrom(..."kl")).map(([t, k]) => `read ${t} ${k}`),
  fc.tuple(fc.nat(4), fc.constantFrom(..."AB"), fc.constantFrom(..."kl")).map(([t, o, k]) => `see ${t} ${o} ${k}`),
  fc.constantFrom("see 1 missing", "see 2 off", "role 1 gateway", "endpoint 1 h.example:1", "invalid", "role 2 node"),
);
const move = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("extend" as const), deeds: fc.array(deed, { maxLength: 3 }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("rewind" as const), depth: fc.nat(3) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("finalise" as const),
      depth: fc.nat(3),
      missed: fc.array(deed, { maxLength: 1 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("observe" as const), deed }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("save" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("restart" as const) }) },
);

describe("whatever was saved and when", () => {
  it("a ledger that was saved and read again goes on as the one in memory does", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(move, { maxLength: 25 }), async (moves) => {
        rmSync(directory, { recursive: true, force: true });
        let opened = openStore(path, identity);
        let [ledger, onDisk, fork] = [start, start, 0];
        await opened.store.save(start);
        for (const each of moves) {
          const head = (ledger.unfinal.at(-1)?.block ?? ledger.final).number;
          const target = Math.max(ledger.final.number, head - ("depth" in each ? each.depth : 0));
          if (each.kind === "save") {
            await opened.store.save(ledger);
            onDisk = ledger;
          } else if (each.kind === "restart") {
            await opened.store.close();
            opened = openStore(path, identity);
            expect(drawnLedger(opened.ledger)).toBe(drawnLedger(onDisk));
            ledger = opened.ledger ?? start;
            onDisk = ledger;
          } else if (each.kind === "observe") {
            const block = ledger.unfinal.at(-1)?.block ?? ledger.final;
            const at = { block: Math.max(0, block.number), logIndex: 5 };
            const [made] = events(each.deed, at.block);
            if (made) ledger = observe(ledger, [{ ...made, at, blockHash: block.hash }]).ledger;
          } else {
            ledger = advance(ledger, stepOf(each, target, head, fork)).ledger;
            if (each.kind === "rewind") fork++;
          }
        }
        await opened.store.save(ledger);
        await opened.store.close();
        expect(drawnLedger(await reopened())).toBe(drawnLedger(ledger));
      }),
      { numRuns: 40 },
    );
  }, 30_000);

  function stepOf(
    each: { kind: "extend"; deeds: string[] } | { kind: "rewind" } | { kind: "finalise"; missed: string[] },
    target: number,
    head: number,
    fork: number,
  ): Advance {
    const to = { number: target, hash: hashOf(target) };
    if (each.kind === "rewind") return { kind: "rewind", to };
    if (each.kind === "finalise")
      return { kind: "finalise", to, missed: events(each.missed.join(";"), Math.max(0, target)) };
    const made = blocks(each.deeds.join(";"), head + 1, `f${fork}`)[0];
    if (made === undefined) throw new Error("a block");
    return { kind: "extend", block: { ...made.block, parentHash: ZERO_HASH, timestamp: 0 }, events: made.events };
  }
});

describe("another chain's store", () => {
  test.each<[field: string, other: Partial<Identity>]>([
    ["chain id", { chainId: 1 }],
    ["contract", { contract: `0x${"c1".repeat(20)}` as Address }],
    ["genesis block", { genesis: hashOf(1) }],
  ])("is refused by its %s, and left as it was", async (field, other) => {
    await saved(history(start, "grant 1 A k", 1));
    expect(() => openStore(path, { ...identity, ...other })).toThrow(`another ${field}`);
    expect(drawn((await reopened())?.registry ?? start.registry)).toBe("1 A k");
  });

  it("is refused once the genesis block is known", async () => {
    await saved(start);
    const { store } = openStore(path, { ...identity, genesis: undefined });
    expect(faultOf(() => store.bindGenesis(hashOf(1)))).toBe("store.other-chain");
    expect(faultOf(() => store.bindGenesis(hashOf(0)))).toBeUndefined();
    await store.close();
  });

  it("in which nothing was ever saved is bound to nobody: a first start may have had a wrong address", async () => {
    const other = { ...identity, contract: `0x${"77".repeat(20)}` as typeof identity.contract };
    await openStore(path, other).store.close();
    const { store, ledger } = openStore(path, identity);
    expect(ledger).toBeUndefined();
    await store.save(start);
    await store.close();
    expect(faultOf(() => openStore(path, other))).toBe("store.other-chain");
  });

  it("is known by a genesis block that was learned after opening", async () => {
    const { store } = openStore(path, { ...identity, genesis: undefined });
    store.bindGenesis(hashOf(7));
    await store.save(start);
    await store.close();
    expect(faultOf(() => openStore(path, identity))).toBe("store.other-chain");
  });

  it("is refused where a later version of the program wrote it", async () => {
    await saved(start);
    inTables("PRAGMA user_version = 2");
    expect(() => openStore(path, identity)).toThrow("another schema");
  });
});

function inTables(sql: string): void {
  const db = new DatabaseSync(path);
  db.exec(sql);
  db.close();
}

describe("a store that cannot be used", () => {
  const ledger = () =>
    extended(
      history(start, "grant 1 A k; role 1 node; endpoint 1 h:1; announce A l; transfer 2 B", 5),
      "see 1 B m; invalid; grant 3 C n",
    );

  test.each<[title: string, spoil: () => void]>([
    ["of text", () => writeFileSync(path, "not a database, whatever its name says\n".repeat(40))],
    ["that was cut short", () => truncateSync(path, 5_000)],
    ["with garbage inside", () => writeFileSync(path, readFileSync(path).fill(0xa5, 4_096, 12_000))],
    ["of somebody else's tables", () => inTables("DROP TABLE meta; DROP TABLE notes; CREATE TABLE theirs (x)")],
    ["with a token of no id", () => inTables("UPDATE tokens SET id = '-1' WHERE id = '1'")],
    ["with an owner that is no address", () => inTables("UPDATE tokens SET owner = '0xZZ'")],
    [
      "with an owner in capitals",
      () => inTables("UPDATE tokens SET owner = '0x' || upper(substr('000000000000000000000000000000000000000a', 1))"),
    ],
    ["with a number for a key", () => inTables("UPDATE tokens SET key = x'00' WHERE id = '1'")],
    ["with half a claim", () => inTables("UPDATE tokens SET key_at = NULL WHERE id = '1'")],
    ["with an impossible position", () => inTables("UPDATE tokens SET granted_at = '1:x' WHERE id = '1'")],
    [
      "with an active token that was never granted",
      () => inTables("UPDATE tokens SET granted_at = NULL WHERE id = '1'"),
    ],
    [
      "with a token that waits for a read and is not active",
      () => inTables("UPDATE tokens SET active = 0 WHERE id = '1'"),
    ],
    ["with an unknown role", () => inTables("UPDATE tokens SET role = 3 WHERE id = '1'")],
    ["with a truth value that is none", () => inTables("UPDATE tokens SET key_lost = 2 WHERE id = '1'")],
    ["with former keys that are no list", () => inTables(`UPDATE tokens SET former_keys = '{"a":1}'`)],
    ["with events that are no JSON", () => inTables("UPDATE blocks SET events = '['")],
    [
      "with an event of an unknown kind",
      () => inTables("UPDATE blocks SET events = replace(events, 'observed', 'imagined')"),
    ],
    [
      "with an event about no token",
      () => inTables(`UPDATE blocks SET events = replace(events, '"tokenId":"1"', '"tokenId":"x"')`),
    ],
    [
      "with a state that is none",
      () => inTables(`UPDATE blocks SET events = replace(events, '"active":true', '"active":1')`),
    ],
    ["with a block of no hash", () => inTables("UPDATE blocks SET hash = 'x'")],
    ["with an announcement of nobody", () => inTables("UPDATE announcements SET owner = 'x'")],
    ["with a final block of no number", () => inTables("UPDATE meta SET value = 'x' WHERE name = 'final_number'")],
    ["with no final block's hash", () => inTables("DELETE FROM meta WHERE name = 'final_hash'")],
    ["with no chain id", () => inTables("DELETE FROM meta WHERE name = 'chain_id'")],
  ])("%s is set aside whole, and an empty one takes its place", async (_, spoil) => {
    await saved(ledger());
    spoil();
    const spoilt = readFileSync(path);
    const opened = openStore(path, identity);
    expect(opened.corrupt?.fault.code).toBe("store.corrupt");
    expect(opened.ledger).toBeUndefined();
    await opened.store.save(ledger());
    await opened.store.close();
    expect(drawnLedger(await reopened())).toBe(drawnLedger(ledger()));
    expect(readFileSync(`${path}.corrupt-1`).equals(spoilt)).toBe(true);
  });

  it("is set aside when it turns out while running, and everything is written anew", async () => {
    // More than SQLite keeps in memory.
    const name = "n".repeat(2_500);
    const many = history(start, Array.from({ length: 2_500 }, (_, i) => `grant ${i} A k ${name}`).join(";"), 1);
    await saved(many, { held: "7", journal: "[1]" });
    const { store, ledger: held = start } = openStore(path, identity);
    writeFileSync(path, readFileSync(path).fill(0xa5, 8_192));
    const next = history(held, Array.from({ length: 2_500 }, (_, i) => `key ${i} l`).join(";"), 2);
    await expect(store.save(next)).rejects.toMatchObject({ fault: { code: "store.corrupt" } });
    await store.save(next, { journal: "[2]" });
    await store.close();
    expect(readdirSync(directory)).toContain("ledger.db.corrupt-1");
    const again = openStore(path, identity);
    expect(drawnLedger(again.ledger)).toBe(drawnLedger(next));
    expect([again.store.note("held"), again.store.note("journal")]).toEqual(["7", "[2]"]);
    await again.store.close();
  }, 20_000);

  it("is written anew by the next save where somebody has deleted it, or all of its directory, while running", async () => {
    const { store } = openStore(path, identity);
    let ledger = start;
    for (const [number, gone] of [path, directory].entries()) {
      ledger = history(ledger, `grant ${number} A k`, number);
      await store.save(ledger, { [`note-${number}`]: "x" });
      rmSync(gone, { recursive: true });
    }
    ledger = history(ledger, "revoke 1", 2);
    await store.save(ledger);
    await store.close();
    const again = openStore(path, identity);
    expect(drawnLedger(again.ledger)).toBe(drawnLedger(ledger));
    expect([again.store.note("note-0"), again.store.note("note-1")]).toEqual(["x", "x"]);
    await again.store.close();
  });

  it("is not saved, and left alone, where somebody has put another in its place while running", async () => {
    const { store } = openStore(path, identity);
    await store.save(start);
    renameSync(path, `${path}.ours`);
    writeFileSync(path, "somebody else's");
    const ledger = history(start, "grant 1 A k", 1);
    const unsaved = { fault: { code: "store.unsaved", problem: "another file is in its place" } };
    for (let i = 0; i < 2; i++) await expect(store.save(ledger)).rejects.toMatchObject(unsaved);
    expect(readFileSync(path, "utf8")).toBe("somebody else's");
    renameSync(`${path}.ours`, path);
    await store.save(ledger);
    await store.close();
    expect(drawnLedger(await reopened())).toBe(drawnLedger(ledger));
  });

  it("never overwrites one that was set aside before", async () => {
    for (const text of ["first", "second"]) {
      writeFileSync(path, text.repeat(500));
      await openStore(path, identity).store.close();
      rmSync(path);
    }
    expect([1, 2].map((n) => readFileSync(`${path}.corrupt-${n}`, "utf8").slice(0, 6))).toEqual(["firstf", "second"]);
  });

  it("is named where it can be neither read nor made", () => {
    writeFileSync(join(directory, "file"), "");
    expect(faultOf(() => openStore(join(directory, "file", "ledger.db"), identity))).toBe("store.unsaved");
    expect(faultOf(() => openStore(directory, identity))).toBe("store.unsaved");
  });
});

/** A program of its own that imports the store; its lines of output come back as `told`. */
function child(script: string, wrap: readonly string[] = []): { process: ChildProcess; told: AsyncIterator<string> } {
  const here = (name: string) => JSON.stringify(fileURLToPath(new URL(name, import.meta.url)));
  const prelude = `
    import { setTimeout as sleep } from "node:timers/promises";
    const { openStore } = await import(${here("./store.ts")});
    const { advance, emptyLedger } = await import(${here("./ledger.ts")});
    const { events, hashOf } = await import(${here("../test/drawn-tokens.ts")});
    const { ZERO_HASH } = await import(${here("../model.ts")});
    const [path, identity] = [${JSON.stringify(path)}, ${JSON.stringify(identity)}];
    const history = (ledger, script, number) => advance(ledger, { kind: "history", to: { number, hash: hashOf(number) }, events: events(script, number) }).ledger;
    const start = emptyLedger({ number: -1, hash: ZERO_HASH });
    const say = (line) => process.stdout.write(line + "\\n");
  `;
  const args = [...wrap, process.execPath, "--input-type=module", "-e", prelude + script];
  const started = spawn(args[0] ?? "", args.slice(1), { stdio: ["pipe", "pipe", "inherit"] });
  started.stdout.setEncoding("utf8");
  return { process: started, told: lines(started.stdout) };
}

async function* lines(stream: AsyncIterable<string>): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of stream) {
    const parts = (rest + chunk).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
}

async function killed(process: ChildProcess): Promise<void> {
  process.kill("SIGKILL");
  if (process.exitCode === null && process.signalCode === null) await once(process, "exit");
}

describe("a second agent", () => {
  it("is refused with the first one's process id, in the same process too, until the first is gone", async () => {
    const { store } = openStore(path, identity);
    expect(() => openStore(path, identity)).toThrow(`held by process ${process.pid}`);
    await store.close();
    await reopened();
  });

  it("is let in when the first was killed, and finds what it had saved", async () => {
    const first = child(`
      const { store } = openStore(path, identity);
      await store.save(history(start, "grant 1 A k", 1));
      say("saved");
      await sleep(60_000);
    `);
    expect((await first.told.next()).value).toBe("saved");
    expect(() => openStore(path, identity)).toThrow(`held by process ${first.process.pid}`);
    await killed(first.process);
    expect(drawn((await reopened())?.registry ?? start.registry)).toBe("1 A k");
  });
});

describe("a crash", () => {
  it("in the middle of a save leaves one of the two ledgers, whole", async () => {
    const rounds = 4;
    for (let round = 0; round < rounds; round++) {
      const writer = child(`
        const { store, ledger = start } = openStore(path, identity);
        let [held, number] = [ledger, ledger.final.number];
        say("saving");
        while (true) {
          number++;
          held = history(held, Array.from({ length: 3_000 }, (_, i) => "key " + i + " k" + number).join(";"), number);
          await store.save(held);
        }
      `);
      await writer.told.next();
      await new Promise((resolve) => setTimeout(resolve, 60 + 37 * round));
      await killed(writer.process);
      const ledger = await reopened();
      const keys = new Set([...(ledger?.settled.maps.records.values() ?? [])].map(({ claim }) => claim?.key));
      const final = ledger?.final.number ?? -1;
      expect([...keys]).toEqual(final < 0 ? [] : [keyOf(`k${final}`)]);
      expect(ledger?.settled.maps.records.size ?? 0).toBe(final < 0 ? 0 : 3_000);
    }
  }, 20_000);
});

describe("a file that cannot be opened for writing", () => {
  /** As on a disk that lets nobody write: what is at the path is not to be had. */
  const away = () => {
    renameSync(path, `${path}.away`);
    mkdirSync(path);
  };
  const back = () => {
    rmdirSync(path);
    renameSync(`${path}.away`, path);
  };

  it("is read as it is, its log included, and goes on with the first save that can", async () => {
    const first = child(`
      const { store } = openStore(path, identity);
      await store.save(history(start, "grant 1 A k; grant 2 B l", 1), { held: "3" });
      say("saved");
      await sleep(60_000);
    `);
    await first.told.next();
    await killed(first.process);
    const { store, ledger = start } = openUnwritable(path, identity);
    expect(drawn(ledger.registry)).toBe("1 A k, 2 B l");
    expect([store.note("held"), store.genesis]).toEqual(["3", identity.genesis]);
    const next = history(ledger, "revoke 1", 2);
    away();
    await expect(store.save(next)).rejects.toMatchObject({ fault: { code: "store.unsaved" } });
    back();
    await store.save(next, { held: "" });
    await store.close();
    const again = openStore(path, identity);
    expect(drawnLedger(again.ledger)).toBe(drawnLedger(next));
    expect(again.store.note("held")).toBe("");
    await again.store.close();
  });

  it("is set aside where it turns out to be rubbish, and begun where there is none", async () => {
    for (const text of [undefined, "rubbish".repeat(500)]) {
      if (text !== undefined) writeFileSync(path, text);
      const { store, ledger } = openUnwritable(path, identity);
      expect(ledger).toBeUndefined();
      const next = history(start, "grant 1 A k", 1);
      await store.save(next).catch(() => store.save(next));
      await store.close();
      expect(drawnLedger(await reopened())).toBe(drawnLedger(next));
    }
    expect(readdirSync(directory)).toContain("ledger.db.corrupt-1");
  });

  it("is refused where it is another chain's", async () => {
    await saved(history(start, "grant 1 A k", 1));
    expect(faultOf(() => openUnwritable(path, { ...identity, chainId: 1 }))).toBe("store.other-chain");
  });
});

describe("a disk that takes no more", () => {
  it("leaves what was saved, says so, and takes everything once there is room", async () => {
    if (spawnSync("prlimit", ["--version"]).status !== 0) throw new Error("needs prlimit (util-linux)");
    // A limit on file size, with its signal ignored, fails writes in the middle of a file as a full disk does.
    const writer = child(
      `
      const { store } = openStore(path, identity);
      let held = history(start, "grant 1 A k", 1);
      await store.save(held);
      for (let n = 2; n < 5; n++) {
        held = history(held, Array.from({ length: 2_500 }, (_, i) => "grant " + (n * 10_000 + i) + " B k" + n).join(";"), n);
        await store.save(held).then(() => say("saved"), (error) => say(error.fault?.code ?? String(error)));
      }
      process.stdin.once("data", async () => {
        held = history(held, "revoke 1", 9);
        await store.save(held).then(() => say("saved"), (error) => say(error.fault?.code ?? String(error)));
        process.exit();
      });
    `,
      ["sh", "-c", `trap '' XFSZ; ulimit -S -f 400; exec "$@"`, "sh"],
    );
    const said = [await writer.told.next(), await writer.told.next(), await writer.told.next()];
    expect(said.map(({ value }) => value)).toEqual(["store.unsaved", "store.unsaved", "store.unsaved"]);
    expect(spawnSync("prlimit", ["--pid", String(writer.process.pid), "--fsize=unlimited"]).status).toBe(0);
    writer.process.stdin?.write("go\n");
    expect((await writer.told.next()).value).toBe("saved");
    if (writer.process.exitCode === null) await once(writer.process, "exit");
    const ledger = await reopened();
    expect(ledger?.settled.maps.records.size).toBe(7_501);
    expect(ledger?.settled.maps.records.get(id(1))?.active).toBe(false);
    expect(readdirSync(directory).filter((name) => name.includes("corrupt"))).toEqual([]);
  }, 20_000);
});
