/** The commands that write to the contract; without a signing key they print what to sign elsewhere. */
import { Command } from "commander";
import { getAddress as checksummed } from "ethers/address";
import { headOf } from "../chain/questions.ts";
import { connect } from "../chain/rpc.ts";
import type { Address, TokenId } from "../model.ts";
import { contract } from "./contract.ts";
import { print, printJson } from "./output.ts";
import { type Call, type Included, send } from "./send.ts";
import { chainSettings, signingKey } from "./settings.ts";
import { typedAddress, typedEndpoint, typedKey, typedName, typedRole, typedToken } from "./typed.ts";

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
      .addHelpText("after", "Until the new owner calls acceptOwnership() nothing changes hands.")
      .action((typed: { to: Address } & Shape) => write(typed, "transferContractOwnership", [typed.to])),
  ];
}

interface Shape {
  readonly json?: true;
}

function writing(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .option("--json", "print JSON")
    .addHelpText(
      "after",
      "\nSigns with CONTRACT_PRIVATE_KEY or CONTRACT_PRIVATE_KEY_FILE; without one, prints the transaction to sign elsewhere.",
    );
}

function ofToken(name: string, description: string): Command {
  return writing(name, description).requiredOption("--token <id>", "the token's number", typedToken);
}

async function write(shape: Shape, method: string, values: readonly unknown[]): Promise<void> {
  const { chainId, contract: to, rpcUrls } = chainSettings(process.env);
  const key = signingKey(process.env);
  const call: Call = { to, data: contract.encodeFunctionData(method, [...values]), chainId };
  const rpc = connect({ urls: rpcUrls, expect: { chainId, contract: to } });
  try {
    // The first answer comes only from an upstream that serves this chain and has code at this address.
    await rpc.ask(headOf("latest"));
    if (key === undefined) printUnsigned(call, shape);
    else printIncluded(await send(rpc, call, key), to, shape);
  } finally {
    rpc.close();
  }
}

function printUnsigned({ to, data, chainId }: Call, { json }: Shape): void {
  if (json) printJson({ to: checksummed(to), data, value: "0", chainId });
  else {
    print("No signing key is set; nothing was sent. To be signed elsewhere:");
    print(`to        ${checksummed(to)}`, `value     0`, `chain id  ${chainId}`, `data      ${data}`);
  }
}

function printIncluded({ transaction, block, logs }: Included, to: Address, { json }: Shape): void {
  const tokenId = logs.map((log) => grantedIn(log, to)).find((id) => id !== undefined);
  if (json) printJson({ ...(tokenId === undefined ? {} : { tokenId }), transaction, block });
  else {
    if (tokenId !== undefined) print(`token        ${tokenId}`);
    print(`transaction  ${transaction}`, `block        ${block}`);
  }
}

function grantedIn({ address, topics, data }: Included["logs"][number], to: Address): string | undefined {
  if (address.toLowerCase() !== to) return undefined;
  const log = contract.parseLog({ topics, data });
  return log?.name === "NodeAccessGranted" ? String(log.args[0]) : undefined;
}
