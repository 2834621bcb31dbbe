/**
 * Where endpoints live. Host names never reach `wg`: we look them up, off the path, and keep the last good answer, so that a
 * name server that is down moves nobody. Pure but for the look-up it is given.
 */
import { isIP } from "node:net";
import { type Cidr, type Endpoint, overlaps, parseCidr, type SocketAddress, socketAddress } from "../model.ts";

export interface Endpoints {
  /** At once; undefined while a name has no answer yet, and for addresses that nobody may be dialled at. */
  resolve(endpoint: Endpoint): SocketAddress | undefined;
  /**
   * Looks up the names that are due and forgets those that are not among `endpoints`. May take as long as name servers
   * do, a few names at a time. `nowMs` is of a clock that never goes back. @returns the hosts whose address is another one now
   */
  refresh(endpoints: Iterable<Endpoint>, nowMs: number): Promise<ReadonlySet<string>>;
  /** A name of the last refresh has no address yet, and is due again after RETRY_AFTER_MS. */
  hasUnknown(): boolean;
}

/** The addresses of a host name, in the order in which to try them. */
export type Lookup = (host: string) => Promise<readonly string[]>;

export const REFRESH_AFTER_MS = 60_000;
export const RETRY_AFTER_MS = 5_000;
/** Of the four threads that Node looks names up with, and writes files with. */
const AT_ONCE = 2;

interface Known {
  /** Of the last good answer. */
  address: string | undefined;
  dueAt: number;
  isAsked: boolean;
}

/** @param overlay whose addresses are behind the tunnel: nobody is dialled there */
export function createEndpoints(lookup: Lookup, overlay: readonly Cidr[]): Endpoints {
  const names = new Map<string, Known>();

  function dialled(ip: string, port: number): SocketAddress | undefined {
    const address = parseCidr(`${ip}/${isIP(ip) === 4 ? 32 : 128}`);
    if (address === undefined || overlay.some((prefix) => overlaps(prefix, address))) return undefined;
    return socketAddress(ip, port);
  }

  async function ask(host: string, known: Known, nowMs: number): Promise<boolean> {
    const before = known.address;
    try {
      const usable = (await lookup(host)).filter((ip) => dialled(ip, 1) !== undefined);
      // An answer that changes its order changes nothing.
      known.address = usable.find((ip) => ip === before) ?? usable[0];
      known.dueAt = nowMs + (known.address === undefined ? RETRY_AFTER_MS : REFRESH_AFTER_MS);
    } catch {
      known.dueAt = nowMs + RETRY_AFTER_MS;
    } finally {
      known.isAsked = false;
    }
    return known.address !== before;
  }

  return {
    resolve({ host, port }) {
      const ip = isIP(host) === 0 ? names.get(host)?.address : host;
      return ip === undefined ? undefined : dialled(ip, port);
    },
    async refresh(endpoints, nowMs) {
      const wanted = new Set([...endpoints].map(({ host }) => host).filter((host) => isIP(host) === 0));
      for (const host of names.keys()) if (!wanted.has(host)) names.delete(host);
      const due: [string, Known][] = [];
      for (const host of wanted) {
        const known = names.get(host) ?? { address: undefined, dueAt: nowMs, isAsked: false };
        names.set(host, known);
        if (known.isAsked || known.dueAt > nowMs) continue;
        known.isAsked = true;
        due.push([host, known]);
      }
      const changed = new Set<string>();
      const next = due.values();
      const worker = async () => {
        for (const [host, known] of next) if (await ask(host, known, nowMs)) changed.add(host);
      };
      await Promise.all(Array.from({ length: AT_ONCE }, worker));
      return changed;
    },
    hasUnknown: () => [...names.values()].some(({ address }) => address === undefined),
  };
}
