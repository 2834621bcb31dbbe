import { describe, expect, it } from "vitest";
import { discreet, refuseSecrets } from "./discreet.ts";

const HEX = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const KEY = `${Buffer.alloc(32, 0xa7).toString("base64")}`;
const PHRASE = "test test test test test test test test test test test junk";

describe("a key among the arguments", () => {
  it.each([
    ["of a wallet", ["revoke", `0x${HEX}`]],
    ["of a wallet, without 0x", ["join", "--token", HEX]],
    ["of a wallet, its last digits not marked", ["join", "--key-file", `0x${HEX.slice(0, 60)}`]],
    ["glued to its option", ["grant", `--token-uri=0x${HEX}`]],
    ["of WireGuard, where a file is expected", ["join", "--key-file", KEY]],
    ["of WireGuard, where a command is expected", [KEY]],
    ["after the public one", ["set-key", `--key=${KEY}`, KEY]],
    ["as a phrase", ["join", "--keystore", PHRASE]],
  ])("is refused and not repeated: %s", (_, words) => {
    const refused = () => refuseSecrets(words);
    expect(refused).toThrow(/looks like a private key/);
    expect(refused).not.toThrow(new RegExp(`${HEX.slice(0, 12)}|${KEY.slice(0, 12)}|junk`));
  });

  it.each([
    [["set-key", "--token", "3", "--key", KEY]],
    [["set-key", "--token", "3", `--key=${KEY}`]],
    [["show", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"]],
    [["show", String(2n ** 256n - 1n)]],
    [["join", "--key-file", "/home/alice/keys/of/every/machine/that/she/has/ever/had"]],
  ])("is none: %o", (words) => {
    expect(() => refuseSecrets(words)).not.toThrow();
  });
});

describe("what commander says of a mistake", () => {
  it.each([
    [
      "error: option '--token <id>' argument 'a\n'b' is invalid. It must be a number.",
      "error: option '--token <id>' argument is invalid. It must be a number.",
    ],
    [
      "error: command-argument value 'hunter2' is invalid for argument 'token'. It must be a number.",
      "error: command-argument value is invalid for argument 'token'. It must be a number.",
    ],
    [
      "error: unknown command 'revok'\n(Did you mean revoke?)\n",
      "error: unknown command 'revok'\n(Did you mean revoke?)\n",
    ],
    ["error: unknown command 'hunter2'\n", "error: unknown command\n"],
    [
      "error: unknown option '--tokn'\n(Did you mean --token?)\n",
      "error: unknown option '--tokn'\n(Did you mean --token?)\n",
    ],
    ["error: unknown option '--pass=hunter2'\n", "error: unknown option\n"],
    [
      "error: too many arguments for 'list'. Expected 0 arguments but got 2: hunter2, more.\n",
      "error: too many arguments for 'list'. Expected 0 arguments but got 2.\n",
    ],
    ["error: missing required argument 'token'\n", "error: missing required argument 'token'\n"],
  ])("%o", (message, said) => {
    expect(discreet(message)).toBe(said);
  });
});
