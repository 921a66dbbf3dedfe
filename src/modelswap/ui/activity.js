// @ts-check
/** What is being asked now, and what has been: running requests, counters, the list. */

import { askJson, isAbort, url } from "./api.js";
import { cancel, showRow, showRowById } from "./capture.js";
import { button, empty, field, fill, h, remember, remembered, say, select } from "./dom.js";
import { bytes, clock, count, duration, rfc3339, speed } from "./format.js";
import { histogram } from "./chart.js";
import { modelLink } from "./models.js";
import { on, running, state } from "./state.js";

/** @param {any} row */
function statusBadge(row) {
  const code = row.resp_status_code;
  const broken = row.ending && row.ending !== "done";
  const kind = code >= 500 ? "bad" : code >= 400 || broken ? "warn" : "good";
  const text = broken ? `${code} ${row.ending.replaceAll("_", " ")}` : String(code);
  return h("span", { class: `badge ${kind}`, title: row.error_msg || null }, text);
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

/**
 * Columns: name, title, the server's sort key, class, cell, help.
 * @type {{id: string, title: string, sort?: string, kind?: string, off?: boolean, help?: string, cell: (row: any, shown: Set<string>) => any}[]}
 */
const COLUMNS = [
  { id: "id", title: "ID", sort: "id", cell: (row) => button(String(row.id), () => showRow(row),
    { class: "link", "aria-label": `Request ${row.id}: details` }) },
  { id: "time", title: "Time", sort: "time", cell: (row) => h("time", { datetime: row.timestamp, title: row.timestamp },
    clock(row.timestamp)) },
  { id: "model", title: "Model", sort: "model", cell: (row) => [modelLink(row.model), errorLine(row)] },
  { id: "path", title: "Path", sort: "req_path", kind: "lo", cell: (row) => h("span", { class: "mono" }, row.req_path) },
  { id: "status", title: "Status", sort: "resp_status_code",
    cell: (row, shown) => [statusBadge(row), !shown.has("model") && errorLine(row)] },
  { id: "prompt", title: "Prompt", sort: "prompt", kind: "num", help: "Tokens of the prompt that had to be read",
    cell: (row) => count(row.tokens.input_tokens) },
  { id: "cached", title: "Cached", sort: "cached", kind: "num lo", help: "Tokens of the prompt that were in the cache",
    cell: (row) => (row.tokens.cache_tokens > 0 ? count(row.tokens.cache_tokens) : "–") },
  { id: "generated", title: "Generated", sort: "generated", kind: "num", cell: (row) => count(row.tokens.output_tokens) },
  { id: "drafted", title: "Drafted", sort: "drafted", kind: "num lo", off: true,
    help: "Share of speculative tokens that were accepted",
    cell: (row) => (row.tokens.draft_tokens > 0 ? `${Math.round((100 * row.tokens.draft_acc_tokens) / row.tokens.draft_tokens)} %`
      : "–") },
  { id: "queue", title: "Waited", kind: "num lo", help: "In the queue or for the model to load",
    cell: (row) => (row.queue_ms > 0 ? duration(row.queue_ms) : "–") },
  { id: "ttft", title: "First token", sort: "ttft", kind: "num lo", cell: (row) => (row.ttft_ms === undefined ? "–"
    : duration(row.ttft_ms)) },
  { id: "prefill", title: "Prompt t/s", sort: "prompt_speed", kind: "num lo", cell: (row) => speed(row.tokens.prompt_per_second) },
  { id: "speed", title: "Tokens/s", sort: "gen_speed", kind: "num", help: "≈: measured here, as the server did not say",
    cell: speedText },
  { id: "duration", title: "Duration", sort: "duration", kind: "num", cell: (row) => duration(row.duration_ms) },
  { id: "client", title: "Client", kind: "lo", off: true, cell: (row) => row.client || "–" },
  { id: "type", title: "Content type", sort: "resp_content_type", kind: "lo", off: true,
    cell: (row) => row.resp_content_type || "–" },
];

const RANGES = /** @type {[string, string][]} */ ([["", "Any time"], ["15", "Last 15 min"], ["60", "Last hour"],
  ["1440", "Last day"], ["10080", "Last week"]]);
const STATUSES = /** @type {[string, string][]} */ ([["", "Any status"], ["2xx", "2xx fine"], ["4xx", "4xx refused"],
  ["5xx", "5xx failed"],
  ["404", "404 no such model"], ["429", "429 too many"], ["499", "499 cancelled"], ["503", "503 not available"]]);

/**
 * Figures over the list.
 * @param {any} stats
 */
function counters(stats) {
  const one = (/** @type {string} */ name, /** @type {any} */ value) => h("div", { class: "figure" }, h("dd", null, value),
    h("dt", null, name));
  return [
    h("dl", { class: "figures" },
      one("requests", count(stats.total_requests)), one("prompt tokens", count(stats.total_input_tokens)),
      one("cached tokens", count(stats.total_cache_tokens)), one("generated tokens", count(stats.total_output_tokens))),
    (stats.prompt_histogram || stats.gen_histogram) && h("details", { class: "histograms", open: remembered("histograms", false),
      ontoggle: (/** @type {any} */ event) => remember("histograms", event.target.open) },
      h("summary", null, "Speeds"),
      h("div", { class: "charts" }, histogram("Prompt, tokens/s", stats.prompt_histogram),
        histogram("Generation, tokens/s", stats.gen_histogram))),
  ];
}

/**
 * The card of running requests.
 * @param {string} [model]
 */
export function runningCard(model) {
  const body = h("tbody");
  const number = h("span", { class: "badge" }, "0");
  const idle = h("p", { class: "muted idle" }, "Nothing is running.");
  const table = h("div", { class: "scroll" }, h("table", { "aria-label": "Running requests" },
    h("thead", null, h("tr", null, ["", "Elapsed", "Model", "Request", "Received", "Client", "Session"].map((title, at) =>
      h("th", { scope: "col", class: at > 4 ? "lo" : at === 1 || at === 4 ? "num" : null },
        title || h("span", { class: "away" }, "Cancel"))))), body));
  /** @type {Map<string, {row: any, elapsed: any, received: any}>} */
  const known = new Map();

  function rowOf(/** @type {any} */ each) {
    const elapsed = h("td", { class: "num mono" });
    const received = h("td", { class: "num mono" });
    const session = state.sessionHeaders.map((name) =>
      Object.entries(each.req_headers || {}).find(([key]) => key.toLowerCase() === name.toLowerCase())?.[1]).find(Boolean);
    const agent = Object.entries(each.req_headers || {}).find(([key]) => key.toLowerCase() === "user-agent")?.[1] || "";
    const stop = button("Cancel", () => {
      stop.disabled = true;
      cancel(each.id).finally(() => setTimeout(() => { stop.disabled = false; }, 2000));
    }, { class: "small", "aria-label": `Cancel request ${each.id} to ${each.model}` });
    const row = h("tr", { "data-id": each.id }, h("td", null, stop), elapsed, h("td", null, modelLink(each.model)),
      h("td", { class: "mono" }, `${each.method} ${each.req_path}`), received,
      h("td", { class: "lo cut", title: agent }, `${each.remote_ip} ${agent}`), h("td", { class: "lo cut" }, session || "–"));
    return { row, elapsed, received };
  }
  function tick() {
    for (const each of running(model)) {
      const shown = known.get(each.id);
      if (!shown) continue;
      say(shown.elapsed, duration(each.elapsed_ms + performance.now() - each.seen));
      const phase = Object.keys(each.resp_headers || {}).length ? bytes(each.resp_bytes) : "waiting";
      say(shown.received, phase);
    }
  }
  function refresh() {
    const now = running(model);
    const ids = new Set(now.map((each) => each.id));
    for (const [id, shown] of known) {
      if (ids.has(id)) continue;
      shown.row.remove();
      known.delete(id);
    }
    for (const each of now) {
      if (known.has(each.id)) continue;
      const shown = rowOf(each);
      known.set(each.id, shown);
      body.append(shown.row);
    }
    say(number, String(now.length));
    number.classList.toggle("live", now.length > 0);
    table.hidden = !now.length;
    idle.hidden = now.length > 0;
    tick();
  }
  const stops = [on("inflight", refresh)];
  const timer = setInterval(tick, 200);
  refresh();
  return {
    element: h("section", { class: "card", "aria-label": "Running requests" }, h("h2", null, "Running ", number), idle, table),
    stop() {
      clearInterval(timer);
      stops.forEach((end) => end());
    },
  };
}

/**
 * The list of finished requests with its filters.
 * @param {{query: URLSearchParams, model?: string, setQuery: (query: Record<string, string>) => void, onstats?: (stats: any) => void}} options
 */
export function activityList({ query, model, setQuery, onstats }) {
  /** @type {Record<string, string>} */
  const asked = {};
  for (const name of ["model", "status", "path", "q", "range", "page", "sort", "order"]) asked[name] = query.get(name) || "";
  let size = String(remembered("page-size", 25));
  const hidden = new Set(remembered("hidden-columns", COLUMNS.filter((column) => column.off).map((column) => column.id)));
  const head = h("tr");
  const body = h("tbody");
  const note = h("div");
  const pager = h("nav", { class: "row pager", "aria-label": "Pages" });
  const exports = h("span", { class: "row" });
  /** @type {AbortController | null} */
  let busy = null;
  /** @type {Map<number, {text: string, row: any}>} */
  let known = new Map();
  const columns = () => COLUMNS.filter((column) => !hidden.has(column.id) && !(model && column.id === "model"));

  function filters() {
    const found = new URLSearchParams();
    const of = model || asked.model;
    if (of) found.append("model", of);
    if (asked.status) found.append("status", asked.status);
    if (asked.path) found.append("path", asked.path);
    if (asked.q) found.append("q", asked.q);
    if (asked.range) found.append("start", rfc3339(new Date(Date.now() - Number(asked.range) * 60_000)));
    return found;
  }
  /** @param {Record<string, string>} changes */
  function change(changes) {
    Object.assign(asked, { page: "" }, changes);
    setQuery(asked);
    drawHead();
    refresh();
  }
  function drawHead() {
    fill(head, columns().map((column) => {
      const active = (asked.sort || "id") === column.sort;
      const rising = asked.order === "asc";
      return h("th", { scope: "col", class: column.kind || null, title: column.help || null,
        "aria-sort": active && column.sort ? (rising ? "ascending" : "descending") : null },
      column.sort ? button(column.title + (active ? (rising ? " ↑" : " ↓") : ""), () => {
        change({ sort: column.sort === "id" ? "" : String(column.sort), order: active && !rising ? "asc" : "" });
        head.querySelector("[aria-sort] button")?.focus();
      }, { class: "sort" }) : column.title);
    }));
    known = new Map();
  }
  function drawRows(/** @type {any[]} */ rows) {
    const next = new Map();
    const shownIds = new Set(columns().map((column) => column.id));
    const list = rows.map((row) => {
      const text = JSON.stringify(row);
      const before = known.get(row.id);
      const shown = before?.text === text ? before
        : { text, row: h("tr", { "data-id": row.id }, columns().map((column) => h("td", { class: column.kind || null },
          column.cell(row, shownIds)))) };
      next.set(row.id, shown);
      return shown.row;
    });
    known = next;
    const same = list.length === body.children.length && list.every((row, at) => body.children[at] === row);
    if (!same) body.replaceChildren(...list);
  }
  function drawPager(/** @type {any} */ listing) {
    const last = Math.max(1, listing.total_pages);
    const to = (/** @type {string} */ text, /** @type {number} */ page, /** @type {string} */ label) =>
      button(text, () => change({ page: page === 1 ? "" : String(page) }),
        { "aria-label": label, disabled: page < 1 || page > last || page === listing.page });
    const focused = pager.contains(document.activeElement) ? document.activeElement?.getAttribute("aria-label") : null;
    fill(pager, to("«", 1, "First page"), to("‹", listing.page - 1, "Previous page"),
      h("span", null, `Page ${listing.page} of ${last} · ${count(listing.total)} ${listing.total === 1 ? "request" : "requests"}`),
      to("›", listing.page + 1, "Next page"), to("»", last, "Last page"));
    if (focused) [...pager.querySelectorAll("button")].find((each) => each.getAttribute("aria-label") === focused)?.focus();
  }
  function drawExports() {
    const link = (/** @type {string} */ format, /** @type {string} */ text) => {
      const found = filters();
      found.append("format", format);
      return h("a", { href: url("/api/metrics/export", found), download: `modelswap-activity.${format}` }, text);
    };
    fill(exports, h("span", { class: "muted" }, "Export"), link("csv", "CSV"), link("json", "JSON"));
  }
  async function refresh() {
    busy?.abort();
    const mine = new AbortController();
    busy = mine;
    drawExports();
    const found = filters();
    const sorted = new URLSearchParams(found);
    sorted.append("limit", size);
    sorted.append("page", asked.page || "1");
    if (asked.sort) sorted.append("sort", asked.sort);
    if (asked.order) sorted.append("order", asked.order);
    try {
      const [listing, stats] = await Promise.all([
        askJson("/api/metrics/activity", { query: sorted, signal: mine.signal }),
        onstats ? askJson("/api/metrics/stats", { query: found, signal: mine.signal }) : null]);
      if (onstats) onstats(stats);
      drawRows(listing.data);
      drawPager(listing);
      const filtered = ["model", "status", "path", "q", "range"].some((name) => asked[name]);
      fill(note, !listing.data.length && (filtered
        ? empty("Nothing matches", "No request matches these filters. ", button("Clear the filters", clear, { class: "link" }))
        : empty("No requests yet", "Requests to models appear here as they end. Try one in the ",
          h("a", { href: "#/playground" }, "playground"), ".")));
    } catch (error) {
      if (!isAbort(error)) fill(note, empty("The list could not be fetched", /** @type {Error} */ (error).message, " ",
        button("Try again", refresh, { class: "link" })));
    }
  }
  const modelSelect = h("select", { onchange: (/** @type {any} */ event) => change({ model: event.target.value }) });
  function drawModels() {
    const names = ["", ...new Set([...state.models.map((each) => each.id), asked.model].filter(Boolean))];
    if (names.length === modelSelect.options.length && names.every((id, at) => modelSelect.options[at].value === id)) return;
    fill(modelSelect, names.map((id) => h("option", { value: id }, id || "Any model")));
    modelSelect.value = asked.model;
  }
  const statusSelect = select(STATUSES,
    { value: asked.status, onchange: (/** @type {any} */ event) => change({ status: event.target.value }) });
  const rangeSelect = select(RANGES,
    { value: asked.range, onchange: (/** @type {any} */ event) => change({ range: event.target.value }) });
  const paths = h("datalist", { id: "paths" }, ["/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses",
    "/v1/embeddings", "/v1/rerank",
    "/v1/audio/speech", "/v1/audio/transcriptions", "/v1/images/generations"].map((path) => h("option", { value: path })));
  const pathInput = h("input", { type: "text", list: "paths", value: asked.path, placeholder: "Any path",
    onchange: (/** @type {any} */ event) => change({ path: event.target.value.trim() }) });
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let typing;
  const search = h("input", { type: "search", value: asked.q, placeholder: "Model, path or error", "data-search": "",
    oninput: (/** @type {any} */ event) => {
      clearTimeout(typing);
      typing = setTimeout(() => change({ q: event.target.value.trim() }), 250);
    } });
  function clear() {
    for (const control of [modelSelect, statusSelect, rangeSelect, pathInput, search]) control.value = "";
    change({ model: "", status: "", path: "", q: "", range: "" });
  }
  const chooser = h("details", { class: "menu" }, h("summary", null, "Columns"),
    h("div", { class: "menu-body" }, COLUMNS.map((column) =>
    h("label", null, h("input", { type: "checkbox", checked: !hidden.has(column.id), onchange: (/** @type {any} */ event) => {
      if (event.target.checked) hidden.delete(column.id);
      else hidden.add(column.id);
      remember("hidden-columns", [...hidden]);
      drawHead();
      refresh();
    } }), column.title))));
  const sizes = select(["10", "25", "50", "100", "250", "500"].map((each) => /** @type {[string, string]} */ ([each, `${each} rows`])), { value: size, "aria-label": "Rows per page",
    onchange: (/** @type {any} */ event) => {
      size = event.target.value;
      remember("page-size", Number(size));
      change({});
    } });

  let last = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let due;
  /** At most once a second, and only where new rows would show. */
  function soon() {
    if (due || (asked.page && asked.page !== "1")) return;
    due = setTimeout(() => {
      due = undefined;
      last = performance.now();
      refresh();
    }, Math.max(100, 1000 - (performance.now() - last)));
  }
  const stops = [on("activity", soon), on("fresh", soon), on("models", drawModels)];
  drawModels();
  drawHead();
  refresh();
  return {
    element: h("section", { class: "card", "aria-label": "Finished requests" },
      h("div", { class: "row head" }, h("h2", null, "Finished"), h("span", { class: "grow" }), exports, chooser, sizes),
      h("div", { class: "filters", role: "search" }, field("Text", search), !model && field("Model", modelSelect),
        field("Status", statusSelect), field("Path", pathInput), field("Time", rangeSelect), paths,
        button("Clear", clear, { class: "quiet" })),
      h("div", { class: "scroll" }, h("table", { "aria-label": "Finished requests" }, h("thead", null, head), body)), note, pager),
    stop() {
      busy?.abort();
      clearTimeout(due);
      clearTimeout(typing);
      stops.forEach((end) => end());
    },
  };
}

/** @param {import("./app.js").Route} route */
export function activityView(route) {
  const figures = h("div", { class: "counters" });
  const now = runningCard();
  let drawn = "";
  const list = activityList({ query: route.query, setQuery: route.setQuery, onstats: (stats) => {
    const text = JSON.stringify(stats);
    if (text !== drawn) fill(figures, counters(stats));
    drawn = text;
  } });
  const id = Number(route.query.get("request"));
  if (id > 0) showRowById(id);
  return {
    title: "Activity",
    element: h("div", null, h("h1", null, "Activity"), figures, now.element, list.element),
    stop() {
      now.stop();
      list.stop();
    },
  };
}
