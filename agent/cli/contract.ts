/** The access contract as commands call it, and what it means when it refuses. Compared with `contracts/abi` by a test. */
import { Interface } from "ethers/abi";
import { shown } from "./output.ts";

export const contract = new Interface([
  "event NodeAccessGranted(uint256 indexed tokenId, string nodeId, address indexed owner, string wireguardPublicKey)",
  "function mintNodeAccess(address to, string nodeId, string wireguardPublicKey, string uri) returns (uint256 tokenId)",
  "function revokeNodeAccess(uint256 tokenId)",
  "function updatePublicKey(uint256 tokenId, string wireguardPublicKey)",
  "function setRole(uint256 tokenId, uint8 role)",
  "function setEndpoint(uint256 tokenId, string endpoint)",
  "function transferContractOwnership(address newOwner)",
  "function acceptOwnership()",
  "error InvalidNodeId(string nodeId)",
  "error NodeIdTaken(string nodeId, uint256 tokenId)",
  "error InvalidPublicKey(string wireguardPublicKey)",
  "error PublicKeyTaken(string wireguardPublicKey, uint256 tokenId)",
  "error InvalidRole(uint8 role)",
  "error InvalidEndpoint(string endpoint)",
  "error EndpointNotAllowed(uint256 tokenId)",
  "error TokenRevoked(uint256 tokenId)",
  "error NotTokenOwner(uint256 tokenId, address caller)",
  "error OwnableUnauthorizedAccount(address account)",
  "error OwnableInvalidOwner(address owner)",
  "error ERC721NonexistentToken(uint256 tokenId)",
  "error ERC721InvalidReceiver(address receiver)",
]);

/**
 * What is to be said of a contract that cannot do it; undefined where it can, or where its code does not tell.
 * @param code the contract's, as hex; a proxy's holds none of the functions, `ownerOf` neither
 */
export function lacking(code: string, method: string): string | undefined {
  const wanted = contract.getFunction(method);
  if (wanted === null || dispatches(code, wanted.selector) || !dispatches(code, OWNER_OF)) return undefined;
  return `has no function ${wanted.format("sighash")}${INSTEAD[method] ?? ""}`;
}

const OWNER_OF = "0x6352211e";

const INSTEAD: Readonly<Record<string, string>> = {
  updatePublicKey: ": there a key is part of the grant, so ask its owner for a token with the new one",
  setRole: ": roles there come from the nodes' settings GATEWAYS and PEER_ENDPOINTS",
  setEndpoint: ": endpoints there come from the nodes' setting PEER_ENDPOINTS",
  acceptOwnership: ": there transfer-ownership alone has changed hands already",
};

/** PUSH4 and the selector, by which Solidity tells functions apart; leading zero bytes make it a shorter push. */
function dispatches(code: string, selector: string): boolean {
  const bytes = selector.slice(2).replace(/^(00)+/, "");
  return code.includes((0x5f + bytes.length / 2).toString(16) + bytes);
}

/**
 * Why the contract refuses, in plain words.
 * @param revert its data as hex, where the upstream sent any
 * @param data what the contract was asked to do, as hex
 */
export function refusal(revert: string | undefined, data = ""): string {
  const known = revert === undefined ? undefined : parsed(revert);
  if (known === undefined) {
    return "the contract refuses and does not say why: the account may lack the right, or the contract this function";
  }
  const [first = "", second = ""] = [...known.args].map((value: unknown) => shown(String(value)));
  const words: Readonly<Record<string, string>> = {
    Error: `the contract says: ${first}`,
    Panic: `the contract fails (panic ${first})`,
    InvalidNodeId: `the name ${first} is not 1 to 63 characters of a-z 0-9 -`,
    NodeIdTaken: `the name ${first} is taken: active token ${second} has it`,
    InvalidPublicKey: `${first} is no WireGuard public key as wg pubkey prints it`,
    PublicKeyTaken: `the public key ${first} is taken: active token ${second} has it`,
    InvalidRole: `there is no role ${first}`,
    InvalidEndpoint: `${first} is no host:port that others could dial`,
    EndpointNotAllowed: `token ${first} is a member, and only nodes and gateways have endpoints: see set-role`,
    TokenRevoked: `token ${first} is revoked, for good`,
    NotTokenOwner: `token ${first} is not yours: ${second} does not own it`,
    // One error for two reasons: whoever accepts need not own the contract, but have been offered it.
    OwnableUnauthorizedAccount: data.startsWith(ACCEPT)
      ? `the contract was not offered to ${first}: its owner does that with dstack-vpn transfer-ownership`
      : `${first} does not own the contract: only its owner may do this`,
    OwnableInvalidOwner: `${first} cannot own the contract`,
    ERC721NonexistentToken: `there is no token ${first}`,
    ERC721InvalidReceiver: `${first} cannot hold a token`,
  };
  return words[known.name] ?? `the contract refuses: ${known.name}`;
}

const ACCEPT = contract.encodeFunctionData("acceptOwnership");

function parsed(revert: string) {
  try {
    return contract.parseError(revert) ?? undefined;
  } catch {
    // Data that does not decode as what its selector announces.
    return undefined;
  }
}
