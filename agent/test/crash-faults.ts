/** Calls that fail in place of killing: the agent goes on, says so, and makes good for it when they succeed again. */
import type { FaultCode } from "../errors.ts";
import { CONFIG, STATE } from "./crash-node.ts";
import type { Site } from "./crash-phases.ts";
import { type Call, GATE, inject, threadsOf } from "./crash-strace.ts";
import { until } from "./lab/command.ts";

export interface Failing extends Pick<Call, "thread" | "name"> {
  readonly path: string;
  readonly errno: "EIO" | "ENOSPC" | "EROFS";
  /** What the agent says of it. */
  readonly code: FaultCode;
}

const WAL = { thread: "main", path: `${STATE}/ledger.sqlite-wal`, code: "store.unsaved" } as const;
const DRAFT = { thread: "files", path: `${CONFIG}/.wg0.conf.tmp`, code: "config.unwritten" } as const;
export const FAILING: readonly Failing[] = [
  { ...WAL, name: "pwrite64", errno: "ENOSPC" },
  { ...WAL, name: "fsync", errno: "EIO" },
  { ...DRAFT, name: "write", errno: "ENOSPC" },
  { ...DRAFT, name: "fsync", errno: "EIO" },
  { ...DRAFT, name: "rename", errno: "EROFS" },
];

/** The whole time one call of the agent fails. @throws when a revoke does not reach the device, or it is not told, or not made good for */
export async function fail({ node, chance }: Site, { thread, name, path, errno, code }: Failing): Promise<void> {
  await node.kill();
  const agent = node.start({ ...GATE.environment, SYNC_INTERVAL: "1000" });
  await node.settled();
  const fault = await inject((await threadsOf(agent.pid))[thread], { name, path }, `error=${errno}`);
  await node.world.cut(chance);
  await node.world.grant(chance);
  await node.hasApplied();
  // A full pass, which on a busy machine is long in coming.
  await node.post("/resync");
  await until(`the agent to say ${code}`, 30_000, async () => (await reasons(agent)).includes(code));
  await fault.end();
  await node.settled();
  await until(`the agent to say ${code} no more`, 60_000, async () => (await reasons(agent)).length === 0);

  async function reasons(from: typeof agent): Promise<string[]> {
    const { reasons } = (await from.get("/ready")) as { reasons: { code: string }[] };
    return reasons.map((reason) => reason.code);
  }
}
