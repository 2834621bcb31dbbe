/** What transactions will cost, said before they are sent, and the operator's word that they may be. */
import { formatEther, formatUnits } from "ethers/utils";
import { EXIT, Failure } from "./failure.ts";
import { agrees } from "./terminal.ts";
import type { Fees } from "./transaction.ts";

/** Pure. Rollups charge for the data on top, and no upstream estimates that. */
export function costText(gas: bigint, { price, maxFeePerGas }: Fees): string {
  const [likely, most] = [gas * price, (gas * maxFeePerGas * 12n) / 10n].map((wei) => rounded(formatEther(wei)));
  return `about ${likely} ETH, at most ${most} (${gas} gas at ${rounded(formatUnits(price, "gwei"))} gwei, a rollup's data fee not counted)`;
}

/** Six significant digits. */
function rounded(decimal: string): string {
  return String(Number(Number(decimal).toPrecision(6)));
}

/** @throws Failure where the balance does not bear the likely cost */
export function mustAfford(account: string, balance: bigint, gas: bigint, { price }: Fees): void {
  if (balance >= gas * price) return;
  const [has, needs] = [balance, gas * price].map((wei) => rounded(formatEther(wei)));
  throw new Failure(
    EXIT.failed,
    `nothing was sent: ${account} cannot pay for it: it has ${has} ETH and needs ${needs}`,
  );
}

/** Asks on a terminal; where none is there to ask, the command itself is the word. @throws Failure where it is not given */
export async function confirm(question: string, isGiven: boolean): Promise<void> {
  if (isGiven || !process.stdin.isTTY || !process.stderr.isTTY || (await agrees(question))) return;
  throw new Failure(EXIT.failed, "nothing was sent");
}
