/** A program, started by `http.ts`: what node:http alone makes of answers of these sizes, as `{"/health": 1234}`. */
import { createServer } from "node:http";

const [host = "", port = "", sizes = "{}"] = process.argv.slice(2);
const bodies = new Map(
  Object.entries(JSON.parse(sizes) as Record<string, number>).map(([path, size]) => [path, "x".repeat(size)]),
);
createServer((request, response) => {
  response.writeHead(200, { "content-type": "text/plain" }).end(bodies.get(request.url ?? ""));
}).listen(Number(port), host, () => console.log("listening"));
