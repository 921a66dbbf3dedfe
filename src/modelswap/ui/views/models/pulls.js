// @ts-check
/** Shows how pulls of models stand: a bar with words, a failure, buttons to cancel and to try again. */

import { ask } from "../../api/client.js";
import { arrange, button, h, setText, toast } from "../../lib/dom.js";
import { permit } from "../../api/permissions.js";
import { state, subscribe } from "../../api/state.js";

/** @typedef {import("../../api/state.js").Pull} Pull */

const OVER = ["finished", "failed", "cancelled"];

/** @param {Pull} pull */
function isRunning(pull) {
  return !OVER.includes(pull.phase);
}

/**
 * The pull of a model that runs now.
 * @param {string} model
 */
export function pullOf(model) {
  return state.pulls.find((pull) => pull.models.includes(model) && isRunning(pull));
}

/** A bar with the server's words; hidden while nothing is pulled. */
export function pullBar() {
  const words = h("span", { class: "muted small-text" });
  const bar = /** @type {HTMLProgressElement} */ (h("progress", { max: "1" }));
  const element = h("div", { class: "pull", hidden: true }, bar, words);
  return {
    element,
    /** @param {Pull | undefined} pull */
    update(pull) {
      element.hidden = !pull;
      if (!pull) return;
      setText(words, pull.words);
      element.classList.toggle("stalled", pull.phase === "stalled");
      bar.setAttribute("aria-label", `Pull of ${pull.models[0] || pull.source}`);
      if (pull.total) bar.value = pull.done / pull.total;
      else bar.removeAttribute("value");
    },
  };
}

/**
 * Order something of the router's API.
 * @param {string} path @param {string} model @param {string} failed
 */
async function order(path, model, failed) {
  try {
    await ask(path, { json: { model } });
  } catch (error) {
    toast(`${failed}: ${/** @type {Error} */ (error).message}`, "error");
  }
}

/** @param {string} name */
function pullRow(name) {
  const words = h("span");
  const bar = pullBar();
  let isOver = false;
  const control = button("Cancel", () => isOver ? order("/models", name, `${name} was not pulled`)
    : order("/models/unload", name, `The pull of ${name} was not cancelled`));
  const element = h("li", { class: "model" }, h("div", { class: "model-main" },
    h("div", { class: "model-title mono" }, name), h("div", { class: "failure small-text" }, h("span", { class: "reason" }, words)), bar.element),
  h("div", { class: "row actions" }, control));
  return {
    element,
    /** @param {Pull} pull */
    update(pull) {
      isOver = !isRunning(pull);
      bar.update(isOver ? undefined : pull);
      setText(words, isOver ? `Not pulled: ${pull.text || pull.phase}` : "");
      setText(control, isOver ? "Try again" : "Cancel");
      control.setAttribute("aria-label", `${isOver ? "Try again" : "Cancel"} ${name}`);
      permit(control, "admin");
    },
  };
}

/** Pulls of what is no model yet: it was ordered by its name in the hub. */
export function ordersCard() {
  const list = h("ul", { class: "models" });
  const element = h("section", { class: "card orders", hidden: true, "aria-label": "Pulls" }, h("h2", null, "Being pulled"), list);
  /** @type {Map<string, ReturnType<typeof pullRow>>} */
  const rows = new Map();
  function draw() {
    const shown = state.pulls.filter((pull) => !pull.models.length && pull.phase !== "finished");
    element.hidden = !shown.length;
    arrange(list, shown.map((pull) => {
      const row = rows.get(pull.source) || pullRow(pull.source.replace(/^hf:/, ""));
      rows.set(pull.source, row);
      row.update(pull);
      return row.element;
    }));
  }
  const stop = subscribe(draw, "pulls", "session", "connection");
  draw();
  return { element, stop };
}
