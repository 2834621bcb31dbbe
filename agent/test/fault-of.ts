import { AgentError } from "../errors.ts";

/** What the work fails with: the fault, or what else was thrown; undefined where it succeeds. */
export async function faultOf(work: Promise<unknown>): Promise<unknown> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  return error instanceof AgentError ? error.fault : error;
}
