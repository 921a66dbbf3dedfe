// @ts-check
/** Draws small charts: lines over time, and histograms. The drawing is SVG; axes, legend and values are text. */

import { h, svg } from "./dom.js";
import { clock, count } from "./format.js";

const WIDTH = 480; // units of the drawing, stretched to the place
const HEIGHT = 130;
const COLOURS = 8;
const SHARES = [1, 0.75, 0.5, 0.25, 0]; // lines across, from the top; every other one has its value beside it

/**
 * @typedef {{name: string, points: [number, number][]}} Series time in ms and value
 * @typedef {{title: string, series: Series[], unit: string, top?: number, from: number, to: number,
 *   show?: (value: number) => string, legend?: boolean}} LineChart
 */

/**
 * A round number not below a value.
 * @param {number} value
 */
export function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  for (const step of [1, 2, 2.5, 5, 10]) if (step * power >= value) return step * power;
  return 10 * power;
}

/**
 * The drawing between its axes.
 * @param {SVGElement} drawing
 * @param {(share: number) => string} yText the value at a share of the height
 * @param {string[]} xTexts from left to right, evenly spread
 */
function framed(drawing, yText, xTexts) {
  return h("div", { class: "plot" },
    h("div", { class: "y-axis", "aria-hidden": "true" }, SHARES.filter((_, at) => at % 2 === 0).map((share) => h("span", null, yText(share)))),
    drawing,
    h("div", { class: "x-axis", "aria-hidden": "true" }, xTexts.map((text) => h("span", null, text))));
}

function grid() {
  return SHARES.slice(1, -1).map((share) => svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: HEIGHT * share, y2: HEIGHT * share }));
}

/** @param {string} title @param {string} text */
function emptyChart(title, text) {
  return h("figure", { class: "chart" }, h("h3", null, title), h("p", { class: "chart-empty muted" }, text));
}

/**
 * Lines over time; where the pointer is, their values are read out below.
 * @param {LineChart} chart
 */
export function lines({ title, series, unit, top, from, to, show, legend = true }) {
  if (!series.some((each) => each.points.length)) return emptyChart(title, "Nothing was measured in this time.");
  const text = show || ((/** @type {number} */ value) => `${value >= 100 || Number.isInteger(value) ? Math.round(value) : value.toFixed(1)} ${unit}`);
  const high = top || roundUp(Math.max(1e-9, ...series.flatMap((each) => each.points.map((point) => point[1]))));
  const x = (/** @type {number} */ at) => ((at - from) / Math.max(1, to - from)) * WIDTH;
  const y = (/** @type {number} */ value) => HEIGHT - (Math.max(0, Math.min(value, high)) / high) * HEIGHT;
  const newest = series.map((each) => each.points.at(-1)?.[1]);
  const readout = h("figcaption", null);
  /** @param {number | null} at */
  function read(at) {
    const items = series.map((each, index) => {
      const point = at === null ? each.points.at(-1) : nearest(each.points, at);
      return h("span", { class: `series c${index % COLOURS}` }, h("i", { "aria-hidden": "true" }), `${each.name} `,
        h("b", null, point ? text(point[1]) : "–"));
    });
    readout.replaceChildren(...(legend ? items : items.slice(0, 1)),
      h("span", { class: "muted" }, at === null ? "now" : `at ${clock(new Date(at))}`));
  }
  const cursor = svg("line", { class: "cursor", y1: 0, y2: HEIGHT, visibility: "hidden" });
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
    "aria-label": `${title}: ${series.map((each, at) => `${each.name} ${newest[at] === undefined ? "unknown"
      : text(/** @type {number} */ (newest[at]))}`).join(", ")}`,
    onpointermove: (/** @type {PointerEvent} */ event) => {
      const box = drawing.getBoundingClientRect();
      const share = Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
      cursor.setAttribute("x1", String(share * WIDTH));
      cursor.setAttribute("x2", String(share * WIDTH));
      cursor.setAttribute("visibility", "visible");
      read(from + share * (to - from));
    },
    onpointerleave: () => {
      cursor.setAttribute("visibility", "hidden");
      read(null);
    } },
  grid(),
  series.map((each, index) => svg("polyline", { class: `line c${index % COLOURS}`,
    points: each.points.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ") })),
  cursor);
  read(null);
  return h("figure", { class: "chart" }, h("h3", null, title), framed(drawing, (share) => text(high * share),
    [from, (from + to) / 2, to].map((at) => clock(new Date(at)))), readout);
}

/** @param {[number, number][]} points @param {number} at */
function nearest(points, at) {
  /** @type {[number, number] | undefined} */
  let best;
  for (const point of points) if (!best || Math.abs(point[0] - at) < Math.abs(best[0] - at)) best = point;
  return best;
}

/**
 * How often which value was reached.
 * @param {string} title
 * @param {string} unit
 * @param {{bins: number[], min: number, max: number, binSize: number, p50: number, p95: number, p99: number} | null} data
 */
export function histogram(title, unit, data) {
  if (!data) return emptyChart(`${title}, ${unit}`, "No request has told its speed yet.");
  const most = roundUp(Math.max(...data.bins, 1));
  const wide = WIDTH / data.bins.length;
  const round = (/** @type {number} */ value) => (value >= 100 || Number.isInteger(value) ? count(value) : value.toFixed(1));
  const span = data.max - data.min || 1;
  const usual = h("span", { class: "muted" }, "Point at a bar for its number.");
  const marks = /** @type {const} */ (["p50", "p95", "p99"]);
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
    "aria-label": `${title}: half of the requests reached ${round(data.p50)} ${unit}` }, grid(),
    data.bins.map((bin, at) => {
      const said = `${round(data.min + at * data.binSize)} to ${round(data.min + (at + 1) * data.binSize)} ${unit}: ${count(bin)} ${bin === 1 ? "request" : "requests"}`;
      return svg("rect", { class: "bar", x: at * wide + 1, width: Math.max(1, wide - 2),
        y: HEIGHT - (bin / most) * HEIGHT, height: (bin / most) * HEIGHT,
        onpointerenter: () => { usual.textContent = said; } }, svg("title", null, said));
    }),
    marks.map((name) => {
      const at = data.max === data.min ? WIDTH / 2 : ((data[name] - data.min) / span) * WIDTH;
      return svg("line", { class: `mark ${name}`, x1: at, x2: at, y1: 0, y2: HEIGHT });
    }));
  return h("figure", { class: "chart" }, h("h3", null, `${title}, ${unit}`, h("span", { class: "muted" }, " · requests")),
    framed(drawing, (share) => (Number.isInteger(most * share) ? count(most * share) : ""), [data.min, (data.min + data.max) / 2, data.max].map(round)),
    h("figcaption", null, marks.map((name) => h("span", { class: `mark-key ${name}` }, h("i", { "aria-hidden": "true" }),
      { p50: "half reach ", p95: "95 % below ", p99: "99 % below " }[name], h("b", null, round(data[name])))), usual));
}
