/** The commands that write to the contract; without a signing key they print what to sign elsewhere. */
import { type Command, Option } from "commander";
import type { Address, TokenId } from "../model.ts";
import { grantCsv, type Typed as TypedCsv } from "./csv-command.ts";
import { EXIT, Failure } from "./failure.ts";
import { typedAddress, typedEndpoint, typedKey, typedName, typedRole, typedToken } from "./typed.ts";
import { ofToken, type Shape, write, writing } from "./writing.ts";

export function grantCommands(): Command[] {
  return [
    writing("grant", "give somebody access: a new token of the contract (its owner signs)")
      .option("--to <address>", "who gets the token", typedAddress)
      .option("--node-id <name>", "the token's name, unlike that of any other active token", typedName)
      .option("--key <key>", "the WireGuard public key; left out, its holder sets it later", typedKey)
      .option("--token-uri <uri>", "where its description is")
      .addOption(
        new Option("--csv <file>", "grant every row of a file, or of - for standard input").conflicts([
          ...["to", "nodeId", "key", "tokenUri"],
        ]),
      )
      .option("--dry-run", "with --csv: check and price everything, and send nothing")
      .option("--journal <file>", "with --csv: where it keeps what it signed (default: FILE.journal)")
      .option("--yes", "with --csv: do not ask on a terminal")
      .addHelpText(
        "after",
        "\nA CSV file begins with the row to,node_id,key (token_uri may follow), as list --csv writes it. Everything is" +
          "\nchecked before anything is sent; a batch that was stopped goes on with the same command and sends nothing twice.",
      )
      .addHelpText(
        "after",
        "\nExample: dstack-vpn grant --to 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 --node-id alice" +
          "\nExample: dstack-vpn grant --csv members.csv --dry-run",
      )
      .action(grant),
    writing("revoke", "take access away, for good (the contract's owner signs)")
      .argument("<token>", "the token's number", typedToken)
      .addHelpText("after", "\nExample: dstack-vpn revoke 3")
      .action((token: TokenId, typed: Shape) => write(typed, "revokeNodeAccess", [token])),
    ofToken("set-key", "register another WireGuard public key (the token's owner signs)")
      .requiredOption("--key <key>", "the new public key; the old one loses access", typedKey)
      .addHelpText("after", `\nExample: dstack-vpn set-key --token 3 --key "$(dstack-vpn keys --out new.key)"`)
      .action((typed: { token: TokenId; key: string } & Shape) =>
        write(typed, "updatePublicKey", [typed.token, typed.key]),
      ),
    ofToken("set-role", "make the token a member, a node or a gateway (the contract's owner signs)")
      .requiredOption("--role <role>", "member, node or gateway", typedRole)
      .addHelpText("after", "\nExample: dstack-vpn set-role --token 1 --role gateway")
      .action((typed: { token: TokenId; role: number } & Shape) => write(typed, "setRole", [typed.token, typed.role])),
    ofToken("set-endpoint", "say where a node or gateway can be dialled (the token's owner signs)")
      .requiredOption("--endpoint <host:port>", "its public UDP endpoint; an empty text takes it away", typedEndpoint)
      .addHelpText("after", "\nExample: dstack-vpn set-endpoint --token 1 --endpoint vpn.example.org:51820")
      .action((typed: { token: TokenId; endpoint: string } & Shape) =>
        write(typed, "setEndpoint", [typed.token, typed.endpoint]),
      ),
  ];
}

interface TypedGrant extends Shape, Partial<TypedCsv> {
  readonly to?: Address;
  readonly nodeId?: string;
  readonly key?: string;
  readonly tokenUri?: string;
}

async function grant({ csv, to, nodeId, key = "", tokenUri = "", ...typed }: TypedGrant): Promise<void> {
  if (csv !== undefined) return grantCsv({ ...typed, csv });
  if (to === undefined || nodeId === undefined) {
    throw new Failure(EXIT.usage, "--to and --node-id are required, or --csv with a file (see --help)");
  }
  if (typed.dryRun || typed.journal !== undefined) throw new Failure(EXIT.usage, "--dry-run and --journal need --csv");
  return write(typed, "mintNodeAccess", [to, nodeId, key, tokenUri]);
}
