/**
 * `npx node scripts/pictures.ts`: makes docs/join.png anew, from what `dstack-vpn join` really prints at a terminal. The key
 * in it is made for the picture, and its token is on a chain that ends with it.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Page } from "playwright-core";
import { encode } from "uqr";
import { ALICE } from "../agent/test/cli.ts";
import { launch, missing } from "../agent/test/dashboard-browser.ts";
import { Typing, typedAtTerminal } from "../agent/test/typing.ts";

const PICTURE = fileURLToPath(new URL("../docs/join.png", import.meta.url));
const SIZE = 11;

const absent = missing("chromium", "script");
if (absent.length > 0) throw new Error(`this machine has no ${absent.join(" and no ")}: apt-get install it`);

await using typing = await Typing.open("DstackAccessNFT");
const gateway = (await typing.run(["keys", "--out", "gate.key"])).out.trim();
await typing.owner("grant", "--to", ALICE.address, "--node-id", "gate", "--key", gateway);
await typing.owner("set-role", "--token", "1", "--role", "gateway");
await typing.as(ALICE.key, "set-endpoint", "--token", "1", "--endpoint", "192.0.2.1:51820");
const phone = (await typing.run(["keys", "--out", "phone.key"])).out.trim();
await typing.owner("grant", "--to", ALICE.address, "--node-id", "phone", "--key", phone);

const words = ["join", "--token", "2", "--key-file", "phone.key"];
const { exit, out } = await typedAtTerminal(typing, words, /never asked/, "");
if (exit !== 0) throw new Error(`join ended with ${exit}: ${out}`);

const browser = await launch();
try {
  const page = await browser.newPage({ viewport: { width: 1000, height: 1200 } });
  await page.setContent(
    `<style>body { margin: 0; background: #16181d }
    pre { display: inline-block; margin: 0; padding: 12px; color: #fff; font: ${SIZE}px "DejaVu Sans Mono", monospace }</style>
    <pre></pre>`,
  );
  const shown = `$ dstack-vpn ${words.join(" ")}\n${out.replaceAll("\r", "")}`;
  await page.locator("pre").evaluate((element, text) => {
    element.textContent = text;
  }, shown);
  const picture = await page.locator("pre").screenshot({ path: PICTURE });
  await checkCode(page, picture, readFileSync(join(typing.folder, "dstack-2.conf"), "utf8"));
  console.log(`wrote ${PICTURE}, ${picture.length} bytes; its code holds the configuration of token 2`);
} finally {
  await browser.close();
}

interface Canvas {
  getContext(kind: "2d"): {
    drawImage(image: object, x: number, y: number): void;
    getImageData(x: number, y: number, width: number, height: number): ImageData;
  };
}
interface ImageData {
  readonly data: Uint8ClampedArray;
  readonly width: number;
  readonly height: number;
}
interface Image {
  src: string;
  readonly width: number;
  readonly height: number;
  decode(): Promise<void>;
}

/** Looks at the picture as a phone does, at the middle of each module. @throws where a phone would read something else */
async function checkCode(page: Page, picture: Buffer, text: string): Promise<void> {
  const { size, data } = encode(text, { ecc: "L" });
  const dark = await page.evaluate(
    async ({ url, size }) => {
      // The page's own, of which the compiler knows nothing here.
      const { document } = globalThis as unknown as {
        document: { createElement(name: "img"): Image; createElement(name: "canvas"): Canvas };
      };
      const image = Object.assign(document.createElement("img"), { src: url });
      await image.decode();
      const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
      const context = canvas.getContext("2d");
      context.drawImage(image, 0, 0);
      const { data: pixels, width, height } = context.getImageData(0, 0, image.width, image.height);
      const isLight = (x: number, y: number) => (pixels[(Math.round(y) * width + Math.round(x)) * 4] ?? 0) > 127;
      // The code's quiet zone is the one solid light line of the picture that is long.
      const lightIn = (y: number) => Array.from({ length: width }, (_, x) => x).filter((x) => isLight(x, y));
      const rows = Array.from({ length: height }, (_, y) => y).filter((y) => lightIn(y).length > width / 3);
      const columns = rows.flatMap((y) => lightIn(y));
      const [left, right] = columns.reduce(([low, high], x) => [Math.min(low, x), Math.max(high, x)], [width, 0]);
      const [top = 0, bottom = 0] = [rows[0], rows.at(-1)];
      const [dx, dy] = [(right - left + 1) / size, (bottom - top + 1) / size];
      return Array.from({ length: size * size }, (_, i) => {
        const [column, line] = [i % size, Math.floor(i / size)];
        return !isLight(left + (column + 0.5) * dx - 0.5, top + (line + 0.5) * dy - 0.5);
      });
    },
    { url: `data:image/png;base64,${picture.toString("base64")}`, size },
  );
  const wrong = data.flat().filter((isDark, i) => isDark !== dark[i]).length;
  if (wrong > 0) throw new Error(`${wrong} of ${size * size} modules of the code are not what they should be`);
}
