// @ts-check
/** Shows what would happen to a request for a model and why, and what each device holds; the words are the server's. */

import { askJson } from "../../api/client.js";
import { button, empty, fill, h } from "../../lib/dom.js";
import { bytes } from "../../lib/format.js";
import { follow } from "./follow.js";
import { subscribe } from "../../api/state.js";

const COLOURS = 7; // --c0 to --c6; --c7 stands for other programs

/**
 * One device as a bar: what other programs use, each model's share, what is kept free.
 * @param {any} device
 */
function deviceBar(device) {
  const most = Math.max(device.total, device.foreign + device.held + device.reserve, 1);
  /** @param {string} kind @param {number} size @param {string} text */
  const part = (kind, size, text) => {
    const element = h("span", { class: `share ${kind}`, title: `${text}: ${bytes(size)}` });
    element.style.width = `${(100 * size) / most}%`;
    return element;
  };
  const models = Object.entries(device.models).sort((a, b) => b[1] - a[1]);
  return h("div", { class: "device", "data-device": device.id },
    h("div", { class: "row" }, h("strong", null, device.id), h("span", { class: "muted" }, device.name)),
    h("div", { class: "shares", role: "img", "aria-label": device.text },
      device.foreign ? part("c7", device.foreign, "Other programs") : null,
      models.map(([id, size], at) => part(`c${at % COLOURS}`, size, id)),
      device.reserve ? part("kept", device.reserve, "Kept free") : null),
    h("div", { class: "small-text" }, device.text),
    models.length ? h("div", { class: "row small-text" }, models.map(([id, size], at) =>
      h("span", null, h("i", { class: `share key c${at % COLOURS}` }), ` ${id} ${bytes(size)}`))) : null);
}

/** @param {any} plan */
function parts(plan) {
  const { predicted, text } = plan.memory || {};
  if (!predicted) return null;
  return h("details", { class: "small-text" }, h("summary", null, text || "Predicted need"),
    h("ul", null, predicted.parts.map((/** @type {any} */ each) =>
      h("li", null, `${each.name}: ${bytes(each.bytes)} ${each.is_on_gpu ? "of GPU memory" : "of the machine's memory"}`))));
}

/**
 * What would happen now, asked again when something changes.
 * @param {string} id
 */
export function planPanel(id) {
  const element = h("section", { class: "card plan" }, h("p", { class: "muted" }, "…"));
  let asked = 0;
  async function draw() {
    const mine = ++asked;
    try {
      const plan = await askJson("/api/plan", { query: { model: id } });
      if (mine !== asked) return;
      fill(element, h("p", { class: "plan-text" }, plan.text), parts(plan), (plan.devices || []).map(deviceBar),
        button("Ask again", draw));
    } catch (error) {
      if (mine === asked) fill(element, empty("No plan", /** @type {Error} */ (error).message));
    }
  }
  draw();
  return { element, stop: subscribe(draw, "models") };
}

/** The devices with what they hold. */
export function devicesCard() {
  const list = h("div");
  const element = h("section", { class: "card devices", hidden: true }, h("h2", null, "Memory"), list);
  return { element, stop: follow("/api/plan", ({ devices }) => {
    element.hidden = !devices.length;
    fill(list, devices.map(deviceBar));
  }, "models") };
}
