/** One transaction on the device: all of the changes, or as if none had been begun. Pure but for the device it is given. */
import { AgentError } from "../errors.ts";
import type { Device } from "./device.ts";
import { type Change, undone } from "./plan.ts";

export type Outcome =
  | { readonly kind: "applied" }
  /** The device is as it was before, except that removals stay. */
  | { readonly kind: "rolled-back"; readonly error: AgentError }
  /** Nobody knows how the device is: the next full pass reads it. */
  | { readonly kind: "failed"; readonly error: AgentError };

/** Applied when `wg` says so; verified by the full pass that follows. */
export async function apply(device: Pick<Device, "apply">, changes: readonly Change[]): Promise<Outcome> {
  try {
    await device.apply(changes);
    return { kind: "applied" };
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    return { kind: (await rollBack(device, changes)) ? "rolled-back" : "failed", error };
  }
}

/** Undoes all of them, since any number may be done: undoing what was not done is asking for what is there. */
async function rollBack(device: Pick<Device, "apply">, changes: readonly Change[]): Promise<boolean> {
  try {
    await device.apply(undone(changes));
    return true;
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    return false;
  }
}
