// @ts-check
/** Lists the newest starts and swaps: who asked, who left, why, how it ended; the words are the server's. */

import { askJson } from "../../api/client.js";
import { fill, h } from "../../lib/dom.js";
import { clock } from "../../lib/format.js";
import { hasScope } from "../../api/permissions.js";
import { subscribe } from "../../api/state.js";

/** Decisions on the page; `modelswap decisions` and the API have more. */
const SHOWN = 15;

const KINDS = { failed: "bad", given_up: "bad", ready: "good" };

export function decisionsCard() {
  const list = h("ul", { class: "models" });
  const element = h("details", { class: "card decisions", hidden: true }, h("summary", null, "Last starts and swaps"), list);
  let asked = 0;
  async function draw() {
    if (!hasScope("read")) return;
    const mine = ++asked;
    try {
      const { data } = await askJson("/api/decisions", { query: { limit: SHOWN } });
      if (mine !== asked) return;
      element.hidden = !data.length;
      fill(list, data.map((/** @type {any} */ one) => h("li", { class: "decision small-text" },
        h("span", { class: "muted" }, clock(one.time)), h("span", { class: "model-main" }, one.text),
        h("span", { class: `badge ${/** @type {any} */ (KINDS)[one.ending] || ""}` }, one.ending.replace("_", " ") || "under way"))));
    } catch {
      // The next change asks again.
    }
  }
  const stops = [subscribe("decision", draw), subscribe("session", draw)];
  draw();
  return { element, stop: () => stops.forEach((end) => end()) };
}
