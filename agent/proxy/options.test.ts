import { describe, expect, it, test } from "vitest";
import { parseOptions, USAGE } from "./options.ts";

const parse = (line: string) => parseOptions(line.split(" ").filter((word) => word !== ""));
const SERVER = "tcp2udp --tcp-listen 127.0.0.1:5001 --udp-forward 127.0.0.1:51820";
const CLIENT = "udp2tcp --udp-listen 127.0.0.1:51821 --tcp-forward vpn.example.org:443";

describe("options", () => {
  it("gives the server's defaults, as Mullvad's tool has them where it has them", () => {
    expect(parse(SERVER)).toEqual({
      program: "tcp2udp",
      tcpListen: [{ host: "127.0.0.1", port: 5001 }],
      udpForward: { host: "127.0.0.1", port: 51820 },
      udpBind: undefined,
      maxConnections: 1024,
      sendBufferBytes: 262_144,
      recvBufferBytes: 262_144,
      tcpRecvTimeoutMs: undefined,
      nodelay: false,
      metricsListen: undefined,
    });
  });

  it("reads every option of the server", () => {
    const options = parse(
      "tcp2udp --tcp-listen=0.0.0.0:443 --tcp-listen [::]:80 --udp-forward [::1]:51820 --udp-bind ::1 --recv-buffer 1000 " +
        "--send-buffer 2000 --tcp-recv-timeout 130 --nodelay --max-connections 7 --metrics-listen 127.0.0.1:9100",
    );
    expect(options).toMatchObject({
      tcpListen: [
        { host: "0.0.0.0", port: 443 },
        { host: "::", port: 80 },
      ],
      udpForward: { host: "::1", port: 51820 },
      ...{ udpBind: "::1", recvBufferBytes: 1000, sendBufferBytes: 2000, tcpRecvTimeoutMs: 130_000, nodelay: true },
      ...{ maxConnections: 7, metricsListen: { host: "127.0.0.1", port: 9100 } },
    });
  });

  it("reads the client's", () => {
    expect(parse(`${CLIENT} --answer-timeout 0`)).toMatchObject({
      program: "udp2tcp",
      udpListen: { host: "127.0.0.1", port: 51821 },
      tcpForward: { host: "vpn.example.org", port: 443 },
      answerTimeoutMs: 0,
    });
  });

  test.each([
    ["", ["say tcp2udp or udp2tcp first"]],
    ["both", ["say tcp2udp or udp2tcp first"]],
    ["tcp2udp", ["--tcp-listen is required", "--udp-forward is required"]],
    ["udp2tcp", ["--udp-listen is required", "--tcp-forward is required"]],
    ["tcp2udp --tcp-listen 5001 --udp-forward 127.0.0.1", ["--tcp-listen must be", "--udp-forward must be"]],
    [`${SERVER} --tcp-listen 127.0.0.1:70000`, ["--tcp-listen must be"]],
    [`${SERVER} --tcp-listen localhost:5001`, ["--tcp-listen must be"]],
    [`${SERVER} --udp-forward 127.0.0.1:1`, ["--udp-forward is given twice"]],
    [`${SERVER} --udp-bind eth0`, ["--udp-bind must be an IP address"]],
    [`${SERVER} --max-connections 0 --send-buffer -1`, ["Option '--send-buffer' argument is ambiguous"]],
    [
      `${SERVER} --max-connections 0 --send-buffer many`,
      ["--send-buffer must be", "--max-connections must be a whole number from 1 to 1000000"],
    ],
    [`${SERVER} --tcp-forward 127.0.0.1:1`, ["Unknown option '--tcp-forward'"]],
    [`${CLIENT} --udp-forward 127.0.0.1:1`, ["Unknown option '--udp-forward'"]],
    [`${SERVER} more`, ["Unexpected argument 'more'"]],
    [`${SERVER} --nodelay=yes`, ["Option '--nodelay' does not take an argument"]],
    [`${SERVER} --recv-buffer`, ["Option '--recv-buffer <value>' argument missing"]],
  ])("refuses «%s»", (line, expected) => {
    const result = parse(line);
    expect(result).toMatchObject({ mistakes: expected.map((text) => expect.stringContaining(text)) });
  });

  it("helps wherever --help stands, and names every option there", () => {
    expect(parse("--help")).toBe("help");
    expect(parse(`${SERVER} --bogus --help`)).toBe("help");
    for (const name of ["tcp-listen", "udp-forward", "udp-bind", "udp-listen", "tcp-forward", "recv-buffer"]) {
      expect(USAGE).toContain(`--${name} `);
    }
  });
});
