/** How many peers a device has, for what is shown to grow or not to. */

export function sizes(quick: boolean): readonly number[] {
  return quick ? [10, 1_000, 4_000] : [10, 1_000, 10_000, 60_000];
}

export const peers = (size: number) => `${size.toLocaleString("en-US")} peers`;
