/** `backup create|restore|list`: a node in one file, for the day its machine is gone. */
import { mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { getAddress as checksummed } from "ethers/address";
import type { Settings } from "../config.ts";
import { type Look, lookAt } from "../registry/copy.ts";
import { openFiles } from "../wireguard/files.ts";
import { type Archive, archiveIn, checkLedger, collected, ledgerPath, occupied, put } from "./backup-files.ts";
import { EXIT, EXIT_CODES, Failure } from "./failure.ts";
import { print, printJson, remark, table } from "./output.ts";
import { createFile } from "./own-files.ts";
import { hostSettings, UNNAMED } from "./settings.ts";

const IN_CONTAINERS = `
In containers, as the agent's own user and with its settings:
  ./scripts/deploy-docker.sh run node-a dstack-vpn backup create --out - > node-a.tar.gz
  ./scripts/deploy-docker.sh stop node-a
  ./scripts/deploy-docker.sh run node-a dstack-vpn backup restore - < node-a.tar.gz
  ./scripts/deploy-docker.sh start node-a`;

export function backupCommand(): Command {
  const create = new Command("create")
    .description("write the node's key, state and generations to one archive, while the agent runs or not")
    .option("--out <file>", "where to, 0600, or - for standard output (default: archives/ in STATE_DIR)")
    .addHelpText("after", "\nThe archive holds the node's private key: keep it as safe as the node.")
    .addHelpText("after", `${IN_CONTAINERS}\n\nExample: dstack-vpn backup create --out /mnt/safe/node-a.tar.gz`)
    .action(createArchive);
  const restore = new Command("restore")
    .description("put an archive in place of this host's key, state and generations, with the agent stopped")
    .argument("<archive>", "the file, or - for standard input")
    .option("--replace", "even where there is something; that is kept in folders named replaced-…")
    .addHelpText(
      "after",
      "\nNeeds the agent's own settings: NETWORK or CHAIN_ID and CONTRACT_ADDRESS, NODE_ID, STATE_DIR.",
    )
    .addHelpText("after", `${IN_CONTAINERS}\n\nExample: dstack-vpn backup restore node-a.tar.gz`)
    .action(restoreArchive);
  const list = new Command("list")
    .description("the archives in STATE_DIR, and the generations that rollback knows")
    .addHelpText("after", "\nExample: dstack-vpn backup list")
    .action(listArchives);
  const command = new Command("backup")
    .description("keep a node in one archive, restore it elsewhere, see what there is")
    .addHelpText("after", "\nExample: dstack-vpn backup create");
  for (const each of [create, restore, list]) {
    command.addCommand(each.option("--json", "print JSON").addHelpText("after", EXIT_CODES).exitOverride());
  }
  return command;
}

interface Typed {
  readonly json?: true;
}

async function createArchive({ out, json }: Typed & { out?: string }): Promise<void> {
  const settings = hostSettings(process.env);
  if (out === "-" && process.stdout.isTTY)
    throw new Failure(EXIT.usage, "--out -: an archive is nothing for a terminal");
  const now = new Date();
  const archive = await collected(settings, now);
  if (out === "-") {
    process.stdout.write(archive);
    return;
  }
  const path = out ?? inArchives(settings, now);
  createFile(path, archive);
  if (json) printJson({ path, bytes: archive.length, ...summary(archiveIn(archive)) });
  else print(path);
}

async function restoreArchive(path: string, { replace, json }: Typed & { replace?: true }): Promise<void> {
  const settings = hostSettings(process.env);
  const archive = archiveIn(bytesOf(path));
  mustBeOfThisNode(archive, settings);
  const aside = await lookAt(ledgerPath(settings), async (look) => {
    mustBeFree(look, settings, replace === true);
    await checkLedger(archive, settings);
    return put(archive, settings, new Date());
  });
  const { nodeId, publicKey, generation } = archive.manifest;
  if (json) printJson({ nodeId, publicKey, generation, replaced: aside });
  else {
    print(`node        ${nodeId}`, `public key  ${publicKey}`, `generation  ${generation}`);
    for (const folder of aside) print(`replaced    ${folder}`);
  }
  remark("start the agent: it goes on from the block at which the archive was made");
}

/** @throws Failure where the settings are another node's, or of another contract */
function mustBeOfThisNode({ manifest }: Archive, settings: Settings): void {
  const { chainId, contract, interfaceName, nodeId, publicKey } = manifest;
  const wrong = (what: string, mend: string) =>
    new Failure(
      EXIT.settings,
      `the archive is of ${what}, and the settings say otherwise: ${mend}; nothing was changed`,
    );
  if (chainId !== settings.chainId || contract !== settings.contract) {
    const address = checksummed(contract);
    throw wrong(`contract ${address} on chain ${chainId}`, `set CHAIN_ID=${chainId} and CONTRACT_ADDRESS=${address}`);
  }
  if (settings.nodeId !== UNNAMED && settings.nodeId !== nodeId) throw wrong(`node ${nodeId}`, `set NODE_ID=${nodeId}`);
  if (settings.interfaceName !== interfaceName) {
    throw wrong(`the interface ${interfaceName}`, `set WG_INTERFACE=${interfaceName}`);
  }
  if (settings.privateKey !== undefined && settings.privateKey.publicKey !== publicKey) {
    throw wrong(`the key ${publicKey}`, "unset WIREGUARD_PRIVATE_KEY, or set it to that key");
  }
}

/** @throws Failure where an agent runs, or there is something that nobody said may go */
function mustBeFree(look: Look, settings: Settings, mayReplace: boolean): void {
  const { stateDir } = settings;
  if (look.kind === "locked") {
    throw new Failure(
      EXIT.failed,
      `an agent runs on ${stateDir}: stop it first (./scripts/deploy-docker.sh stop NODE); nothing was changed`,
    );
  }
  const there = occupied(settings);
  if (there.length === 0 || mayReplace) return;
  const owner = look.kind === "idle" ? look.owner : undefined;
  const whose =
    owner === undefined ? "" : `, the state of contract ${checksummed(owner.contract)} on chain ${owner.chainId}`;
  throw new Failure(
    EXIT.failed,
    `there is a node here already (${there[0]}${whose}), and nothing was changed: with --replace the archive takes its ` +
      `place and what is there is kept beside it; or point STATE_DIR and WG_CONFIG_DIR elsewhere`,
  );
}

async function listArchives({ json }: Typed): Promise<void> {
  const settings = hostSettings(process.env);
  const folder = join(settings.stateDir, "archives");
  const archives = archivesIn(folder).map((name) => described(join(folder, name)));
  const files = openFiles(settings);
  const generations = (await files.list()).map(({ generation, writtenAt }) => ({
    ...{ generation, writtenAt: new Date(writtenAt).toISOString() },
  }));
  if (json) {
    printJson({ archives, generations });
    return;
  }
  const rows = archives.map((each) =>
    "problem" in each
      ? [each.path, each.problem]
      : [each.path, each.nodeId, `generation ${each.generation}`, each.createdAt, `${each.bytes} bytes`],
  );
  print(...(rows.length === 0 ? [`no archive in ${folder}: backup create makes one`] : table(rows)));
  print(
    "",
    ...table([["GENERATION", "WRITTEN"], ...generations.map((each) => [`${each.generation}`, each.writtenAt])]),
  );
}

function described(path: string) {
  try {
    return { path, bytes: statSync(path).size, ...summary(archiveIn(bytesOf(path))) };
  } catch (error) {
    return { path, problem: error instanceof Error ? error.message : "unreadable" };
  }
}

function summary({ manifest: { sha256: _, ...rest } }: Archive) {
  return { ...rest, contract: checksummed(rest.contract) };
}

function archivesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => name.endsWith(".tar.gz"))
      .toSorted();
  } catch {
    return [];
  }
}

function inArchives({ stateDir, nodeId }: Settings, now: Date): string {
  const folder = join(stateDir, "archives");
  try {
    mkdirSync(folder, { mode: 0o700 });
  } catch {
    // It is there, or writing the file says why not.
  }
  return join(folder, `${nodeId}-${now.toISOString().slice(0, 19).replaceAll(/[-:]/g, "")}Z.tar.gz`);
}

function bytesOf(path: string): Buffer {
  try {
    return readFileSync(path === "-" ? 0 : path);
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? "unknown error";
    throw new Failure(EXIT.failed, `${path} cannot be read (${why})`, { cause });
  }
}
