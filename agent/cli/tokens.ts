/** `list` and `show`: the tokens of the contract, what each of them gets and why not. */
import { Command, Option } from "commander";
import { getAddress as checksummed } from "ethers/address";
import { type Address, endpointText, parseAddress, parseTokenId, type Refusal, type Token } from "../model.ts";
import { token, tokens } from "../registry/registry.ts";
import { type ChainView, readChain } from "./chain-view.ts";
import { writeCsv } from "./csv.ts";
import { COLUMNS } from "./csv-grants.ts";
import { EXIT, Failure } from "./failure.ts";
import { print, printJson, shown, table } from "./output.ts";
import { chainSettings } from "./settings.ts";

export function tokenCommands(): Command[] {
  return [
    reading(new Command("list"))
      .description("every active token, with its addresses and whether the nodes admit it")
      .option("--all", "revoked tokens too")
      .addOption(new Option("--csv", "print what grant --csv reads: to,node_id,key").conflicts(["all", "json"]))
      .addHelpText("after", "\nExample: dstack-vpn list\nExample: dstack-vpn list --csv > members.csv")
      .action(list),
    reading(new Command("show"))
      .description("all that is known of a token, by its number, its name or its owner")
      .argument("<token>", "a token's number, a node id, or an owner's address")
      .addHelpText("after", "\nExample: dstack-vpn show alice")
      .action(show),
  ];
}

interface Typed {
  readonly json?: true;
  /** False with `--no-cache`. */
  readonly cache: boolean;
}

function reading(command: Command): Command {
  return command.option("--json", "print JSON").option("--no-cache", "read the chain's whole history again");
}

async function list({ all, csv, json, cache }: Typed & { all?: true; csv?: true }): Promise<void> {
  const view = await readChain(chainSettings(process.env), { cache });
  const seen = byId(tokens(view.registry)).filter(({ active }) => active || all);
  if (csv) {
    process.stdout.write(writeCsv([COLUMNS, ...seen.map(csvCells)]));
    return;
  }
  const rows = seen.map((each) => tokenView(view, each));
  if (json) {
    printJson({ block: view.block, tokens: rows });
    return;
  }
  const heads = ["TOKEN", "NODE ID", "ROLE", "OWNER", "ACCESS", "ADDRESSES"];
  const cells = rows.map((row) => [
    ...[row.tokenId, cut(shown(row.nodeId)), row.role, row.owner],
    ...[row.access, row.addresses.map((address) => address.replace(/\/.*/, "")).join(" ")],
  ]);
  print(...table([heads, ...cells]));
}

/** To what our contract takes for a name: on another, one of thousands of characters would widen every row. */
function cut(name: string): string {
  return name.length <= 63 ? name : `${name.slice(0, 60)}...`;
}

/** In the order of `COLUMNS`. */
function csvCells({ owner, nodeId, claim }: Token): string[] {
  return [checksummed(owner), shown(nodeId), shown(claim?.key ?? "")];
}

async function show(text: string, { json, cache }: Typed): Promise<void> {
  const view = await readChain(chainSettings(process.env), { cache });
  const found = byId(meant(view, text)).map((each) => tokenView(view, each));
  if (found.length === 0) {
    throw new Failure(EXIT.failed, `no token has this number, name or owner: ${shown(text)}`);
  }
  if (json) {
    printJson({ block: view.block, tokens: found });
    return;
  }
  for (const [i, row] of found.entries()) {
    if (i > 0) print("");
    print(...table(described(row)), `as of block ${view.block.number}`);
  }
}

type TokenView = ReturnType<typeof tokenView>;

/** As the chain spells it, and as the nodes understand it. */
function tokenView(view: ChainView, each: Token) {
  const access = view.roster.verdict(each.id);
  const { role, endpoint } = view.roster.admitted(each.id) ?? { role: each.role, endpoint: undefined };
  return {
    ...{ tokenId: String(each.id), nodeId: each.nodeId, owner: checksummed(each.owner), active: each.active, role },
    publicKey: each.claim?.key ?? null,
    endpoint: endpoint === undefined ? null : endpointText(endpoint),
    addresses: access === "admitted" ? view.addressesOf(each.id) : [],
    access: access === "self" ? ("admitted" as const) : access,
  };
}

function described(row: TokenView): string[][] {
  return [
    ["token", row.tokenId],
    ["node id", shown(row.nodeId)],
    ["owner", row.owner],
    ["role", row.role],
    ["key", shown(row.publicKey ?? "none")],
    ["endpoint", row.endpoint ?? "none"],
    ["addresses", row.addresses.join(", ") || "none"],
    ["access", row.access === "admitted" ? "admitted" : `${row.access}: ${why(row.access)}`],
  ];
}

/** In plain words, and what to do. */
export function why(refusal: Refusal): string {
  switch (refusal) {
    case "inactive":
      return "the token is revoked; ask for a new one";
    case "grant.unconfirmed":
      return "not enough blocks hold it yet; wait";
    case "key.unread":
      return "its owner announced a key, and the contract has not yet said for which token; wait";
    case "key.missing":
      return "it has no key, as after a transfer; its owner sets one with dstack-vpn set-key";
    case "key.malformed":
      return "its key is no WireGuard public key; its owner sets another with dstack-vpn set-key";
    case "key.weak":
      return "its key is a weak one, with which no tunnel is secret; its owner sets another with dstack-vpn set-key";
    case "key.own":
      return "its key is the node's own; its owner sets another with dstack-vpn set-key";
    case "key.claimed":
      return "another token has its key; its owner makes a new one and sets it with dstack-vpn set-key";
    case "address.reserved":
      return "number 0 has no address; ask for another token";
    case "address.exhausted":
      return "there is no address for a number this large; ask for another token";
    case "cap.owner":
      return "its owner has more tokens than MAX_TOKENS_PER_OWNER";
    case "cap.total":
      return "there are more tokens than MAX_PEERS";
  }
}

/** A name may consist of digits: whatever the text can mean is shown. */
function meant({ registry }: ChainView, text: string): Token[] {
  const id = parseTokenId(text);
  const numbered = id === undefined ? undefined : token(registry, id);
  const owner: Address | undefined = parseAddress(text);
  const others = tokens(registry).filter((each) => each.id !== id && (each.owner === owner || each.nodeId === text));
  return numbered?.grantedAt === undefined ? others : [numbered, ...others];
}

function byId(all: readonly Token[]): Token[] {
  return all.toSorted((a, b) => (a.id < b.id ? -1 : 1));
}
