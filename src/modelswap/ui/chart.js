// @ts-check
/** Small charts as SVG: lines over time, and histograms. No animation, no dependency. */

import { h, svg } from "./dom.js";
import { clock } from "./format.js";

const WIDTH = 480;
const HEIGHT = 130;
const COLOURS = 8;

/**
 * @typedef {{name: string, points: [number, number][]}} Series time in ms and value
 * @typedef {{title: string, series: Series[], unit: string, top?: number, from: number, to: number,
 *   show?: (value: number) => string, legend?: boolean}} LineChart
 */

/**
 * A round number not below a value.
 * @param {number} value
 */
function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  for (const step of [1, 2, 2.5, 5, 10]) if (step * power >= value) return step * power;
  return 10 * power;
}

/**
 * Lines over time; where the pointer is, their values are read out below.
 * @param {LineChart} chart
 */
export function lines({ title, series, unit, top, from, to, show, legend = true }) {
  const text = show || ((/** @type {number} */ value) => `${value >= 100 ? Math.round(value) : value.toFixed(1)} ${unit}`);
  const high = top || roundUp(Math.max(1e-9, ...series.flatMap((each) => each.points.map((point) => point[1]))));
  const x = (/** @type {number} */ at) => ((at - from) / Math.max(1, to - from)) * WIDTH;
  const y = (/** @type {number} */ value) => HEIGHT - (Math.min(value, high) / high) * (HEIGHT - 4) - 2;
  const newest = series.map((each) => each.points.at(-1)?.[1]);
  const single = series.length === 1;
  const readout = h("figcaption", null);
  /** @param {number | null} at */
  function read(at) {
    const items = series.map((each, index) => {
      const point = at === null ? each.points.at(-1) : nearest(each.points, at);
      return h("span", { class: `series c${index % COLOURS}` }, single ? "" : h("i", { "aria-hidden": "true" }),
        single ? "" : `${each.name} `, h("b", null, point ? text(point[1]) : "–"));
    });
    readout.replaceChildren(...(legend ? items : items.slice(0, 1)), ...(at === null ? []
      : [h("span", { class: "muted" }, clock(new Date(at)))]));
  }
  const cursor = svg("line", { class: "cursor", y1: 0, y2: HEIGHT, visibility: "hidden" });
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
    "aria-label": `${title}: ${series.map((each, at) => `${each.name} ${newest[at] === undefined ? "unknown"
      : text(/** @type {number} */ (newest[at]))}`).join(", ")}`,
    onpointermove: (/** @type {PointerEvent} */ event) => {
      const box = drawing.getBoundingClientRect();
      const share = (event.clientX - box.left) / box.width;
      cursor.setAttribute("x1", String(share * WIDTH));
      cursor.setAttribute("x2", String(share * WIDTH));
      cursor.setAttribute("visibility", "visible");
      read(from + share * (to - from));
    },
    onpointerleave: () => {
      cursor.setAttribute("visibility", "hidden");
      read(null);
    } },
  [0.25, 0.5, 0.75].map((share) => svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: HEIGHT * share, y2: HEIGHT * share })),
  series.map((each, index) => svg("polyline", { class: `line c${index % COLOURS}`,
    points: each.points.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ") })),
  cursor);
  read(null);
  return h("figure", { class: "chart" }, h("h3", null, title, h("span", { class: "muted" }, ` up to ${text(high)}`)), drawing,
    readout);
}

/** @param {[number, number][]} points @param {number} at */
function nearest(points, at) {
  /** @type {[number, number] | undefined} */
  let best;
  for (const point of points) if (!best || Math.abs(point[0] - at) < Math.abs(best[0] - at)) best = point;
  return best;
}

/**
 * How often which speed was reached; null draws nothing.
 * @param {string} title
 * @param {{bins: number[], min: number, max: number, binSize: number, p50: number, p95: number, p99: number} | null} data
 */
export function histogram(title, data) {
  if (!data) return null;
  const most = Math.max(...data.bins, 1);
  const wide = WIDTH / data.bins.length;
  const round = (/** @type {number} */ value) => (value >= 100 ? Math.round(value) : value.toFixed(1));
  const span = data.max - data.min || 1;
  return h("figure", { class: "chart" }, h("h3", null, title),
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
      "aria-label": `${title}: half of the requests reached ${round(data.p50)}` },
      data.bins.map((bin, at) => svg("rect", { class: "bar", x: at * wide + 1, width: Math.max(1, wide - 2),
        y: HEIGHT - (bin / most) * (HEIGHT - 4), height: (bin / most) * (HEIGHT - 4) },
        svg("title", null, `${round(data.min + at * data.binSize)} to ${round(data.min + (at + 1) * data.binSize)}: ${bin}`))),
      /** @type {const} */ (["p50", "p95", "p99"]).map((name) => {
        const at = data.max === data.min ? WIDTH / 2 : ((data[name] - data.min) / span) * WIDTH;
        return svg("line", { class: "mark", x1: at, x2: at, y1: 0, y2: HEIGHT });
      })),
    h("figcaption", null, h("span", null, String(round(data.min))), h("span", { class: "muted" },
      `half ${round(data.p50)} · 95 % ${round(data.p95)} · 99 % ${round(data.p99)}`), h("span", null, String(round(data.max)))));
}
