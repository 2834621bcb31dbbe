/** An agent's own HTTP (DESIGN section 9), as its administrator asks it; its answers are not trusted either. */
import { isPrivateHost } from "../config.ts";
import type { Secret } from "../model.ts";
import { EXIT, Failure } from "./failure.ts";
import { shown } from "./output.ts";

export interface Answer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

export interface Request {
  readonly method?: "GET" | "POST";
  readonly body?: object;
  readonly token?: Secret | undefined;
}

const DEADLINE_MS = 5_000;
/** The agent itself stops what it was asked to do after a minute. */
const DEED_MS = 70_000;
const MAX_BYTES = 4 * 1024 * 1024;
/** The administrator gets lists: 60,000 peers are some 20 MB, and take seconds. */
const LIST_MS = 30_000;
const MAX_LIST_BYTES = 64 * 1024 * 1024;

/** @throws Failure 69 where nobody answers, or answers what no agent does */
export async function askAgent(
  base: URL,
  path: string,
  { method = "GET", body, token }: Request = {},
): Promise<Answer> {
  if (token !== undefined && base.protocol !== "https:" && !isPrivateHost(base.hostname)) {
    throw new Failure(
      EXIT.usage,
      `${base.host}: the admin token is not sent over http; use https, or a tunnel to loopback`,
    );
  }
  const isAdmin = token !== undefined;
  const deadlineMs = method === "POST" ? DEED_MS : isAdmin ? LIST_MS : DEADLINE_MS;
  const headers: Record<string, string> = {};
  if (token !== undefined) headers["authorization"] = `Bearer ${token.reveal()}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  try {
    const response = await fetch(new URL(path.slice(1), base), {
      ...{ method, headers, redirect: "error" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(deadlineMs),
    });
    const parsed: unknown = JSON.parse(await bounded(response, isAdmin ? MAX_LIST_BYTES : MAX_BYTES));
    if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) throw new SyntaxError("no object");
    return { status: response.status, body: parsed as Answer["body"] };
  } catch (cause) {
    const why = cause instanceof SyntaxError ? "answers as no agent does" : "does not answer";
    throw new Failure(EXIT.unreachable, `${base.host} ${why}: is the agent running, and this its address?`, { cause });
  }
}

async function bounded(response: Response, maxBytes: number): Promise<string> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of response.body ?? []) {
    size += piece.length;
    if (size > maxBytes) throw new SyntaxError("it is too long");
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString();
}

/** @throws Failure unless the agent did what it was asked */
export function accepted(base: URL, { status, body }: Answer): Answer["body"] {
  if (status >= 200 && status < 300) return body;
  const { code, message } = (body["error"] ?? {}) as { readonly code?: unknown; readonly message?: unknown };
  if (status === 401) throw new Failure(EXIT.settings, `${base.host} refuses: set ADMIN_TOKEN to the agent's own`);
  if (code === "not-found") {
    throw new Failure(EXIT.settings, `${base.host} has no administrator: set ADMIN_TOKEN on the agent, and here`);
  }
  const said = typeof message === "string" ? shown(message.slice(0, 300)) : "it does not say why";
  throw new Failure(EXIT.failed, `${base.host} refuses (HTTP ${status}): ${said}`);
}
