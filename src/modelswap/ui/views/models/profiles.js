// @ts-check
/** Shows the names that are not models: those of the profile and of selectors. */

import { askJson } from "../../api/client.js";
import { fill, h, select, toast } from "../../lib/dom.js";
import { modelLink } from "./model_row.js";
import { permit } from "../../api/permissions.js";
import { subscribe, state } from "../../api/state.js";

export function profileCard() {
  const element = h("section", { class: "card", hidden: true });
  async function choose(/** @type {string} */ name) {
    try {
      await askJson("/api/profiles/active", { method: "PUT", json: { name: name || null } });
    } catch (error) {
      toast(`The profile was not changed: ${/** @type {Error} */ (error).message}`, "error");
      draw();
    }
  }
  function draw() {
    element.hidden = !state.profiles.length;
    const active = state.profiles.find((each) => each.id === state.profile);
    const chooser = select([["", "None"], ...state.profiles.map((each) => /** @type {[string, string]} */ ([each.id, each.id]))],
      { value: state.profile || "", "aria-label": "Active profile",
      onchange: (/** @type {any} */ event) => choose(event.target.value) });
    permit(chooser, "admin");
    fill(element, h("div", { class: "row" }, h("h2", null, "Profile"), chooser),
      active ? [active.description && h("p", { class: "muted" }, active.description),
        h("ul", { class: "pins" }, Object.entries(active.pins).map(([pin, target]) => h("li", { class: "mono" }, pin, " → ",
          target ? modelLink(target) : h("span", { class: "tag faint" }, "disabled"))))]
        : h("p", { class: "muted" }, "No profile is active: names mean what the configuration says."));
  }
  draw();
  const stop = subscribe(draw, "profile", "connection", "session");
  return { element, stop };
}

/** @param {any[]} listed */
export function selectorCard(listed) {
  const found = listed.filter((record) => record.meta?.llamaswap?.type === "selector");
  if (!found.length) return null;
  return h("section", { class: "card" }, h("h2", null, "Selectors"), h("p", { class: "muted" }, "Names that choose among models."),
    h("ul", { class: "models" }, found.map((record) => {
      const of = record.meta.llamaswap;
      return h("li", { class: "model" }, h("div", { class: "model-main" },
        h("div", { class: "model-title" }, h("span", null, record.name || record.id), h("span", { class: "tag" }, of.strategy),
          of.spillover ? h("span", { class: "tag" }, `spills over at ${of.spillover}`) : null),
        record.name && h("div", { class: "muted mono small-text" }, record.id),
          record.description && h("div", { class: "muted small-text" }, record.description),
        h("div", { class: "small-text" }, "→ ", of.targets.map((/** @type {string} */ target,
          /** @type {number} */ at) => [at ? ", " : "", modelLink(target)]))));
    })));
}
