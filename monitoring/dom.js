/** The page's elements: markup is in index.html, and texts get into it as text alone. */
import { pieces } from "./visible.js";

/**
 * @typedef {string | Node} Content
 * @typedef {Readonly<Record<string, Content | readonly Content[]>>} Fields
 */

const SVG = "http://www.w3.org/2000/svg";

/** @template {HTMLElement} T @param {string} id @param {new () => T} type @returns {T} */
export function byId(id, type) {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new Error(`index.html has no ${type.name} #${id}`);
  return element;
}

/** A table that stays one: where style.css stacks its cells, some browsers would take its roles away. @param {string} id */
export function tableById(id) {
  const table = byId(id, HTMLTableElement);
  const [body] = table.tBodies;
  if (body === undefined) throw new Error(`the table #${id} has no body`);
  table.setAttribute("role", "table");
  for (const part of table.querySelectorAll("thead, tbody")) part.setAttribute("role", "rowgroup");
  for (const line of table.querySelectorAll("thead tr")) line.setAttribute("role", "row");
  for (const head of table.querySelectorAll("th")) head.setAttribute("role", "columnheader");
  return { table, body, labels: [...table.querySelectorAll("th")].map((head) => head.textContent) };
}

/** The element in a template, as a new copy. @param {string} id @returns {HTMLElement} */
export function copyOf(id) {
  const copy = byId(id, HTMLTemplateElement).content.firstElementChild?.cloneNode(true);
  if (!(copy instanceof HTMLElement)) throw new Error(`the template #${id} is empty`);
  return copy;
}

/** @param {ParentNode} root @param {string} name @returns {HTMLElement} */
export function field(root, name) {
  const element = root.querySelector(`[data-field="${name}"]`);
  if (!(element instanceof HTMLElement)) throw new Error(`there is no field ${name}`);
  return element;
}

/** Puts each content into the field of its name. @param {ParentNode} root @param {Fields} fields */
export function fill(root, fields) {
  for (const [name, content] of Object.entries(fields)) put(field(root, name), content);
}

/** Child by child, so that one that is new takes away nobody's place in another. @param {Element} element @param {Content | readonly Content[]} content */
export function put(element, content) {
  if (typeof content === "string") {
    if (element.textContent !== content || element.childElementCount > 0) element.textContent = content;
    return;
  }
  const box = document.createDocumentFragment();
  box.append(...(Array.isArray(content) ? content : [content]));
  const [present, wanted] = [[...element.childNodes], [...box.childNodes]];
  wanted.forEach((child, index) => {
    const now = present[index];
    if (now === undefined) element.append(child);
    else if (!child.isEqualNode(now)) now.replaceWith(child);
  });
  for (const child of present.slice(wanted.length)) child.remove();
}

/**
 * @param {string} tag
 * @param {{ class?: string, role?: string, href?: string, label?: string, title?: string, datetime?: string }} attributes
 * @param {...Content} children
 */
export function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  const { label, ...plain } = attributes;
  for (const [name, value] of Object.entries(plain)) if (value !== undefined) element.setAttribute(name, value);
  // The name that a cell has where its column's head is not beside it: on narrow screens.
  if (label !== undefined) element.dataset["label"] = label;
  element.append(...children);
  return element;
}

/** Somebody else's text: of its own direction, with everything unseen in it named. @param {string} text @param {"" | "name"} kind */
export function foreign(text, kind = "") {
  const shown = pieces(text).map((piece) =>
    piece.isNamed ? make("span", { class: "named", title: "a character that cannot be seen" }, piece.text) : piece.text,
  );
  return make("bdi", { class: `foreign ${kind}`.trim() }, ...(shown.length === 0 ? ["(empty)"] : shown));
}

/** @param {string} name of a symbol in index.html */
export function icon(name) {
  const [svg, use] = [document.createElementNS(SVG, "svg"), document.createElementNS(SVG, "use")];
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#${name}`);
  svg.append(use);
  return svg;
}

/** Colour, icon and word of how something stands. @param {HTMLElement} element its `data-standing`, and its icon, change @param {string} standing */
export function stand(element, standing) {
  if (element.dataset["standing"] === standing) return;
  element.dataset["standing"] = standing;
  element.querySelector(".icon use")?.setAttribute("href", `#${standing}`);
}

/**
 * @param {readonly string[]} labels of the columns
 * @param {readonly (Content | readonly Content[])[]} contents
 * @param {ReadonlySet<number>} numbers columns of figures
 */
export function row(labels, contents, numbers = new Set()) {
  const cells = contents.map((content, index) => {
    const attributes = { role: "cell", label: labels[index] ?? "", ...(numbers.has(index) ? { class: "number" } : {}) };
    return make("td", attributes, make("div", {}, ...(Array.isArray(content) ? content : [content])));
  });
  return make("tr", { role: "row" }, ...cells);
}

/** The options of a select: what was chosen stays chosen. @param {HTMLSelectElement} select @param {readonly string[]} names after those that index.html has */
export function offer(select, names) {
  const [chosen, fixed] = [select.value, [...select.options].filter((option) => option.dataset["name"] === undefined)];
  const present = [...select.options].slice(fixed.length).map(({ value }) => value);
  if (present.join() === names.join()) return;
  const options = names.map((name) => {
    const option = new Option(name, name);
    option.dataset["name"] = name;
    return option;
  });
  select.replaceChildren(...fixed, ...options);
  if ([...select.options].some(({ value }) => value === chosen)) select.value = chosen;
}
