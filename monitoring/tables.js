/** The tables of what the nodes tell: the journal, and who is quarantined. */
import { byId, foreign, make, put, row, tableById } from "./dom.js";
import { clock, count, counted, UNKNOWN } from "./format.js";
import { GROUPS, isChosen, labelOf, mergedJournal, sentence } from "./journal.js";
import { quarantined } from "./quarantine.js";

/**
 * @typedef {import("./journal.js").Line} Line
 * @typedef {import("./network.js").Node} Node
 */

const PAGE = 50;
/** Of more nodes than this a line tells the number. */
const NAMED_NODES = 3;

export function createJournal() {
  const [kind, node] = [byId("journal-kind", HTMLSelectElement), byId("journal-node", HTMLSelectElement)];
  const { table, body, labels } = tableById("journal");
  const [more, note] = [byId("journal-more", HTMLButtonElement), byId("journal-note", HTMLElement)];
  for (const [group, kinds] of Object.entries(GROUPS)) {
    const box = document.createElement("optgroup");
    box.label = group;
    box.append(new Option(`all of ${group.toLowerCase()}`, group));
    for (const [value, label] of Object.entries(kinds)) box.append(new Option(label.toLowerCase(), value));
    kind.append(box);
  }
  /** @type {readonly Line[]} */
  let lines = [];
  /** @type {readonly (readonly unknown[])[]} */
  let read = [];
  /** @type {Map<string, HTMLElement>} */
  let rows = new Map();
  let [isHeard, limit, nodes] = [false, PAGE, 0];

  const show = () => {
    const chosen = lines.filter((line) => isChosen(line, { kind: kind.value, node: node.value }));
    const [kept, today] = [rows, new Date().toDateString()];
    rows = new Map(
      chosen.slice(0, limit).map((line) => {
        // A row says less of today than of any other day, and a line's nodes grow.
        const key = `${line.key} ${line.nodes.length} ${today}`;
        return [key, kept.get(key) ?? rowOf(labels, line, nodes)];
      }),
    );
    const [before, after] = [[...kept.keys()].join("\n"), [...rows.keys()].join("\n")];
    if (before !== after) body.replaceChildren(...rows.values());
    table.hidden = rows.size === 0;
    more.hidden = chosen.length <= limit;
    put(note, noteOn(isHeard, lines.length, chosen.length, rows.size));
  };
  more.addEventListener("click", () => {
    limit += 4 * PAGE;
    show();
  });
  for (const select of [kind, node]) {
    select.addEventListener("change", () => {
      limit = PAGE;
      show();
    });
  }
  return {
    /** The lines, newest first; worked out anew only when a node has told something. @param {readonly Node[]} all */
    take(all) {
      const now = all.map(({ journal }) => journal);
      if (now.length === read.length && now.every((each, index) => each === read[index])) return lines;
      read = now;
      lines = mergedJournal(new Map(all.map(({ name, journal }) => [name, journal])));
      return lines;
    },
    /** @param {readonly Node[]} all */
    show(all) {
      if (nodes !== all.length) rows = new Map();
      [isHeard, nodes] = [all.some(({ answeredMs }) => answeredMs !== undefined), all.length];
      show();
    },
  };
}

/** @param {boolean} isHeard @param {number} all @param {number} chosen @param {number} shown */
function noteOn(isHeard, all, chosen, shown) {
  if (!isHeard) return "Nobody has answered yet.";
  if (all === 0) return "Nothing has happened yet.";
  if (chosen === 0) return "Nothing of this kind has happened lately.";
  return `${shown < chosen ? `The newest ${count(shown)} of ` : ""}${count(chosen)} ${chosen === 1 ? "entry" : "entries"}, newest first.`;
}

/** @param {readonly string[]} labels @param {Line} line @param {number} all how many nodes there are */
function rowOf(labels, line, all) {
  const what = sentence(line).map((part) => {
    if (typeof part === "string") return part;
    return "name" in part ? foreign(part.name, "name") : foreign(part.said);
  });
  const atMs = Date.parse(line.at);
  const time = make("time", { datetime: line.at, title: line.at }, clock(atMs, Date.now()));
  const { nodes } = line;
  const who =
    nodes.length === all && all > 1
      ? "all nodes"
      : nodes.length > NAMED_NODES
        ? counted(nodes.length, "node")
        : nodes.join(", ");
  const kind = make("span", { class: "kind" }, labelOf(line.kind));
  kind.dataset["kind"] = line.kind;
  return row(labels, [time, kind, what, make("span", { title: nodes.join(", ") }, who)]);
}

export function createQuarantine() {
  const parts = { ...tableById("quarantine"), none: byId("quarantine-none", HTMLElement) };
  /** @param {readonly Node[]} counted nodes whose figures count @param {readonly Line[]} lines */
  return (counted, lines) => showQuarantine(parts, counted, lines);
}

/** @param {ReturnType<typeof tableById> & { none: HTMLElement }} parts @param {readonly Node[]} counted @param {readonly Line[]} lines */
function showQuarantine({ table, body, labels, none }, counted, lines) {
  const counts = counted.flatMap(({ stats }) => (stats?.quarantined === undefined ? [] : [stats.quarantined]));
  const rows = quarantined(counts, lines);
  table.hidden = rows.length === 0;
  none.hidden = rows.length > 0;
  put(none, counts.length === 0 ? "No node tells, so nobody knows." : "None: every active token has its peer.");
  put(
    body,
    rows.map(({ code, meaning, fewest, most, named }) => {
      const amount = fewest === most ? count(most) : `${count(fewest)} to ${count(most)}`;
      const names = named.flatMap(({ tokenId, name }, index) => [
        index === 0 ? "" : ", ",
        `${tokenId}${name === "" ? "" : " "}`,
        ...(name === "" ? [] : [foreign(name, "name")]),
      ]);
      return row(labels, [make("code", {}, code), amount, meaning, names.length === 0 ? UNKNOWN : names], new Set([1]));
    }),
  );
}
