/** The commands that write to the contract; without a signing key they print what to sign elsewhere. */
import type { Command } from "commander";
import type { Address, TokenId } from "../model.ts";
import { typedAddress, typedEndpoint, typedKey, typedName, typedRole, typedToken } from "./typed.ts";
import { ofToken, type Shape, write, writing } from "./writing.ts";

export function grantCommands(): Command[] {
  return [
    writing("grant", "give somebody access: a new token of the contract (its owner signs)")
      .requiredOption("--to <address>", "who gets the token", typedAddress)
      .requiredOption("--node-id <name>", "the token's name, unlike that of any other active token", typedName)
      .option("--key <key>", "the WireGuard public key; left out, its holder sets it later", typedKey, "")
      .option("--token-uri <uri>", "where its description is", "")
      .addHelpText(
        "after",
        "\nExample: dstack-vpn grant --to 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 --node-id alice",
      )
      .action((typed: { to: Address; nodeId: string; key: string; tokenUri: string } & Shape) =>
        write(typed, "mintNodeAccess", [typed.to, typed.nodeId, typed.key, typed.tokenUri]),
      ),
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
    writing("transfer-ownership", "offer the contract to another owner, who must accept it (its owner signs)")
      .requiredOption("--to <address>", "who is to own the contract", typedAddress)
      .addHelpText("after", "\nExample: dstack-vpn transfer-ownership --to 0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
      .addHelpText(
        "after",
        "On our contract nothing changes hands until the new owner runs dstack-vpn accept-ownership.",
      )
      .action((typed: { to: Address } & Shape) => write(typed, "transferContractOwnership", [typed.to])),
  ];
}
