/** What an administrator may start: `POST /resync` and `POST /rollback`. */
import { settle } from "./access.ts";
import type { Agent } from "./agent.ts";
import { auditAll } from "./auditing.ts";
import type { Peer } from "./model.ts";
import { save } from "./saving.ts";
import { disputed } from "./unvouched.ts";

/**
 * Lets go of a generation that was held, and asks the contract about every token. Where the chain we followed is no
 * longer canonical below finality, or its logs are in dispute, its whole history is read again; nobody is cut before that
 * has been done.
 */
export async function resync(agent: Agent, signal: AbortSignal): Promise<{ repairs: number; rebuilding: boolean }> {
  agent.held = undefined;
  agent.journal.add("resync");
  const isForked = agent.faults.has("chain.fork-below-finality");
  const { repairs, withheld } = isForked ? { repairs: 0, withheld: 0 } : await auditAll(agent, signal);
  const rebuilding = isForked || withheld > 0 || disputed(agent).length > 0;
  if (rebuilding) {
    // Not here: a poll may be half-way through the ledger that we have.
    agent.isRebuildAsked = true;
    agent.poll.nudge();
  }
  await settle(agent, [...agent.waiting]);
  agent.tend.nudge();
  await save(agent);
  return { repairs, rebuilding };
}

/**
 * Puts the device back to a generation, without those who are no longer admitted, and adds nobody else until a resync.
 * @throws AgentError config.no-generation
 */
export async function rollback(agent: Agent, wanted: number | undefined): Promise<{ generation: number }> {
  const backups = await agent.files.list();
  // Asked once more, it goes further back: the newest before the present one is what the first rollback led away from.
  const present = agent.held?.generation ?? agent.generation;
  const earlier = backups.map((backup) => backup.generation).filter((generation) => generation < present);
  const { generation, peers } = await newestWhole(agent, wanted === undefined ? earlier : [wanted]);
  agent.held = { generation, keys: new Set(peers.map(({ key }) => key)) };
  agent.rollbacks++;
  agent.journal.add("rollback", { generation });
  await settle(agent, [...agent.placed.keys()]);
  agent.tend.nudge();
  // Not with the next poll: a chain that does not answer puts that off, and a crash meanwhile would let go of the hold.
  await save(agent);
  return { generation };
}

/** A disk that has damaged one of them may have left the one before it. @throws AgentError config.no-generation */
async function newestWhole(
  agent: Agent,
  [newest = 0, ...older]: readonly number[],
): Promise<{ generation: number; peers: readonly Peer[] }> {
  try {
    const { peers } = await agent.files.read(newest);
    return { generation: newest, peers };
  } catch (error) {
    if (older.length === 0) throw error;
    return newestWhole(agent, older);
  }
}
