/**
 * When each peer is on a userspace device, and when it is gone: stands between `wg` and wireguard-go's socket and notes when
 * the device has said yes. https://www.wireguard.com/xplatform/#configuration-protocol
 */
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import type { Host } from "../agent/test/lab/host.ts";
import { steadyMs } from "./rpc.ts";

const PLACE = "/run/wireguard";
const REAL = "/run/wireguard.real";

export class Tap implements Disposable {
  /** By public key: when it was last set, and when last removed (`steadyMs`). */
  readonly set = new Map<string, number>();
  readonly removed = new Map<string, number>();
  readonly #server: Server;
  readonly #device: string;

  private constructor(device: string) {
    this.#device = device;
    this.#server = createServer((wg) => this.#relay(wg));
  }

  /** The interfaces stay as they are; whoever opens a socket of theirs from now on comes through here. */
  static async open<const Names extends readonly string[]>(
    host: Host,
    names: Names,
  ): Promise<{ [I in keyof Names]: Tap }> {
    // wireguard-go ends when something happens to its socket: so another directory covers the one that the sockets are in.
    await host.run(["mkdir", REAL]);
    await host.run(["mount", "--bind", PLACE, REAL]);
    await host.run(["mount", "-t", "tmpfs", "tap", PLACE]);
    const taps = names.map((name) => new Tap(host.file(`${REAL}/${name}.sock`)));
    for (const [i, tap] of taps.entries()) {
      await once(tap.#server.listen(host.file(`${PLACE}/${names[i]}.sock`)), "listening");
    }
    return taps as { [I in keyof Names]: Tap };
  }

  #relay(wg: Socket): void {
    const device = connect(this.#device);
    const asked: Buffer[] = [];
    wg.on("data", (chunk) => {
      asked.push(chunk);
      device.write(chunk);
    });
    device.on("data", (chunk) => {
      const atMs = steadyMs();
      wg.write(chunk);
      const text = Buffer.concat(asked.splice(0)).toString();
      if (text.startsWith("set=1") && chunk.toString().startsWith("errno=0")) this.#note(text, atMs);
    });
    wg.on("error", () => {}).on("close", () => device.destroy());
    device.on("error", () => {}).on("close", () => wg.destroy());
  }

  #note(text: string, atMs: number): void {
    for (const [, hex = "", rest = ""] of text.matchAll(/^public_key=([0-9a-f]{64})\n(remove=true)?/gm)) {
      (rest === "" ? this.set : this.removed).set(Buffer.from(hex, "hex").toString("base64"), atMs);
    }
  }

  [Symbol.dispose](): void {
    this.#server.close();
  }
}
