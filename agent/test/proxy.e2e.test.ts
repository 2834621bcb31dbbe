import { createHash, randomBytes } from "node:crypto";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { until } from "./lab/command.ts";
import { Lab } from "./lab/lab.ts";
import { reaches } from "./lab/ping.ts";

const PROXY = fileURLToPath(new URL("../proxy/main.ts", import.meta.url));
const proxy = (...args: string[]) => [process.execPath, PROXY, ...args, "--nodelay"];

const RECEIVE = `require("node:net").createServer((socket) => {
  const hash = require("node:crypto").createHash("sha256");
  socket.on("data", (chunk) => hash.update(chunk)).on("end", () => socket.end(hash.digest("hex")));
}).listen(9000, "192.0.2.1", () => console.log("up"))`;
const SEND = `const socket = require("node:net").connect(9000, "192.0.2.1");
process.stdin.pipe(socket).pipe(process.stdout)`;

it("WireGuard shakes hands and carries 10 MB through both halves, UDP between the hosts blocked, and again after a restart of the server", async () => {
  await using lab = await Lab.open();
  const [node, member] = [await lab.member("node"), await lab.member("member")];
  await node.host.run(["nft", "add table inet wall; add chain inet wall in { type filter hook input priority 0; }"]);
  await node.host.run(["nft", "add rule inet wall in iif eth0 meta l4proto udp drop"]);
  const serve = () =>
    node.host.start(proxy("tcp2udp", "--tcp-listen", "0.0.0.0:443", "--udp-forward", "127.0.0.1:51820"));
  let server = serve();
  await server.says(/"listening"/);
  const client = member.host.start(
    proxy("udp2tcp", "--udp-listen", "127.0.0.1:51821", "--tcp-forward", `${node.host.address}:443`),
  );
  await client.says(/"listening"/);
  await node.join({
    ...{ addresses: ["192.0.2.1/32"], routes: ["192.0.2.0/24"], listenPort: 51820 },
    peers: [{ publicKey: member.publicKey, endpoint: `${member.host.address}:1`, allowedIps: ["192.0.2.2/32"] }],
  });
  await member.join({
    ...{ addresses: ["192.0.2.2/32"], routes: ["192.0.2.0/24"] },
    peers: [{ publicKey: node.publicKey, endpoint: "127.0.0.1:51821", allowedIps: ["192.0.2.1/32"], keepalive: 1 }],
  });
  await until("a ping", 10_000, () => reaches(member.host, "192.0.2.1"));

  const receiver = node.host.start([process.execPath, "-e", RECEIVE]);
  await receiver.says(/up/);
  const payload = randomBytes(5_000_000).toString("hex");
  const startedAt = performance.now();
  const digest = await member.host.run([process.execPath, "-e", SEND], { stdin: payload, deadlineMs: 30_000 });
  expect(digest).toBe(createHash("sha256").update(payload).digest("hex"));
  console.log(`10 MB in ${Math.round(performance.now() - startedAt)} ms`);
  const [[, received] = []] = await node.host.wg("transfer");
  expect(Number(received)).toBeGreaterThan(10_000_000);

  await server.end("SIGKILL");
  server = serve();
  await server.says(/"listening"/);
  await until("a ping after the restart", 10_000, () => reaches(member.host, "192.0.2.1"));
});
