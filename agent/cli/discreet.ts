/** What people type by mistake is not repeated to them: it may be a key, and terminals and logs remember. */
import { EXIT, Failure } from "./failure.ts";

/** Where 44 characters of base64 are a public key, as they should be. */
const PUBLIC = /^--key(=|$)/;

/** @throws Failure where a word is a private key, a recovery phrase or may be one, without repeating it */
export function refuseSecrets(words: readonly string[]): void {
  for (const [i, word] of words.entries()) {
    const value = word.startsWith("--") ? word.slice(word.indexOf("=") + 1) : word;
    const isPublic = PUBLIC.test(word) || (PUBLIC.test(words[i - 1] ?? "") && !words[i - 1]?.includes("="));
    if (!isSigningKey(value) && (isPublic || !isWireGuardKey(value))) continue;
    throw new Failure(
      EXIT.usage,
      `word ${i + 1} after dstack-vpn looks like a private key, and nothing was done. A key given as an argument is in ` +
        "the shell's history and was in the list of processes: take it out of use. Keys come from files.",
    );
  }
}

/** 32 bytes of hex, one digit more or less through a slip of the mouse; or the 12 to 24 words of BIP-39. */
function isSigningKey(word: string): boolean {
  const isHex = /^(0x[0-9a-f]{56,}|[0-9a-f]{56,})$/i.test(word) && /[a-fx]/i.test(word);
  return isHex || /^([a-z]{3,8}\s+){11,23}[a-z]{3,8}$/.test(word);
}

function isWireGuardKey(word: string): boolean {
  return /^[A-Za-z0-9+/]{42,}=$/.test(word);
}

/** Commander's sentence about a mistake without what was typed, of which only what looks like a name is left. */
export function discreet(message: string): string {
  return message
    .replace(/(argument|value) '[\s\S]*?' is invalid( for argument '[a-z-]+')?\./, "$1 is invalid$2.")
    .replace(/unknown (option|command) '([\s\S]*?)'(?=\n|$)/, (_, kind: string, typed: string) =>
      /^-{0,2}[a-z]{1,12}(-[a-z]{1,12}){0,2}$/.test(typed) ? `unknown ${kind} '${typed}'` : `unknown ${kind}`,
    )
    .replace(/ but got (\d+): [\s\S]*/, " but got $1.\n");
}
