/** DESIGN.md section 3 as a test: who may import whom, and which files may touch the outside. */
import { readdirSync, readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { posix } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const ROOMS = ["chain", "registry", "wireguard", "observe"];

/** The files that touch the outside, each room's door and what it is built of; every other file of a room is pure. */
const DOORS = {
  chain: ["rpc", "transport", "socket", "upstream", "gate", "wakeup"],
  registry: ["store", "file", "copy"],
  wireguard: ["device", "files", "host"],
  observe: ["server", "log", "output", "process"],
};
const isDoor = (path: string) =>
  Object.entries(DOORS).some(([room, files]) => files.some((file) => path === `${room}/${file}.ts`));

/** One package, one door: where each may be imported. The proxy and the command line are programs of their own. */
const PACKAGES: Readonly<Record<string, RegExp>> = {
  ethers: /^((chain|cli)\/|checksum\.ts$)/,
  ws: /^chain\/socket\.ts$/,
  express: /^observe\//,
  "express-rate-limit": /^observe\//,
  helmet: /^observe\//,
  "prom-client": /^observe\//,
  pino: /^observe\/log\.ts$/,
  zod: /^(config|chain\/rpc|registry\/store|wireguard\/device|observe\/server)\.ts$/,
  "node-cron": /^main\.ts$/,
  commander: /^cli\//,
  uqr: /^cli\//,
};

/** Built-in modules that reach out of the process; only the doors named import more than types from them. */
const BUILTINS: Readonly<Record<string, RegExp>> = {
  child_process: /^wireguard\/device\.ts$/,
  cluster: /^$/,
  dgram: /^$/,
  dns: /^wireguard\/resolver\.ts$/,
  fs: /^(config|main|registry\/(store|file|copy)|wireguard\/(files|disk|private-key|host)|observe\/(output|process)|cli\/.*)\.ts$/,
  http: /^(chain\/transport|observe\/server|cli\/.*)\.ts$/,
  https: /^(chain\/transport|cli\/.*)\.ts$/,
  net: /^(chain\/transport|observe\/server)\.ts$/,
  sqlite: /^registry\/(store|file|copy)\.ts$/,
  tls: /^chain\/transport\.ts$/,
  worker_threads: /^$/,
};
/** Of node:net, what only looks at a string. */
const PURE_NET = /^(isIP|isIPv4|isIPv6|BlockList)$/;

const CLOCKS =
  /\b(Date\.now|new Date\(\)|performance\.now|performance\.timeOrigin|process\.(env|argv|hrtime|memoryUsage|cpuUsage|stdout|stderr)|setTimeout|setInterval|setImmediate|fetch\()/;

interface Import {
  readonly from: string;
  readonly names: readonly string[];
  readonly isTypeOnly: boolean;
}
interface Source {
  readonly path: string;
  readonly code: string;
  readonly imports: readonly Import[];
}

const AGENT = fileURLToPath(new URL("..", import.meta.url));
const sources: readonly Source[] = readdirSync(AGENT, { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".ts") && !path.endsWith(".test.ts") && !path.startsWith("test/"))
  .map((path) => {
    const text = readFileSync(`${AGENT}/${path}`, "utf8");
    return { path, code: text.replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, ""), imports: importsOf(text) };
  });

function importsOf(text: string): Import[] {
  const named = /^(?:import|export)\s+(type\s+)?([^"';]*?)\s*from\s+"([^"]+)"/gm;
  const bare = /^import\s+"([^"]+)"|\bimport\("([^"]+)"\)/gm;
  return [
    ...[...text.matchAll(named)].map(([, type, list = "", from = ""]) => {
      const names = list
        .replaceAll(/[{}\s]+/g, " ")
        .split(",")
        .map((name) => name.trim())
        .filter((name) => name !== "");
      const isTypeOnly = type !== undefined || names.every((name) => name.startsWith("type "));
      return { from, names: names.map((name) => name.replace(/^type /, "").replace(/ as .*/, "")), isTypeOnly };
    }),
    ...[...text.matchAll(bare)].map(([, from, late]) => ({ from: from ?? late ?? "", names: [], isTypeOnly: false })),
  ];
}

const packageOf = (from: string) => from.split("/", from.startsWith("@") ? 2 : 1).join("/");
const roomOf = (path: string) => path.split("/").slice(0, -1)[0];

/** The imports that `isAllowed` refuses, each as a sentence. */
function refused(isAllowed: (source: Source, imported: Import) => boolean): string[] {
  return sources.flatMap((source) =>
    source.imports
      .filter((imported) => !isAllowed(source, imported))
      .map(({ from, names }) => `${source.path} imports ${names.join(", ")} from ${from}`),
  );
}

describe("the rooms", () => {
  it("are all there, with their doors", () => {
    const doors = Object.entries(DOORS).flatMap(([room, files]) => files.map((file) => `${room}/${file}.ts`));
    const paths = sources.map(({ path }) => path);
    expect(paths).toEqual(expect.arrayContaining(["bridge.ts", "main.ts", "config.ts", ...doors]));
    expect(ROOMS.filter((room) => !paths.some((path) => roomOf(path) === room))).toEqual([]);
  });

  it("know the vocabulary and never one another", () => {
    expect(
      refused(({ path }, { from }) => {
        const room = roomOf(path);
        if (room === undefined || room === "cli" || !from.startsWith(".")) return true;
        const target = posix.join(room, from);
        return target === "model.ts" || target === "errors.ts" || roomOf(target) === room;
      }),
    ).toEqual([]);
  });

  it("are not known to the vocabulary", () => {
    expect(
      refused(({ path }, { from }) => {
        const isVocabulary = ["model.ts", "errors.ts", "config.ts"].includes(path);
        return !isVocabulary || !from.startsWith(".") || roomOf(posix.normalize(from)) === undefined;
      }),
    ).toEqual([]);
  });
});

describe("the outside", () => {
  it("is reached through one package at one door", () => {
    const isBuiltin = (from: string) => from.startsWith("node:");
    expect(
      refused(
        ({ path }, { from }) =>
          from.startsWith(".") || isBuiltin(from) || PACKAGES[packageOf(from)]?.test(path) === true,
      ),
    ).toEqual([]);
  });

  it("is reached through built-in modules by the doors alone", () => {
    expect(
      refused(({ path }, imported) => {
        const module = /^node:(\w+)/.exec(imported.from)?.[1];
        const allowed = module === undefined ? undefined : BUILTINS[module];
        if (allowed === undefined || imported.isTypeOnly || roomOf(path) === "proxy" || allowed.test(path)) return true;
        return module === "net" && imported.names.every((name) => PURE_NET.test(name));
      }),
    ).toEqual([]);
  });

  it("is spelled node: where it is a built-in module", () => {
    expect(refused((_, { from }) => from.startsWith("node:") || !builtinModules.includes(from))).toEqual([]);
  });

  it("is not read by pure files: no clock, no timer, no environment", () => {
    const found = sources
      .filter(({ path }) => ROOMS.includes(roomOf(path) ?? "") && !isDoor(path))
      .flatMap(({ path, code }) => {
        const word = CLOCKS.exec(code)?.[0];
        return word === undefined ? [] : [`${path} uses ${word}`];
      });
    expect(found).toEqual([]);
  });
});
