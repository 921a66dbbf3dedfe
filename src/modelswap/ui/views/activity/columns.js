// @ts-check
/** Defines the columns of the activity list, and draws the totals above it. */

import { openRequest, requestAddress } from "../../lib/route.js";
import { button, h, remember, remembered } from "../../lib/dom.js";
import { clock, count, duration, speed, tokenSums, tokensOf } from "../../lib/format.js";
import { histogram } from "../../lib/chart.js";
import { modelLink } from "../models/model_row.js";

/** @param {any} row */
function statusBadge(row) {
  const code = row.resp_status_code;
  const broken = row.ending && row.ending !== "done";
  const kind = code >= 500 ? "bad" : code >= 400 || broken ? "warn" : "good";
  return h("span", { class: `badge ${kind}`, title: row.error_msg || null }, String(code),
    broken && h("span", { class: "ending" }, ` ${row.ending.replaceAll("_", " ")}`));
}

/** @param {any} row */
function speedText(row) {
  if (row.tokens.tokens_per_second > 0) return speed(row.tokens.tokens_per_second);
  return row.wall_per_second > 0 ? `≈ ${speed(row.wall_per_second)}` : "–";
}

/** @param {any} row */
function errorLine(row) {
  return row.error_msg && h("div", { class: "error-line", title: row.error_msg }, row.error_msg);
}

/** @param {any} row */
function timeLink(row) {
  return h("a", { href: requestAddress(row.id), class: "quiet-link", title: `${row.timestamp}: link to this request`,
    onclick: (/** @type {MouseEvent} */ event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      openRequest(row.id);
    } }, h("time", { datetime: row.timestamp }, clock(row.timestamp)));
}

/**
 * The most important first. `at` is the rank that decides which leave when the place is narrow: 1 never does, 5 first.
 * `short` is the title on a phone.
 * @type {{id: string, title: string, short?: string, at: number, sort?: string, kind?: string, off?: boolean, help?: string,
 *   cell: (row: any, shown: Set<string>) => any}[]}
 */
export const COLUMNS = [
  { id: "id", title: "ID", at: 2, sort: "id", cell: (row) => button(String(row.id), () => openRequest(row.id),
    { class: "link", "aria-label": `Request ${row.id}: details` }) },
  { id: "time", title: "Time", at: 1, sort: "time", cell: timeLink },
  { id: "model", title: "Model", at: 1, sort: "model", cell: (row) => [modelLink(row.model), errorLine(row)] },
  { id: "status", title: "Status", short: "St.", at: 1, sort: "resp_status_code",
    cell: (row, shown) => [statusBadge(row), !shown.has("model") && errorLine(row)] },
  { id: "duration", title: "Duration", short: "Took", at: 1, sort: "duration", kind: "num",
    cell: (row) => duration(row.duration_ms) },
  { id: "prompt", title: "Prompt", short: "In", at: 1, sort: "prompt", kind: "num",
    help: "Tokens of the prompt that had to be read; – is not known", cell: (row) => count(tokensOf(row).input) },
  { id: "generated", title: "Generated", short: "Out", at: 1, sort: "generated", kind: "num",
    help: "Tokens of the answer; – is not known", cell: (row) => count(tokensOf(row).output) },
  { id: "speed", title: "Tokens/s", short: "t/s", at: 1, sort: "gen_speed", kind: "num",
    help: "≈: measured here, as the server did not say", cell: speedText },
  { id: "path", title: "Path", at: 3, sort: "req_path", cell: (row) => h("span", { class: "mono" }, row.req_path) },
  { id: "ttft", title: "First token", at: 4, sort: "ttft", kind: "num",
    cell: (row) => duration(row.ttft_ms) },
  { id: "queue", title: "Waited", at: 4, kind: "num", help: "In the queue or for the model to load",
    cell: (row) => (row.queue_ms > 0 ? duration(row.queue_ms) : "–") },
  { id: "cached", title: "Cached", at: 5, sort: "cached", kind: "num", help: "Tokens of the prompt that were in the cache",
    cell: (row) => count(tokensOf(row).cached) },
  { id: "prefill", title: "Prompt t/s", at: 5, sort: "prompt_speed", kind: "num", cell: (row) => speed(row.tokens.prompt_per_second) },
  { id: "drafted", title: "Drafted", at: 5, sort: "drafted", kind: "num", off: true,
    help: "Share of speculative tokens that were accepted",
    cell: (row) => (row.tokens.draft_tokens > 0 ? `${Math.round((100 * row.tokens.draft_acc_tokens) / row.tokens.draft_tokens)} %`
      : "–") },
  { id: "client", title: "Client", at: 5, off: true, cell: (row) => row.client || "–" },
  { id: "type", title: "Content type", at: 5, sort: "resp_content_type", off: true,
    cell: (row) => row.resp_content_type || "–" },
];

/**
 * Figures over the list.
 * @param {any} stats
 */
export function counters(stats) {
  const sums = tokenSums(stats);
  const one = (/** @type {string} */ name, /** @type {any} */ value) => h("div", { class: "figure" }, h("dd", null, value),
    h("dt", null, name));
  return [
    h("dl", { class: "figures" },
      one("requests", count(stats.total_requests)), one("prompt tokens", count(sums.input)),
      one("cached tokens", count(sums.cached)), one("generated tokens", count(sums.output))),
    h("details", { class: "histograms", open: remembered("histograms", false),
      ontoggle: (/** @type {any} */ event) => remember("histograms", event.target.open) },
      h("summary", null, "Speeds"),
      h("div", { class: "charts" }, histogram("Prompt", "tokens/s", stats.prompt_histogram),
        histogram("Generation", "tokens/s", stats.gen_histogram))),
  ];
}
