/** What is wrong at present, and how it is told: each fault once, until it is mended. */
import type { Agent } from "./agent.ts";
import type { Notice } from "./chain/follower.ts";
import type { AgentError, FaultCode } from "./errors.ts";

/** Remembers what is wrong and tells it, once until it is mended or its numbers change kind. */
export function report(agent: Agent, { fault, message }: AgentError): void {
  const isNew = !agent.faults.has(fault.code);
  agent.faults.set(fault.code, fault);
  if (!isNew) return;
  agent.log.warn({ ...fault, detail: message }, fault.code);
  agent.journal.add("fault", { code: fault.code, detail: message });
}

export function mended(agent: Agent, ...codes: readonly FaultCode[]): void {
  for (const code of codes) if (agent.faults.delete(code)) agent.log.info({ code }, "fault.mended");
}

/** What following the chain has to tell an operator. */
export function tellNotice(agent: Agent, { kind, ...fields }: Notice): void {
  agent.log.warn(fields, `chain.${kind}`);
}
