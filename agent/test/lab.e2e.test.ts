import { expect, it } from "vitest";
import { Lab } from "./lab/lab.ts";
import { Pinging, reaches } from "./lab/ping.ts";

it("two machines of the lab reach one another through a plain tunnel", async () => {
  await using lab = await Lab.open();
  const [left, right] = [await lab.member("left"), await lab.member("right")];
  for (const [self, other, last, otherLast] of [
    [left, right, 1, 2],
    [right, left, 2, 1],
  ] as const) {
    await self.join({
      addresses: [`192.0.2.${last}/32`],
      routes: [`192.0.2.0/24`],
      peers: [
        {
          publicKey: other.publicKey,
          endpoint: `${other.host.address}:51820`,
          allowedIps: [`192.0.2.${otherLast}/32`],
        },
      ],
      listenPort: 51820,
    });
  }
  const pinging = new Pinging(left.host, "192.0.2.2");
  await pinging.answered(100);
  const pings = await pinging.stop();
  expect(pings.lost).toBe(0);
  expect(await reaches(left.host, "192.0.2.77")).toBe(false);
  console.log(pings, await right.host.wg("transfer"));
});
