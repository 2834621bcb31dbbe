/** A generation that was restored by hand is held: until a resync nobody else is added, over a restart too. */
import type { Agent } from "./agent.ts";
import { type PublicKey, parsePublicKey } from "./model.ts";
import { rowsIn } from "./notes.ts";

/** What the database has to learn. With the keys, because the generation's own file may be thinned out or lost meanwhile. */
export function holdNote({ held, store }: Agent): Record<string, string> {
  const text = String(held?.generation ?? "");
  if (text === (store.note(HELD) ?? "")) return {};
  return { [HELD]: text, [KEYS]: held === undefined ? "" : JSON.stringify([[held.generation, ...held.keys]]) };
}

/** As the agent before us left it. */
export async function holdAgain(agent: Agent): Promise<void> {
  const generation = Number(agent.store.note(HELD) ?? "");
  if (!(generation > 0)) return;
  const keys = keysOf(generation, agent.store.note(KEYS)) ?? (await keysOnDisk(agent, generation));
  if (keys !== undefined) agent.held = { generation, keys: new Set(keys) };
}

/** Undefined where an agent that noted no keys has held this generation. */
function keysOf(generation: number, note: string | undefined): PublicKey[] | undefined {
  const [[noted, ...keys] = []] = rowsIn(note);
  if (noted !== generation) return undefined;
  return keys.flatMap((key) => {
    const parsed = parsePublicKey(String(key));
    return parsed.kind === "key" ? [parsed.key] : [];
  });
}

async function keysOnDisk({ files }: Agent, generation: number): Promise<PublicKey[] | undefined> {
  // What was written since has nobody whom it did not have.
  const kept = await files.read(generation).catch(() => files.newest());
  return kept?.peers.map(({ key }) => key);
}

const HELD = "held";
const KEYS = "heldKeys";
