/** anvil with the access contract on it, reachable from every host of the lab. */
import { Interface, solidityPackedKeccak256 } from "ethers";
import { type ContractName, readArtifact } from "../../../contracts/artifact.ts";
import { type Exit, type Running, start, until } from "./command.ts";
import { LAB_ADDRESS } from "./lab.ts";

interface Receipt {
  readonly status: string;
  readonly blockNumber: string;
  readonly contractAddress: string;
  readonly logs: readonly { readonly topics: readonly string[] }[];
}
type Argument = string | bigint | number;

export class Chain implements AsyncDisposable {
  readonly url: string;
  readonly id: number;
  readonly #anvil: Running;
  #abi = new Interface([]);
  #contract = "";
  #name: ContractName = "DstackAccessNFT";
  #accounts: readonly string[] = [];

  private constructor(anvil: Running, url: string, id: number) {
    this.#anvil = anvil;
    this.url = url;
    this.id = id;
  }

  static async start(name: ContractName = "DstackAccessNFT", { chainId = 31337, port = 8545 } = {}): Promise<Chain> {
    const flags = ["--host", LAB_ADDRESS, "--port", String(port), "--chain-id", String(chainId)];
    const anvil = start(["anvil", ...flags], { env: anvilEnvironment() });
    const chain = new Chain(anvil, `http://${LAB_ADDRESS}:${port}`, chainId);
    await chain.#anvil.says(/Listening on/, 30_000);
    chain.#accounts = (await chain.rpc("eth_accounts", [])) as string[];
    await chain.deploy(name);
    return chain;
  }

  /** Another contract on the same chain; from here on it is the one that is meant. */
  async deploy(name: ContractName): Promise<string> {
    const { abi, bytecode } = readArtifact(name);
    this.#name = name;
    this.#abi = new Interface(JSON.stringify(abi));
    this.#contract = (await this.#transact({ data: bytecode + this.#abi.encodeDeploy([]).slice(2) })).contractAddress;
    return this.#contract;
  }

  /** Back to a contract that was deployed before, of the same kind. */
  at(contract: string): void {
    this.#contract = contract;
  }

  get contractName(): ContractName {
    return this.#name;
  }

  get contract(): string {
    return this.#contract;
  }

  /** The contract's owner is account 0. */
  account(index: number): string {
    return this.#accounts[index] ?? "";
  }

  async grant(to: string, nodeId: string, key: string): Promise<bigint> {
    const receipt = await this.send("mintNodeAccess", [to, nodeId, key, ""]);
    const topic = this.#abi.getEvent("NodeAccessGranted")?.topicHash;
    const granted = receipt.logs.find(({ topics }) => topics[0] === topic);
    return BigInt(granted?.topics[1] ?? "");
  }

  async revoke(tokenId: bigint): Promise<void> {
    await this.send("revokeNodeAccess", [tokenId]);
  }

  async transfer(tokenId: bigint, from: string, to: string): Promise<void> {
    await this.send("transferFrom", [from, to, tokenId], from);
  }

  /** Of the token that `owner` got last, where the contract knows no other way to say it. */
  async updateKey(tokenId: bigint, owner: string, key: string): Promise<void> {
    await this.send("updatePublicKey", this.#name === "PlainAccessNFT" ? [key] : [tokenId, key], owner);
  }

  async setRole(tokenId: bigint, role: 0 | 1 | 2): Promise<void> {
    await this.send("setRole", [tokenId, role]);
  }

  async setEndpoint(tokenId: bigint, owner: string, endpoint: string): Promise<void> {
    await this.send("setEndpoint", [tokenId, endpoint], owner);
  }

  /** Any function of the contract, from the contract's owner unless said otherwise. @throws when it reverts. */
  async send(method: string, args: readonly Argument[], from = this.account(0)): Promise<Receipt> {
    return this.#transact({ from, to: this.#contract, data: this.#abi.encodeFunctionData(method, args) });
  }

  async mine(blocks: number): Promise<void> {
    await this.rpc("anvil_mine", [`0x${blocks.toString(16)}`]);
  }

  /** Replaces the newest `depth` blocks by empty ones; the height stays. */
  async reorg(depth: number): Promise<void> {
    await this.rpc("anvil_reorg", [depth, []]);
  }

  /** A token's addresses by DESIGN section 7, worked out here once more to check the agent's. */
  addresses(tokenId: bigint): { ipv4: string; ipv6: string } {
    const network = solidityPackedKeccak256(["uint256", "address"], [this.id, this.#contract]).slice(2, 12);
    const hex = `fd${network}${tokenId.toString(16).padStart(20, "0")}`;
    const ipv6 = new URL(`http://[${hex.match(/.{4}/g)?.join(":")}]`).hostname.slice(1, -1);
    return { ipv4: `10.213.${tokenId >> 8n}.${tokenId & 255n}`, ipv6 };
  }

  async rpc(method: string, params: readonly unknown[]): Promise<unknown> {
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
    const response = await fetch(this.url, { method: "POST", headers: { "content-type": "application/json" }, body });
    const { result, error } = (await response.json()) as { result?: unknown; error?: { message: string } };
    if (error !== undefined) throw new Error(`${method}: ${error.message}`);
    return result;
  }

  end(signal?: NodeJS.Signals): Promise<Exit> {
    return this.#anvil.end(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }

  async #transact(transaction: { from?: string; to?: string; data: string }): Promise<Receipt> {
    const hash = await this.rpc("eth_sendTransaction", [{ from: this.account(0), ...transaction }]);
    const mined = () => this.rpc("eth_getTransactionReceipt", [hash]) as Promise<Receipt | null>;
    const receipt = await until(`transaction ${hash} to be mined`, 10_000, async () => (await mined()) ?? undefined, 5);
    if (receipt.status !== "0x1") throw new Error(`transaction ${hash} failed`);
    return receipt;
  }
}

/** anvil keeps caches in its home; the lab's /run vanishes with the lab. */
function anvilEnvironment(): NodeJS.ProcessEnv {
  return { PATH: process.env["PATH"], HOME: "/run" };
}
