/** What `doctor` finds out about the chain: each upstream by itself, the contract, and the clock beside theirs. */
import { getAddress as checksummed } from "ethers/address";
import { chainId, headOf, logs } from "../chain/questions.ts";
import { connect, type Rpc, RpcError } from "../chain/rpc.ts";
import type { Settings } from "../config.ts";
import { AgentError } from "../errors.ts";
import type { Block } from "../model.ts";
import type { Finding } from "./doctor-findings.ts";
import { isAccessContract } from "./probe.ts";

const OLD_SECONDS = 45;
const SKEW_SECONDS = 5;
const BAD_SKEW_SECONDS = 30;

export async function chainFindings(settings: Settings): Promise<Finding[]> {
  const { rpcUrls, network } = settings;
  const seen = await Promise.all(rpcUrls.map((url) => upstream(url, settings)));
  const findings = seen.flatMap(({ findings }) => findings);
  if (new Set(rpcUrls.map(({ hostname }) => hostname)).size === 1 && network !== "devnet") {
    const mend = "name a second one in RPC_URL, of another provider";
    const said = rpcUrls.length === 1 ? "there is one alone" : "all are of one host";
    findings.push({ topic: "upstreams", verdict: "warn", said: `${said}, and nobody to doubt it`, mend });
  }
  const contract = seen.find(({ isContract }) => isContract !== undefined)?.isContract;
  const clocks = await Promise.all(rpcUrls.map(clock));
  return [...findings, ...contractFinding(contract, settings), clockFinding(clocks, seen, network)];
}

interface Seen {
  readonly findings: readonly Finding[];
  readonly head?: Block;
  readonly isContract?: boolean;
}

/** Without failover, so that a good one does not hide a bad one. */
async function upstream(url: URL, { chainId: expected, contract, network }: Settings): Promise<Seen> {
  const name = url.host;
  const rpc = connect({ urls: [url], expect: { chainId: expected } });
  const finding = (verdict: Finding["verdict"], said: string, mend?: string): Finding => ({
    ...{ topic: "upstream", verdict, said: `${name}: ${said}` },
    ...(mend === undefined ? {} : { mend }),
  });
  try {
    const { value: id } = await rpc.ask(chainId());
    const { value: head } = await rpc.ask(headOf("latest"));
    const age = Math.max(0, Math.round(Date.now() / 1000 - head.timestamp));
    const reach = await range(rpc, contract, head.number);
    const facts = `chain ${id}, block ${head.number}, ${age} s old, logs of ${reach} blocks at once`;
    const findings =
      reach === 0
        ? [finding("fail", `${facts}: it gives no logs`, "use another upstream: access is read from logs")]
        : age > OLD_SECONDS && network !== "devnet"
          ? [finding("warn", `${facts}: it lags, or the chain has halted`, "compare it with another upstream")]
          : reach < 500 && head.number >= 500
            ? [
                finding(
                  "warn",
                  `${facts}: the first reading will be long`,
                  "use an upstream that allows more, at least once",
                ),
              ]
            : [finding("ok", facts)];
    return { findings, head, isContract: await isAccessContract(rpc, contract) };
  } catch (error) {
    if (!(error instanceof AgentError) && !(error instanceof RpcError)) throw error;
    const isOther = error instanceof AgentError && error.fault.code === "chain.wrong-network";
    const mend = isOther ? "set NETWORK or CHAIN_ID right, or name another upstream" : "check RPC_URL and the network";
    return { findings: [finding("fail", error.message, mend)] };
  } finally {
    rpc.close();
  }
}

/** The most blocks, of those that providers commonly allow, that it answers for. */
async function range(rpc: Rpc, address: Settings["contract"], head: number): Promise<number> {
  for (const size of [10_000, 2_000, 500, 100, 10, 1]) {
    const fromBlock = Math.max(0, head - size + 1);
    try {
      await rpc.ask(logs({ address, fromBlock, toBlock: head }));
      return head - fromBlock + 1;
    } catch (error) {
      if (!(error instanceof RpcError) && !(error instanceof AgentError)) throw error;
    }
  }
  return 0;
}

function contractFinding(isContract: boolean | undefined, { contract }: Settings): Finding[] {
  if (isContract === undefined) return [];
  const address = checksummed(contract);
  if (isContract) return [{ topic: "contract", verdict: "ok", said: `${address} is an access contract` }];
  const mend = "set CONTRACT_ADDRESS to the one that deploy-contract printed";
  return [{ topic: "contract", verdict: "fail", said: `${address} is no access contract on this chain`, mend }];
}

/** Seconds that the host's clock is ahead of the upstream's; undefined where it does not tell the time. */
async function clock(url: URL): Promise<number | undefined> {
  if (!url.protocol.startsWith("http")) return undefined;
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "eth_chainId", params: [] });
  const { username, password } = url;
  const bare = new URL(url);
  bare.username = "";
  bare.password = "";
  const credentials =
    username === ""
      ? {}
      : { authorization: `Basic ${btoa(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`)}` };
  try {
    const headers = { "content-type": "application/json", ...credentials };
    const signal = AbortSignal.timeout(3_000);
    const response = await fetch(bare, { method: "POST", headers, body, signal, redirect: "error" });
    await response.body?.cancel();
    const theirs = Date.parse(response.headers.get("date") ?? "");
    return Number.isNaN(theirs) ? undefined : Math.round((Date.now() - theirs) / 1000);
  } catch {
    return undefined;
  }
}

/** Pure but for the clock itself. */
export function clockFinding(
  skews: readonly (number | undefined)[],
  seen: readonly Pick<Seen, "head">[],
  network: Settings["network"],
): Finding {
  const mend = "set the clock: timedatectl set-ntp true";
  const known = skews.filter((skew) => skew !== undefined).toSorted((a, b) => Math.abs(a) - Math.abs(b));
  const [skew] = known;
  const ahead = Math.max(...seen.map(({ head }) => (head?.timestamp ?? 0) - Date.now() / 1000));
  if (skew !== undefined && Math.abs(skew) > SKEW_SECONDS) {
    const said = `this host's clock is ${Math.abs(skew)} s ${skew > 0 ? "ahead of" : "behind"} the upstreams'`;
    return { topic: "clock", verdict: Math.abs(skew) > BAD_SKEW_SECONDS ? "fail" : "warn", said, mend };
  }
  if (ahead > BAD_SKEW_SECONDS && network !== "devnet") {
    return {
      topic: "clock",
      verdict: "fail",
      said: `the newest block is from ${Math.round(ahead)} s in the future`,
      mend,
    };
  }
  if (skew === undefined) {
    return {
      topic: "clock",
      verdict: "warn",
      said: "no upstream tells the time",
      mend: "compare it by hand: timedatectl",
    };
  }
  return { topic: "clock", verdict: "ok", said: "within seconds of the upstreams'" };
}
