/** Of three upstreams or more, what most of them have is the chain (DECISIONS). */
import type { Trail } from "../model.ts";
import type { Heads } from "./heads.ts";
import { glance, headersOf, isForward, isTarget, type Look, type Target } from "./look.ts";
import { untilEnough } from "./parallel.ts";
import { hasStalled, rivals } from "./rivals.ts";
import type { Rpc, UpstreamStatus } from "./rpc.ts";
import { type FollowOptions, tipOf } from "./walk.ts";

export type Asking = Pick<FollowOptions, "signal" | "wallMs">;

/** What was told last may be some seconds old: so often in a row, before most upstreams are asked whether they are elsewhere. */
const OUTVOTED_POLLS = 5;
/** Whoever may show that we are on a chain that hardly anybody has is worth waiting for. */
const PATIENCE_MS = 20_000;

/** The chain that most have in place of ours, as they say once more. */
export async function ofMost(
  rpc: Rpc,
  trail: Trail,
  heads: Heads,
  { signal, wallMs }: Asking,
): Promise<Target | undefined> {
  const tip = tipOf(trail);
  const others = rivals(rpc, trail);
  heads.outvoted = areMost(others.length, rpc, wallMs()) ? heads.outvoted + 1 : 0;
  if (heads.outvoted < OUTVOTED_POLLS) return undefined;
  heads.outvoted = 0;
  const isFork = (seen: Look): seen is Target =>
    isTarget(seen) && !isForward(seen, tip) && !hasStalled(seen.head, rpc, wallMs());
  const forksIn = (heard: readonly (Look | undefined)[]) => heard.filter((seen) => seen !== undefined).filter(isFork);
  // Whoever is slow may be the one whose voice is wanting, and is waited for only then.
  const isDecided = (heard: readonly (Look | undefined)[]) => {
    const forks = forksIn(heard).length;
    const open = others.length - heard.length;
    return areMost(forks, rpc, wallMs()) || !areMost(forks + open, rpc, wallMs());
  };
  const ask = (name: string, until: AbortSignal) => glance(rpc, trail, name, until, PATIENCE_MS);
  const forks = forksIn(await untilEnough(others, ask, isDecided, signal));
  const longest = forks.toSorted((a, b) => b.head.number - a.head.number)[0];
  const root = longest?.route.run[0];
  const hasRoot = ({ upstream }: Look) => root && headersOf(rpc, upstream, signal).holds(root);
  const backing = await Promise.allSettled(forks.map(hasRoot));
  signal.throwIfAborted();
  const count = backing.filter((one) => one.status === "fulfilled" && one.value).length;
  return areMost(count, rpc, wallMs()) ? longest : undefined;
}

/** A fork is not followed for its length alone where most, asked anew, are on our chain. */
export async function unlessOutnumbered(
  rpc: Rpc,
  trail: Trail,
  wanted: Target | undefined,
  { first, second, mute }: { first: Look; second: Look | undefined; mute: string | undefined },
  { signal, wallMs }: Asking,
): Promise<Target | undefined> {
  const tip = tipOf(trail);
  if (wanted === undefined || isForward(wanted, tip)) return wanted;
  // Whoever is behind may yet come to what the fork denies; whoever has stalled has no vote.
  const isOurs = (seen: Look) =>
    seen.route.kind !== "failed" && (!isTarget(seen) || isForward(seen, tip)) && !hasStalled(seen.head, rpc, wallMs());
  const denier = [first, second].find((seen) => seen !== wanted);
  if (denier !== undefined && !isOurs(denier)) return wanted;
  // Whoever does not answer in a moment is no voice for the fork.
  const asked = [first.upstream, second?.upstream, mute];
  const left = rpc.upstreams().filter(({ name, healthy }) => healthy && !asked.includes(name));
  const rest = await Promise.all(left.map(({ name }) => glance(rpc, trail, name, signal)));
  const silent = rest.filter((seen) => seen === undefined).length + (mute === undefined ? 0 : 1);
  const ours = [denier, ...rest].filter((seen) => seen !== undefined && isOurs(seen)).length;
  if (!areMost(silent + ours, rpc, wallMs())) return wanted;
  return denier !== undefined && isTarget(denier) ? denier : undefined;
}

/** Of those who have a vote; of two, one is no majority. */
function areMost(count: number, rpc: Rpc, wallMs: number): boolean {
  const healthy = rpc.upstreams().filter((upstream) => upstream.healthy);
  const isStalled = ({ headTimestamp: timestamp }: UpstreamStatus) =>
    timestamp !== undefined && hasStalled({ timestamp }, rpc, wallMs);
  return count > 1 && 2 * count > healthy.filter((upstream) => !isStalled(upstream)).length;
}
