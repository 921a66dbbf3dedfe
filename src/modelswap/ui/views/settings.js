// @ts-check
/** Shows the state of the configuration, the settings of the page, and versions. */

import { RequestError, ask, askJson, url } from "../api/client.js";
import { button, fill, h, remember, remembered, select, toast } from "../lib/dom.js";
import { clock } from "../lib/format.js";
import { hasScope, permit } from "../api/permissions.js";
import { subscribe, state } from "../api/state.js";

const THEMES = /** @type {[string, string][]} */ ([["system", "As the system"], ["light", "Light"], ["dark", "Dark"]]);

/** @param {string} name */
export function setTheme(name) {
  remember("theme", name);
  dispatchEvent(new Event("modelswap-theme"));
  for (const control of document.querySelectorAll("select.theme")) /** @type {HTMLSelectElement} */ (control).value = name;
}

export function nextTheme() {
  const at = THEMES.findIndex(([name]) => name === remembered("theme", "system"));
  const [name, text] = THEMES[(at + 1) % THEMES.length];
  setTheme(name);
  toast(`Colours: ${text.toLowerCase()}`);
}

/** @param {string[]} list @param {string} kind */
function messages(list, kind) {
  return list?.length ? h("ul", { class: `messages ${kind}` }, list.map((text) => h("li", null, h("pre", null, text)))) : null;
}

export function settingsView() {
  const status = h("div");
  const about = h("dl", { class: "facts" });
  let busy = false;
  const reload = button("Reload the configuration", async () => {
    busy = true;
    gate();
    try {
      state.config = await askJson("/api/config/reload", { method: "POST" });
      toast("The configuration was loaded");
    } catch (error) {
      if (error instanceof RequestError && error.status === 409) toast("The file has mistakes; nothing was changed", "error");
      else toast(`Not reloaded: ${/** @type {Error} */ (error).message}`, "error");
      state.config = await askJson("/api/config/status").catch(() => state.config);
    }
    busy = false;
    draw();
  }, { class: "primary" });
  const unload = button("Unload all models", () => ask("/api/models/unload",
    { method: "POST" }).then(() => toast("All models are being unloaded")).catch((error) => toast(error.message, "error")));
  const link = (/** @type {string} */ path, /** @type {string} */ text) => h("li", null,
    h("a", { href: url(path), target: "_blank", rel: "noopener" }, text));
  const listed = link("/v1/models", "Models as JSON");
  function gate() {
    listed.hidden = !hasScope("inference");
    permit(reload, "admin", { busy });
    permit(unload, "admin");
  }
  function draw() {
    gate();
    const config = state.config;
    fill(status, !config ? h("p", { class: "muted" }, "…") : [
      h("p", null, h("span", { class: `badge ${config.ok ? "good" : "bad"}` }, config.ok ? "valid" : "mistakes"), " ",
        config.ok ? `Loaded ${clock(config.loaded_at)}.`
          : `The file could not be used at ${clock(config.tried_at)}. What was loaded ${clock(config.loaded_at)} goes on.`),
      config.files?.length ? h("p", { class: "mono small-text wrap" }, config.files.join("\n")) : null,
      messages(config.problems, "bad"), messages(config.warnings, "warn")]);
    const names = { connecting: "connecting", connected: "connected", lost: "connection lost", refused: "refused" };
    fill(about, [["modelswap", state.version || "–"], ["Event stream", names[state.connection] + (state.reason
      ? `: ${state.reason}` : "")], ["Key", state.session?.key || "–"], ["It may", state.session?.scopes.join(", ") || "–"], ["Models", String(state.models.length)]]
      .map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))));
  }
  const stop = subscribe(draw, "config", "connection", "profile", "models", "session");
  draw();
  return {
    title: "Settings",
    element: h("div", null, h("h1", null, "Settings"),
      h("section", { class: "card" }, h("h2", null, "Configuration"), status, h("div", { class: "row" }, reload, unload)),
      h("section", { class: "card" }, h("h2", null, "This page"), h("div", { class: "field inline" },
        h("label", { for: "theme" }, "Colours"),
        select(THEMES, { id: "theme", class: "theme", value: remembered("theme", "system"),
          onchange: (/** @type {any} */ event) => setTheme(event.target.value) })),
      h("p", { class: "muted small-text" },
        "Keys: / goes to the search of a view, g then a letter to a view (a activity, m models, l logs, p performance, y playground, s settings).")),
      h("section", { class: "card" }, h("h2", null, "About"), about, h("ul", { class: "links" },
        listed, link("/running", "Running models as JSON"),
        link("/metrics", "Figures for Prometheus")))),
    stop,
  };
}
