/** `transfer-ownership` and its second step, `accept-ownership`, by whoever was offered the contract. */
import type { Command } from "commander";
import { type Address, ZERO_ADDRESS } from "../model.ts";
import { lacking } from "./contract.ts";
import { EXIT, Failure } from "./failure.ts";
import { typedAddress } from "./typed.ts";
import { type Shape, write, writing } from "./writing.ts";

export function ownershipCommands(): Command[] {
  return [
    writing("transfer-ownership", "offer the contract to another owner, who must accept it (its owner signs)")
      .requiredOption("--to <address>", "who is to own the contract", typedAddress)
      .option("--yes", "also where the contract changes hands at once, for good")
      .addHelpText("after", "\nExample: dstack-vpn transfer-ownership --to 0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
      .addHelpText(
        "after",
        "On our contract nothing changes hands until the new owner runs dstack-vpn accept-ownership; on one without that" +
          "\nsecond step, such as the one on Base, everything does, and only --yes sends it.",
      )
      .action(({ to, yes, ...typed }: { to: Address; yes?: true } & Shape) =>
        write(typed, "transferContractOwnership", [to], (code) => mustBeMeant(code, to, yes === true)),
      ),
    writing("accept-ownership", "become the contract's owner, as its present one has offered (you sign)")
      .addHelpText("after", "\nExample: dstack-vpn accept-ownership --keystore wallet.json")
      .action((typed: Shape) => write(typed, "acceptOwnership", [])),
  ];
}

/** @throws Failure where one step hands the contract over, and nobody said that this is known */
function mustBeMeant(code: string, to: Address, isMeant: boolean): void {
  if (lacking(code, "acceptOwnership") === undefined) return;
  const final = "on this contract it is final at once, without the new owner's consent";
  if (to === ZERO_ADDRESS) {
    throw new Failure(EXIT.failed, `nothing was sent: ${final}, and the zero address can own nothing`);
  }
  if (!isMeant) throw new Failure(EXIT.failed, `nothing was sent: ${final}; check the address, then add --yes`);
}
