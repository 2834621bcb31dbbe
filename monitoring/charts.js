/** Four charts of what history.js keeps, drawn by uPlot (loaded before as the page's one global). */
import { byId, copyOf, field, fill, make, put } from "./dom.js";
import { clock, count, counted, latency, rate } from "./format.js";
import { columns, EMPTY } from "./history.js";
import { SERIES } from "./network.js";

/**
 * @typedef {import("./history.js").History} History
 * @typedef {(value: number | null | undefined) => string} Format
 * @typedef {{ title: string, ofAll: string, format: Format, lines: readonly { series: typeof SERIES[number], label: string }[] }} Chart
 * @typedef {import("uplot")} Plot
 */

/** @type {typeof import("uplot") | undefined} */
const Uplot = Reflect.get(window, "uPlot");

/** `ofAll` is what the lines mean where they stand for all nodes. @type {readonly Chart[]} */
const CHARTS = [
  {
    title: "Peers connected",
    ofAll: "sum of all nodes",
    format: count,
    lines: [{ series: "connected", label: "connected" }],
  },
  {
    title: "Traffic",
    ofAll: "sum of all nodes",
    format: rate,
    lines: [
      { series: "rx", label: "in" },
      { series: "tx", label: "out" },
    ],
  },
  {
    title: "Event to device",
    ofAll: "slowest node",
    format: latency,
    lines: [
      { series: "latencyP50Ms", label: "half within" },
      { series: "latencyP99Ms", label: "99 % within" },
    ],
  },
  {
    title: "Chain lag",
    ofAll: "node furthest behind",
    format: (value) => (typeof value === "number" ? counted(Math.round(value), "block") : count(value)),
    lines: [{ series: "lagBlocks", label: "behind the head" }],
  },
];

const HEIGHT = 160;
/** The least that an axis of time spans, so that the first minutes do not race by. */
const LEAST_SPAN_MS = 300_000;
/** There is no half peer, and no half block. */
const WHOLE_STEPS = Array.from({ length: 13 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat();
/** uPlot keeps the cursors of plots with one key together. */
const CURSOR = { sync: { key: "time" }, drag: { x: false, y: false }, points: { size: 7 } };

export function createCharts() {
  if (Uplot !== undefined) return drawnBy(Uplot);
  // All else of the page is worth having without them.
  put(
    byId("charts", HTMLElement),
    make("p", { class: "note" }, "The charts cannot be drawn: vendor/uPlot.iife.min.js was not loaded."),
  );
  return { show() {}, repaint() {} };
}

/** @param {typeof import("uplot")} Uplot */
function drawnBy(Uplot) {
  const [node, span] = [byId("charts-node", HTMLSelectElement), byId("charts-span", HTMLSelectElement)];
  const charts = CHARTS.map((chart) => ({
    ...chart,
    element: copyOf("chart"),
    plot: /** @type {Plot | undefined} */ (undefined),
    data: /** @type {(number | null)[][]} */ ([]),
  }));
  byId("charts", HTMLElement).append(...charts.map(({ element }) => element));
  /** @type {ReadonlyMap<string, History>} */
  let histories = new Map();

  const draw = () => {
    const nowMs = Date.now();
    const all = columns(histories.get(node.value) ?? EMPTY, nowMs - Number(span.value) * 60_000, SERIES.length);
    for (const chart of charts) {
      const [times = []] = all;
      chart.data = [times, ...chart.lines.map(({ series }) => all[1 + SERIES.indexOf(series)] ?? [])];
      fill(chart.element, { title: chart.title, summary: summaryOf(chart, chart.data) });
      chart.plot ??= new Uplot(...plotOf(chart, () => legend(chart)));
      chart.plot.setData(/** @type {import("uplot").AlignedData} */ (chart.data), false);
      const first = Math.min(times[0] ?? nowMs / 1000, (nowMs - LEAST_SPAN_MS) / 1000);
      chart.plot.setScale("x", { min: first, max: nowMs / 1000 });
      legend(chart);
    }
  };
  /** The values under the cursor, or the last. @param {typeof charts[number]} chart */
  const legend = ({ element, plot, data, lines, format, ofAll }) => {
    const index = plot?.cursor.idx ?? undefined;
    const at = index === undefined ? undefined : data[0]?.[index];
    const when = at == null ? (node.value === "" ? ofAll : node.value) : clock(at * 1000, Date.now());
    const values = lines.map(({ label }, line) => {
      const column = data[line + 1] ?? [];
      const value = at == null ? column.at(-1) : column[index ?? 0];
      return make("span", { class: `line line-${line}` }, `${label} `, make("b", {}, format(value)));
    });
    fill(element, { legend: [...values, make("span", { class: "when" }, when)] });
  };
  /** Colours are the style sheet's, and a plot has them painted in. */
  const repaint = () => {
    for (const chart of charts) {
      chart.plot?.destroy();
      chart.plot = undefined;
    }
    draw();
  };

  for (const select of [node, span]) select.addEventListener("change", draw);
  for (const media of ["(prefers-color-scheme: dark)", "print"]) matchMedia(media).addEventListener("change", repaint);
  new ResizeObserver(() => {
    for (const { element, plot } of charts)
      plot?.setSize({ width: field(element, "plot").clientWidth, height: HEIGHT });
  }).observe(byId("charts", HTMLElement));
  return {
    /** @param {ReadonlyMap<string, History>} now */
    show(now) {
      histories = now;
      // What nobody sees is drawn when it is looked at.
      if (!document.hidden) draw();
    },
    repaint,
  };
}

/**
 * What uPlot makes a plot of.
 * @param {Chart & { element: HTMLElement }} chart
 * @param {() => void} onCursor
 * @returns {[import("uplot").Options, undefined, HTMLElement]}
 */
function plotOf({ element, lines, format }, onCursor) {
  const box = field(element, "plot");
  const style = getComputedStyle(box);
  const font = `12px ${style.fontFamily}`;
  const axis = { stroke: style.color, font, grid: { stroke: style.borderTopColor, width: 1 }, ticks: { show: false } };
  const colours = lines.map((_, index) => lineColour(element, index));
  /** @type {import("uplot").Options} */
  const options = {
    width: box.clientWidth,
    height: HEIGHT,
    cursor: CURSOR,
    legend: { show: false },
    hooks: { setCursor: [onCursor] },
    scales: { x: { auto: false }, y: { range: (_, __, most) => [0, Math.max(1, (most ?? 0) * 1.1)] } },
    axes: [
      {
        ...axis,
        space: 60,
        size: 30,
        values: (_, splits) => splits.map((at) => clock(at * 1000, at * 1000).slice(0, 5)),
      },
      {
        ...axis,
        size: 66,
        incrs: WHOLE_STEPS,
        space: 34,
        values: (_, splits) => splits.map((value) => (value === null ? "" : format(value))),
      },
    ],
    series: [
      {},
      ...colours.map((stroke, index) => ({
        stroke,
        width: 1.75,
        points: { show: false },
        dash: index === 0 ? [] : [5, 3],
      })),
    ],
  };
  return [options, undefined, box];
}

/** @param {HTMLElement} element @param {number} index */
function lineColour(element, index) {
  const probe = make("span", { class: `line-${index}` });
  element.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

/** For those who do not see the lines. @param {Chart} chart @param {readonly (readonly (number | null)[])[]} data */
function summaryOf({ lines, format }, data) {
  return lines
    .map(({ label }, index) => {
      const values = data[index + 1] ?? [];
      const known = values.filter((value) => value !== null);
      if (known.length === 0) return `${label}: not known yet.`;
      const [low, high] = [known.reduce((a, b) => Math.min(a, b)), known.reduce((a, b) => Math.max(a, b))];
      const now = values.at(-1) == null ? "not known" : format(values.at(-1));
      return `${label}: now ${now}, lowest ${format(low)}, highest ${format(high)}.`;
    })
    .join(" ");
}
