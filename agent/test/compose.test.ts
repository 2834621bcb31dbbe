/** docker-compose.yml against the settings' schema and the rules of hardening, as text: no engine is needed. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { SECRETS, SETTINGS } from "../config.ts";

const text = readFileSync(new URL("../../docker-compose.yml", import.meta.url), "utf8");
const services = new Map(
  (text.split(/^services:$/m)[1]?.split(/^volumes:$/m)[0] ?? "")
    .split(/^ {2}(?=[a-z-]+:$)/m)
    .slice(1)
    .map((service) => [service.slice(0, service.indexOf(":")), service.replaceAll(/#.*$/gm, "")]),
);

describe("settings", () => {
  const ours = ["NODE_ID", "LISTEN_PORT", "ALLOWED_HOSTS"]; // each node has its own
  const fixed = ["WG_INTERFACE", "WG_CONFIG_DIR", "STATE_DIR", "HEALTH_CHECK_HOST", "HEALTH_CHECK_PORT", "PROXY_PORT"];
  const passed = SETTINGS.filter((name) => ![...SECRETS, ...ours, ...fixed].includes(name));

  it.each(passed)("%s of .env reaches the nodes", (name) => {
    expect(text).toContain(`\n  ${name}: \${${name}:-}\n`);
  });

  it("no secret is in any container's environment", () => {
    for (const name of SECRETS) expect(text).not.toMatch(new RegExp(`\\b${name}[:=]|\\$\\{${name}\\b`));
  });
});

describe("services", () => {
  it("are the ones the design names", () => {
    expect([...services.keys()].sort()).toEqual(
      ["devnet", "grafana", "monitoring", "mullvad-proxy", "node-a", "node-b", "prometheus", "web"].sort(),
    );
  });

  it.each([...services])("%s is hardened", (_name, service) => {
    expect(service).toMatch(/<<: \*(hardened|node)\b/);
    expect(service).toMatch(/<<: \*node\b|cap_drop: \[ALL\]/);
    expect(service).toMatch(/<<: \*node\b|mem_limit:/);
  });

  it("that are nodes are those that Prometheus asks", () => {
    const targets = readFileSync(new URL("../../monitoring/prometheus/targets/nodes.yml", import.meta.url), "utf8");
    const asked = [...targets.matchAll(/"([a-z-]+):8080"/g)].map(([, node]) => node);
    expect(asked).toEqual([...services.keys()].filter((name) => name.startsWith("node-")));
    const config = readFileSync(new URL("../../monitoring/prometheus/prometheus.yml", import.meta.url), "utf8");
    expect(config).toContain("- files: [targets/*.yml]");
  });

  it("have no way out of their containers", () => {
    expect(text).not.toMatch(
      /privileged|SYS_MODULE|SYS_ADMIN|docker\.sock|network_mode: host|pid: host|seccomp|apparmor/,
    );
    expect(text).toMatch(/x-hardened: &hardened\n {2}read_only: true\n {2}security_opt: \["no-new-privileges:true"\]/);
  });

  it("publish HTTP on loopback unless told otherwise", () => {
    for (const [, published = ""] of text.matchAll(/"([^"]*:(?:8080|8082|8545|9090|3000))"/g)) {
      expect(published).toMatch(/^(\$\{HTTP_BIND:-127\.0\.0\.1\}|127\.0\.0\.1):/);
    }
  });
});
