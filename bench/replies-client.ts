/**
 * A program, started by `replies.ts`: asks one upstream for logs, so many times at once, and prints by how many megabytes
 * (of 2^20) that made it larger at worst. Alone in its process, which nothing else has grown.
 */
import { logs } from "../agent/chain/questions.ts";
import { connect } from "../agent/chain/rpc.ts";
import { type Address, parseAddress } from "../agent/model.ts";
import { forgetPeak, peakMb, residentMb } from "./resident.ts";

const [url = "", at = "", atOnce = ""] = process.argv.slice(2);
const contract = parseAddress(at) as Address;
const rpc = connect({ urls: [new URL(url)], expect: { chainId: 31_337, contract } });
/** What is kept of an answer is the asker's business. */
const dropped = () => {};
const question = () => rpc.ask(logs({ address: contract, fromBlock: 0, toBlock: 1 }));

// An upstream that is known, and code that has run once, grow no more.
await question().catch(() => {});
const before = residentMb();
forgetPeak();
await Promise.all(Array.from({ length: Number(atOnce) }, () => question().then(dropped, dropped)));
console.log(JSON.stringify(peakMb() - before));
process.exit();
