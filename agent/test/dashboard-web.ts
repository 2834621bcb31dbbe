/** The dashboard as its container serves it: docker/monitoring/dashboard and nginx, with the image's paths pointed at the lab's /run. */
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Running, start, until } from "./lab/command.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const SITE = "/run/site";
const IMAGE_SITE = "/usr/share/dstack-vpn/dashboard";
const IMAGE_BEGIN = "/usr/local/bin/begin";
export const PAGE = "http://127.0.0.1:8082/";

/** Serves the page for these nodes, name → host:port, until it is ended. Inside the lab only: the port is always 8082. */
export async function startWeb(nodes: Readonly<Record<string, string>>): Promise<Running> {
  layOut();
  const script = readFileSync(`${ROOT}/docker/monitoring/dashboard`, "utf8");
  for (const path of [IMAGE_SITE, IMAGE_BEGIN]) {
    if (!script.includes(path)) throw new Error(`docker/monitoring/dashboard does not name ${path} any more`);
  }
  const here = script.replaceAll(IMAGE_SITE, SITE).replaceAll(IMAGE_BEGIN, `${ROOT}/docker/monitoring/begin`);
  writeFileSync("/run/dashboard.sh", here);
  const NODES = Object.entries(nodes).map(([name, at]) => `${name}=${at}`);
  const web = start(["bash", "/run/dashboard.sh"], { env: { PATH: process.env["PATH"], NODES: NODES.join(",") } });
  await until("nginx to serve the page", 10_000, async () => {
    if (!web.isRunning) throw new Error(`nginx ended:\n${web.output}`);
    return fetch(`${PAGE}live`).then(
      ({ ok }) => ok,
      () => false,
    );
  });
  return web;
}

/** What docker/monitoring/Dockerfile copies. */
function layOut(): void {
  mkdirSync(`${SITE}/vendor`, { recursive: true });
  const isOfThePage = (name: string) => /\.(html|css|js|svg)$/.test(name);
  for (const name of readdirSync(`${ROOT}/monitoring`).filter(isOfThePage)) {
    cpSync(`${ROOT}/monitoring/${name}`, `${SITE}/${name}`);
  }
  for (const name of ["uPlot.iife.min.js", "uPlot.min.css"]) {
    cpSync(`${ROOT}/node_modules/uplot/dist/${name}`, `${SITE}/vendor/${name}`);
  }
}
