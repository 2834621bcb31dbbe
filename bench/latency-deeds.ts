/** What a block did, as the words that `wg set` takes for it. */
import type { Mined } from "./rpc.ts";

/** What the bare way is told to do: the block to ask for, and what to set then. */
export interface Deeds {
  readonly block: number;
  readonly words: readonly string[];
}

export type Kind = "grant" | "revoke";

export function deedsOf({ block, deeds }: Mined, kind: Kind): Deeds {
  const words = deeds.flatMap(({ tokenId, key }) => (kind === "grant" ? adding(key, Number(tokenId)) : removing(key)));
  return { block, words };
}

/** As the agent spells it. */
export function adding(key: string, id: number): string[] {
  const addresses = `10.213.${id >> 8}.${id & 255}/32,fd00::${id.toString(16)}/128`;
  return ["peer", key, "persistent-keepalive", "off", "allowed-ips", addresses];
}

export function removing(key: string): string[] {
  return ["peer", key, "remove"];
}
