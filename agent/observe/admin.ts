/** Who may start something: whoever sends the admin token. */
import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Request, RequestHandler, Response } from "express";
import { ipKeyGenerator, rateLimit } from "express-rate-limit";
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
  const keyOf = ({ ip = "" }: Request) => ipKeyGenerator(ip);
  // Of wrong tokens alone: whoever asks for much at once with the right one would be shut out while the answers are made.
  const countWrong = rateLimit({
    windowMs: 60_000,
    limit: MAX_ATTEMPTS,
    keyGenerator: keyOf,
    handler: (_, response) => refuseGuesser(response),
    legacyHeaders: false,
    // Its warnings go to the console, and are about proxies that are not trusted here.
    validate: false,
  });
  const isShutOut = async (request: Request) => {
    const { totalHits = 0 } = (await countWrong.getKey(keyOf(request))) ?? {};
    return totalHits >= MAX_ATTEMPTS;
  };
  const require: RequestHandler = async (request, response, next) => {
    if (!isAdmin(request)) return countWrong(request, response, () => refuseStranger(response));
    // Without it a guess would be known to be right by not being refused.
    return (await isShutOut(request)) ? refuseGuesser(response) : next();
  };
  return { require };
}

function refuseGuesser(response: Response): void {
  refuse(response, 429, "too-many-requests", "too many wrong tokens: wait a minute");
}

function refuseStranger(response: Response): void {
  response.set("WWW-Authenticate", "Bearer");
  refuse(response, 401, "unauthorized", "send Authorization: Bearer and the ADMIN_TOKEN");
}
