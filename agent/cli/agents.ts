/** `status`, `events`, `resync` and `rollback`: what an operator asks of running agents. */
import { setTimeout as sleep } from "node:timers/promises";
import { Command } from "commander";
import type { Settings } from "../config.ts";
import { type Answer, accepted, askAgent } from "./agent-http.ts";
import { EXIT, ending, Failure } from "./failure.ts";
import { print, printJson, remark, shown, table, withChecksums } from "./output.ts";
import { httpSettings } from "./settings.ts";
import { typedAgent, typedAgents, typedGeneration } from "./typed.ts";

interface Typed {
  readonly url?: URL;
  readonly json?: true;
}

export function agentCommands(): Command[] {
  return [
    new Command("status")
      .description("how agents are, and why; exit 1 if one is unhealthy, 69 if one does not answer")
      .argument("[urls...]", "their addresses; this host's agent without any", typedAgents)
      .option("--json", "print JSON")
      .addHelpText("after", "\nExample: dstack-vpn status http://127.0.0.1:8080")
      .action(status),
    ofAgent("events", "what happened lately: grants, revokes, applies, reorgs, faults")
      .option("--follow", "go on with what happens from now on, until Ctrl-C")
      .addHelpText("after", "\nExample: dstack-vpn events --follow")
      .action(events),
    ofAgent("resync", "have the agent compare every token with the contract, and let go of a rollback")
      .addHelpText("after", "\nNeeds ADMIN_TOKEN or ADMIN_TOKEN_FILE.\nExample: dstack-vpn resync")
      .action((typed: Typed) => order(typed, "/resync", {})),
    ofAgent("rollback", "put the device back to an earlier generation; nobody is added until a resync")
      .argument("[generation]", "its number; the one before the present without it", typedGeneration)
      .addHelpText("after", "\nNeeds ADMIN_TOKEN or ADMIN_TOKEN_FILE.\nExample: dstack-vpn rollback 41")
      .action((generation: number | undefined, typed: Typed) =>
        order(typed, "/rollback", generation === undefined ? {} : { generation }, HELD),
      ),
  ];
}

function ofAgent(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .option("--url <url>", "the agent's address (default: HEALTH_CHECK_HOST and HEALTH_CHECK_PORT)", typedAgent)
    .option("--json", "print JSON");
}

function localAgent({ httpHost, httpPort }: Settings): URL {
  // Listening on every address, it answers on loopback too.
  const host = httpHost === "0.0.0.0" || httpHost === "::" ? "127.0.0.1" : httpHost;
  return new URL(`http://${host.includes(":") ? `[${host.replace(/[[\]]/g, "")}]` : host}:${httpPort}`);
}

async function status(typed: readonly URL[] | undefined, { json }: { json?: true }): Promise<void> {
  const urls = typed === undefined || typed.length === 0 ? [localAgent(httpSettings(process.env))] : typed;
  const found = await Promise.all(urls.map(asked));
  if (json)
    printJson(found.map(({ host, body, problem }) => ({ host, ...(body ?? { status: "unreachable", problem }) })));
  else for (const each of found) print(...statusLines(each));
  if (found.some(({ body }) => body === undefined)) throw new Failure(EXIT.unreachable, "");
  if (found.some(({ body }) => body?.["status"] === "unhealthy")) throw new Failure(EXIT.failed, "");
}

interface Asked {
  readonly host: string;
  readonly body?: Answer["body"];
  readonly problem?: string;
}

async function asked(url: URL): Promise<Asked> {
  try {
    const { body } = await askAgent(url, "/health");
    if (typeof body["status"] === "string" && typeof body["components"] === "object") return { host: url.host, body };
    return { host: url.host, problem: `${url.host} answers as no agent does` };
  } catch (error) {
    return { host: url.host, problem: ending(error).text };
  }
}

/** Pure: one agent on a few lines, whatever it answered. */
export function statusLines({ host, body, problem }: Asked): string[] {
  if (body === undefined) return [problem ?? host];
  const { chain, registry, wireguard } = body["components"] as Record<string, Answer["body"] | undefined>;
  const figure = (part: Answer["body"] | undefined, name: string) => text(part?.[name] ?? "?");
  const reasons = Array.isArray(body["reasons"]) ? (body["reasons"] as readonly Answer["body"][]) : [];
  return [
    `${host}  ${text(body["nodeId"])}  ${text(body["status"])}${body["ready"] === false ? ", not ready" : ""}`,
    `  block ${figure(chain, "cursorBlock")} of ${figure(chain, "headBlock")}, tokens ${figure(registry, "tokens")}, ` +
      `admitted ${figure(registry, "admitted")}, quarantined ${figure(registry, "quarantined")}, ` +
      `peers ${figure(wireguard, "peers")}, connected ${figure(wireguard, "connected")}`,
    ...reasons.map((reason) => `  ${text(reason?.["code"])}: ${text(reason?.["detail"])}`),
  ];
}

const text = (value: unknown) => withChecksums(shown(String(value)).slice(0, 300));

const POLL_MS = 1_000;

async function events({ url, json, follow }: Typed & { follow?: true }): Promise<void> {
  const base = url ?? localAgent(httpSettings(process.env));
  for (let after = 0, isFirst = true; ; isFirst = false) {
    const page = await nextPage(base, after, isFirst);
    for (const event of page?.events ?? []) {
      print(json ? withChecksums(shown(JSON.stringify(event))) : eventLine(event));
    }
    // Smaller than what was asked for where the agent has lost its journal: from the start of the new one then.
    if (page !== undefined) after = page.next < after ? 0 : page.next;
    if (!follow) return;
    await sleep(POLL_MS);
  }
}

/** Undefined where an agent that answered before does not now: it may be starting again. */
async function nextPage(base: URL, after: number, isFirst: boolean) {
  try {
    const { events, next } = accepted(base, await askAgent(base, `/events?after=${after}`));
    if (Array.isArray(events) && typeof next === "number") return { events: events as Answer["body"][], next };
    throw new Failure(EXIT.unreachable, `${base.host} answers as no agent does`);
  } catch (error) {
    if (isFirst || !(error instanceof Failure) || error.exit !== EXIT.unreachable) throw error;
    remark(`${error.message} Still trying.`);
    return undefined;
  }
}

/** Pure. */
export function eventLine({ id: _, at, kind, ...fields }: Answer["body"]): string {
  const named = Object.entries(fields).map(([name, value]) => `${shown(name)}=${text(value)}`);
  return [text(at), text(kind), ...named].join("  ");
}

const HELD = "nobody is added until dstack-vpn resync; revokes and transfers still act";

async function order({ url, json }: Typed, path: string, body: object, then?: string): Promise<void> {
  const settings = httpSettings(process.env);
  if (settings.adminToken === undefined) {
    throw new Failure(EXIT.settings, "ADMIN_TOKEN: is required (or ADMIN_TOKEN_FILE): the one that the agent has");
  }
  const base = url ?? localAgent(settings);
  const done = accepted(base, await askAgent(base, path, { method: "POST", body, token: settings.adminToken }));
  if (json) printJson(done);
  else print(...table(Object.entries(done).map(([name, value]) => [shown(name), text(value)])));
  if (then !== undefined) remark(then);
}
