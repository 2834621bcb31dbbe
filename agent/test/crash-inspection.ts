/** What must hold of a node after every crash, looked at twice: while its agent is dead, and when the next one is ready. */
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { AgentError } from "../errors.ts";
import { parseAddress, type Token } from "../model.ts";
import type { Ledger } from "../registry/ledger.ts";
import { tokens } from "../registry/registry.ts";
import { openStore } from "../registry/store.ts";
import type { Generation } from "../wireguard/files.ts";
import { CONFIG, type CrashNode, STATE } from "./crash-node.ts";
import { until } from "./lab/command.ts";

const COPY = "/run/copy";
const DATABASE = "ledger.sqlite";

export class Inspection {
  readonly #node: CrashNode;
  #key: string | undefined;
  /** The text of each generation that was seen. */
  readonly #generations = new Map<number, string>();
  #cursor = -1;
  /** Keys that were on the device when it was last looked at, with the bytes that came from them. */
  #peers = new Map<string, number>();

  constructor(node: CrashNode) {
    this.#node = node;
  }

  /** What is wrong on the disk and on the device of a dead agent, as sentences. */
  async whileDead(): Promise<string[]> {
    const files = [...this.#privateKey(), ...(await this.#conf()), ...(await this.#generationsThere())];
    return [...files, ...this.#database(), ...(await this.#sessions())];
  }

  /** What is wrong once the next agent is ready, and of what it has done on its way. */
  async whenReady(): Promise<string[]> {
    await this.#node.ready();
    // Removals in doubt outlive a kill, and their witness is asked once the agent is ready.
    await this.#node.hasApplied().catch(() => {});
    const problems = [...(await this.#node.wrongPeers()), ...(await this.#sessions())];
    await this.#node.settled();
    return [...problems, ...(await this.#leftOver()), ...this.#privateKey(), ...(await this.#conf())];
  }

  /** Everything on this node was taken away. */
  forget(): void {
    this.#key = undefined;
    this.#generations.clear();
    this.#cursor = -1;
    this.forgetPeers();
  }

  /** The interface was taken away. */
  forgetPeers(): void {
    this.#peers.clear();
  }

  #privateKey(): string[] {
    const path = this.#node.host.file(`${STATE}/private.key`);
    if (!existsSync(path)) return this.#key === undefined ? [] : ["private.key is lost"];
    const text = readFileSync(path, "latin1");
    const before = this.#key;
    this.#key ??= text;
    const mode = statSync(path).mode & 0o777;
    if (mode !== 0o600) return [`private.key has mode ${mode.toString(8)}`];
    if (this.#node.privateKey() === undefined) return ["private.key holds no key"];
    return before === undefined || before === text ? [] : ["private.key holds another key"];
  }

  async #conf(): Promise<string[]> {
    const { files, world, tokenId } = this.#node;
    if (!existsSync(files.path)) return this.#generations.size === 0 ? [] : ["wg0.conf is lost"];
    const found = await files.newest();
    if (found?.path !== files.path) return ["wg0.conf is not whole"];
    const problems: string[] = [];
    const mode = statSync(files.path).mode & 0o777;
    if (mode !== 0o600) problems.push(`wg0.conf has mode ${mode.toString(8)}`);
    if (found.conf.privateKey.reveal() !== this.#node.privateKey()?.reveal()) problems.push("wg0.conf has another key");
    const never = world.history.whyNeverSo(new Set(found.peers.map(({ key }) => key)), tokenId);
    if (never !== undefined) problems.push(`wg0.conf equals no state of the chain: ${never}`);
    return problems;
  }

  /** Whole, all of them, and no two with one number. */
  async #generationsThere(): Promise<string[]> {
    const { files } = this.#node;
    const problems: string[] = [];
    const there: Generation[] = [];
    for (const { generation } of await files.list()) {
      const backup = await files.read(generation).catch(() => undefined);
      if (backup?.conf.generation === generation) there.push(backup);
      else problems.push(`backup ${generation} is not whole`);
    }
    const current = await files.newest();
    for (const { conf, path } of current === undefined ? there : [current, ...there]) {
      const digest = createHash("sha256").update(readFileSync(path)).digest("hex");
      const before = this.#generations.get(conf.generation);
      if (before !== undefined && before !== digest) problems.push(`there are two generations ${conf.generation}`);
      this.#generations.set(conf.generation, digest);
    }
    return problems;
  }

  /** Looked at as a copy: whoever opens the file itself mends it. */
  #database(): string[] {
    const [from, to] = [this.#node.host.file(STATE), COPY];
    if (!existsSync(`${from}/${DATABASE}`)) return this.#cursor === -1 ? [] : ["the database is lost"];
    rmSync(to, { recursive: true, force: true });
    mkdirSync(to);
    for (const name of [DATABASE, `${DATABASE}-wal`]) {
      if (existsSync(`${from}/${name}`)) copyFileSync(`${from}/${name}`, `${to}/${name}`);
    }
    const db = new DatabaseSync(`${to}/${DATABASE}`);
    const verdict = db.prepare("PRAGMA integrity_check").get()?.["integrity_check"];
    db.close();
    if (verdict !== "ok") return [`the database has lost its integrity: ${verdict}`];
    const { chain } = this.#node.world;
    const contract = parseAddress(chain.contract);
    if (contract === undefined) throw new Error("the contract has no address");
    try {
      const { store, ledger, corrupt } = openStore(`${to}/${DATABASE}`, { chainId: chain.id, contract });
      void store.close();
      if (corrupt !== undefined) return [corrupt.message];
      if (ledger === undefined) return this.#cursor === -1 ? [] : ["the database is empty"];
      return this.#ledger(ledger);
    } catch (error) {
      if (error instanceof AgentError) return [error.message];
      throw error;
    }
  }

  #ledger({ final, settled, unfinal, registry }: Ledger): string[] {
    const cursor = unfinal.at(-1)?.block.number ?? final.number;
    // A block without events need not be written down.
    const problems = cursor < this.#cursor ? [`the database went back from block ${this.#cursor} to ${cursor}`] : [];
    this.#cursor = cursor;
    for (const [block, part] of [
      [final.number, settled],
      [cursor, registry],
    ] as const) {
      const told = this.#node.world.history.at(block);
      const read = new Map<bigint, Token>(tokens(part).map((token) => [token.id, token]));
      const wrong = [...told].filter(([id, { owner, key, isActive }]) => {
        const token = read.get(id);
        return token?.active !== isActive || token.owner !== owner || (token.claim?.key ?? "") !== key;
      });
      if (wrong.length > 0)
        problems.push(`the database at block ${block} differs in tokens ${wrong.map(([id]) => id)}`);
      if (read.size !== told.size)
        problems.push(`the database at block ${block} has ${read.size} of ${told.size} tokens`);
    }
    return problems;
  }

  /** Who was on the device and still has access is still there, and was at no time taken away. */
  async #sessions(): Promise<string[]> {
    const { host, world } = this.#node;
    const removed = this.#node
      .commands()
      .flatMap((line) => [...line.matchAll(/peer (\S+) remove/g)].map(([, key = ""]) => key));
    const problems = removed
      .filter((key) => world.history.hasAccess(key))
      .map((key) => `the peer of token ${world.history.tokenOf(key)} was taken away with access`);
    if (this.#peers.size === 0 && !existsSync(host.file("/run/wireguard/wg0.sock"))) return problems;
    const now = new Map((await host.wg("transfer")).map(([key = "", received]) => [key, Number(received)]));
    for (const [key, received] of this.#peers) {
      if (!world.history.hasAccess(key)) continue;
      const isSame = (now.get(key) ?? -1) >= received;
      if (!isSame) problems.push(`the session of token ${world.history.tokenOf(key)} ended`);
    }
    this.#peers = now;
    return problems;
  }

  async #leftOver(): Promise<string[]> {
    // A backup is written after wg0.conf, and its draft is there meanwhile.
    let left = this.#strays();
    const areGone = () => {
      const now = new Set(this.#strays());
      left = left.filter((path) => now.has(path));
      return left.length === 0;
    };
    await until("the drafts to go", 5_000, areGone).catch(() => {});
    return left.map((path) => {
      // Told once.
      rmSync(this.#node.host.file(path), { recursive: true });
      return `${path} was left over`;
    });
  }

  #strays(): string[] {
    const own = /^(wg0\.conf|backups|wg0-[0-9]{8}-[0-9TZ]+\.conf|private\.key|ledger\.sqlite(-wal|\.pid)?)$/;
    return [CONFIG, `${CONFIG}/backups`, STATE, "/dev/shm", "/tmp"].flatMap((folder) =>
      readdirSync(this.#node.host.file(folder))
        .filter((name) => (folder.startsWith("/run/") ? !own.test(name) : name.startsWith(".dstack-vpn")))
        .map((name) => `${folder}/${name}`),
    );
  }
}
