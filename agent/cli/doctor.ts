/** `doctor`: whether a node can run here, line by line, and what mends it. It looks, and changes nothing. */
import { Command } from "commander";
import { parseSettings } from "../config.ts";
import { describe, type Fault } from "../errors.ts";
import { chainFindings } from "./doctor-chain.ts";
import { type Finding, hostFindings } from "./doctor-findings.ts";
import { hostFacts } from "./doctor-host.ts";
import { EXIT, Failure } from "./failure.ts";
import { print, printJson, shown } from "./output.ts";
import { settingsDespite } from "./settings.ts";

export function doctorCommand(): Command {
  return new Command("doctor")
    .description("look at this host, the upstreams and the contract as a node needs them; exit 1 where something fails")
    .option("--json", "print JSON")
    .addHelpText("after", "\nReads the node's own settings (env.example) and changes nothing.")
    .addHelpText("after", "In a container: docker exec CONTAINER dstack-vpn doctor")
    .addHelpText("after", "\nExample: dstack-vpn doctor")
    .action(doctor);
}

async function doctor({ json }: { json?: true }): Promise<void> {
  const parsed = parseSettings(process.env);
  if ("mistakes" in parsed) {
    const wrong = parsed.mistakes.map(mistake);
    const standIn = settingsDespite(process.env, parsed.mistakes);
    // A host can be looked at before it is settled what is to run on it; an upstream cannot.
    tell([...wrong, ...(standIn === undefined ? [] : hostFindings(await hostFacts(standIn), standIn))], json);
    throw new Failure(EXIT.settings, "");
  }
  const { settings } = parsed;
  const [host, chain] = await Promise.all([hostFacts(settings), chainFindings(settings)]);
  const findings = [...hostFindings(host, settings), ...chain];
  tell(findings, json);
  if (findings.some(({ verdict }) => verdict === "fail")) throw new Failure(EXIT.failed, "");
}

function mistake(fault: Fault): Finding {
  return { topic: "settings", verdict: "fail", said: describe(fault), mend: "set it as env.example says" };
}

function tell(findings: readonly Finding[], json: true | undefined): void {
  if (json) {
    printJson({ findings });
    return;
  }
  for (const { topic, verdict, said, mend } of findings) {
    print(
      `${verdict.padEnd(4)}  ${topic.padEnd(10)}  ${shown(said)}`,
      ...(mend === undefined ? [] : [`${" ".repeat(18)}-> ${mend}`]),
    );
  }
}
