/** Who may start something: whoever sends the admin token. */
import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { RequestHandler, Response } from "express";
import { rateLimit } from "express-rate-limit";
import type { Secret } from "../model.ts";
import { refuse } from "./answers.ts";

/** Wrong tokens from one address in a minute. */
const MAX_ATTEMPTS = 60;

export function administrators(token: Secret | undefined) {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  const expected = token === undefined ? undefined : digest(token.reveal());
  const isAdmin = ({ headers }: IncomingMessage) => {
    const given = /^bearer +(\S+)$/i.exec(headers.authorization ?? "")?.[1];
    // Digests are of one length, and compared in the same time wherever they differ.
    return expected !== undefined && given !== undefined && timingSafeEqual(digest(given), expected);
  };
  const require: RequestHandler = (request, response, next) => (isAdmin(request) ? next() : refuseStranger(response));
  const limit = rateLimit({
    windowMs: 60_000,
    limit: MAX_ATTEMPTS,
    skipSuccessfulRequests: true,
    requestWasSuccessful: (_, response) => response.statusCode !== 401,
    handler: (_, response) => refuse(response, 429, "too-many-requests", "too many wrong tokens: wait a minute"),
    legacyHeaders: false,
    // Its warnings go to the console, and are about proxies that are not trusted here.
    validate: false,
  });
  return { isAdmin, require, limit };
}

export function refuseStranger(response: Response): void {
  response.set("WWW-Authenticate", "Bearer");
  refuse(response, 401, "unauthorized", "send Authorization: Bearer and the ADMIN_TOKEN");
}
