/** `grant --csv`: everything is checked and priced first, then sent, and the same command goes on where it was stopped. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { Wallet } from "ethers/wallet";
import { parallel } from "../chain/parallel.ts";
import { headOf } from "../chain/questions.ts";
import { connect, type Rpc } from "../chain/rpc.ts";
import { parseTokenId, type Secret, type TokenId } from "../model.ts";
import { type Registry, token } from "../registry/registry.ts";
import { makeFolder } from "./cache.ts";
import { readChain } from "./chain-view.ts";
import { confirm, costText, mustAfford } from "./cost.ts";
import type { Mistake } from "./csv.ts";
import { type Grant, grantsIn, heldAgainst } from "./csv-grants.ts";
import { type Journal, openJournal, readJournal } from "./csv-journal.ts";
import { callOf, type Result, type Resumed, resume, sendAll, type Target } from "./csv-send.ts";
import { EXIT, Failure } from "./failure.ts";
import { print, printJson, remark, table } from "./output.ts";
import { mustBeAccessContract, ownerOf } from "./probe.ts";
import { chainSettings } from "./settings.ts";
import { type Signing, signer } from "./signing.ts";
import { balanceOf, feesOf, gasOf, preview } from "./transaction.ts";
import { unsigned } from "./writing.ts";

export interface Typed extends Signing {
  readonly csv: string;
  readonly dryRun?: true;
  readonly journal?: string;
  readonly yes?: true;
  readonly json?: true;
}

export async function grantCsv(typed: Typed): Promise<void> {
  const bytes = contents(typed.csv);
  const { grants, mistakes, emptyRows } = grantsIn(bytes);
  if (emptyRows > 0) remark(`${emptyRows} empty row(s) passed over`);
  const settings = chainSettings(process.env);
  const unlock = signer(typed, process.env);
  // What is wrong with the file needs no chain to be told; with one, all that is wrong is told at once.
  const view = await readChain(settings).catch((error: unknown) => {
    if (mistakes.length > 0) refuse(mistakes, typed);
    throw error;
  });
  const { chainId, contract, rpcUrls } = settings;
  const rpc = connect({ urls: rpcUrls, expect: { chainId, contract } });
  const writes = typed.dryRun === undefined && unlock !== undefined && mistakes.length === 0;
  const path = typed.journal ?? journalOf(typed.csv, bytes);
  let journal: Journal | undefined;
  try {
    await rpc.ask(headOf("latest"));
    await mustBeAccessContract(rpc, contract);
    journal = writes ? openJournal(path) : undefined;
    const target: Target = { contract, chainId, chain: `${chainId}:${contract} ${rpc.genesis() ?? ""}` };
    const resumed = await resume(rpc, target, grants, journal?.entries ?? readJournal(path));
    const held = heldAgainst(view.registry, resumed.fresh);
    if (mistakes.length + held.mistakes.length > 0) refuse([...mistakes, ...held.mistakes], typed);
    const work: Work = {
      rpc,
      target,
      typed,
      resumed: { ...resumed, results: asHeld(view.registry, resumed.results), fresh: held.grants },
      present: held.present,
      grants,
    };
    if (typed.dryRun === undefined && unlock === undefined) printUnsigned(work);
    else await priced(work, await unlock?.(), journal);
  } finally {
    journal?.close();
    rpc.close();
  }
}

interface Work {
  readonly rpc: Rpc;
  readonly target: Target;
  readonly typed: Typed;
  readonly grants: readonly Grant[];
  readonly resumed: Resumed;
  /** On the chain already, by line. */
  readonly present: ReadonlyMap<number, TokenId>;
}

async function priced(work: Work, key: Secret | undefined, journal: Journal | undefined): Promise<void> {
  const { rpc, target, typed, resumed, present, grants } = work;
  const { fresh, waiting } = resumed;
  const results = new Map(resumed.results);
  const account = key === undefined ? await ownerOf(rpc, target.contract) : new Wallet(key.reveal()).address;
  const gas = await estimated(work, account);
  const total = [...gas.values()].reduce((sum, each) => sum + each, 0n);
  const fees = await feesOf(rpc);
  const done = present.size + results.size;
  for (const [{ line, nodeId }, result] of results) {
    if (result.kind === "revoked") remark(`line ${line} (${nodeId}): token ${result.tokenId} ${REVOKED}`);
  }
  remark(
    `${grants.length} row(s): ${done} done already, ${waiting.length} on their way, ${fresh.length} to send: ` +
      costText(total, fees),
  );
  if (typed.dryRun) {
    remark("dry run: nothing was sent");
    report(work, results);
    return;
  }
  if (key === undefined || journal === undefined) return;
  mustAfford(account, await balanceOf(rpc, account), total, fees);
  if (fresh.length > 0) await confirm(`Send ${fresh.length} grant(s)?`, typed.yes === true);
  let failure: unknown;
  const onResult = (grant: Grant, result: Result) => {
    results.set(grant, result);
    if (result.kind === "failed") remark(`line ${grant.line} (${grant.nodeId}): ${result.problem}`);
    if (results.size % 10 === 0) remark(`${results.size + present.size} of ${grants.length}`);
  };
  try {
    await sendAll({ rpc, target, journal, key, account, fees, gas, onResult }, resumed);
  } catch (error) {
    failure = error;
  }
  report(work, results);
  if (failure !== undefined) throw failure;
  const failed = [...results.values()].filter(({ kind }) => kind === "failed").length;
  if (failed > 0) throw new Failure(EXIT.failed, `${failed} of ${grants.length} row(s) failed`);
}

/** What earlier runs granted, or was revoked since. */
function asHeld(registry: Registry, results: Resumed["results"]): Map<Grant, Result> {
  return new Map(
    [...results].map(([grant, result]): [Grant, Result] => {
      if (result.kind !== "granted") return [grant, result];
      const id = parseTokenId(result.tokenId);
      const isRevoked = id !== undefined && token(registry, id)?.active === false;
      return [grant, isRevoked ? { ...result, kind: "revoked" } : result];
    }),
  );
}

const REVOKED =
  "was revoked since, and is not granted anew: take the row out, or grant it by itself with --to and --node-id";

/** Units of gas by row. @throws Failure where the contract refuses, with every row and why */
async function estimated({ rpc, target, typed, resumed: { fresh } }: Work, account: string) {
  const [first] = fresh;
  // Alone, because what is wrong with the account is wrong with every row.
  if (first !== undefined && (await preview(rpc, account, callOf(target, first))).length !== 66) {
    throw new Failure(EXIT.failed, "nothing was sent: the contract does not answer a grant with a token");
  }
  const mistakes: Mistake[] = [];
  const gas = new Map<Grant, bigint>();
  await parallel(fresh, AT_ONCE, async (grant) => {
    try {
      gas.set(grant, await gasOf(rpc, account, callOf(target, grant)));
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      mistakes.push({ line: grant.line, problem: error.message });
    }
  });
  if (mistakes.length > 0) refuse(mistakes, typed);
  return gas;
}

const AT_ONCE = 8;

function refuse(mistakes: readonly Mistake[], { json }: Typed): never {
  const sorted = mistakes.toSorted((a, b) => a.line - b.line);
  if (json) printJson({ mistakes: sorted });
  for (const { line, problem } of sorted) remark(`line ${line}: ${problem}`);
  throw new Failure(EXIT.failed, `${sorted.length} mistake(s): nothing was sent`);
}

function report(
  { typed: { json, dryRun }, present, resumed, grants }: Work,
  results: ReadonlyMap<Grant, Result>,
): void {
  const waiting = new Set(resumed.waiting.map(({ grant }) => grant));
  const rows = grants.map((grant) => {
    const { line, nodeId } = grant;
    const there = present.get(line);
    if (there !== undefined) return { line, nodeId, status: "present", tokenId: String(there) };
    const { kind: status, ...rest } = results.get(grant) ?? {
      kind: waiting.has(grant) || !dryRun ? "waiting" : "to send",
    };
    return { line, nodeId, status, ...rest };
  });
  if (json) {
    printJson({ rows });
    return;
  }
  const cells = rows.map((row) => [
    ...[`${row.line}`, row.nodeId, row.status, "tokenId" in row ? row.tokenId : ""],
    "transaction" in row ? row.transaction : "",
  ]);
  print(...table([["LINE", "NODE ID", "STATUS", "TOKEN", "TRANSACTION"], ...cells]));
}

function printUnsigned({ target, typed, resumed: { fresh } }: Work): void {
  const calls = fresh.map((grant) => ({ line: grant.line, ...unsigned(callOf(target, grant)) }));
  if (typed.json) {
    printJson({ transactions: calls });
    return;
  }
  remark("No signing key is set; nothing was sent. To be signed elsewhere, one JSON object a line:");
  print(...calls.map((each) => JSON.stringify(each)));
}

const MAX_BYTES = 16 * 1024 * 1024;

function contents(path: string): Uint8Array {
  try {
    const bytes = readFileSync(path === "-" ? 0 : path);
    if (bytes.length <= MAX_BYTES) return bytes;
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? "unknown error";
    throw new Failure(EXIT.failed, `${path} cannot be read (${why})`, { cause });
  }
  throw new Failure(EXIT.failed, `${path} is longer than ${MAX_BYTES} bytes: split it`);
}

/** Beside the file; what comes through a pipe is known again by its contents. */
function journalOf(path: string, bytes: Uint8Array): string {
  if (path !== "-") return `${path}.journal`;
  const { XDG_STATE_HOME: state = "" } = process.env;
  const folder = join(state.startsWith("/") ? state : join(homedir(), ".local/state"), "dstack-vpn");
  const file = join(folder, `grant-${createHash("sha256").update(bytes).digest("hex").slice(0, 16)}.journal`);
  try {
    makeFolder(folder);
  } catch {
    // Opening the file says why.
  }
  return file;
}
