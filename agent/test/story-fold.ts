/**
 * A second fold, for the story to hold the project's own against. It is written from DESIGN sections 4, 6 and 7 alone,
 * in the plainest way: one list of tokens, every verdict worked out anew from all of them.
 */

export interface At {
  readonly block: number;
  readonly logIndex: number;
}

/** A token as the canonical chain made it. `key` is what its present owner has set, `shown` what a plain contract answers. */
export interface Held {
  readonly id: bigint;
  readonly name: string;
  readonly owner: string;
  readonly isActive: boolean;
  readonly grantedAt: At;
  readonly key: string;
  readonly keyAt: At | undefined;
  /** Another owner's active token had the key. */
  readonly isLost: boolean;
  readonly shown: string;
  readonly role: "member" | "node" | "gateway" | undefined;
  readonly roleAt: At | undefined;
  readonly endpoint: string;
  readonly endpointAt: At | undefined;
}

export type Holdings = ReadonlyMap<bigint, Held>;

export interface House {
  readonly own: string;
  readonly ownKey: string;
  readonly confirmations: number;
  readonly perOwner: number;
  readonly total: number;
  readonly inbound: boolean;
  /** Name to endpoint; the gateways among them. */
  readonly dialled: ReadonlyMap<string, string>;
  readonly gateways: ReadonlySet<string>;
  readonly addressesOf: (id: bigint) => readonly string[];
}

export const isBefore = (a: At, b: At) => a.block < b.block || (a.block === b.block && a.logIndex < b.logIndex);

/** The token with a key that its owner sets now. */
export function keyed(all: Holdings, token: Held, key: string, at: At): Held {
  const rivals = [...all.values()].filter(
    (other) => other.id !== token.id && other.isActive && other.key === key && !other.isLost,
  );
  const isLost = key !== "" && rivals.some(({ owner }) => owner !== token.owner);
  const isSaidAgain = token.isActive && token.key === key && !token.isLost && token.keyAt !== undefined;
  const isLatest = rivals.every(
    ({ keyAt }) => keyAt !== undefined && token.keyAt !== undefined && isBefore(keyAt, token.keyAt),
  );
  if (isSaidAgain && !isLost && isLatest) return { ...token, shown: key };
  return { ...token, key, shown: key, isLost, keyAt: key === "" ? undefined : at };
}

/** `admitted`, `self`, or why not, for every token. */
export function verdicts(all: Holdings, house: House, head: number): Map<bigint, string> {
  const found = new Map<bigint, string>();
  const isConfirmed = (at: At | undefined) => at === undefined || at.block + house.confirmations - 1 <= head;
  const isReady = ({ isActive, grantedAt, keyAt }: Held) => isActive && isConfirmed(grantedAt) && isConfirmed(keyAt);
  const self = firstOf(
    [...all.values()].filter((token) => token.isActive && token.name === house.own && token.key === house.ownKey),
  );
  const byKey = Map.groupBy(
    [...all.values()].filter((token) => isReady(token) && !token.isLost),
    ({ key }) => key,
  );
  const inLine: Held[] = [];
  for (const token of all.values()) {
    const later = byKey.get(token.key)?.some((other) => other !== token && isBehind(token, other)) ?? false;
    if (!token.isActive) found.set(token.id, "inactive");
    else if (token === self) found.set(token.id, "self");
    else if (!isReady(token)) found.set(token.id, "grant.unconfirmed");
    else if (token.key === "") found.set(token.id, "key.missing");
    else if (token.key.length !== 44) found.set(token.id, "key.malformed");
    else if (/^A+=$/.test(token.key)) found.set(token.id, "key.weak");
    else if (token.key === house.ownKey) found.set(token.id, "key.own");
    else if (token.isLost || later) found.set(token.id, "key.claimed");
    else if (token.id === 0n) found.set(token.id, "address.reserved");
    else if (token.id >= 1n << 80n) found.set(token.id, "address.exhausted");
    else inLine.push(token);
  }
  inLine.sort((a, b) => (isBehind(a, b) ? -1 : 1));
  const perOwner = new Map<string, number>();
  let places = 0;
  for (const token of inLine) {
    const nth = (perOwner.get(token.owner) ?? 0) + 1;
    perOwner.set(token.owner, nth);
    if (house.perOwner > 0 && nth > house.perOwner) found.set(token.id, "cap.owner");
    else found.set(token.id, ++places > house.total ? "cap.total" : "admitted");
  }
  return found;
}

/** The device that follows, a line for each peer: key, addresses, endpoint, keepalive. */
export function peers(all: Holdings, judged: ReadonlyMap<bigint, string>, house: House, head: number): string[] {
  const lines: string[] = [];
  for (const token of all.values()) {
    if (judged.get(token.id) !== "admitted") continue;
    const { role, endpoint } = duty(all, token, house, head);
    if (!house.inbound && endpoint === undefined) continue;
    const keepalive = endpoint !== undefined && (!house.inbound || role === "gateway") ? 25 : 0;
    lines.push(peerLine(token.key, house.addressesOf(token.id), endpoint, keepalive));
  }
  return lines.sort();
}

export function peerLine(
  key: string,
  addresses: readonly string[],
  endpoint: string | undefined,
  keepalive: number,
): string {
  return `${key} ${addresses.toSorted().join(",")} ${endpoint ?? "-"} ${keepalive}`;
}

/** The chain's word on role and endpoint, once confirmed; where it has none, the settings' for the first of a name. */
function duty(all: Holdings, token: Held, house: House, head: number): { role: string; endpoint: string | undefined } {
  const isConfirmed = (at: At | undefined) => at === undefined || at.block + house.confirmations - 1 <= head;
  if (token.roleAt !== undefined || token.endpointAt !== undefined) {
    const role = isConfirmed(token.roleAt) ? (token.role ?? "member") : "member";
    const isDialled = role !== "member" && isConfirmed(token.endpointAt) && token.endpoint !== "";
    return { role, endpoint: isDialled ? token.endpoint : undefined };
  }
  const endpoint = house.dialled.get(token.name);
  if (endpoint === undefined) return { role: "member", endpoint };
  const namesakes = [...all.values()].filter(({ isActive, name }) => isActive && name === token.name);
  if (firstOf(namesakes) !== token) return { role: "member", endpoint: undefined };
  return { role: house.gateways.has(token.name) ? "gateway" : "node", endpoint };
}

function firstOf(tokens: readonly Held[]): Held | undefined {
  return tokens.toSorted((a, b) =>
    isBefore(a.grantedAt, b.grantedAt) ? -1 : isBefore(b.grantedAt, a.grantedAt) ? 1 : Number(a.id - b.id),
  )[0];
}

/** Whether `b` set its key after `a` did. */
function isBehind(a: Held, b: Held): boolean {
  if (a.keyAt === undefined || b.keyAt === undefined) return false;
  return isBefore(a.keyAt, b.keyAt) || (!isBefore(b.keyAt, a.keyAt) && a.id < b.id);
}
