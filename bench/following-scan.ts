/** A program, started by `following.ts`: asks for every token again and again, and tells which one is no longer active. */
import { Contract, JsonRpcProvider, Network } from "ethers";
import { readArtifact } from "../contracts/artifact.ts";
import { steadyMs } from "./rpc.ts";

const [url = "", address = "", tokens = ""] = process.argv.slice(2);
const CHAIN_ID = 31_337;
const provider = new JsonRpcProvider(url, CHAIN_ID, { staticNetwork: Network.from(CHAIN_ID) });
const contract = new Contract(address, JSON.stringify(readArtifact("DstackAccessNFT").abi), provider);
const gone = new Set<number>();

for (;;) {
  for (let id = 1; id <= Number(tokens); id++) {
    await contract.getFunction("ownerOf")(id);
    const { isActive } = await contract.getFunction("getNodeAccess")(id);
    if (isActive || gone.has(id)) continue;
    gone.add(id);
    process.send?.({ tokenId: String(id), atMs: steadyMs() });
  }
}
