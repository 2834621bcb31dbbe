/** The pages for people against what there is: links, commands with their options, and the codes that check gives. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { REFUSALS } from "../model.ts";
import { typed } from "./typing.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const read = (path: string) => readFileSync(join(ROOT, path), "utf8");
const pages = ["README.md", ...readdirSync(join(ROOT, "docs")).map((name) => `docs/${name}`)].filter((path) =>
  path.endsWith(".md"),
);

/** As GitHub names them. */
function anchors(text: string): string[] {
  const headings = [...text.replaceAll(/^```[\s\S]*?^```/gm, "").matchAll(/^#+ (.*)$/gm)];
  return headings.map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, "")
      .replaceAll(" ", "-"),
  );
}

describe("a link", () => {
  const links = pages.flatMap((page) =>
    [...read(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, to = ""]) => [page, to] as const),
  );
  const inside = links.filter(([, to]) => !/^https?:/.test(to));
  it.each(inside)("of %s leads somewhere: %s", (page, to) => {
    const [file = "", anchor] = to.split("#");
    const path = file === "" ? page : join(dirname(page), file);
    expect(existsSync(join(ROOT, path))).toBe(true);
    if (anchor !== undefined) expect(anchors(read(path))).toContain(anchor);
  });
});

describe("a command", { timeout: 120_000 }, () => {
  const lines = pages.flatMap((page) => read(page).match(/dstack-vpn [a-z][^`\n#;|]*/g) ?? []);
  const commands = [...new Set(lines.map((line) => line.split(/\s+/)[1] ?? ""))].sort();

  it("that a page names is one, and has the options that it is shown with", async () => {
    const { out } = await typed(ROOT, ["--help"]);
    const known = commands.filter((name) => out.includes(`\n  ${name} `));
    expect(known).toEqual(commands);
    // `backup create` has options that `backup` has not.
    const called = lines.map((line) => /^dstack-vpn ([a-z-]+(?: (?:create|restore|list)\b)?)/.exec(line)?.[1] ?? "");
    for (const name of new Set(called)) {
      const { out: help } = await typed(ROOT, [...name.split(" "), "--help"]);
      const used = lines.filter((_, i) => called[i] === name).flatMap((line) => line.match(/--[a-z-]+/g) ?? []);
      expect([name, [...new Set(used)].filter((option) => !help.includes(`${option} `))]).toEqual([name, []]);
    }
  });
});

describe("a verb of deploy-docker.sh", () => {
  const header = read("scripts/deploy-docker.sh").split("set -euo")[0] ?? "";
  const verbs = [...header.matchAll(/^# {3}([a-z |]+?) (?: |\[|<)/gm)].flatMap(([, names = ""]) => names.split(" | "));
  const places = [...pages, "monitoring/RUNBOOK.md", "agent/cli/backup.ts"];

  it("that a page or a command's help names is one", () => {
    const named = places.flatMap((place) =>
      [...read(place).matchAll(/deploy-docker\.sh ([a-z]+)/g)].map(([, verb]) => verb),
    );
    expect(named).toEqual(expect.arrayContaining(["deploy", "run", "stop", "start"]));
    expect([...new Set(named)].filter((verb) => !verbs.includes(verb ?? ""))).toEqual([]);
  });
});

describe("a code of check", () => {
  const source = ["holding", "asked-nodes", "check"].map((name) => read(`agent/cli/${name}.ts`)).join("\n");
  const given = [...source.matchAll(/code: "([a-z][a-z.-]+)"/g)].map(([, code = ""]) => code);
  const page = read("docs/trouble.md");
  const section = page.slice(page.indexOf("## What check says"), page.indexOf("## check is content"));
  const told = [...section.matchAll(/^\| (`[^|]*`) *\|/gm)].flatMap(([, cell = ""]) =>
    [...cell.matchAll(/`([a-z.-]+)`/g)].map(([, code = ""]) => code),
  );

  it("has its line in the page, and every line its code", () => {
    expect([...new Set(told)].sort()).toEqual([...new Set([...given, ...REFUSALS])].sort());
  });
});
