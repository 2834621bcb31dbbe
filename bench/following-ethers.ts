/** A program, started by `following.ts` on a host of the lab: `contract.on` of ethers, and a `wg set` for each event. */
import { spawn } from "node:child_process";
import { Contract, JsonRpcProvider, Network } from "ethers";
import { readArtifact } from "../contracts/artifact.ts";
import { adding, removing } from "./latency-deeds.ts";

const [url = "", address = "", interfaceName = ""] = process.argv.slice(2);
const CHAIN_ID = 31_337;
const options = { staticNetwork: Network.from(CHAIN_ID), polling: true, pollingInterval: 1_000 };
const contract = new Contract(
  address,
  JSON.stringify(readArtifact("DstackAccessNFT").abi),
  new JsonRpcProvider(url, CHAIN_ID, options),
);
const keys = new Map<bigint, string>();

await contract.on("NodeAccessGranted", (id: bigint, _nodeId: string, _owner: string, key: string) => {
  keys.set(id, key);
  wgSet(adding(key, Number(id)));
});
await contract.on("NodeAccessRevoked", (id: bigint) => wgSet(removing(keys.get(id) ?? "")));
process.on("disconnect", () => process.exit());
process.send?.("listening");

function wgSet(words: readonly string[]): void {
  spawn("wg", ["set", interfaceName, ...words], { stdio: ["ignore", "ignore", "inherit"] });
}
