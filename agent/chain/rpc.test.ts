import { setTimeout as sleep } from "node:timers/promises";
import { inspect } from "node:util";
import { afterEach, describe, expect, it, vi } from "vitest";
import { AgentError } from "../errors.ts";
import type { Address, Hash } from "../model.ts";
import { ahead, behind, refusal } from "../test/rpc-lies.ts";
import { type Call, RpcProxy } from "../test/rpc-proxy.ts";
import { type Backend, ScriptedChain } from "../test/scripted-chain.ts";
import { ScriptedContract } from "../test/scripted-contract.ts";
import type { WireFault } from "../test/wire-faults.ts";
import { blockByNumber, call, headOf, logs } from "./questions.ts";
import { type ConnectOptions, connect, type Question, type Rpc, RpcError, type UpstreamChange } from "./rpc.ts";

// The machine may be busy; what is waited for comes at once otherwise.
vi.setConfig({ testTimeout: 20_000 });
const PLANTED = "PLANTEDsecret";
const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});

interface Rig {
  readonly rpc: Rpc;
  readonly chain: ScriptedChain;
  readonly contract: ScriptedContract;
  readonly proxies: readonly RpcProxy[];
  readonly changes: UpstreamChange[];
  /** The names of the proxies, by place. */
  readonly names: readonly string[];
}

interface RigOptions extends Partial<ConnectOptions> {
  readonly schemes?: readonly ("http" | "ws")[];
  readonly before?: (proxies: readonly RpcProxy[]) => void;
}

/** As many upstreams as schemes, all before one chain; `before` is called before anything is asked. */
async function rig({ schemes = ["http"], before = () => {}, ...options }: RigOptions = {}): Promise<Rig> {
  const chain = new ScriptedChain();
  const contract = new ScriptedContract(chain);
  chain.mine(99);
  const proxies = await Promise.all(schemes.map(() => RpcProxy.open(chain.answer)));
  before(proxies);
  const changes: UpstreamChange[] = [];
  const rpc = connect({
    urls: proxies.map((proxy, i) => proxy.url(`/v1/${PLANTED}`, schemes[i])),
    expect: { chainId: 31_337, genesis: chain.hashOf(0) as Hash, contract: contract.address as Address },
    onChange: (change) => changes.push(change),
    random: () => 0.1,
    ...options,
  });
  open.push(rpc, ...proxies.map((proxy) => ({ close: () => proxy.stop() })));
  return { rpc, chain, contract, proxies, changes, names: proxies.map(({ host }) => host) };
}

/** Two upstreams, both well, of which the first is preferred: near equals do not take turns. */
async function firstPreferred(): Promise<Rig & { readonly first: RpcProxy; readonly second: RpcProxy }> {
  const made = await rig({
    schemes: ["http", "http"],
    before: ([, second]) => second?.misbehave({ kind: "delay", ms: 15 }, { times: 4 }),
  });
  expect((await made.rpc.ask(headOf("latest"))).upstream).toBe(made.names[0]);
  await until(() => made.rpc.upstreams().every(({ headBlock }) => headBlock === 100));
  const [first, second] = made.proxies as [RpcProxy, RpcProxy];
  first.calls.length = second.calls.length = 0;
  return { ...made, first, second };
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; !(await holds()); i++) {
    if (i === 1_500) throw new Error("it never came true");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const ONCE = { times: 1, when: ({ method }: Call) => method === "eth_getBlockByNumber" };
const quick = <T>(question: Question<T>, deadlineMs: number): Question<T> => ({ ...question, deadlineMs });

describe("a question", () => {
  it("is answered under the upstream's name, which is its host alone", async () => {
    const { rpc, names } = await rig();
    expect(await rpc.ask(headOf("latest"))).toMatchObject({ value: { number: 100 }, upstream: names[0] });
    expect(rpc.upstreams()).toMatchObject([{ name: names[0], healthy: true, headBlock: 100, fault: undefined }]);
  });

  it("finds upstreams of one host by number", async () => {
    const { proxies } = await rig();
    const url = proxies[0]?.url() as URL;
    const rpc = connect({ urls: [url, url, url], expect: { chainId: 31_337 } });
    open.push(rpc);
    expect(rpc.upstreams().map(({ name }) => name)).toEqual([url.host, `${url.host}#2`, `${url.host}#3`]);
  });

  const faults: readonly [string, WireFault, string][] = [
    ["does not answer", { kind: "drop" }, "timeout"],
    ["drips", { kind: "drip", bytes: 1, everyMs: 50 }, "timeout"],
    ["fails", { kind: "status", status: 500 }, "http-status"],
    ["is overloaded", { kind: "status", status: 503, retryAfter: "1" }, "rate-limit"],
    ["redirects", { kind: "redirect", to: "/x" }, "http-status"],
    ["sends HTML", { kind: "text", text: "<html>" }, "malformed"],
    ["truncates", { kind: "truncate" }, "connect"],
    ["sends a bomb", { kind: "bomb", megabytes: 32 }, "oversize"],
    ["answers another question", { kind: "envelope", change: (reply) => ({ ...reply, id: 0 }) }, "malformed"],
    ["answers null", { kind: "answer", outcome: { result: null } }, "none"],
    ["answers in another shape", { kind: "answer", outcome: { result: { number: "0x1" } } }, "malformed"],
    ["has an internal error", { kind: "answer", outcome: refusal(-32603, "Internal error") }, "rpc-error"],
    ["says that it is asked too often", { kind: "answer", outcome: refusal(-32005, "rate limited") }, "rate-limit"],
  ];
  it.each(faults)("goes to another upstream where the preferred one %s", async (_, fault, kind) => {
    const it = await firstPreferred();
    it.rpc.suspect(it.names[1] ?? "");
    const undo = it.first.misbehave(fault, { method: "eth_getBlockByNumber" });
    const question = kind === "timeout" ? quick(headOf("latest"), 150) : headOf("latest");
    expect(await it.rpc.ask(question)).toMatchObject({ value: { number: 100 }, upstream: it.names[1] });
    undo();
    const errors: Readonly<Record<string, number>> | undefined = it.rpc.upstreams()[0]?.errors;
    if (kind !== "none") expect(errors?.[kind]).toBeGreaterThan(0);
  });

  it("that failed once does not go back at once, and does after a while", async () => {
    const it = await firstPreferred();
    it.first.misbehave({ kind: "status", status: 500 }, ONCE);
    await it.rpc.ask(headOf("latest"));
    for (let i = 0; i < 5; i++) expect((await it.rpc.ask(headOf("latest"))).upstream).toBe(it.names[1]);
    expect(await it.rpc.ask(headOf("latest"), { only: it.names[0] ?? "" })).toMatchObject({ upstream: it.names[0] });
  });

  it.each<[string, WireFault]>([
    ["a reset", { kind: "reset" }],
    ["a failing status", { kind: "status", status: 502 }],
    ["HTML", { kind: "text", text: "<html>" }],
    ["half an answer", { kind: "truncate" }],
  ])("has a second chance at once with a lone upstream: %s", async (_, fault) => {
    const { rpc, proxies } = await rig();
    await rpc.ask(headOf("latest"));
    proxies[0]?.misbehave(fault, ONCE);
    expect((await rpc.ask(headOf("latest"))).value.number).toBe(100);
    expect(rpc.upstreams()[0]?.healthy).toBe(true);
  });

  it.each<[string, WireFault]>([
    ["is not to be had", { kind: "status", status: 503 }],
    ["is asked too often", { kind: "status", status: 429 }],
    ["has an internal error", { kind: "answer", outcome: refusal(-32603, "Internal error") }],
  ])(
    "has several chances with a lone upstream that %s now and then, and two where there are others",
    async (_, fault) => {
      const { rpc, proxies } = await rig();
      await rpc.ask(headOf("latest"));
      proxies[0]?.misbehave(fault, { times: 3, method: "eth_getBlockByNumber" });
      expect((await rpc.ask(headOf("latest"))).value.number).toBe(100);
      const it = await firstPreferred();
      it.first.misbehave(fault, { times: 3, method: "eth_getBlockByNumber" });
      await expect(it.rpc.ask(headOf("latest"), { only: it.names[0] ?? "" })).rejects.toBeInstanceOf(AgentError);
    },
  );

  it("has several chances of a lone upstream, whatever it fails of within", async () => {
    const { rpc, proxies, chain } = await rig();
    const ask = () => rpc.ask(blockByNumber(chain.head));
    await ask();
    proxies[0]?.misbehave(
      { kind: "answer", outcome: refusal(-32603, "Internal error") },
      { times: 5, method: "eth_getBlockByNumber" },
    );
    expect((await ask()).value.number).toBe(chain.head);
    proxies[0]?.misbehave(
      { kind: "answer", outcome: refusal(-32603, "Internal error") },
      { method: "eth_getBlockByNumber" },
    );
    await expect(ask()).rejects.toMatchObject({ kind: "other" });
  });

  it("has fewer of one that takes long to fail", async () => {
    const { rpc, proxies, chain } = await rig();
    await rpc.ask(headOf("latest"));
    let asked = 0;
    const slow: Backend = async (method, params) => {
      if (method !== "eth_getBlockByNumber" || params[0] === "latest") return chain.answer(method, params);
      asked++;
      await sleep(3_200);
      return refusal(-32603, "Internal error");
    };
    if (proxies[0] !== undefined) proxies[0].backend = slow;
    const question = { ...blockByNumber(chain.head), deadlineMs: 10_000 };
    await expect(rpc.ask(question)).rejects.toMatchObject({ kind: "other" });
    expect(asked).toBe(2);
  });

  it("is an error of ours when every upstream fails, and says which and how", async () => {
    const { rpc, proxies } = await rig();
    await rpc.ask(headOf("latest"));
    proxies[0]?.misbehave({ kind: "status", status: 500 });
    await expect(rpc.ask(headOf("latest"))).rejects.toMatchObject({
      fault: { code: "chain.request-failed", method: "eth_getBlockByNumber", problem: "HTTP 500" },
    });
    proxies[0]?.heal();
    proxies[0]?.misbehave({ kind: "text", text: "<html>" }, { method: "eth_getBlockByNumber" });
    await until(async () => {
      const error = await rpc.ask(headOf("latest")).catch((caught: unknown) => caught);
      return (error as { fault?: { code: string } }).fault?.code === "chain.reply-refused";
    });
  });

  it("can be asked of one upstream, or of any other", async () => {
    const { rpc, names } = await rig({ schemes: ["http", "http"] });
    const [first = "", second = ""] = names;
    for (const only of [first, second]) {
      expect(await rpc.ask(headOf("latest"), { only })).toMatchObject({ upstream: only });
    }
    expect(await rpc.ask(headOf("latest"), { not: first })).toMatchObject({ upstream: second });
    expect(await rpc.ask(headOf("latest"), { not: second })).toMatchObject({ upstream: first });
  });

  it("for a second witness is an error where there is none", async () => {
    const { rpc, names } = await rig();
    await expect(rpc.ask(headOf("latest"), { not: names[0] ?? "" })).rejects.toMatchObject({
      fault: { code: "chain.request-failed", problem: "there is no such upstream" },
    });
  });

  it("ends with the caller's reason, wherever it waits", async () => {
    const { rpc, proxies } = await rig();
    await rpc.ask(headOf("latest"));
    for (const fault of [{ kind: "drop" }, { kind: "status", status: 429, retryAfter: "5" }] as const) {
      const undo = proxies[0]?.misbehave(fault);
      const stop = new AbortController();
      const why = new Error("enough");
      setTimeout(() => stop.abort(why), 50);
      await expect(rpc.ask(headOf("latest"), { signal: stop.signal })).rejects.toBe(why);
      undo?.();
    }
  });

  it.each([1, 2])("ends with the caller's reason before any of %d upstreams is known", async (count) => {
    const { rpc } = await rig({
      schemes: Array<"http">(count).fill("http"),
      before: (proxies) => {
        for (const proxy of proxies) proxy.misbehave({ kind: "drop" });
      },
    });
    const stop = new AbortController();
    const why = new Error("enough");
    setTimeout(() => stop.abort(why), 30);
    const startedAt = performance.now();
    await expect(rpc.ask(headOf("latest"), { signal: stop.signal })).rejects.toBe(why);
    // Identity alone has three seconds.
    expect(performance.now() - startedAt).toBeLessThan(2_500);
  });

  it("is refused after closing", async () => {
    const { rpc } = await rig();
    await rpc.ask(headOf("latest"));
    rpc.close();
    await expect(rpc.ask(headOf("latest"))).rejects.toMatchObject({ fault: { problem: "closed by us" } });
  });

  it("whose parser fails in words of its own is refused without them", async () => {
    const { rpc } = await rig();
    const parse = () => {
      throw new TypeError(PLANTED);
    };
    const error = await rpc.ask({ ...headOf("latest"), parse }).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ fault: { code: "chain.reply-refused", problem: "its result has the wrong shape" } });
    expect(inspect(error, { depth: 5, showHidden: true })).not.toContain(PLANTED);
  });
});

describe("an error object", () => {
  const revert = call(`0x${"5f".repeat(20)}` as Address, "0x01", "latest");
  it.each([
    ["a revert", 3, "execution reverted", "reverted"],
    ["a range that is too wide", -32614, "eth_getLogs is limited to a 10,000 range", "limited"],
  ])("that tells of %s is the answer: nobody else is asked", async (_, code, message, kind) => {
    const { rpc, proxies } = await rig({ schemes: ["http", "http"] });
    await rpc.ask(headOf("latest"));
    for (const proxy of proxies)
      proxy.misbehave({ kind: "answer", outcome: refusal(code, message) }, { method: /call|Logs/ });
    const address = revert.params[0] as Address;
    const asked = kind === "reverted" ? revert : logs({ address, fromBlock: 0, toBlock: 9 });
    await expect(rpc.ask<unknown>(asked)).rejects.toMatchObject({ kind });
    expect(proxies.map((proxy) => proxy.count("eth_call") + proxy.count("eth_getLogs")).toSorted()).toEqual([0, 1]);
    expect(rpc.upstreams().every(({ healthy }) => healthy)).toBe(true);
  });

  it("that tells of an absent block counts when everybody says so", async () => {
    const { rpc, proxies } = await rig({ schemes: ["http", "http"] });
    await until(() => rpc.upstreams().every(({ healthy }) => healthy));
    await expect(rpc.ask(blockByNumber(5_000))).rejects.toMatchObject({ kind: "absent" });
    expect(proxies.map((proxy) => proxy.calls.filter(({ params }) => params[0] === "0x1388").length)).toEqual([1, 1]);
  });

  it("that tells of an absent block does not count while somebody fails to answer", async () => {
    const { rpc, second } = await firstPreferred();
    second.misbehave({ kind: "status", status: 500 });
    await expect(rpc.ask(blockByNumber(5_000))).rejects.toMatchObject({ fault: { code: "chain.request-failed" } });
  });

  it("that refuses a tag is asked of another upstream, and is the answer where all refuse it", async () => {
    const { rpc, proxies } = await rig({ schemes: ["http", "http"] });
    await until(() => rpc.upstreams().every(({ healthy }) => healthy));
    const refuse = (proxy: RpcProxy | undefined) =>
      proxy?.misbehave(
        { kind: "answer", outcome: refusal(-32602, "invalid argument 0: unknown tag") },
        { when: ({ params }) => params[0] === "finalized" },
      );
    refuse(proxies[0]);
    expect((await rpc.ask(headOf("finalized"))).value.number).toBe(36);
    refuse(proxies[1]);
    await expect(rpc.ask(headOf("finalized"))).rejects.toBeInstanceOf(RpcError);
  });
});

describe("an upstream", () => {
  it("is preferred while it is fast", async () => {
    const it = await firstPreferred();
    it.first.misbehave({ kind: "delay", ms: 250 });
    await until(async () => (await it.rpc.ask(headOf("latest"))).upstream === it.names[1]);
  });

  it("that lags is left for one that does not, and its lower head is nobody's news", async () => {
    const it = await firstPreferred();
    it.first.lie(behind(10));
    await until(async () => (await it.rpc.ask(headOf("latest"))).value.number === 100);
    for (let i = 0; i < 5; i++) expect((await it.rpc.ask(headOf("latest"))).value.number).toBe(100);
  });

  it("that runs ahead of all is left once the caller has seen through it", async () => {
    const it = await firstPreferred();
    it.first.lie(ahead(1_000));
    await it.rpc.ask(headOf("latest"), { only: it.names[0] ?? "" });
    await it.rpc.ask(headOf("latest"), { only: it.names[1] ?? "" });
    it.rpc.suspect(it.names[0] ?? "");
    expect(await it.rpc.ask(headOf("latest"))).toMatchObject({ value: { number: 100 }, upstream: it.names[1] });
    expect(it.rpc.upstreams()[0]?.errors.inconsistent).toBe(1);
  });

  it("keeps a head start over its near equals", async () => {
    const it = await firstPreferred();
    it.first.misbehave({ kind: "delay", ms: 100 });
    it.second.misbehave({ kind: "delay", ms: 85 });
    const askedOf = async (only = "") => {
      for (let i = 0; i < 8; i++) await it.rpc.ask(headOf("latest"), { only });
    };
    await Promise.all(it.names.map(askedOf));
    expect((await it.rpc.ask(headOf("latest"))).upstream).toBe(it.names[0]);
  });

  it.each(["http", "ws"] as const)("never has more than eight requests in flight over %s", async (scheme) => {
    const { rpc, proxies } = await rig({ schemes: [scheme] });
    await rpc.ask(headOf("latest"));
    proxies[0]?.misbehave({ kind: "delay", ms: 20 });
    await Promise.all(Array.from({ length: 40 }, () => rpc.ask(headOf("latest"))));
    expect(proxies[0]?.mostInFlight).toBe(8);
  });

  it("that asks to be left alone is, and those who wait go elsewhere", async () => {
    const it = await firstPreferred();
    it.first.misbehave({ kind: "delay", ms: 30 });
    it.first.misbehave({ kind: "status", status: 429, retryAfter: "2" }, ONCE);
    const answers = await Promise.all(Array.from({ length: 20 }, () => it.rpc.ask(headOf("latest"))));
    expect(answers.filter(({ upstream }) => upstream === it.names[1]).length).toBeGreaterThan(10);
  });

  it("that asks to be left alone is asked again when its time is up, by those who have no other", async () => {
    const { rpc, proxies } = await rig();
    await rpc.ask(headOf("latest"));
    const startedAt = performance.now();
    proxies[0]?.misbehave({ kind: "status", status: 503, retryAfter: "1" }, ONCE);
    expect((await rpc.ask(headOf("latest"))).value.number).toBe(100);
    expect(performance.now() - startedAt).toBeGreaterThan(990);
  });

  it.each([
    ["that knows no head", /eth_getBlockByNumber/],
    ["that does not say which chain it serves", /eth_chainId/],
  ])("%s for whatever reason of its own is told of, and left alone like one that is down", async (_, method) => {
    const { rpc, proxies, changes } = await rig({
      before: ([proxy]) =>
        proxy?.misbehave({ kind: "answer", outcome: refusal(-32000, "project suspended") }, { method }),
    });
    for (let i = 0; i < 2; i++) {
      await expect(rpc.ask(headOf("latest"))).rejects.toMatchObject({ fault: { code: "chain.request-failed" } });
    }
    await until(() => changes.length > 0);
    expect(changes).toMatchObject([{ kind: "failing", trouble: "rpc-error" }]);
    expect(rpc.upstreams()[0]?.healthy).toBe(false);
    proxies[0]?.heal();
    await until(() => rpc.upstreams()[0]?.healthy === true);
  });

  it.each([
    [-32601, "no such method"],
    [-32000, "the method eth_getCode does not exist/is not available"],
    [-32000, "missing trie node"],
    [-32603, "Internal error"],
  ])("that does not tell code is held to its chain alone: %i %s", async (code, said) => {
    const { rpc } = await rig({
      before: ([proxy]) =>
        proxy?.misbehave({ kind: "answer", outcome: refusal(code, said) }, { method: "eth_getCode" }),
    });
    expect((await rpc.ask(headOf("latest"))).value.number).toBe(100);
  });

  it("that goes down and comes back is told of once each, and used again", async () => {
    const { rpc, proxies, changes, names } = await rig();
    await rpc.ask(headOf("latest"));
    await proxies[0]?.stop();
    await until(async () => {
      await rpc.ask(headOf("latest")).catch(() => {});
      return changes.length > 0;
    });
    expect(rpc.upstreams()[0]?.healthy).toBe(false);
    await proxies[0]?.start();
    await until(() =>
      rpc.ask(headOf("latest")).then(
        () => true,
        () => false,
      ),
    );
    expect(changes).toEqual([
      { kind: "failing", upstream: names[0], trouble: "connect", problem: expect.stringContaining("connection") },
      { kind: "recovered", upstream: names[0] },
    ]);
  });

  it("that comes back while another serves is noticed without being asked for", async () => {
    const it = await firstPreferred();
    await it.first.stop();
    await until(() => it.rpc.upstreams()[0]?.healthy === false || it.rpc.ask(headOf("latest")).then(() => false));
    await until(() => it.changes.length > 0);
    await it.first.start();
    await until(() => it.rpc.upstreams()[0]?.healthy === true);
  });

  it("that is dead from the start does not hold up the others", async () => {
    const { rpc, names } = await rig({
      schemes: ["http", "http"],
      before: ([first]) => first?.misbehave({ kind: "drop" }),
    });
    const startedAt = performance.now();
    expect((await rpc.ask(headOf("latest"))).upstream).toBe(names[1]);
    // A question's deadline is three seconds.
    expect(performance.now() - startedAt).toBeLessThan(2_500);
  });
});

describe("whose chain it is", () => {
  const foreign = (options = {}) => new ScriptedChain(options).answer;

  it("is asked before an answer counts: an upstream of another network is never used", async () => {
    const it = await rig({
      schemes: ["http", "http"],
      before: ([first]) => {
        if (first !== undefined) first.backend = foreign({ chainId: 1 });
      },
    });
    for (let i = 0; i < 5; i++) expect((await it.rpc.ask(headOf("latest"))).upstream).toBe(it.names[1]);
    const fault = { code: "chain.wrong-network", upstream: it.names[0], expected: 31_337, got: 1 };
    expect(it.rpc.upstreams()[0]).toMatchObject({ healthy: false, fault, errors: { "wrong-network": 1 } });
    expect(it.changes).toEqual([{ kind: "refused", upstream: it.names[0], fault }]);
    expect(it.proxies[0]?.calls.map(({ method }) => method)).toEqual([
      "eth_chainId",
      "eth_getBlockByNumber",
      "eth_getCode",
    ]);
  });

  it("is the error where no upstream serves ours, and is not asked again with every question", async () => {
    const { rpc, proxies } = await rig({ expect: { chainId: 8_453 } });
    for (let i = 0; i < 3; i++) {
      await expect(rpc.ask(headOf("latest"))).rejects.toMatchObject({
        fault: { code: "chain.wrong-network", expected: 8_453, got: 31_337 },
      });
    }
    expect(proxies[0]?.count("eth_chainId")).toBe(1);
  });

  it("is a matter of genesis too, where it is pinned", async () => {
    const genesis = `0x${"12".repeat(32)}` as Hash;
    const { rpc } = await rig({ expect: { chainId: 31_337, genesis } });
    await expect(rpc.ask(headOf("latest"))).rejects.toMatchObject({ fault: { code: "chain.other-genesis" } });
  });

  it("is what an only upstream says where nothing is pinned", async () => {
    const { rpc, chain } = await rig({ expect: { chainId: 31_337 } });
    await rpc.ask(headOf("latest"));
    expect(rpc.genesis()).toBe(chain.hashOf(0));
  });

  it.each<[string, number, boolean, string[]]>([
    ["alike", 2, false, ["", ""]],
    ["differently, and then neither is believed", 2, true, ["chain.other-genesis", "chain.other-genesis"]],
    ["differently, and then most of them are believed", 3, true, ["", "chain.other-genesis", ""]],
  ])("is what two tell %s (of %i)", async (_, count, isForeign, faults) => {
    const { rpc, chain } = await rig({
      schemes: Array<"http">(count).fill("http"),
      before: ([, second]) => {
        if (second !== undefined && isForeign) second.backend = foreign({ seed: "another" });
      },
      expect: { chainId: 31_337 },
    });
    await rpc.ask(headOf("latest")).catch(() => {});
    await until(() => rpc.upstreams().every(({ fault }, i) => (fault?.code ?? "") === faults[i]));
    expect(rpc.genesis()).toBe(count === 2 && isForeign ? undefined : chain.hashOf(0));
  });

  it("is what one tells as long as the other one is down, and may be the other's yet", async () => {
    let mend = () => {};
    const { rpc, proxies } = await rig({
      schemes: ["http", "http"],
      before: ([, second]) => {
        mend = second?.misbehave({ kind: "status", status: 500 }) ?? mend;
      },
      expect: { chainId: 31_337 },
    });
    await rpc.ask(headOf("latest"));
    expect(rpc.genesis()).toBeUndefined();
    if (proxies[1] !== undefined) proxies[1].backend = foreign({ seed: "another" });
    mend();
    await until(() => rpc.upstreams().every(({ fault }) => fault?.code === "chain.other-genesis"));
  });

  it("is not refused for a genesis that an upstream does not tell", async () => {
    const { rpc } = await rig({
      before: ([proxy]) =>
        proxy?.misbehave(
          { kind: "answer", outcome: refusal(-32000, "archive data is not available") },
          { when: ({ params }) => params[0] === "0x0" },
        ),
    });
    expect((await rpc.ask(headOf("latest"))).value.number).toBe(100);
  });

  it("is asked again when it comes back: another chain at the same address is not believed", async () => {
    const { rpc, proxies } = await rig();
    const proxy = proxies[0] as RpcProxy;
    await rpc.ask(headOf("latest"));
    await proxy.stop();
    await until(
      () =>
        rpc.upstreams()[0]?.healthy === false ||
        rpc.ask(headOf("latest")).then(
          () => false,
          () => true,
        ),
    );
    await until(() => rpc.upstreams()[0]?.healthy === false);
    proxy.backend = foreign({ seed: "another" });
    await proxy.start();
    await until(async () => {
      const error = await rpc.ask(headOf("latest")).catch((caught: unknown) => caught);
      expect(error).toBeInstanceOf(Error);
      return (error as { fault: { code: string } }).fault.code === "chain.other-genesis";
    });
  });

  it.each([
    ["another network", { chainId: 1 }],
    ["another chain of our network", { seed: "another" }],
  ])("is believed within ten seconds of being ours again, after %s", async (_, other) => {
    const genesis = new ScriptedChain().hashOf(0) as Hash;
    const { rpc, chain, proxies } = await rig({
      before: ([proxy]) => {
        if (proxy !== undefined) proxy.backend = foreign(other);
      },
      expect: { chainId: 31_337, genesis },
    });
    const serves = () =>
      rpc.ask(headOf("latest")).then(
        () => true,
        () => false,
      );
    expect(await serves()).toBe(false);
    (proxies[0] as RpcProxy).backend = chain.answer;
    const since = performance.now();
    await until(serves);
    expect(performance.now() - since).toBeLessThan(10_000);
  });

  it("includes the contract, which may still be deployed", async () => {
    const address = `0x${"c0".repeat(20)}` as Address;
    const { rpc, chain, changes } = await rig({ expect: { chainId: 31_337, contract: address } });
    await expect(rpc.ask(headOf("latest"))).rejects.toMatchObject({
      fault: { code: "chain.no-contract", contract: address },
    });
    new ScriptedContract(chain, { address });
    await until(() =>
      rpc.ask(headOf("latest")).then(
        () => true,
        () => false,
      ),
    );
    expect(changes.map(({ kind }) => kind)).toEqual(["refused", "recovered"]);
  });
});

describe("a secret in a URL", () => {
  it("is in no error, whatever the upstream does", async () => {
    const seen: unknown[] = [];
    const echo = `https://host/v1/${PLANTED} failed`;
    const faults: readonly WireFault[] = [
      { kind: "drop" },
      { kind: "reset" },
      { kind: "status", status: 401, body: echo },
      { kind: "redirect", to: `/v1/${PLANTED}/x` },
      { kind: "text", text: echo },
      { kind: "text", text: JSON.stringify({ [PLANTED]: 1 }) },
      { kind: "truncate" },
      { kind: "answer", outcome: refusal(-32603, echo, echo) },
      { kind: "answer", outcome: refusal(-32601, echo) },
      { kind: "answer", outcome: { result: { number: PLANTED } } },
    ];
    for (const scheme of ["http", "ws"] as const) {
      const chain = new ScriptedChain();
      const proxy = await RpcProxy.open(chain.answer);
      const url = proxy.url(`/v1/${PLANTED}?key=${PLANTED}`, scheme);
      url.username = `user${PLANTED}`;
      url.password = PLANTED;
      const rpc = connect({ urls: [url], expect: { chainId: 31_337 }, onChange: (change) => seen.push(change) });
      open.push(rpc, { close: () => proxy.stop() });
      await rpc.ask(headOf("latest"));
      for (const fault of faults) {
        proxy.misbehave(fault, { times: 9, method: "eth_getBlockByNumber" });
        seen.push(await rpc.ask(quick(headOf("latest"), 60)).catch((error: unknown) => error));
        proxy.heal();
        await until(() =>
          rpc.ask(headOf("latest")).then(
            () => true,
            () => false,
          ),
        );
      }
      await proxy.stop();
      seen.push(await rpc.ask(headOf("latest")).catch((error: unknown) => error), rpc.upstreams());
    }
    expect(seen.filter((one) => one instanceof Error).length).toBeGreaterThan(10);
    for (const one of seen) {
      const stack = one instanceof Error ? one.stack : "";
      const printed = `${inspect(one, { depth: 10, showHidden: true })}${stack}${JSON.stringify(one)}`;
      expect(printed).not.toContain(PLANTED);
    }
  });
});

describe("a WebSocket upstream", () => {
  it("carries requests alone", async () => {
    const { rpc, proxies } = await rig({ schemes: ["ws"] });
    expect((await rpc.ask(headOf("latest"))).value.number).toBe(100);
    expect(proxies[0]?.calls.every(({ via }) => via === "ws")).toBe(true);
    expect(proxies[0]?.connections()).toBe(1);
  });

  it("wakes us at a new head", async () => {
    const { rpc, chain } = await rig({ schemes: ["http", "ws"] });
    const forever = new AbortController().signal;
    await rpc.nextHead(forever);
    const woken = rpc.nextHead(forever);
    chain.mine();
    await woken;
  });

  it("keeps a head that nobody was waiting for", async () => {
    const { rpc, chain, proxies } = await rig({ schemes: ["ws"] });
    const forever = new AbortController().signal;
    await rpc.nextHead(forever);
    chain.mine();
    await until(() => proxies[0]?.lastHeadTold === chain.hashOf(chain.head));
    await rpc.ask(headOf("latest"));
    await rpc.nextHead(forever);
  });

  it("never wakes those who have gone", async () => {
    const { rpc } = await rig();
    const stop = new AbortController();
    const woken = rpc.nextHead(stop.signal);
    stop.abort();
    await woken;
  });

  it("subscribes again after its connection is lost", async () => {
    const { rpc, chain, proxies } = await rig({ schemes: ["ws"] });
    const forever = new AbortController().signal;
    await rpc.nextHead(forever);
    await proxies[0]?.stop();
    await proxies[0]?.start();
    await until(() => proxies[0]?.subscribers() === 1);
    chain.mine();
    await rpc.nextHead(forever);
  });

  it("is verified anew on every connection", async () => {
    const { rpc, proxies } = await rig({ schemes: ["ws"] });
    await rpc.ask(headOf("latest"));
    const before = proxies[0]?.count("eth_chainId") ?? 0;
    proxies[0]?.cut();
    await until(() =>
      rpc.ask(headOf("latest")).then(
        () => true,
        () => false,
      ),
    );
    expect(proxies[0]?.count("eth_chainId")).toBeGreaterThan(before);
  });

  it("is verified as a whole on one connection", async () => {
    const { rpc } = await rig({
      schemes: ["ws"],
      before: ([proxy]) =>
        proxy?.misbehave(
          { kind: "reset" },
          {
            times: 1,
            when: ({ params }) => {
              if (params[0] !== "0x0") return false;
              proxy.backend = new ScriptedChain({ chainId: 1 }).answer;
              return true;
            },
          },
        ),
      expect: { chainId: 31_337 },
    });
    await expect(rpc.ask(headOf("latest"))).rejects.toMatchObject({ fault: { code: "chain.wrong-network", got: 1 } });
  });

  it("that knows no subscriptions still answers", async () => {
    const { rpc, changes } = await rig({
      schemes: ["ws"],
      before: ([proxy]) =>
        proxy?.misbehave({ kind: "answer", outcome: refusal(-32601, "no such method") }, { method: "eth_subscribe" }),
    });
    for (let i = 0; i < 5; i++) await rpc.ask(headOf("latest"));
    expect(changes).toEqual([]);
  });

  it("and an HTTP one stand in for each other", async () => {
    const { rpc, proxies, names } = await rig({ schemes: ["http", "ws"] });
    await until(() => rpc.upstreams().every(({ healthy }) => healthy));
    await proxies[0]?.stop();
    expect((await rpc.ask(headOf("latest"))).upstream).toBe(names[1]);
    await proxies[0]?.start();
    await proxies[1]?.stop();
    await until(async () => (await rpc.ask(headOf("latest")).catch(() => undefined))?.upstream === names[0]);
  });
});
