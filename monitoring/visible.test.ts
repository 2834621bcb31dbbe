import fc from "fast-check";
import { expect, it } from "vitest";
import { pieces } from "./visible.js";

/** Named characters in brackets, the rest as it is. */
const shown = (text: string) =>
  pieces(text)
    .map(({ text: piece, isNamed }) => (isNamed ? `[${piece}]` : piece))
    .join("");

it.each([
  ["plain text stays as it is", "alice's phone-2 (new)", "alice's phone-2 (new)"],
  ["other scripts stay as they are", "Łódź 東京 תל אביב", "Łódź 東京 תל אביב"],
  ["a direction override is named", 'a\u202eb</script>"', 'a[U+202E]b</script>"'],
  ["direction isolates and marks are named", "\u2066x\u2069\u200f\u061c", "[U+2066]x[U+2069][U+200F][U+061C]"],
  ["controls and line ends are named", "a\nb\u001b[31m\u0000\u0085", "a[U+000A]b[U+001B][31m[U+0000][U+0085]"],
  ["what has no width is named", "al\u200bice\ufeff\u00ad\u2060", "al[U+200B]ice[U+FEFF][U+00AD][U+2060]"],
  ["fillers and other spaces are named", "a b\u00a0\u3000\u3164\u2800", "a b[U+00A0][U+3000][U+3164][U+2800]"],
  ["tags that hide a text are named", "a\u{e0041}\u{e007f}", "a[U+E0041][U+E007F]"],
  ["half a surrogate pair is named", "a\ud83d", "a[U+D83D]"],
  ["nothing is nothing", "", ""],
])("%s", (_, text, expected) => {
  expect(shown(text)).toBe(expected);
});

it("shows nothing that hides or moves, whatever is written", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(0x10ffff)), (points) => {
      const text = String.fromCodePoint(...points);
      expect(shown(text)).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
    }),
  );
});
