import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { REFUSALS } from "../model.ts";
import { FAULT_CODES } from "./health.ts";

const root = new URL("../../monitoring/", import.meta.url);
const runbook = readFileSync(new URL("RUNBOOK.md", root), "utf8");
const rules = readFileSync(new URL("prometheus/rules.yml", root), "utf8");

const ALERTS = [...rules.matchAll(/^ +- alert: (\w+)$/gm)].map(([, name = ""]) => name);
/** Headings that are chapters, and not something to look up. */
const CHAPTERS = [
  ...["Runbook", "Alerts", "Reasons", "Settings", "The chain", "This node's token", "Addresses", "The store", "Keys"],
  ...["The device", "Files", "HTTP", "Quarantine"],
];

const sections = runbook.split(/^(?=#+ )/m).flatMap((text) => {
  const [, title] = /^#+ (.*)\n/.exec(text) ?? [];
  return title === undefined || CHAPTERS.includes(title) ? [] : [{ title, text }];
});

describe("the runbook", () => {
  it("has one heading for each fault, each refusal and each alert, and no other", () => {
    const titles = sections.map(({ title }) => title);
    expect(titles.toSorted()).toEqual([...FAULT_CODES, ...REFUSALS, ...ALERTS].toSorted());
  });

  it.each(sections)("tells the symptoms, the meaning and what to do: $title", ({ text }) => {
    expect(text).toMatch(
      /^#+ .+\n\n\*\*Symptoms\.\*\* \S.{15,}\n\n\*\*Meaning\.\*\* \S.{15,}\n\n\*\*What to do\.\*\* \S.{3,}\n+$/,
    );
  });

  it("leads nowhere that is not there", () => {
    const anchors = new Set<string>();
    for (const [, title = ""] of runbook.matchAll(/^#+ (.*)$/gm)) {
      const anchor = anchorOf(title);
      // GitHub numbers the second heading of one anchor.
      anchors.add(anchors.has(anchor) ? `${anchor}-1` : anchor);
    }
    const links = [...runbook.matchAll(/\]\(#([^)]*)\)/g)].map(([, anchor = ""]) => anchor);
    expect(links.length).toBeGreaterThan(20);
    expect(links.filter((anchor) => !anchors.has(anchor))).toEqual([]);
  });

  it("sends nobody to look for a line of the log that nobody writes", () => {
    const paths = ["agent/main.ts", "agent/agent.ts", "agent/contest.ts", "docker/wireguard/supervise"];
    const sources = paths.map((path) => readFileSync(new URL(`../${path}`, root), "utf8"));
    const told = readFileSync(new URL("../agent/chain/walk.ts", root), "utf8");
    const changes = readFileSync(new URL("../agent/chain/rpc.ts", root), "utf8");
    const isWritten = (name: string) => {
      const [room = "", kind = ""] = name.split(".");
      if (room === "chain" && told.includes(`kind: "${kind}"`)) return true;
      if (room === "upstream") return changes.includes(`kind: "${kind}"`);
      return sources.some((source) => new RegExp(`"${name}\\\\?"`).test(source));
    };
    const codes: readonly string[] = FAULT_CODES;
    const lines = [...runbook.matchAll(/`((?:agent|chain|upstream)\.[a-z-]+)`/g)].map(([, name = ""]) => name);
    const asked = lines.filter((name) => !codes.includes(name));
    expect(asked).toContain("agent.starting");
    expect(asked.filter((name) => !isWritten(name))).toEqual([]);
  });

  it.each(["entrypoint", "supervise"])("reads the lines of %s as those of the agent", (name) => {
    const script = readFileSync(new URL(`../docker/wireguard/${name}`, root), "utf8");
    const lines = [...script.matchAll(/echo "(\{.*\})"/g)].map(([, line = ""]) => line.replaceAll('\\"', '"'));
    expect(lines).toHaveLength(1);
    for (const line of lines) expect(JSON.parse(line.replaceAll(/\$\w+/g, "1"))).toHaveProperty("event");
  });

  it("is where every alert points", () => {
    const links = [...rules.matchAll(/alert: (\w+)$.*?runbook_url: (\S+)$/gms)];
    expect(links).toHaveLength(ALERTS.length);
    for (const [, alert = "", url] of links) expect(url).toBe(`monitoring/RUNBOOK.md#${anchorOf(alert)}`);
  });
});

function anchorOf(title: string): string {
  return title
    .toLowerCase()
    .replace(/[^a-z0-9 _-]/g, "")
    .replaceAll(" ", "-");
}
