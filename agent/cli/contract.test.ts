import { Interface } from "ethers/abi";
import { describe, expect, it } from "vitest";
import { readArtifact } from "../../contracts/artifact.ts";
import { contract, refusal } from "./contract.ts";

const { abi } = readArtifact("DstackAccessNFT");
const compiled = new Interface(JSON.stringify(abi.filter(({ type }) => type !== "constructor")));

describe("the contract that commands call", () => {
  it("is the one that is compiled, as far as it goes", () => {
    const known = new Set(compiled.fragments.map((fragment) => fragment.format("sighash")));
    const ours = contract.fragments.map((fragment) => fragment.format("sighash"));
    expect(ours.filter((signature) => !known.has(signature))).toEqual([]);
  });

  it("explains whatever the compiled one can answer to its calls", () => {
    // Of views, of approvals and of what no command calls.
    const others = /^(UnknownNodeId|OwnershipNotRenounceable|ERC721(Incorrect|Insufficient|Invalid(App|Op|Ow|Se)))/;
    const unknown = compiled.fragments
      .filter((fragment) => fragment.type === "error")
      .map((fragment) => fragment.format("sighash"))
      .filter((signature) => !others.test(signature) && contract.getError(signature) === null);
    expect(unknown).toEqual([]);
  });
});

describe("a refusal in plain words", () => {
  const holder = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
  it.each([
    ["NodeIdTaken", ["alice", 3n], "the name alice is taken: active token 3 has it"],
    ["PublicKeyTaken", ["KEY", 3n], "the public key KEY is taken: active token 3 has it"],
    ["NotTokenOwner", [3n, holder], `token 3 is not yours: ${holder} does not own it`],
    ["OwnableUnauthorizedAccount", [holder], `${holder} does not own the contract: only its owner may do this`],
    ["TokenRevoked", [3n], "token 3 is revoked, for good"],
    ["ERC721NonexistentToken", [9n], "there is no token 9"],
    ["InvalidEndpoint", ["\u001b[2J"], "\\u001b[2J is no host:port that others could dial"],
  ])("%s", (name, values, words) => {
    expect(refusal(contract.encodeErrorResult(name, values))).toBe(words);
  });

  it("has words for every error that is known", () => {
    const errors = contract.fragments.filter((fragment) => fragment.type === "error");
    const values = { string: "text", uint256: 1n, uint8: 1, address: holder } as const;
    const said = errors.map((error) => {
      const args = error.inputs.map(({ type }) => values[type as keyof typeof values]);
      return refusal(contract.encodeErrorResult(error.format("sighash"), args));
    });
    expect(said.filter((words) => words.startsWith("the contract refuses"))).toEqual([]);
  });

  it.each([
    ["nothing", undefined],
    ["an empty answer", "0x"],
    ["an unknown error", "0xdeadbeef"],
    ["an error whose values are cut off", contract.encodeErrorResult("TokenRevoked", [3n]).slice(0, 20)],
  ])("admits that it does not know: %s", (_, data) => {
    expect(refusal(data)).toMatch(/does not say why/);
  });
});
