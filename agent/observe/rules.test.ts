import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it, vi } from "vitest";
import { REFUSALS } from "../model.ts";
import { NOW, snapshot } from "../test/snapshot.ts";
import { FAULT_CODES } from "./health.ts";
import { createMetrics } from "./metrics.ts";

// promtool is quick, but the machine may be busy.
vi.setConfig({ testTimeout: 60_000 });

const monitoring = fileURLToPath(new URL("../../monitoring/", import.meta.url));
const text = (path: string) => readFileSync(join(monitoring, path), "utf8");
const rules = text("prometheus/rules.yml");
const dashboard = JSON.parse(text("grafana/dashboards/dstack-vpn.json")) as { panels: Panel[] };

interface Panel {
  readonly title: string;
  readonly type: string;
  readonly targets?: readonly { readonly expr: string; readonly format?: string }[];
}

const isThere = spawnSync("promtool", ["--version"]).error === undefined;
const withPromtool = it.skipIf(!isThere && process.env["CI"] !== "true");
function promtool(...args: string[]) {
  const { status, stdout, stderr } = spawnSync("promtool", args, {
    cwd: join(monitoring, "prometheus"),
    encoding: "utf8",
  });
  return { status, said: `${stdout}${stderr}` };
}

/** What an agent exports, what the rules record, and what Prometheus adds by itself. */
async function known(): Promise<Set<string>> {
  const metrics = createMetrics();
  const exported = await metrics.render(snapshot(), NOW);
  metrics.close();
  const samples = exported.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  const recorded = [...rules.matchAll(/- record: (\S+)/g)].map(([, name = ""]) => name);
  return new Set([...samples.map((line) => line.replace(/[{ ].*/, "")), ...recorded, "up"]);
}
const named = (expression: string) =>
  expression.match(/\b(?:instance:)?dstack_vpn_[a-z0-9_]+(?::[a-z0-9_]+)?\b/g) ?? [];
const expressions = [...rules.matchAll(/^ +expr: (.*)$/gm)].map(([, expr = ""]) => expr);
const queries = dashboard.panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr })));

describe("alerts", () => {
  withPromtool("fire when they should and are silent when they should not", () => {
    const { status, said } = promtool("test", "rules", "rules.test.yml");
    expect([status, said]).toEqual([0, expect.stringContaining("SUCCESS")]);
  });

  withPromtool("are scraped for by a config that Prometheus takes", () => {
    expect(promtool("check", "config", "prometheus.yml").status).toBe(0);
  });

  it("are each tested both ways", () => {
    const tests = text("prometheus/rules.test.yml");
    for (const [, alert] of rules.matchAll(/- alert: (\w+)/g)) {
      expect(tests).toMatch(new RegExp(`alertname: ${alert}, exp_alerts: \\[\\]`));
      expect(tests).toMatch(new RegExp(`alertname: ${alert}\\n +exp_alerts:\\n +- exp_labels`));
    }
  });

  it("ask only for what an agent exports", async () => {
    const names = await known();
    expect(expressions.length).toBeGreaterThan(20);
    for (const expression of expressions) {
      expect([expression, named(expression).filter((name) => !names.has(name))]).toEqual([expression, []]);
      expect(named(expression).length + (expression.match(/\bup\b/g)?.length ?? 0)).toBeGreaterThan(0);
    }
  });

  it("ask only for codes that there are", () => {
    const codes = (label: string) =>
      [...rules.matchAll(new RegExp(`${label}=~?"([^"]*)"`, "g"))].flatMap(([, each = ""]) => each.split("|"));
    expect(codes("code").filter((code) => !(FAULT_CODES as readonly string[]).includes(code))).toEqual([]);
    expect(codes("reason").filter((code) => !(REFUSALS as readonly string[]).includes(code))).toEqual([]);
  });
});

describe("the Grafana dashboard", () => {
  withPromtool("has only queries that Prometheus can read", () => {
    const directory = mkdtempSync(join(tmpdir(), "queries-"));
    const plain = queries.map(({ expr }) => expr.replaceAll("$__rate_interval", "5m").replaceAll("$instance", ".*"));
    const asRules = plain.map((expr, i) => `    - { record: "query:${i}", expr: ${JSON.stringify(expr)} }`).join("\n");
    writeFileSync(join(directory, "queries.yml"), `groups:\n- name: queries\n  rules:\n${asRules}\n`);
    const { status, said } = promtool("check", "rules", join(directory, "queries.yml"));
    rmSync(directory, { recursive: true });
    expect([status, said]).toEqual([0, expect.stringContaining(`${queries.length} rules found`)]);
  });

  it("asks for tables as tables: of series a table shows one, and the rest in a menu", () => {
    const tables = dashboard.panels.filter(({ type }) => type === "table");
    const formats = tables.flatMap(({ title, targets = [] }) => targets.map(({ format }) => [title, format]));
    expect(formats).toEqual([["Reasons for not being healthy", "table"]]);
  });

  it("asks only for what an agent exports or a rule records, of the nodes that are chosen", async () => {
    const names = await known();
    expect(queries.length).toBeGreaterThan(15);
    for (const { title, expr } of queries) {
      expect([title, named(expr).filter((name) => !names.has(name))]).toEqual([title, []]);
      expect([title, expr.includes('instance=~"$instance"')]).toEqual([title, true]);
    }
  });
});
