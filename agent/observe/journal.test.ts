import { describe, expect, it } from "vitest";
import { createJournal } from "./journal.ts";

const now = () => Date.UTC(2026, 0, 2);
const filled = (count: number, capacity: number) => {
  const journal = createJournal({ now, capacity });
  for (let i = 1; i <= count; i++) journal.add("grant", { tokenId: String(i) });
  return journal;
};
const ids = (entries: readonly { id: number }[]) => entries.map(({ id }) => id).join(" ");

describe("journal", () => {
  it("numbers and dates what it is told", () => {
    const journal = createJournal({ now });
    journal.add("revoke", { tokenId: "7", nodeId: "alice", code: undefined });
    expect(journal.after(0)).toStrictEqual({
      events: [{ id: 1, at: "2026-01-02T00:00:00.000Z", kind: "revoke", tokenId: "7", nodeId: "alice" }],
      next: 1,
    });
  });

  it.each([
    ["from the beginning", 5, 10, 0, "1 2 3 4 5", 5],
    ["from where the reader stopped", 5, 10, 3, "4 5", 5],
    ["nothing new", 5, 10, 5, "", 5],
    ["a reader ahead of a lost journal is told where it stands", 5, 10, 99, "", 5],
    ["only what is still kept", 50, 4, 0, "47 48 49 50", 50],
    ["bounded also between two cuts", 5, 4, 0, "2 3 4 5", 5],
  ])("gives %s", (_title, count, capacity, after, expected, next) => {
    const page = filled(count, capacity).after(after);
    expect([ids(page.events), page.next]).toEqual([expected, next]);
  });

  it("goes on counting after a restart", () => {
    const restored = JSON.parse(JSON.stringify(filled(5, 3).tail()));
    const journal = createJournal({ now, capacity: 3, restored });
    journal.add("reorg", { block: 9 });
    expect(ids(journal.after(0).events)).toBe("4 5 6");
  });

  it("gives the tail above what was saved already", () => {
    expect(ids(filled(5, 10).tail(3))).toBe("4 5");
  });

  it("passes over what is no entry in what was saved", () => {
    const good = { id: 2, at: "2026-01-02T00:00:00.000Z", kind: "apply" };
    const restored = [null, 3, "x", {}, { ...good, id: -1 }, { ...good, kind: "made-up" }, good, { ...good, id: 1 }];
    expect(createJournal({ now, restored }).after(0)).toEqual({ events: [good], next: 2 });
  });

  it("lets no field name take the place of its own", () => {
    const journal = createJournal({ now });
    journal.add("grant", { id: 99, at: "never", kind: "revoke" });
    expect(journal.after(0).events[0]).toMatchObject({ id: 1, kind: "grant", at: "2026-01-02T00:00:00.000Z" });
  });

  it("keeps a text from the chain as it is, but bounded and well formed", () => {
    const journal = createJournal({ now });
    const hostile = '</script>"\u202e';
    journal.add("grant", { nodeId: hostile, reason: "😀".repeat(400), half: "\ud83d" });
    const [entry] = journal.after(0).events;
    expect(entry?.["nodeId"]).toBe(hostile);
    expect(String(entry?.["reason"])).toHaveLength(301);
    expect(entry?.["half"]).toBe("\ufffd");
  });
});
