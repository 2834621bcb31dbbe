/** Ring 2: what the host shows as files, against this very host. */
import { readFileSync, readlinkSync } from "node:fs";
import { expect, it } from "vitest";
import { inputFile, isUdpPortTaken } from "./host.ts";

it("an input file can be opened through its descriptor, and never had a name", async () => {
  const file = await inputFile("secret\n");
  expect(readFileSync(`/proc/self/fd/${file.fd}`, "utf8")).toBe("secret\n");
  expect((await file.stat()).nlink).toBe(0);
  // The kernel calls it by its inode; of a file that was removed it would keep the name.
  expect(readlinkSync(`/proc/self/fd/${file.fd}`)).toMatch(/\/#[0-9]+ \(deleted\)$/);
  expect((await file.stat()).mode & 0o777).toBe(0o600);
  await file.close();
});

it("a UDP port that nobody has is free", async () => {
  expect(await isUdpPortTaken(1)).toBe(false);
});
