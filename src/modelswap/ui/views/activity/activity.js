// @ts-check
/** Shows running requests, totals, and the list of finished requests. */

import { askJson, isAbort, url } from "../../api/client.js";
import { rememberRows } from "./request_dialog.js";
import { COLUMNS, counters } from "./columns.js";
import { button, empty, field, fill, h, remember, remembered, select } from "../../lib/dom.js";
import { count, rfc3339 } from "../../lib/format.js";
import { runningCard } from "./running_requests.js";
import { subscribe, state } from "../../api/state.js";

const RANGES = /** @type {[string, string][]} */ ([["", "Any time"], ["15", "Last 15 min"], ["60", "Last hour"],
  ["1440", "Last day"], ["10080", "Last week"]]);
const STATUSES = /** @type {[string, string][]} */ ([["", "Any status"], ["2xx", "2xx fine"], ["4xx", "4xx refused"],
  ["5xx", "5xx failed"],
  ["404", "404 no such model"], ["429", "429 too many"], ["499", "499 cancelled"], ["503", "503 not available"]]);

/**
 * The list of finished requests with its filters.
 * @param {{query: URLSearchParams, model?: string, setQuery: (query: Record<string, string>) => void, onstats?: (stats: any) => void}} options
 */
export function activityList({ query, model, setQuery, onstats }) {
  /** @type {Record<string, string>} */
  const asked = {};
  for (const name of ["model", "status", "path", "q", "range", "page", "sort", "order"]) asked[name] = query.get(name) || "";
  let size = String(remembered("page-size", 25));
  /** Columns that the user has chosen stay at any width; until then the place decides. */
  let isChosen = remembered("hidden-columns", null) !== null;
  const hidden = new Set(remembered("hidden-columns", COLUMNS.filter((column) => column.off).map((column) => column.id)));
  const head = h("tr");
  const body = h("tbody");
  const table = h("table", { class: "activity", "aria-label": "Finished requests" }, h("thead", null, head), body);
  const note = h("div");
  const pager = h("nav", { class: "row pager", "aria-label": "Pages" });
  const exports = h("span", { class: "row" });
  /** @type {AbortController | null} */
  let busy = null;
  /** @type {Map<number, {text: string, row: any}>} */
  let known = new Map();
  const kindOf = (/** @type {typeof COLUMNS[0]} */ column) => `${column.kind || ""} rank-${column.at} col-${column.id}`;
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
      const arrow = active ? (rising ? " ↑" : " ↓") : "";
      const text = h("span", { class: "titles" }, h("span", { class: column.short ? "long" : "" }, column.title + arrow),
        column.short && h("span", { class: "short", "aria-hidden": "true" }, column.short + arrow));
      return h("th", { scope: "col", class: kindOf(column), title: column.help || null,
        "aria-sort": active && column.sort ? (rising ? "ascending" : "descending") : null },
      column.sort ? button(text, () => {
        change({ sort: column.sort === "id" ? "" : String(column.sort), order: active && !rising ? "asc" : "" });
        head.querySelector("[aria-sort] button")?.focus();
      }, { class: "sort" }) : text);
    }));
    table.classList.toggle("by-width", !isChosen);
    known = new Map();
  }
  function drawRows(/** @type {any[]} */ rows) {
    const next = new Map();
    const shownIds = new Set(columns().map((column) => column.id));
    const list = rows.map((row) => {
      const text = JSON.stringify(row);
      const before = known.get(row.id);
      const shown = before?.text === text ? before
        : { text, row: h("tr", { "data-id": row.id }, columns().map((column) => h("td", { class: kindOf(column) },
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
      rememberRows(listing.data);
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
  const isSeen = (/** @type {string} */ id) => columns().some((column, at) => column.id === id
    && (/** @type {HTMLElement} */ (head.children[at])).offsetParent !== null);
  const tick = () => {
    for (const box of chooser.querySelectorAll("input")) box.checked = isSeen(box.dataset.column);
  };
  const chooser = h("details", { class: "menu", ontoggle: () => chooser.open && tick() }, h("summary", null, "Columns"),
    h("div", { class: "menu-body" }, COLUMNS.map((column) =>
      h("label", null, h("input", { type: "checkbox", "data-column": column.id, 
        onchange: (/** @type {any} */ event) => choose(column.id, event.target.checked) }), column.title))));
  /** @param {string} id @param {boolean} wanted */
  function choose(id, wanted) {
    if (!isChosen) for (const column of COLUMNS) if (!isSeen(column.id)) hidden.add(column.id);
    isChosen = true; // what the width had left out stays out, now by choice
    if (wanted) hidden.delete(id);
    else hidden.add(id);
    remember("hidden-columns", [...hidden]);
    drawHead();
    tick();
    refresh();
  }
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
  const stops = [subscribe(soon, "activity", "fresh"), subscribe(drawModels, "models")];
  drawModels();
  drawHead();
  refresh();
  return {
    element: h("section", { class: "card", "aria-label": "Finished requests" },
      h("div", { class: "row head" }, h("h2", null, "Finished"), h("span", { class: "grow" }), exports, chooser, sizes),
      h("div", { class: "filters", role: "search" }, field("Text", search), !model && field("Model", modelSelect),
        field("Status", statusSelect), field("Path", pathInput), field("Time", rangeSelect), paths,
        button("Clear", clear, { class: "quiet" })),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of finished requests" }, table), note, pager),
    stop() {
      busy?.abort();
      clearTimeout(due);
      clearTimeout(typing);
      stops.forEach((end) => end());
    },
  };
}

/** @param {import("../../lib/route.js").Route} route */
export function activityView(route) {
  const figures = h("div", { class: "counters" });
  const now = runningCard();
  let drawn = "";
  const list = activityList({ query: route.query, setQuery: route.setQuery, onstats: (stats) => {
    const text = JSON.stringify(stats);
    if (text !== drawn) fill(figures, counters(stats));
    drawn = text;
  } });
  return {
    title: "Activity",
    element: h("div", null, h("h1", null, "Activity"), figures, now.element, list.element),
    stop() {
      now.stop();
      list.stop();
    },
  };
}
