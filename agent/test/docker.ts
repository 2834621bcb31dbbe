/** The Docker engine of ring 5, through its command. */
import { spawnSync } from "node:child_process";
import { run } from "./lab/command.ts";

/** Empty where containers can be had; otherwise what is missing. */
export function whyNoDocker(): string {
  const { status } = spawnSync("docker", ["version"], { stdio: "ignore", timeout: 10_000 });
  return status === 0 ? "" : "no Docker engine answers (scripts/docker-engine.sh with <command> brings one)";
}

export const docker = (...args: string[]): Promise<string> => run(["docker", ...args], { deadlineMs: 60_000 });
