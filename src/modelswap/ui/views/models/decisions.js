// @ts-check
/** Lists the newest starts and swaps: who asked, who left, why, how it ended; the words are the server's. */

import { fill, h } from "../../lib/dom.js";
import { clock } from "../../lib/format.js";
import { follow } from "./follow.js";

/** Decisions on the page; `modelswap decisions` and the API have more. */
const SHOWN = 15;

/** @type {Record<string, string>} */
const KINDS = { failed: "bad", given_up: "bad", ready: "good" };

export function decisionsCard() {
  const list = h("ul", { class: "models" });
  const element = h("details", { class: "card decisions", hidden: true }, h("summary", null, "Last starts and swaps"), list);
  return { element, stop: follow(`/api/decisions?limit=${SHOWN}`, ({ data }) => {
    element.hidden = !data.length;
    fill(list, data.map((/** @type {any} */ one) => h("li", { class: "decision small-text" },
      h("span", { class: "muted" }, clock(one.time)), h("span", { class: "model-main" }, one.text),
      h("span", { class: `badge ${KINDS[one.ending] || ""}` }, one.ending.replace("_", " ") || "under way"))));
  }, "decision") };
}
