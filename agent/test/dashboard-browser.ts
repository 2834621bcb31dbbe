/** Chromium, and what it must never do while it shows the page. */
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { type Browser, type BrowserContextOptions, chromium, type Page, type Request } from "playwright-core";
import { PAGE } from "./dashboard-web.ts";
import { until } from "./lab/command.ts";

const SHOTS = fileURLToPath(new URL("../../artifacts/screenshots/", import.meta.url));
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"];
const QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync"];
const NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED";

/** Which of these commands this machine has not. */
export function missing(...commands: readonly string[]): string[] {
  return commands.filter((command) => pathOf(command) === undefined);
}

function pathOf(command: string): string | undefined {
  const folders = `${process.env["PATH"]}:/usr/sbin:/sbin`.split(":");
  return folders.map((folder) => `${folder}/${command}`).find((path) => existsSync(path));
}

export function launch(): Promise<Browser> {
  return chromium.launch({ executablePath: pathOf("chromium") ?? "chromium", args: [...FLAGS, ...QUIET] });
}

/** A look at the dashboard, in a browser profile of its own. */
export class Look implements AsyncDisposable {
  readonly page: Page;
  /** Errors on the console and in scripts, dialogs, and requests to anywhere but the page's own server. */
  readonly problems: string[] = [];
  /** Of every request that carried one: the path and the Authorization header. */
  readonly authorized: [path: string, header: string][] = [];

  private constructor(page: Page) {
    this.page = page;
    page.on("console", (message) => {
      // Chromium's own line for an answer of 4xx or 5xx: what the page makes of it is what counts.
      const isStatus = message.text().startsWith("Failed to load resource: the server responded");
      // Hosts join the lab while the page is open, and Chromium asks again what it had asked before.
      const isOfTheLab = message.text() === `Failed to load resource: ${NETWORK_CHANGED}`;
      if (message.type() === "error" && !isStatus && !isOfTheLab) this.problems.push(message.text());
      if (message.type() === "warning") this.problems.push(message.text());
    });
    page.on("pageerror", (error) => this.problems.push(String(error.stack)));
    page.on("dialog", async (dialog) => {
      this.problems.push(`dialog: ${dialog.message()}`);
      await dialog.dismiss();
    });
    page.on("request", (request) => {
      const { origin, pathname } = new URL(request.url());
      if (origin !== new URL(PAGE).origin) this.problems.push(`a request to ${request.url()}`);
      const header = request.headers()["authorization"];
      if (header !== undefined) this.authorized.push([pathname, header]);
    });
  }

  /** Opens the page, refreshing every second. */
  static async open(browser: Browser, options: BrowserContextOptions = {}): Promise<Look> {
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, ...options });
    page.setDefaultTimeout(10_000);
    const look = new Look(page);
    await until("the page to load whole", 30_000, () => look.#loads());
    await page.selectOption("#refresh", "1");
    return look;
  }

  /** Whether all of it came: hosts join the lab, and Chromium drops what it is loading then, be it a script. */
  async #loads(): Promise<boolean> {
    let isWhole = true;
    const notice = (request: Request) => {
      if (request.failure()?.errorText === NETWORK_CHANGED) isWhole = false;
    };
    this.problems.length = 0;
    this.page.on("requestfailed", notice);
    await this.page.goto(PAGE).catch((error) => {
      if (!String(error).includes(NETWORK_CHANGED)) throw error;
    });
    this.page.off("requestfailed", notice);
    return isWhole;
  }

  /** The texts of all such elements that a person sees, as they are seen. */
  texts(selector: string): Promise<string[]> {
    return this.page.locator(selector).filter({ visible: true }).allInnerTexts();
  }

  /** The first such element's; empty where there is none. */
  async text(selector: string): Promise<string> {
    return (await this.texts(selector))[0] ?? "";
  }

  /** Waits until the first element says so. @throws with what it says instead */
  async says(selector: string, pattern: RegExp, deadlineMs = 10_000): Promise<void> {
    let text = "";
    const ask = async () => {
      text = await this.text(selector);
      return pattern.test(text);
    };
    await until(`${selector} to say ${pattern}`, deadlineMs, ask, 50).catch((cause) => {
      throw new Error(`${selector} says: ${text}`, { cause });
    });
  }

  evaluate<T>(expression: string): Promise<T> {
    return this.page.evaluate<T>(expression);
  }

  /** What axe-core finds that is serious or critical. */
  async barriers(): Promise<string[]> {
    // Handed over by the debugger: the page's policy lets no script of ours in.
    await this.page.evaluate(AXE);
    const { violations } = await this.page.evaluate<{ violations: Violation[] }>("axe.run()");
    return violations
      .filter(({ impact }) => impact === "serious" || impact === "critical")
      .flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`));
  }

  /** For people to look at: artifacts/screenshots, which git ignores. */
  async shoot(name: string): Promise<void> {
    mkdirSync(SHOTS, { recursive: true });
    await this.page.evaluate("scrollTo(0, 0)");
    await this.page.screenshot({ path: `${SHOTS}${name}.png`, fullPage: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.page.context().close();
  }
}

interface Violation {
  readonly id: string;
  readonly impact: string;
  readonly nodes: readonly { readonly html: string; readonly failureSummary: string }[];
}
