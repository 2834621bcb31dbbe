/** The room's door: what the last pass left behind, over HTTP. A closed surface: what is not asked for by name is refused. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setImmediate as turn } from "node:timers/promises";
import express, { type Express, type Request, type RequestHandler } from "express";
import helmet from "helmet";
import { AgentError } from "../errors.ts";
import type { Secret } from "../model.ts";
import { administrators } from "./admin.ts";
import { answer, errorJson, JSON_HEADERS, refuse, refuseFault, refuseMalformed, refuseMethod } from "./answers.ts";
import { afterOf, generationOf, readBody } from "./asked.ts";
import { hostNames, type Policy, refusal } from "./gate.ts";
import type { Now, Snapshot } from "./health.ts";
import type { Journal } from "./journal.ts";
import type { Metrics } from "./metrics.ts";
import { ascii } from "./printable.ts";
import { boundSockets, createBudget } from "./sockets.ts";
import { healthView, readyView, statsView, wireguardPieces, wireguardView } from "./views.ts";

export interface ServeOptions {
  readonly host: string;
  /** 0 for any free one. */
  readonly port: number;
  readonly allowedHosts: readonly string[];
  readonly corsOrigins: readonly string[];
  readonly adminToken: Secret | undefined;
  /** What /config shows: `publicSettings(settings)`. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly snapshot: () => Snapshot;
  readonly journal: Pick<Journal, "after">;
  readonly metrics: Pick<Metrics, "render" | "totals">;
  /** Connections that arrive at such a local address are closed at once. */
  readonly isOverlayAddress: (ip: string) => boolean;
  readonly actions: Actions;
  readonly now?: () => Now;
  /** Told of what went wrong inside, which an answer never shows. */
  readonly onError?: (error: unknown) => void;
}

/** What an administrator may start; the result is the answer's body. An AgentError is answered with its code and sentence. */
export interface Actions {
  resync(): Promise<Readonly<Record<string, unknown>>>;
  /** Undefined: the generation before the present one. */
  rollback(generation: number | undefined): Promise<Readonly<Record<string, unknown>>>;
}

/** @throws AgentError http.port-in-use, or config.invalid where the host cannot be listened on. */
export async function serve(options: ServeOptions): Promise<{ port: number; close: () => Promise<void> }> {
  const now = options.now ?? (() => ({ wallMs: Date.now(), steadyMs: performance.now() }));
  const server = createServer({
    maxHeaderSize: 8_192,
    headersTimeout: 5_000,
    requestTimeout: 10_000,
    keepAliveTimeout: 5_000,
    connectionsCheckingInterval: 1_000,
  });
  server.timeout = 30_000;
  server.maxRequestsPerSocket = 1_000;
  boundSockets(server, options.isOverlayAddress);
  const hasBudget = createBudget(() => now().steadyMs);
  const app = routes(options, now);
  server.on("request", (request, response) => {
    if (hasBudget(request.socket.remoteAddress ?? "")) return app(request, response);
    // Before express, and with the connection, so that a flood costs next to nothing.
    response.writeHead(429, { ...JSON_HEADERS, "Retry-After": "1", Connection: "close" }).end(TOO_MANY);
  });
  server.on("clientError", refuseMalformed);
  await listen(server, options.host, options.port);
  return { port: (server.address() as AddressInfo).port, close: () => close(server) };
}

function routes(options: ServeOptions, now: () => Now): Express {
  const { snapshot, journal, metrics, settings, actions } = options;
  const app = express();
  app.disable("etag");
  app.enable("case sensitive routing").enable("strict routing");
  app.set("query parser", false);
  app.use(helmet({ strictTransportSecurity: false, contentSecurityPolicy: NOTHING_EMBEDDED }), gate(options));

  const admin = administrators(options.adminToken);
  const get = (path: string, ...handlers: RequestHandler[]) =>
    app
      .route(path)
      .get(...handlers)
      .all(refuseMethod("GET, HEAD"));
  // Without a token there is nothing to administer, and no sign of it.
  const post = (path: string, act: (request: Request) => Promise<unknown>) => {
    if (options.adminToken === undefined) return;
    const handler: RequestHandler = async (request, response) => answer(response, 200, await act(request));
    app.route(path).post(admin.require, handler).all(refuseMethod("POST"));
  };

  get("/live", (_, response) => answer(response, 200, { status: "live" }));
  get("/ready", (_, response) => {
    const { isReady, body } = readyView(snapshot(), now());
    answer(response, isReady ? 200 : 503, body);
  });
  get("/health", (_, response) => {
    const { isHealthy, body } = healthView(snapshot(), now());
    answer(response, isHealthy ? 200 : 503, body);
  });
  get("/stats", (_, response) => answer(response, 200, statsView(snapshot(), metrics.totals(), now())));
  get("/config", (_, response) => answer(response, 200, settings));
  get("/events", (request, response) => answer(response, 200, journal.after(afterOf(request))));
  get("/metrics", async (_, response) => {
    const text = await metrics.render(snapshot(), now());
    response
      .set({ "Content-Type": "text/plain; version=0.0.4; charset=utf-8", "Cache-Control": "no-store" })
      .send(text);
  });
  const countPeers: RequestHandler = (request, response, next) => {
    const isListAsked = request.headers.authorization !== undefined && options.adminToken !== undefined;
    return isListAsked ? next() : answer(response, 200, wireguardView(snapshot()));
  };
  get("/wireguard", countPeers, admin.require, async (_, response) => {
    response.set(JSON_HEADERS);
    await pipeline(Readable.from(unhurried(wireguardPieces(snapshot()))), response).catch((error) => {
      // A reader that leaves half-way has what it wanted.
      if (error.code !== "ERR_STREAM_PREMATURE_CLOSE") throw error;
    });
  });
  post("/resync", () => actions.resync());
  post("/rollback", async (request) => actions.rollback(generationOf(await readBody(request))));

  app.use((_, response) => refuse(response, 404, "not-found", "there is nothing at this path"));
  app.use(refuseFault(options.onError ?? (() => {})));
  return app;
}

const NOTHING_EMBEDDED = { useDefaults: false, directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] } };
const TOO_MANY = errorJson("too-many-requests", "slow down");

function gate({ host, allowedHosts, corsOrigins }: ServeOptions): RequestHandler {
  const policy: Policy = { hosts: hostNames(host, allowedHosts), origins: new Set(corsOrigins) };
  return (request, response, next) => {
    const { headers, method, url } = request;
    const visit = {
      method,
      target: url,
      hosts: request.headersDistinct["host"] ?? [],
      origin: headers.origin,
      site: headers["sec-fetch-site"] as string | undefined,
      hasBody: headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0,
    };
    const refused = refusal(visit, policy);
    if (visit.hasBody) {
      // The rest of a body that nobody read is not waited for.
      response.once("finish", () => request.complete || request.socket.destroySoon());
    }
    if (refused !== undefined) return refuse(response, refused.status, refused.code, refused.message);
    if (visit.origin === undefined || !policy.origins.has(visit.origin)) return next();
    response.set({ "Access-Control-Allow-Origin": visit.origin, Vary: "Origin" });
    if (method !== "OPTIONS" || headers["access-control-request-method"] === undefined) return next();
    response.set({
      "Access-Control-Allow-Methods": "GET, POST",
      "Access-Control-Allow-Headers": "authorization, content-type",
    });
    response.status(204).end();
  };
}

/** One piece a turn: the loop that follows the chain goes on in between. */
async function* unhurried(pieces: Iterable<string>): AsyncGenerator<string> {
  for (const piece of pieces) {
    yield ascii(piece);
    await turn();
  }
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const fault =
        error.code === "EADDRINUSE"
          ? ({ code: "http.port-in-use", host, port } as const)
          : ({
              code: "config.invalid",
              setting: "HEALTH_CHECK_HOST",
              problem: `cannot be listened on (${error.code}): give an address of this host`,
            } as const);
      reject(new AgentError(fault, { cause: error }));
    });
    server.listen(port, host, resolve);
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const impatient = setTimeout(() => server.closeAllConnections(), 1_000);
    server.close(() => {
      clearTimeout(impatient);
      resolve();
    });
    server.closeIdleConnections();
  });
}
