/** `check`: whether a token gives access, and if not why and what to do, in plain words. */
import { Command } from "commander";
import { blockByHash } from "../chain/questions.ts";
import { connect } from "../chain/rpc.ts";
import type { Settings } from "../config.ts";
import type { BlockRef, TokenId } from "../model.ts";
import { token, tokens } from "../registry/registry.ts";
import { askNode } from "./asked-nodes.ts";
import { type ChainView, readChain } from "./chain-view.ts";
import { EXIT, type Exit, Failure } from "./failure.ts";
import { conclusion, type Finding, standing } from "./holding.ts";
import { dialable } from "./member-conf.ts";
import { painted, print, printJson } from "./output.ts";
import { readKey } from "./own-files.ts";
import { chainSettings, httpSettings } from "./settings.ts";
import { typedAgents, typedToken } from "./typed.ts";

interface Typed {
  readonly token: TokenId;
  readonly keyFile?: string;
  readonly node?: readonly URL[];
  readonly json?: true;
}

export function checkCommand(): Command {
  return new Command("check")
    .description("whether a token gives access, and if not why and what to do")
    .requiredOption("--token <id>", "the token's number", typedToken)
    .option("--key-file <file>", "the private key that your configuration has: is it the token's?")
    .option("--node <urls...>", "ask these nodes too, where their HTTP is open to you", typedAgents)
    .option("--json", "print JSON")
    .addHelpText(
      "after",
      `
With ADMIN_TOKEN a node also says when it last shook hands with the token.
Here exit code 0 means that access works as far as can be seen, 1 that there is none, 69 that it could not be found out.

Example: dstack-vpn check --token 3 --key-file phone.key
         dstack-vpn check --token 3 --node http://127.0.0.1:8080 --json`,
    )
    .action(check);
}

async function check({ token: id, keyFile, node: urls = [], json }: Typed): Promise<void> {
  const settings = chainSettings(process.env);
  const { adminToken } = httpSettings(process.env);
  const key = keyFile === undefined ? undefined : readKey(keyFile).publicKey;
  const view = await readChain(settings);
  const findings = standing(view, id, key);
  if (conclusion(findings) !== "no-access") findings.push(dialFinding(view, id));
  findings.push(clockFinding(await timeOf(settings, view.block), Date.now() / 1_000, settings.network === "devnet"));
  const wanted = { tokenId: id, key: view.roster.admitted(id)?.key, block: toBeRead(view, id, settings) };
  const asked = await Promise.all(urls.map((url) => askNode(url, wanted, adminToken, Date.now())));
  findings.push(...asked.flat());
  report(id, view.block, findings, json === true);
}

/** The block that tells a node all of the token: the newest one, seconds old, is ahead of any node. */
function toBeRead({ registry, block }: ChainView, id: TokenId, { grantConfirmations }: Settings): number {
  const { grantedAt, transferredAt, claim } = token(registry, id) ?? {};
  const changes = [grantedAt, transferredAt, claim?.at].map((at) => at?.block ?? 0);
  return Math.min(block.number, Math.max(...changes) + grantConfirmations - 1);
}

function report(id: TokenId, block: BlockRef, findings: readonly Finding[], asJson: boolean): void {
  const access = conclusion(findings);
  if (asJson) printJson({ tokenId: String(id), block, access, findings });
  else print(...findings.flatMap(lines), "", `${SUMMARY[access]} (block ${block.number})`);
  const exits: Readonly<Record<typeof access, Exit>> = {
    works: EXIT.ok,
    "no-access": EXIT.failed,
    unknown: EXIT.unreachable,
  };
  if (access !== "works") throw new Failure(exits[access], "");
}

const SUMMARY = {
  works: "Access works, as far as can be seen from here. If nothing gets through, see docs/trouble.md.",
  "no-access": "No access.",
  unknown: "Nothing speaks against access, but not all of it could be found out.",
};

const SIGNS = { ok: ["ok", "green"], bad: ["no", "red"], unknown: ["?", "yellow"] } as const;

function lines({ state, says, mend }: Finding): string[] {
  const [sign, colour] = SIGNS[state];
  const first = `${painted(sign.padEnd(2), colour)}  ${says}`;
  return mend === undefined ? [first] : [first, `    ${mend}`];
}

function dialFinding({ registry, roster, overlay }: ChainView, id: TokenId): Finding {
  const count = dialable(roster.everybody(), id, overlay).length;
  if (count > 0) {
    const says = `${count} node${count === 1 ? "" : "s"} can be dialled, by what the chain and the settings say`;
    return { about: "node", state: "ok", code: "node.dialable", says };
  }
  const says = "no node says where it can be dialled: there is nothing to connect to";
  const mend = "ask whoever runs the nodes; on a contract without endpoints, set PEER_ENDPOINTS as they publish it";
  // Where the chain tells no roles, the nodes' settings do, and nobody has to have published them here.
  const isTold = tokens(registry).some(({ roleAt }) => roleAt !== undefined);
  return { about: "node", state: isTold ? "bad" : "unknown", code: "node.none", says, mend };
}

async function timeOf({ rpcUrls, chainId, contract }: Settings, block: BlockRef): Promise<number> {
  const rpc = connect({ urls: rpcUrls, expect: { chainId, contract } });
  try {
    return (await rpc.ask(blockByHash(block.hash))).value.timestamp;
  } finally {
    rpc.close();
  }
}

/** Blocks are made every few seconds, and none comes from the future. */
const CLOCK_S = 60;
const SILENCE_S = 600;

/** Pure. @param blockTime, nowSeconds since the epoch; @param isIdle a chain that makes blocks only when asked to */
export function clockFinding(blockTime: number, nowSeconds: number, isIdle: boolean): Finding {
  const age = Math.round(nowSeconds - blockTime);
  if (age < -CLOCK_S) {
    const says = `this machine's clock is ${-age} s behind the chain's newest block: nodes refuse handshakes of the past`;
    return { about: "clock", state: "bad", code: "clock.behind", says, mend: "set the clock, then reconnect" };
  }
  if (age > SILENCE_S && !isIdle) {
    const says = `the newest block is ${age} s old: this upstream lags, the chain stands still, or this clock is ahead`;
    return {
      about: "chain",
      state: "unknown",
      code: "chain.stale",
      says,
      mend: "compare the clock, name another RPC_URL",
    };
  }
  return { about: "clock", state: "ok", code: "clock.right", says: "this machine's clock agrees with the chain's" };
}
