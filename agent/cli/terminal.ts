/** What only a person at the terminal can answer: asked of the device itself, so that pipes and files stay out of it. */
import { closeSync, openSync, writeSync } from "node:fs";
import { ReadStream } from "node:tty";
import { Secret } from "../model.ts";
import { EXIT, Failure } from "./failure.ts";

/** Read without echo. @throws Failure where there is no terminal, or the person gives up */
export async function askPassphrase(question: string): Promise<Secret> {
  const without = "there is no terminal to ask for the passphrase at: name a file with --passphrase-file";
  return new Secret(await typedAt(question, false, without));
}

/** Anything but a yes is a no, and so is nobody to ask. */
export async function agrees(question: string): Promise<boolean> {
  try {
    return /^y(es)?$/i.test((await typedAt(`${question} [y/N] `, true, "")).trim());
  } catch {
    return false;
  }
}

async function typedAt(question: string, isEchoed: boolean, without: string): Promise<string> {
  const [input, output] = opened(without);
  let restore = () => {};
  try {
    const terminal = new ReadStream(input);
    const say = (text: string) => writeSync(output, text);
    restore = () => {
      terminal.setRawMode(false);
      terminal.destroy();
    };
    // A shell without echo is what a kill would leave behind.
    process.once("SIGTERM", leave).once("SIGHUP", leave);
    // Before the question: who answers at once is not to be echoed.
    terminal.setRawMode(true);
    say(question);
    return await line(terminal, isEchoed ? say : () => {});
  } finally {
    process.off("SIGTERM", leave).off("SIGHUP", leave);
    restore();
    writeSync(output, "\n");
    closeSync(output);
  }

  function leave() {
    restore();
    process.exit(143);
  }
}

function opened(without: string): [number, number] {
  try {
    return [openSync("/dev/tty", "r"), openSync("/dev/tty", "w")];
  } catch (cause) {
    throw new Failure(EXIT.usage, without, { cause });
  }
}

/** One line as a terminal in raw mode sends it. @throws Failure on Ctrl-C, Ctrl-D and when the terminal goes away */
function line(terminal: ReadStream, echo: (text: string) => void): Promise<string> {
  const typed: string[] = [];
  terminal.setEncoding("utf8");
  return new Promise((resolve, reject) => {
    const givenUp = () => reject(new Failure(EXIT.failed, "nothing was entered"));
    terminal.on("end", givenUp).on("error", givenUp);
    terminal.on("data", (text: string) => {
      for (const character of text) {
        if (character === "\r" || character === "\n") return resolve(typed.join(""));
        if (character === "\u0003" || character === "\u0004") return givenUp();
        if (character === "\u007f" || character === "\b") {
          if (typed.pop() !== undefined) echo("\b \b");
        } else if (character === "\u0015") typed.length = 0;
        else {
          typed.push(character);
          echo(character);
        }
      }
    });
  });
}
