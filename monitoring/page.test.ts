/** What the page is made of, read as text: nothing inline, nothing from elsewhere, nothing too heavy. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const read = (name: string) => readFileSync(path(name), "utf8");
/** Files of the page, by the name that it asks for them, and where they are. */
const VENDOR = { "vendor/uPlot.iife.min.js": "uPlot.iife.min.js", "vendor/uPlot.min.css": "uPlot.min.css" };
const own = readdirSync(path(".")).filter((name) => /\.(html|css|js|svg)$/.test(name));
const modules = own.filter((name) => name.endsWith(".js") && name !== "theme.js");
const html = read("index.html");
/** Every value of an attribute in index.html. */
const values = (attribute: string) =>
  [...html.matchAll(new RegExp(`\\s${attribute}="([^"]*)"`, "g"))].map(([, value]) => value);

describe("the page", () => {
  it("has no script, style or handler within its markup, as its policy demands", () => {
    expect(html).not.toMatch(/<style|\sstyle=|\son[a-z]+=|javascript:/i);
    for (const [, attributes, body] of html.matchAll(/<script([^>]*)>([^<]*)/g)) {
      expect([attributes?.includes("src="), body]).toEqual([true, ""]);
    }
  });

  it("has a name of its own for each choice, read out of its place too", () => {
    const choices = [...html.matchAll(/<label>([^<]+?)\s*<select id="[a-z-]+"(?: aria-label="([^"]+)")?/g)];
    const names = choices.map(([, visible = "", name = visible]) => name);
    expect(names).toHaveLength(html.split("<select").length - 1);
    expect(names).toEqual([...new Set(names)]);
    // Whoever speaks to the page says what they see.
    for (const [i, [, visible = ""]] of choices.entries()) expect(names[i]).toContain(visible);
  });

  it("asks for nothing but its own files", () => {
    const asked = [...values("src"), ...values("href")].filter((value) => !value?.startsWith("#"));
    expect(asked.filter((name) => !own.includes(name ?? "") && !Object.hasOwn(VENDOR, name ?? ""))).toEqual([]);
    const elsewhere = own.flatMap((name) => read(name).match(/(?:https?:)?\/\/[a-z0-9.]+\.[a-z]{2,}[^\s"']*/g) ?? []);
    expect(new Set(elsewhere)).toEqual(new Set(["http://www.w3.org/2000/svg"]));
  });

  it("loads every module at once, and not one after the other", () => {
    const preloaded = [...html.matchAll(/rel="modulepreload" href="([^"]+)"/g)].map(([, name]) => name);
    expect(["main.js", ...preloaded].toSorted()).toEqual(modules.toSorted());
  });

  it.each(modules)("makes no markup or code of a string in %s", (name) => {
    expect(read(name)).not.toMatch(
      /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc/,
    );
  });

  it("fetches in one place, and remembers nothing but the theme", () => {
    expect(
      modules.filter((name) => /\bfetch\(|XMLHttpRequest|WebSocket|EventSource|sendBeacon/.test(read(name))),
    ).toEqual(["poll.js"]);
    expect(own.filter((name) => /localStorage|sessionStorage|indexedDB|document\.cookie/.test(read(name)))).toEqual([
      "main.js",
      "theme.js",
    ]);
  });

  it("weighs less than 200 kB before compression", () => {
    const vendor = Object.values(VENDOR).map((name) => path(`../node_modules/uplot/dist/${name}`));
    const total = [...own.map(path), ...vendor].reduce((sum, file) => sum + statSync(file).size, 0);
    expect(total).toBeLessThan(200_000);
  });
});
