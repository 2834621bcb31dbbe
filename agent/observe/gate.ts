/** Who may ask at all, decided from a request's line and headers alone. Pure. */

export interface Visit {
  readonly method: string;
  /** The request target as it was sent. */
  readonly target: string;
  /** Every Host header there was. */
  readonly hosts: readonly string[];
  readonly origin: string | undefined;
  /** `Sec-Fetch-Site`: what the browser says of the page that asks; no page can set it. */
  readonly site: string | undefined;
  readonly hasBody: boolean;
}

export interface Policy {
  /** As `hostNames` makes them. */
  readonly hosts: ReadonlySet<string>;
  readonly origins: ReadonlySet<string>;
}

export interface Refused {
  readonly status: number;
  readonly code: string;
  readonly message: string;
}

export function refusal(visit: Visit, policy: Policy): Refused | undefined {
  const [host, another] = visit.hosts;
  if (!visit.target.startsWith("/") || another !== undefined) {
    return { status: 400, code: "bad-request", message: "ask with a path and one Host header" };
  }
  // DNS rebinding: a page's own name may resolve to us, but its browser still sends that name.
  if (host === undefined || !policy.hosts.has(withoutPort(host))) {
    return { status: 421, code: "misdirected", message: "this host name is not served here: see ALLOWED_HOSTS" };
  }
  if (isCrossSite(visit, host) && !policy.origins.has(visit.origin ?? "")) {
    return { status: 403, code: "cross-site", message: "asked by a page of another site: see CORS_ORIGINS" };
  }
  // What else has a body the paths refuse, each with the methods that it takes.
  if (visit.hasBody && (visit.method === "GET" || visit.method === "HEAD")) {
    return { status: 413, code: "body-refused", message: "no body is read here" };
  }
  return undefined;
}

/** Fetch Metadata decides where there is one; else an Origin that is not this very host. Programs send neither. */
function isCrossSite({ site, origin }: Visit, host: string): boolean {
  if (site !== undefined) return site !== "same-origin" && site !== "none";
  return origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`;
}

/** The names that a Host header may carry: loopback's, the one we listen on unless it is a wildcard, and those allowed. */
export function hostNames(listenOn: string, allowed: readonly string[]): Set<string> {
  const own = listenOn === "0.0.0.0" || listenOn === "::" ? [] : [listenOn];
  return new Set(["localhost", "127.0.0.1", "[::1]", ...own, ...allowed].map(bracketed).map(withoutPort));
}

const bracketed = (host: string) => (/^[0-9a-f]*:[0-9a-f.]*:[0-9a-f:.]*$/i.test(host) ? `[${host}]` : host);
const withoutPort = (host: string) => host.toLowerCase().replace(/:[0-9]{1,5}$/, "");
