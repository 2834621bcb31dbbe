/** How answers are written: JSON in ASCII, never stored, and of a fault no more than its code and sentence. */
import type { Socket } from "node:net";
import type { ErrorRequestHandler, RequestHandler, Response } from "express";
import { AgentError } from "../errors.ts";
import { BadRequest } from "./asked.ts";
import { ascii } from "./printable.ts";

export const JSON_HEADERS = { "Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store" };

export function answer(response: Response, status: number, body: unknown): void {
  const json = JSON.stringify(body, (_, value) => (typeof value === "bigint" ? String(value) : value));
  response.status(status).set(JSON_HEADERS).send(ascii(json));
}

export function refuse(response: Response, status: number, code: string, message: string): void {
  response.status(status).set(JSON_HEADERS).send(errorJson(code, message));
}

export function errorJson(code: string, message: string): string {
  return ascii(JSON.stringify({ error: { code, message } }));
}

export function refuseMethod(allow: string): RequestHandler {
  return (_, response) => {
    response.set("Allow", allow);
    refuse(response, 405, "method-not-allowed", `only ${allow} here`);
  };
}

export function refuseFault(onError: (error: unknown) => void): ErrorRequestHandler {
  return (error: unknown, _request, response, _next) => {
    if (error instanceof BadRequest) return refuse(response, 400, "bad-request", error.message);
    if (error instanceof AgentError) {
      const { code } = error.fault;
      return refuse(response, code === "config.no-generation" ? 404 : 503, code, error.message);
    }
    onError(error);
    if (response.headersSent) response.destroy();
    else refuse(response, 500, "internal", "the agent's log says more");
  };
}

/** What node's parser refuses, before there is a request. */
export function refuseMalformed(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === "ECONNRESET" || !socket.writable) return void socket.destroy();
  const [status, code] =
    error.code === "HPE_HEADER_OVERFLOW"
      ? ["431 Request Header Fields Too Large", "headers-too-large"]
      : error.code === "ERR_HTTP_REQUEST_TIMEOUT"
        ? ["408 Request Timeout", "too-slow"]
        : ["400 Bad Request", "bad-request"];
  const body = errorJson(code ?? "", "this is no request that can be read");
  const headers = `Content-Type: ${JSON_HEADERS["Content-Type"]}\r\nContent-Length: ${body.length}\r\nConnection: close`;
  socket.end(`HTTP/1.1 ${status}\r\n${headers}\r\n\r\n${body}`);
}
