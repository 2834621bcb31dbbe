/** Ring 2: every command against a contract that has the deployed interface and nothing more. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ALICE, OWNER } from "../test/cli.ts";
import { Typing } from "../test/typing.ts";
import { contract } from "./contract.ts";

let typing: Typing;
let key: string;

beforeAll(async () => {
  typing = await Typing.open("PlainAccessNFT");
  const gate = (await typing.run(["keys", "--out", "gate.key"])).out.trim();
  key = (await typing.run(["keys", "--out", "phone.key"])).out.trim();
  await typing.owner("grant", "--to", ALICE.address, "--node-id", "gate", "--key", gate);
  await typing.owner("grant", "--to", ALICE.address, "--node-id", "phone", "--key", key);
}, 120_000);
afterAll(() => typing?.[Symbol.asyncDispose]());

const published = { PEER_ENDPOINTS: "gate=192.0.2.1:51820", GATEWAYS: "gate" };

describe("a contract without roles, endpoints and keys to set", { timeout: 120_000 }, () => {
  it.each([
    [["set-key", "--token", "2", "--key", "KEY"], "updatePublicKey(uint256,string)"],
    [["set-role", "--token", "2", "--role", "node"], "setRole(uint256,uint8)"],
    [["set-endpoint", "--token", "2", "--endpoint", "192.0.2.1:1"], "setEndpoint(uint256,string)"],
    [["accept-ownership"], "acceptOwnership()"],
    [["join", "--token", "2", "--key-file", "gate.key", "--wait", "0"], "updatePublicKey(uint256,string)"],
  ])("%o is told which function there is not, signed here or elsewhere", async (words, name) => {
    const args = words.map((word) => word.replace("KEY", key));
    const wanted = { exit: 1, out: "", err: expect.stringContaining(` has no function ${name}: `) };
    const [here, elsewhere] = await Promise.all([
      typing.run(args, { ...published, CONTRACT_PRIVATE_KEY: OWNER.key }),
      typing.run(args, published),
    ]);
    expect([here, elsewhere]).toEqual([wanted, wanted]);
  });

  it("serves whoever reads it or joins with the key of their grant", async () => {
    const on = (...args: readonly string[]) => typing.run(args, published);
    const [list, show, join, check, lost] = await Promise.all([
      on("list", "--json"),
      on("show", "phone"),
      on("join", "--token", "2", "--key-file", "phone.key", "--out", "phone.conf", "--json"),
      on("check", "--token", "2", "--key-file", "phone.key"),
      typing.run(["check", "--token", "2"]),
    ]);
    expect(JSON.parse(list.out).tokens).toMatchObject([{ role: "gateway" }, { access: "admitted" }]);
    expect(show.out).toMatch(/^access +admitted$/m);
    expect(JSON.parse(join.out)).toMatchObject({ transaction: null, out: "phone.conf" });
    expect(check.exit).toBe(0);
    expect(lost).toMatchObject({ exit: 69, out: expect.stringMatching(/set PEER_ENDPOINTS as they publish it/) });
  });

  it("cannot make every row of list as wide as its longest name", async () => {
    const data = contract.encodeFunctionData("mintNodeAccess", [ALICE.address, "n".repeat(5_000), "", ""]);
    await typing.rpc("eth_sendTransaction", { from: OWNER.address, to: typing.chain["CONTRACT_ADDRESS"], data });
    const { out } = await typing.run(["list"]);
    expect(out).toMatch(/ n{60}\.{3} /);
    expect(Math.max(...out.split("\n").map(({ length }) => length))).toBeLessThan(250);
  });

  it("gives a key to two, of whom the second hears whose it was first", async () => {
    const { tokenId } = await typing.owner("grant", "--to", `0x${"a".repeat(40)}`, "--node-id", "twin", "--key", key);
    const twin = await typing.run(["check", "--token", tokenId], published);
    expect(twin).toMatchObject({
      exit: 1,
      out: expect.stringMatching(/^no {2}token 2 has the same key.*\n {4}make a new key/m),
    });
  });

  it.each([
    ["elsewhere", {}],
    ["here", { CONTRACT_PRIVATE_KEY: OWNER.key }],
  ])("is not handed over unasked, nor ever to nobody, signed %s", async (_, environment) => {
    const hand = (...more: readonly string[]) => typing.run(["transfer-ownership", "--to", ...more], environment);
    const [unasked, toNobody] = await Promise.all([hand(ALICE.address), hand(`0x${"0".repeat(40)}`, "--yes")]);
    expect(unasked).toMatchObject({ exit: 1, out: "", err: expect.stringMatching(/final at once.*add --yes/) });
    expect(toNobody).toMatchObject({ exit: 1, out: "", err: expect.stringMatching(/zero address can own nothing/) });
    expect((await typing.as(OWNER.key, "revoke", "99")).err).not.toMatch(/does not own the contract/);
  });

  it("ends access by a revoke, and changes hands at once", async () => {
    const { tokenId } = await typing.owner("grant", "--to", ALICE.address, "--node-id", "gone");
    await typing.owner("revoke", tokenId);
    expect((await typing.run(["check", "--token", tokenId])).out).toMatch(/is revoked, for good/);
    expect((await typing.as(OWNER.key, "transfer-ownership", "--to", ALICE.address, "--yes")).exit).toBe(0);
    const late = await typing.as(OWNER.key, "revoke", "2");
    expect(late.err).toMatch(/does not own the contract/);
  });
});
