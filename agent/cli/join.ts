/** `join`: from a token and a key file to a configuration that works, in one command that may be repeated. */
import { setTimeout as sleep } from "node:timers/promises";
import { Command, InvalidArgumentError } from "commander";
import { getAddress as checksummed } from "ethers/address";
import { computeAddress } from "ethers/transaction";
import { readKeys } from "../chain/audit.ts";
import { headOf } from "../chain/questions.ts";
import { connect, type Rpc } from "../chain/rpc.ts";
import type { Settings } from "../config.ts";
import type { PrivateKey, Token, TokenId } from "../model.ts";
import { claimants, token } from "../registry/registry.ts";
import { askNode } from "./asked-nodes.ts";
import { type ChainView, readChain } from "./chain-view.ts";
import { contract } from "./contract.ts";
import { EXIT, ending, Failure } from "./failure.ts";
import { holderConf, showQrCode, type Wanted, wishes } from "./holder-conf.ts";
import { conclusion, type Finding, standing } from "./holding.ts";
import { print, printLine, remark } from "./output.ts";
import { mayReplace, readKey, replaceFile } from "./own-files.ts";
import { type Call, send } from "./send.ts";
import { chainSettings, httpSettings } from "./settings.ts";
import { type Signing, signer, signs, type Unlock } from "./signing.ts";
import { agrees } from "./terminal.ts";
import { typedAgents } from "./typed.ts";
import { checkFunction, unsigned, unsignedLines } from "./writing.ts";

interface Typed extends Wanted, Signing {
  readonly out?: string;
  readonly qr?: boolean;
  readonly wait: number;
  readonly node?: readonly URL[];
  readonly json?: true;
}

export function joinCommand(): Command {
  const command = new Command("join").description(
    "register your key for your token, wait until the nodes admit it, and write the configuration",
  );
  return signs(wishes(command))
    .option("--out <file>", "where the configuration goes, 0600 (default: dstack-TOKEN.conf)")
    .option("--qr", "show the QR code also where the output is no terminal")
    .option("--no-qr", "show no QR code")
    .option("--wait <seconds>", "how long to wait for the key to be registered and admitted", typedSeconds, 600)
    .option("--node <urls...>", "wait for these nodes too, where their HTTP is open to you", typedAgents)
    .option("--json", "print JSON, an object a line: what to sign elsewhere if anything is, then what was done")
    .addHelpText("after", "\nSafe to repeat: what is registered already is not sent again.")
    .addHelpText(
      "after",
      `
Example: dstack-vpn join --token 3 --key-file phone.key
         dstack-vpn join --token 3 --key-file laptop.key --keystore wallet.json --out dstack.conf --no-qr`,
    )
    .action(join);
}

function typedSeconds(text: string): number {
  if (/^[0-9]{1,5}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It must be a whole number of seconds; 0 does not wait.");
}

async function join(typed: Typed): Promise<void> {
  // Not by commander, for whom --no-qr is --qr.
  if (typed.qr && typed.json)
    throw new Failure(EXIT.usage, "--qr cannot be used with --json: it shows the private key");
  const settings = chainSettings(process.env);
  const { adminToken } = httpSettings(process.env);
  const unlock = signer(typed, process.env);
  const key = readKey(typed.keyFile);
  const until = performance.now() + typed.wait * 1_000;
  const before = await readChain(settings);
  const known = mayJoin(before, typed.token, key);
  // A wish that cannot be granted, or a file that is in the way, is to show before a transaction is paid for.
  const { mark } = holderConf(before, settings, typed);
  const out = typed.out ?? `dstack-${typed.token}.conf`;
  const isAgreed = await mayReplace(out, mark, () =>
    agrees(`${out} exists and is not a configuration of this token. Overwrite it?`),
  );
  const isRegistered = known.claim?.key === key.publicKey;
  const transaction = isRegistered ? null : await registered(settings, known, typed, key, unlock, until);
  const view = await admitted(settings, typed.token, key, isRegistered ? before : undefined, until);
  const conf = holderConf(view, settings, typed);
  replaceFile(out, conf.text(key), conf.mark, isAgreed);
  if (typed.qr ?? (process.stdout.isTTY && !typed.json)) showQrCode(conf.text(key));

  const wanted = { tokenId: typed.token, key: key.publicKey, block: view.block.number };
  const late: Finding[] = [];
  for (const url of typed.node ?? []) late.push(...(await readyNode(url, wanted, adminToken, until)));
  if (typed.json) {
    const { block } = view;
    printLine({ tokenId: String(typed.token), publicKey: key.publicKey, transaction, block, out, late });
  } else for (const { says, mend } of late) remark(`${says}; ${mend ?? "try again"}`);
  if (late.length > 0) throw new Failure(EXIT.unreachable, `wrote ${out}; not every node has admitted it yet`);
  remark(`token ${typed.token} is admitted as of block ${view.block.number}; wrote ${out}`);
}

/** The transaction that was sent; null where it was signed elsewhere. @throws Failure */
async function registered(
  settings: Settings,
  known: Token,
  typed: Typed,
  key: PrivateKey,
  unlock: Unlock | undefined,
  until: number,
): Promise<string | null> {
  const { chainId, contract: to, rpcUrls } = settings;
  const data = contract.encodeFunctionData("updatePublicKey", [typed.token, key.publicKey]);
  const call: Call = { to, data, chainId };
  const rpc = connect({ urls: rpcUrls, expect: { chainId, contract: to } });
  try {
    await checkFunction(rpc, to, "updatePublicKey");
    if (unlock !== undefined) {
      const wallet = await unlock();
      checkOwner(known, computeAddress(wallet.reveal()));
      return (await send(rpc, call, wallet)).transaction;
    }
    tell(call, known, typed);
    await seen(rpc, settings, typed.token, key, until);
    return null;
  } finally {
    rpc.close();
  }
}

/** What no transaction of the holder's would mend. @throws Failure */
function mayJoin(view: ChainView, id: TokenId, key: PrivateKey): Token {
  const known = token(view.registry, id);
  const [first] = standing(view, id, undefined).filter(({ about, state }) => about === "token" && state === "bad");
  if (first !== undefined || known === undefined) throw refusedBy(first);
  const rival = claimants(view.registry, key.publicKey).find((each) => each.owner !== known.owner);
  if (rival !== undefined) {
    throw new Failure(
      EXIT.failed,
      `token ${rival.id} of somebody else has this key: make another with dstack-vpn keys`,
    );
  }
  return known;
}

function refusedBy(finding: Finding | undefined): Failure {
  const { says, mend } = finding ?? { says: "there is no such token" };
  return new Failure(EXIT.failed, mend === undefined ? says : `${says}: ${mend}`);
}

function checkOwner({ id, owner }: Token, wallet: string): void {
  if (wallet.toLowerCase() === owner) return;
  throw new Failure(
    EXIT.failed,
    `token ${id} is not yours: it belongs to ${checksummed(owner)}, and the key that signs is ${wallet}'s`,
  );
}

function tell(call: Call, { id, owner }: Token, { json, wait }: Typed): void {
  if (json) printLine({ sign: unsigned(call), by: checksummed(owner) });
  else {
    print(`To register the key, the owner of token ${id} (${checksummed(owner)}) signs this transaction:`);
    print(...unsignedLines(call));
  }
  if (wait > 0) remark(`waiting up to ${wait} s for it; Ctrl-C and the same command later do no harm`);
}

const POLL_MS = 2_000;

/** Asks for the one key only: reading the whole chain anew is for when it is there. @throws Failure */
async function seen(rpc: Rpc, { contract }: Settings, id: TokenId, key: PrivateKey, until: number): Promise<void> {
  for (;;) {
    const keys = await patiently(async () => {
      const head = (await rpc.ask(headOf("latest"))).value;
      return readKeys(rpc, contract, [id], head, new AbortController().signal);
    }, until);
    if (keys.get(id) === key.publicKey) return;
    if (performance.now() >= until) {
      throw new Failure(EXIT.failed, `the key is not registered yet: run the same command again once it is signed`);
    }
    await sleep(POLL_MS);
  }
}

/** An upstream that fails for a moment does not end a wait of minutes. */
async function patiently<T>(ask: () => Promise<T>, until: number): Promise<T> {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      const { exit, text } = ending(error);
      if (exit !== EXIT.unreachable || performance.now() >= until) throw error;
      remark(`${text}; still trying`);
      await sleep(POLL_MS);
    }
  }
}

/** The chain as of a block at which the nodes admit the token. @throws Failure where they never will, or not in time */
async function admitted(
  settings: Settings,
  id: TokenId,
  key: PrivateKey,
  first: ChainView | undefined,
  until: number,
): Promise<ChainView> {
  let isTold = false;
  const read = () => patiently(() => readChain(settings), until);
  for (let view = first ?? (await read()); ; view = await read()) {
    const findings = standing(view, id, key.publicKey);
    const access = conclusion(findings);
    if (access === "works") return view;
    const reason = findings.find(({ state }) => state !== "ok");
    // The upstream that saw the new key may not be the one that is asked now.
    const isBehind = reason?.code === "key.differs" || reason?.code === "key.missing";
    if ((access === "no-access" && !isBehind) || performance.now() >= until) throw refusedBy(reason);
    if (!isTold) remark(`waiting: ${reason?.says}`);
    isTold = true;
    await sleep(POLL_MS);
  }
}

/** Waits for one node. @returns what is still in the way when the time is over */
async function readyNode(
  url: URL,
  wanted: Parameters<typeof askNode>[1],
  adminToken: Settings["adminToken"],
  until: number,
): Promise<Finding[]> {
  for (;;) {
    const findings = await askNode(url, wanted, adminToken, Date.now());
    // Nobody shakes hands before the configuration is in use.
    const late = findings.filter(({ state, code }) => state !== "ok" && !code.startsWith("handshake."));
    if (late.length === 0 || performance.now() >= until) return late;
    await sleep(POLL_MS);
  }
}
