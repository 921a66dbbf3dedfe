// @ts-check
/** Lists the files that were found on disk and are not served, each with its reason. */

import { fill, h, setText } from "../../lib/dom.js";
import { follow } from "./follow.js";

/** Files on the page; the rest is a number. */
const SHOWN = 100;

export function unservedCard() {
  const number = h("span", { class: "badge" });
  const list = h("ul", { class: "models" });
  const element = h("details", { class: "card unserved", hidden: true },
    h("summary", null, "Found on disk, not served ", number), list);
  /** @param {any[]} files */
  function draw(files) {
    element.hidden = !files.length;
    setText(number, String(files.length));
    const left = files.length - SHOWN;
    fill(list, files.slice(0, SHOWN).map((file) => h("li", { class: "model" }, h("div", { class: "model-main" },
      h("div", { class: "model-title mono" }, file.path), h("div", { class: "muted small-text" }, file.reason)))),
      left > 0 && h("li", { class: "muted" }, `and ${left} more`));
  }
  return { element, stop: follow("/api/models/found", ({ data }) =>
    draw(data.filter((/** @type {any} */ one) => !one.served)), "config") };
}
