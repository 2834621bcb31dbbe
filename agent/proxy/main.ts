/** `node agent/proxy/main.ts tcp2udp …` or `udp2tcp …`: a program of its own, on Node's built-ins alone. */
import { noFigures, serveFigures } from "./figures.ts";
import { createLog } from "./log.ts";
import { parseOptions, USAGE } from "./options.ts";
import { tcp2udp } from "./tcp2udp.ts";
import { udp2tcp } from "./udp2tcp.ts";

const options = parseOptions(process.argv.slice(2));
if (options === "help") {
  process.stdout.write(USAGE);
} else if ("mistakes" in options) {
  for (const mistake of options.mistakes) process.stderr.write(`error: ${mistake}\n`);
  process.stderr.write("\nFor more information, try '--help'.\n");
  process.exitCode = 2;
} else {
  const log = createLog((line) => process.stdout.write(line), Date.now);
  // The tunnel outlives whoever reads its log.
  process.stdout.on("error", () => {});
  const figures = noFigures();
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.once(name, () => {
      log("stopping", { signal: name });
      stop.abort();
    });
  }
  try {
    if (options.program === "tcp2udp") await tcp2udp(options, figures, log, stop.signal);
    else await udp2tcp(options, figures, log, stop.signal);
    if (options.metricsListen !== undefined) {
      const port = await serveFigures(figures, options.metricsListen, stop.signal);
      log("metrics.listening", { port });
    }
  } catch (error) {
    const { code, address, port } = error as NodeJS.ErrnoException & { address?: string; port?: number };
    if (code === undefined) throw error;
    process.stderr.write(`error: cannot listen on ${address ?? "?"} port ${port ?? "?"}: ${code}\n`);
    process.exitCode = 1;
    stop.abort();
  }
}
