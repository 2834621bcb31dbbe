/** Ring 4: the page in Chromium, behind the container's own nginx, in front of real agents. */
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer } from "node:net";
import type { Browser, Request } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Look, launch, missing } from "./dashboard-browser.ts";
import { type DrawnNode, drawNode, peer } from "./dashboard-nodes.ts";
import { PAGE, startWeb } from "./dashboard-web.ts";
import type { AgentProcess } from "./lab/agent.ts";
import { Chain } from "./lab/chain.ts";
import { type Running, until } from "./lab/command.ts";
import { Lab } from "./lab/lab.ts";
import type { Member } from "./lab/member.ts";
import { configOf, LabNode } from "./lab/node.ts";
import { reaches } from "./lab/ping.ts";

const lacking = missing("chromium", "nginx");
const isSkipped = lacking.length > 0 && process.env["CI"] !== "true";
if (isSkipped) console.warn(`\nTHE DASHBOARD'S TESTS ARE SKIPPED: there is no ${lacking.join(" and no ")}.`);

const HOSTILE = '</script>"\u202e<img src=x onerror=alert(1)>';
const HOSTILE_SHOWN = '</script>"U+202E<img src=x onerror=alert(1)>';
const TOKEN = "a-token-of-the-lab";
const WEAK_KEY = Buffer.from("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800", "hex");

let browser: Browser;
beforeAll(async () => {
  if (isSkipped) return;
  if (lacking.length > 0) throw new Error(`there is no ${lacking.join(" and no ")}, and CI=true`);
  browser = await launch();
});
afterAll(() => browser?.close());

describe.skipIf(isSkipped)("in front of real agents, the page", () => {
  let lab: Lab;
  let chain: Chain;
  let nodes: readonly [LabNode, LabNode];
  let agents: [AgentProcess, AgentProcess];
  let alice: Member;
  let web: Running;
  let look: Look;
  const card = (name: string, field = "") => `#node-${name}${field === "" ? "" : ` [data-field="${field}"]`}`;
  const settings = () => ({
    ...{ POLL_INTERVAL: "200", SYNC_INTERVAL: "1000", ADMIN_TOKEN: TOKEN },
    PEER_ENDPOINTS: nodes.map(({ host, endpoint }) => `${host.name}=${endpoint}`).join(","),
  });

  beforeAll(async () => {
    lab = await Lab.open();
    // Without rules for names: whatever a contract lets through has to be borne.
    chain = await Chain.start("PlainAccessNFT");
    const created = (name: string, account: number) => LabNode.create(lab, chain, name, chain.account(account));
    nodes = [await created("node-a", 1), await created("node-b", 2)];
    alice = await lab.member("alice");
    agents = [nodes[0].agent(settings()), nodes[1].agent(settings())];
    for (const agent of agents) await agent.ready();
    web = await startWeb(Object.fromEntries(nodes.map(({ host }) => [host.name, `${host.address}:8080`])));
    look = await Look.open(browser);
  });

  afterAll(async () => {
    await look?.[Symbol.asyncDispose]();
    await web?.end("SIGTERM");
    await chain?.end();
    await lab?.[Symbol.asyncDispose]();
  });

  it("shows healthy nodes by colour, icon and word, with the age of what it shows", async () => {
    for (const name of ["node-a", "node-b"]) {
      await look.says(card(name, "word"), /^Healthy$/);
      expect(await look.text(card(name, "age"))).toMatch(/^Ready, heard (just now|\d+ s ago)$/);
      expect(await look.page.getAttribute(`${card(name)} .pill use`, "href")).toBe("#healthy");
    }
    await look.says("#verdict", /^All 2 nodes are healthy$/);
    expect(await look.evaluate("document.title")).toBe("dstack-vpn");
    await look.says('#figures [data-field="admitted"]', /^1$/);
    expect(await look.text('#figures [data-field="tokens"]')).toBe("of 2 on the chain, besides each node's own");
  });

  it("tells a grant, the peer that it makes, and how long that took", async () => {
    const tokenId = await chain.grant(chain.account(3), "alice", alice.publicKey);
    // A handshake that nobody answers is repeated after five seconds only.
    await until("alice to be a peer", 10_000, () => nodes[0].host.hasPeer(alice.publicKey));
    await alice.join(configOf(chain, tokenId, nodes));
    await until("alice to reach node-a", 10_000, () => reaches(alice.host, nodes[0].addresses.ipv4));
    await look.says(
      "#journal tbody tr:has([data-kind=grant])",
      /Grant\s+Token 3 alice was granted to 0x\S+ in block \d+\s+all nodes/,
    );
    await look.says(card("node-a", "connected"), /^[12] of 2$/);
    await look.says('#figures [data-field="latency"]', /^[\d.]+ m?s$/);
    await look.says(".chart >> nth=0", /Peers connected\s+connected [1-9]/);
    expect(await look.evaluate("document.querySelectorAll('.chart canvas').length")).toBe(4);
    expect(await look.page.locator('.chart [data-field="summary"]').first().textContent()).toMatch(
      /now \d+, lowest \d+, highest \d+/,
    );
  });

  it("shows a hostile name as text, with what hides in it named, and a quarantine with its reason", async () => {
    await chain.grant(chain.account(4), HOSTILE, WEAK_KEY.toString("base64"));
    await chain.grant(chain.account(5), HOSTILE, Buffer.alloc(32, 1).toString("base64"));
    await look.says("#quarantine tbody tr", /key\.weak\s+1\s[\s\S]*\s4 /);
    expect(await look.text("#quarantine tbody tr")).toContain(HOSTILE_SHOWN);
    await look.says("#journal tbody tr:has([data-kind=quarantine])", /Token 4 .* gets no peer: key\.weak/);
    expect(await look.text("#journal tbody tr:has([data-kind=grant])")).toContain(
      `Token 5 ${HOSTILE_SHOWN} was granted`,
    );
    expect(await look.text('#figures [data-field="quarantined"]')).toBe("1");
    await look.shoot("quarantine");
  });

  it("could not turn a string into elements if it tried", async () => {
    const tried = look.page.evaluate(`new DOMParser().parseFromString("<b>", "text/html")`);
    await expect(tried).rejects.toThrow(/TrustedHTML/);
    expect(look.problems.pop()).toMatch(/TrustedHTML/);
  });

  it("keeps to one kind or one node when asked", async () => {
    await look.page.selectOption("#journal-kind", "quarantine");
    await look.says("#journal-note", /^1 entry/);
    await look.page.selectOption("#journal-kind", "Device");
    await look.page.selectOption("#journal-node", "node-b");
    const kinds = new Set(await look.texts("#journal tbody td:nth-child(2)"));
    const told = new Set(await look.texts("#journal tbody td:nth-child(4)"));
    expect([kinds, told]).toEqual([new Set(["Apply"]), new Set(["node-b"])]);
    await look.page.selectOption("#journal-kind", "");
    await look.page.selectOption("#journal-node", "");
  });

  it("gives the peers to whoever has the admin token, and the token to their nodes alone", async () => {
    await look.page.fill("#peers-token", "not-the-token");
    await look.page.click("#peers-form button");
    await look.says("#peers-notice", /^node-a refuses this token\.$/);
    for (const _ of ["a round", "another"]) await look.page.waitForRequest(/node-a\/health$/);
    expect(await look.page.isVisible("#peers")).toBe(false);
    await look.page.fill("#peers-token", TOKEN);
    await look.page.click("#peers-form button");
    await look.says(
      "#peers tbody tr:has-text('alice')",
      /alice\s+token 3\s+.*connected\s+10\.77\.0\.\d+:\d+\s.*B\s.*B\s+10\.213\.0\.3\/32/s,
    );
    await look.page.fill("#peers-find", "script");
    await look.says("#peers-note", /^1 of 3 peers of node-a, heard/);
    expect(await look.texts("#peers tbody tr")).toHaveLength(1);
    expect(await look.text("#peers tbody tr")).toContain(HOSTILE_SHOWN);
    await look.shoot("admin");
    await look.page.fill("#peers-find", "");
    await look.page.selectOption("#peers-node", "node-b");
    await look.says("#peers-note", /^3 peers of node-b/);

    expect(new Set(look.authorized.map(([path]) => path))).toEqual(
      new Set(["/api/node-a/wireguard", "/api/node-b/wireguard"]),
    );
    expect(look.authorized.filter(([, header]) => header === "Bearer not-the-token")).toHaveLength(1);
    const kept = await look.evaluate<string>(
      "JSON.stringify([document.documentElement.outerHTML, location.href, document.cookie, { ...localStorage }, { ...sessionStorage }, document.querySelector('#peers-token').value])",
    );
    expect(kept).not.toContain(TOKEN);
    await look.page.click("#peers-forget");
    expect(await look.texts("#peers tbody tr")).toEqual([]);
    expect(await look.page.isVisible("#peers-form")).toBe(true);
  });

  it("has no barrier for those who do not see, in light and dark", async () => {
    expect(await look.barriers()).toEqual([]);
    await look.shoot("light");
    await look.page.emulateMedia({ colorScheme: "dark" });
    expect(await look.barriers()).toEqual([]);
    await look.shoot("dark");
    const background = "getComputedStyle(document.documentElement).backgroundColor";
    const dark = await look.evaluate(background);
    await look.page.selectOption("#theme", "light");
    expect(await look.evaluate(background)).not.toBe(dark);
    await look.page.reload();
    expect(await look.evaluate(background)).not.toBe(dark);
    await look.page.emulateMedia({ colorScheme: "light" });
    await look.page.selectOption("#refresh", "1");
  });

  it("is worked with the keyboard alone, and shows where one is", async () => {
    await using fresh = await Look.open(browser);
    await fresh.says(card("node-a", "word"), /^Healthy$/);
    await fresh.page.reload();
    await fresh.says(card("node-a", "word"), /^Healthy$/);
    const reached: string[] = [];
    for (let press = 0; press < 20; press++) {
      await fresh.page.keyboard.press("Tab");
      reached.push(
        await fresh.evaluate(
          "((at) => at.tagName + '#' + at.id + ' ' + getComputedStyle(at).outlineStyle)(document.activeElement)",
        ),
      );
    }
    expect(reached[0]).toMatch(/^A#/);
    for (const id of [
      "refresh",
      "theme",
      "charts-node",
      "charts-span",
      "journal-kind",
      "journal-node",
      "peers-token",
    ]) {
      expect(reached.join("\n")).toMatch(new RegExp(`#${id} `));
    }
    expect(reached.filter((each) => /^(A|SELECT|INPUT|BUTTON|SUMMARY)#/.test(each) && each.endsWith(" none"))).toEqual(
      [],
    );
    await fresh.page.focus(`${card("node-a")} summary`);
    await fresh.page.keyboard.press("Enter");
    await fresh.says(
      `${card("node-a")} .parts`,
      /chain healthy\s+registry healthy\s+wireguard healthy\s+config healthy/,
    );
    expect(await fresh.text(card("node-a", "upstreams"))).toMatch(
      /10\.77\.0\.1:8545 answers, .* ms, block \d+, 0 errors/,
    );
    // What is selected to be copied stays selected over the rounds.
    await fresh.page.selectOption("#refresh", "1");
    const key = `${card("node-a")} .more > :nth-child(4)`;
    await fresh.evaluate(`getSelection().selectAllChildren(document.querySelector('${key}'))`);
    for (const _ of ["a round", "another"]) await fresh.page.waitForResponse(/node-a\/events/);
    expect(await fresh.evaluate("String(getSelection())")).toContain(nodes[0].publicKey);
  });

  it("says that a node is unreachable, keeps its last values, greyed, and counts them no more", async () => {
    await look.says(card("node-b", "connected"), /^\d of \d$/);
    await agents[1].end("SIGTERM");
    await look.says(card("node-b", "word"), /^Unreachable$/);
    expect(await look.text(card("node-b", "age"))).toMatch(/^Last heard (just now|\d+ s ago): the figures are old\.$/);
    expect(await look.text(card("node-b", "reasons"))).toBe("It does not answer the dashboard's web server.");
    expect(await look.text(card("node-b", "connected"))).toMatch(/^\d of \d$/);
    await look.says("#verdict", /^node-b unreachable$/);
    expect(await look.evaluate("document.title")).toBe("node-b unreachable · dstack-vpn");
    expect(await look.text('#figures [data-field="nodes"]')).toBe("1 node not answering, not counted");
    expect(await look.page.textContent("#said")).toMatch(/^node-b is unreachable: does not answer/);
    expect(await look.barriers()).toEqual([]);
    await look.shoot("one-node-down");
    agents[1] = nodes[1].agent(settings());
    await look.says(card("node-b", "word"), /^Healthy$/, 20_000);
    await look.says("#verdict", /^All 2 nodes are healthy$/);
    expect(await look.page.textContent("#said")).toBe("node-b is healthy.");
  });

  it("says why a node is not healthy", async () => {
    await chain.revoke(nodes[1].tokenId);
    await look.says(card("node-b", "word"), /^Degraded$/);
    await look.says(card("node-b", "age"), /^Not ready, heard/);
    expect(await look.text(card("node-b", "reasons"))).toMatch(
      /^self\.no-token no active token is named node-b: have the contract's owner run/,
    );
    await look.shoot("degraded");
  });

  it("fits a telephone of 360 pixels without scrolling sideways", async () => {
    await using narrow = await Look.open(browser, {
      viewport: { width: 360, height: 740 },
      deviceScaleFactor: 2,
      isMobile: true,
      hasTouch: true,
    });
    await narrow.says(card("node-a", "word"), /^Healthy$/);
    await narrow.page.fill("#peers-token", TOKEN);
    await narrow.page.click("#peers-form button");
    await narrow.says("#peers-note", /peers of node-a/);
    for (const summary of await narrow.page.locator("summary").all()) await summary.click();
    expect(await narrow.evaluate("document.documentElement.scrollWidth")).toBe(360);
    const wide =
      "[...document.querySelectorAll('body *:not(.unseen, .unseen *, .skip)')].filter((each) => each.getBoundingClientRect().right > 361 && each.checkVisibility()).map((each) => each.outerHTML.slice(0, 80))";
    expect(await narrow.evaluate(wide)).toEqual([]);
    expect(await narrow.barriers()).toEqual([]);
    expect(narrow.problems).toEqual([]);
    await narrow.shoot("narrow");
  });

  it("never erred, and asked nobody but its own server", () => {
    expect(look.problems).toEqual([]);
  });
});

describe.skipIf(isSkipped)("in front of twenty nodes, the page", () => {
  let nodes: readonly DrawnNode[];
  let web: Running;
  /** Listens, and never says a word. */
  const silent = createServer();
  const SILENT = 3;

  beforeAll(async () => {
    const names = Array.from({ length: 20 - SILENT }, (_, index) => `node-${String(index + 1).padStart(2, "0")}`);
    names[names.length - 1] = "x".repeat(63);
    nodes = await Promise.all(names.map((name) => drawNode(name, TOKEN)));
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const at = `127.0.0.1:${(silent.address() as AddressInfo).port}`;
    const silentOnes = Array.from({ length: SILENT }, (_, index) => [`a-silent-${index + 1}`, at] as const);
    web = await startWeb(Object.fromEntries([...silentOnes, ...nodes.map((node) => [node.name, node.at] as const)]));
  });

  afterAll(async () => {
    await web?.end("SIGTERM");
    silent.close();
    await Promise.all((nodes ?? []).map((node) => node.close()));
  });

  it("paints before any node has answered, in 200 kB, and waits for no silent node", async () => {
    const page = await browser.newPage();
    await page.route("**/api/**", () => {}); // held for ever
    await page.goto(PAGE);
    const painted = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime";
    await until("the first paint", 10_000, () => page.evaluate<number | undefined>(painted));
    await until("twenty cards", 10_000, async () => (await page.locator(".card").count()) === 20);
    const weight =
      "[...performance.getEntriesByType('resource'), ...performance.getEntriesByType('navigation')].filter(({ name }) => !name.includes('/api/')).reduce((sum, { decodedBodySize }) => sum + decodedBodySize, 0)";
    const bytes = await page.evaluate<number>(weight);
    console.info(`first paint after ${Math.round((await page.evaluate<number>(painted)) ?? 0)} ms, ${bytes} bytes`);
    expect(bytes).toBeGreaterThan(100_000);
    expect(bytes).toBeLessThan(200_000);
    await page.close();

    await using look = await Look.open(browser);
    const waits = silentRequests(look);
    await look.page.reload();
    await look.page.selectOption("#refresh", "1");
    const words = () => look.texts('.card [data-field="word"]');
    const allAre = (word: string, first: number, end?: number) => async () =>
      (await words()).slice(first, end).every((each) => each === word);
    await until("everybody else to be heard", 20_000, allAre("Healthy", SILENT));
    await until("the silent to be told", 20_000, allAre("Unreachable", 0, SILENT));
    expect(await look.texts('.card [data-field="reasons"]')).toContain("It does not answer in time.");
    // Of the six connections that a browser has, silent nodes hold one each, and two in all once they are known.
    expect(waits.most).toBe(SILENT);
    waits.most = 0;
    await until("the silent to be asked again", 20_000, () => waits.now.size > 0);
    await look.page.waitForRequest(/node-01\/health$/); // a round later
    expect([waits.most, [...waits.paths]]).toEqual([2, ["health"]]);
    await look.says("#verdict", /^a-silent-1, a-silent-2, a-silent-3 unreachable$/);
    expect(await look.barriers()).toEqual([]);
    expect(look.problems).toEqual([]);
  });

  it("bears the longest names and the largest figures, also on a telephone", async () => {
    const huge = { headBlock: 9_999_999_999, cursorBlock: 1, finalizedBlock: 1 };
    const registry = { tokens: 60_000, admitted: 59_999, quarantined: { "key.missing": 12_345 } };
    const full = { peers: 60_000, connected: 59_123, rxBytes: 9e15, txBytes: 9e15 };
    for (const node of nodes) node.draw({ chain: huge, registry, wireguard: full });
    const faults = [{ code: "device.command-failed", command: "wg set", exit: 1, problem: "x".repeat(200) }] as const;
    nodes.at(-1)?.draw({ chain: huge, registry, wireguard: full, faults });
    for (const width of [360, 1280]) {
      await using look = await Look.open(browser, { viewport: { width, height: 740 } });
      const last = `#node-${"x".repeat(63)}`;
      await look.says(last, /Unhealthy[\s\S]*device\.command-failed wg set ended with 1/);
      await look.says(`${last} [data-field="connected"]`, /^59,123 of 60,000$/);
      expect(await look.evaluate("document.documentElement.scrollWidth")).toBe(width);
      await look.shoot(`twenty-nodes-${width}`);
    }
    for (const node of nodes) node.draw({});
  });

  it("does without charts where their library is missing", async () => {
    const page = await browser.newPage();
    await page.route("**/vendor/*.js", (route) => route.abort());
    await page.goto(PAGE);
    await until("a card", 10_000, async () => /Healthy/.test((await page.textContent("#node-node-01")) ?? ""));
    expect(await page.textContent("#charts")).toMatch(/^The charts cannot be drawn/);
    await page.close();
  });

  /** How many requests to silent nodes wait now, and waited at most, and what they asked for. */
  function silentRequests({ page }: Look) {
    const waits = { now: new Set<Request>(), most: 0, paths: new Set<string>() };
    page.on("request", (request) => {
      if (!request.url().includes("/api/a-silent-")) return;
      waits.paths.add(request.url().replace(/.*\//, ""));
      waits.now.add(request);
      waits.most = Math.max(waits.most, waits.now.size);
    });
    page.on("requestfailed", (request) => waits.now.delete(request));
    return waits;
  }

  it("turns the pages of a long list of peers, and of a long journal", async () => {
    const [first] = nodes;
    first?.draw({
      wireguard: { peers: 120, listPeers: () => Array.from({ length: 120 }, (_, index) => peer(index + 1)) },
    });
    for (let change = 0; change < 80; change++) first?.journal().add("apply", { added: change });
    await using look = await Look.open(browser);
    await look.says("#journal-note", /^The newest 50 of 80 entries/);
    await look.page.click("#journal-more");
    await look.says("#journal-note", /^80 entries/);
    await look.says("#node-node-01", /Healthy/);
    await look.page.fill("#peers-token", TOKEN);
    await look.page.click("#peers-form button");
    await look.says("#peers-page", /^1 to 50 of 120$/);
    await look.page.click("#peers-next");
    await look.page.keyboard.press("Enter");
    await look.says("#peers-page", /^101 to 120 of 120$/);
    expect(await look.page.isDisabled("#peers-next")).toBe(true);
    expect(await look.evaluate("document.activeElement.id")).toBe("peers-previous");
  });

  it("starts a node's journal anew when the node has lost it", async () => {
    const [, second] = nodes;
    second?.journal().add("grant", { tokenId: "1", nodeId: "before", block: 1 });
    second?.journal().add("revoke", { tokenId: "1", nodeId: "before", block: 2 });
    await using look = await Look.open(browser);
    await look.page.selectOption("#journal-node", "node-02");
    await look.says("#journal tbody", /before/);
    second?.forget();
    second?.journal().add("grant", { tokenId: "1", nodeId: "after", block: 3 });
    await look.says("#journal tbody", /^((?!before)[\s\S])*after((?!before)[\s\S])*$/);
  });

  it("reads it anew, too, when a restarted node has written past where it was", async () => {
    const [, , third] = nodes;
    third?.journal().add("grant", { tokenId: "1", nodeId: "before", block: 1 });
    await using look = await Look.open(browser);
    await look.page.selectOption("#journal-node", "node-03");
    await look.says("#journal tbody", /before/);
    third?.forget();
    for (const name of ["first", "second"]) third?.journal().add("grant", { tokenId: "1", nodeId: name, block: 3 });
    third?.draw({ startedSteadyMs: performance.now() });
    await look.says("#journal tbody", /^((?!before)[\s\S])*second[\s\S]*first((?!before)[\s\S])*$/);
    third?.draw({});
  });

  it("says so when its own server is gone, and keeps what it shows", async () => {
    await using look = await Look.open(browser);
    await look.says("#node-node-01", /Healthy/);
    await web.end("SIGTERM");
    await look.says("#node-node-01", /Unreachable[\s\S]*the dashboard's web server does not answer/);
    expect(await look.text("#node-node-01 [data-field=block]")).toBe("120");
    await until("everybody to be unreachable", 20_000, async () =>
      /^20 nodes unreachable$/.test(await look.text("#verdict")),
    );
  });
});

describe.skipIf(isSkipped)("in front of a node that is not always itself, the page", () => {
  let node: DrawnNode;
  let web: Running;
  /** How far its clock is ahead. */
  let aheadMs = 0;
  const between = createHttpServer(async ({ url = "", headers: { authorization } }, response) => {
    const answer = await fetch(`http://${node.at}${url}`, authorization ? { headers: { authorization } } : {});
    const at = new Date(Date.now() + aheadMs).toUTCString();
    response.writeHead(answer.status, { "Content-Type": "application/json", Date: at }).end(await answer.text());
  });

  beforeAll(async () => {
    node = await drawNode("odd", TOKEN);
    await new Promise<void>((resolve) => between.listen(0, "127.0.0.1", resolve));
    web = await startWeb({ odd: `127.0.0.1:${(between.address() as AddressInfo).port}` });
  });

  afterAll(async () => {
    await web?.end("SIGTERM");
    between.close();
    await node?.close();
  });

  it("tells ages by the node's own clock", async () => {
    aheadMs = 600_000;
    const handshakeAt = Date.now() + aheadMs - 240_000;
    const listPeers = () => [peer(1, { latestHandshakeAt: new Date(handshakeAt).toISOString() })];
    node.draw({ config: { lastAppliedAt: handshakeAt }, wireguard: { listPeers } });
    await using look = await Look.open(browser);
    await look.page.click("#node-odd summary");
    await look.says('#node-odd [data-field="more"]', /applied 4 min ago/);
    await look.page.fill("#peers-token", TOKEN);
    await look.page.click("#peers-form button");
    await look.says("#peers tbody tr", /4 min ago\s*not connected/);
    aheadMs = 0;
    node.draw({});
  });

  it("keeps each reason on one line, however long the names beside it", async () => {
    node.draw({ registry: { quarantined: { "address.exhausted": 1 } } });
    const [tokenId, nodeId] = [String(2n ** 256n - 1n), "x".repeat(63)];
    node.journal().add("quarantine", { tokenId, nodeId, code: "address.exhausted" });
    await using look = await Look.open(browser, { viewport: { width: 768, height: 900 } });
    await look.says("#quarantine tbody tr", /^address\.exhausted\s+1\s[\s\S]*x{63}$/);
    expect(await look.evaluate("document.querySelector('#quarantine code').getClientRects().length")).toBe(1);
    expect(await look.evaluate("document.documentElement.scrollWidth")).toBe(768);
    node.draw({});
  });

  it("tells who does not see a chart, too, that nothing is known now", async () => {
    await using look = await Look.open(browser);
    const summary = async () => (await look.page.textContent(".chart [data-field=summary]")) ?? "";
    await until("a figure", 10_000, async () => (await summary()) === "connected: now 0, lowest 0, highest 0.");
    await look.page.route("**/api/odd/**", (route) => route.fulfill({ status: 502, body: "{}" }));
    await look.says("#node-odd", /Unreachable/);
    await until("none", 10_000, async () => (await summary()) === "connected: now not known, lowest 0, highest 0.");
  });

  it("is printed dark on light, the charts too, without what is there to be pressed", async () => {
    await using look = await Look.open(browser);
    await look.page.selectOption("#theme", "dark");
    const canvas = "document.querySelector('.chart canvas').toDataURL()";
    // No round while it is printed: nothing else draws them.
    const round = look.page.waitForResponse(/odd\/events/);
    await look.page.selectOption("#refresh", "30");
    await round;
    await look.says(".chart .legend", /connected 0/);
    const [ink, drawn] = [await look.evaluate("getComputedStyle(document.body).color"), await look.evaluate(canvas)];
    await look.page.emulateMedia({ media: "print" });
    await until("the charts to be drawn anew", 5_000, async () => (await look.evaluate(canvas)) !== drawn);
    expect([ink, await look.evaluate("getComputedStyle(document.body).color")]).toEqual([
      "rgb(227, 230, 233)",
      "rgb(28, 33, 38)",
    ]);
    expect(await look.texts("button, select, input")).toEqual([]);
  });

  it("goes on drawing while nobody looks, though it may run once a minute only", async () => {
    const page = await browser.newPage();
    await page.clock.install();
    await page.goto(PAGE);
    const answers = async (elapse: () => Promise<void>) => {
      const heard = page.waitForResponse(/odd\/events/);
      await elapse();
      await heard;
    };
    await answers(() => page.clock.runFor(100));
    for (const _ of ["a minute", "another"]) await answers(() => page.clock.fastForward(60_000));
    await page.clock.pauseAt(await page.evaluate<number>("Date.now() + 100"));
    await until("what was heard to be drawn", 5_000, async () =>
      /^connected: now 0/.test((await page.textContent(".chart [data-field=summary]")) ?? ""),
    );
    await page.close();
  });
});
