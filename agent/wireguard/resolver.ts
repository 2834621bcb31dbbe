/** The door to name servers. */
import { lookup } from "node:dns/promises";

/** As the rest of the host resolves names, `/etc/hosts` included, and sorted by what it can reach (RFC 6724). */
export async function lookUp(host: string): Promise<readonly string[]> {
  return (await lookup(host, { all: true, order: "verbatim" })).map(({ address }) => address);
}
