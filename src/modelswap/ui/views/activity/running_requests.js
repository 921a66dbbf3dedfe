// @ts-check
/** Shows the requests that run now. */

import { cancel } from "./request_dialog.js";
import { button, h, setText } from "../../lib/dom.js";
import { bytes, duration } from "../../lib/format.js";
import { modelLink } from "../models/model_row.js";
import { isCurrent, permit } from "../../api/permissions.js";
import { subscribe, running, state } from "../../api/state.js";

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
      h("th", { scope: "col", class: at === 1 || at === 4 ? "num" : null },
        title || h("span", { class: "away" }, "Cancel"))))), body));
  /** @type {Map<string, {row: any, elapsed: any, received: any, stop: any, asked: boolean}>} */
  const known = new Map();

  function rowOf(/** @type {any} */ each) {
    const elapsed = h("td", { class: "num mono" });
    const received = h("td", { class: "num mono" });
    const session = state.sessionHeaders.map((name) =>
      Object.entries(each.req_headers || {}).find(([key]) => key.toLowerCase() === name.toLowerCase())?.[1]).find(Boolean);
    const agent = Object.entries(each.req_headers || {}).find(([key]) => key.toLowerCase() === "user-agent")?.[1] || "";
    const stop = button("Cancel", () => {
      shown.asked = true;
      gate();
      cancel(each.id).finally(() => setTimeout(() => {
        shown.asked = false;
        gate();
      }, 2000));
    }, { class: "small", "aria-label": `Cancel request ${each.id} to ${each.model}` });
    const row = h("tr", { "data-id": each.id }, h("td", null, stop), elapsed, h("td", null, modelLink(each.model)),
      h("td", { class: "mono" }, `${each.method} ${each.req_path}`), received,
      h("td", { class: "cut", title: agent }, `${each.remote_ip} ${agent}`), h("td", { class: "cut" }, session || "–"));
    const shown = { row, elapsed, received, stop, asked: false };
    return shown;
  }
  function gate() {
    for (const { stop, asked } of known.values()) permit(stop, "admin", { busy: asked });
    element.classList.toggle("stale", !isCurrent());
  }
  function tick() {
    if (!isCurrent()) return;
    for (const each of running(model)) {
      const shown = known.get(each.id);
      if (!shown) continue;
      setText(shown.elapsed, duration(each.elapsed_ms + performance.now() - each.seen));
      const phase = Object.keys(each.resp_headers || {}).length ? bytes(each.resp_bytes) : "waiting";
      setText(shown.received, phase);
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
    setText(number, String(now.length));
    number.classList.toggle("live", now.length > 0);
    table.hidden = !now.length;
    idle.hidden = now.length > 0;
    gate();
    tick();
  }
  const element = h("section", { class: "card running", "aria-label": "Running requests" }, h("h2", null, "Running ", number), idle,
    table);
  const stops = [subscribe(refresh, "inflight"), subscribe(gate, "connection", "session")];
  const timer = setInterval(tick, 200);
  refresh();
  return {
    element,
    stop() {
      clearInterval(timer);
      stops.forEach((end) => end());
    },
  };
}

