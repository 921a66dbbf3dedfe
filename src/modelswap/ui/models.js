// @ts-check
/** The models: what they are and in which state; load, unload, profiles, selectors. */

import { ask, askJson, inPath, isAbort, url } from "./api.js";
import { button, empty, fill, h, icon, remember, remembered, say, select, toast } from "./dom.js";
import { context } from "./format.js";
import { on, running, state } from "./state.js";

/** @typedef {import("./state.js").Model} Model */

const STATES = { ready: "ready", starting: "loading", stopping: "stopping", stopped: "stopped" };
const ABILITIES = { vision: "vision", audio_transcriptions: "transcription", audio_speech: "speech", image_generation: "images",
  image_to_image: "image to image",
  function_calling: "tools", reranker: "rerank" };

/** @param {string} id */
export function modelAddress(id) {
  return `#/models/${inPath(id)}`;
}

/** @param {string} id */
export function modelLink(id) {
  return h("a", { href: modelAddress(id), class: "model-link" }, id);
}

/**
 * A state as dot and word.
 * @param {string} of
 */
export function stateTag(of) {
  return h("span", { class: `state ${of}` }, h("i", { "aria-hidden": "true" }), /** @type {any} */ (STATES)[of] || of || "remote");
}

// Loading and unloading

/** @type {Map<string, AbortController>} */
const loading = new Map();

/** @param {string} id */
async function load(id) {
  const controller = new AbortController();
  loading.set(id, controller);
  try {
    await ask(`/api/models/load/${inPath(id)}`, { method: "POST", signal: controller.signal });
    toast(`${id} is ready`);
  } catch (error) {
    if (!isAbort(error)) toast(`${id} was not loaded: ${/** @type {Error} */ (error).message}`, "error");
  } finally {
    loading.delete(id);
  }
}

/**
 * @param {string} id
 * @param {boolean} [force]
 */
async function unload(id, force = false) {
  loading.get(id)?.abort();
  try {
    await ask(`/api/models/unload/${inPath(id)}`, { method: "POST", query: force ? { force: "true" } : {} });
  } catch (error) {
    toast(`${id} was not unloaded: ${/** @type {Error} */ (error).message}`, "error");
  }
}

/** The one button that fits the state. */
export function loadButton() {
  let model = /** @type {Model | null} */ (null);
  const control = button("Load", () => {
    if (!model) return;
    const { id } = model;
    control.disabled = true;
    (model.state === "stopped" ? load(id) : unload(id, model.state === "stopping")).finally(() => { control.disabled = false; });
    if (model.state === "stopped") setTimeout(() => { control.disabled = false; }, 300);
  });
  return {
    control,
    /** @param {Model} now */
    update(now) {
      if (model?.state !== now.state) control.disabled = false;
      model = now;
      const text = { stopped: "Load", starting: "Cancel", ready: "Unload", stopping: "Force" }[now.state] || "Load";
      say(control, text);
      control.setAttribute("aria-label", `${text} ${now.id}`);
      control.title = now.state === "stopping" ? "Do not wait for running requests: stop it now" : "";
      control.className = now.state === "stopped" ? "primary" : now.state === "stopping" ? "danger" : "";
    },
  };
}

/**
 * Link to the pages of the model server itself.
 * @param {string} id
 */
export function upstreamLink(id) {
  const address = id === "comfyui_auto" ? url("/comfyui/") : url(`/upstream/${inPath(id)}/`);
  return h("a", { href: address, target: "_blank", rel: "noopener", class: "icon-link",
    title: "Open the model server's own page; loads the model",
    "aria-label": `Open the own page of ${id}` }, icon("open"));
}

/** @param {Model} model */
function tags(model) {
  const able = Object.keys(model.capabilities || {}).map((name) => h("span", { class: "tag" },
    /** @type {any} */ (ABILITIES)[name] || name));
  return [model.context_length ? h("span", { class: "tag", title: `Context of ${model.context_length} tokens` },
    context(model.context_length)) : null, ...able,
    model.unlisted && h("span", { class: "tag faint" }, "unlisted")];
}

/** Where a model's numbers are read from: who runs now and how many wait for it. */
class Load {
  constructor() {
    /** @type {Map<string, any>} */
    this.rows = new Map();
    this.busy = false;
  }

  async fetch() {
    if (this.busy) return;
    this.busy = true;
    try {
      const { running: rows } = await askJson("/running");
      this.rows = new Map(rows.map((/** @type {any} */ row) => [row.model, row]));
    } catch {
      // The next look will tell.
    } finally {
      this.busy = false;
    }
  }
}

/**
 * @param {Model} model
 * @param {any} figures
 */
function loadText(model, figures) {
  const all = running(model.id).length;
  const isUp = Boolean(model.peerID) || model.state === "ready" || model.state === "stopping";
  const waiting = isUp ? Math.min(all, figures?.waiting || 0) : all;
  const now = all - waiting;
  return [now && `${now} running`, waiting && `${waiting} waiting`].filter(Boolean).join(" · ");
}

/**
 * What of a model is drawn once; a change means another row.
 * @param {Model} model
 */
function keyOf(model) {
  return JSON.stringify([model.name, model.description, model.aliases, model.capabilities, model.context_length, model.unlisted]);
}

/**
 * One row of the list; updated in place.
 * @param {Model} model
 */
function row(model) {
  const place = h("span");
  const busy = h("span", { class: "busy" });
  const failure = h("div", { class: "failure small-text" });
  const { control, update } = loadButton();
  const aliases = (model.aliases || []).join(", ");
  const local = !model.peerID;
  const element = h("li", { class: "model", "data-model": model.id },
    h("div", { class: "model-main" },
      h("div", { class: "model-title" }, local ? h("a", { href: modelAddress(model.id) }, model.name || model.id)
        : h("span", null, model.id), tags(model)),
      (model.name && model.name !== model.id) || aliases ? h("div", { class: "muted mono small-text" },
        [model.name && model.name !== model.id ? model.id : "", aliases && `also ${aliases}`].filter(Boolean).join(" · ")) : null,
      model.description && h("div", { class: "muted small-text" }, model.description), failure),
    busy, place, local && h("div", { class: "row actions" }, upstreamLink(model.id), control));
  return {
    element,
    key: keyOf(model),
    /** @param {Model} now @param {any} figures */
    update(now, figures) {
      if (place.dataset.state !== now.state) {
        place.dataset.state = now.state;
        fill(place, stateTag(local ? now.state : "remote"));
      }
      say(busy, loadText(now, figures));
      say(failure, now.failure ? `Not loaded: ${now.failure}` : "");
      if (local) update(now);
    },
  };
}

function profileCard() {
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
    fill(element, h("div", { class: "row" }, h("h2", null, "Profile"), chooser),
      active ? [active.description && h("p", { class: "muted" }, active.description),
        h("ul", { class: "pins" }, Object.entries(active.pins).map(([pin, target]) => h("li", { class: "mono" }, pin, " → ",
          target ? modelLink(target) : h("span", { class: "tag faint" }, "disabled"))))]
        : h("p", { class: "muted" }, "No profile is active: names mean what the configuration says."));
  }
  draw();
  return { element, stop: on("profile", draw) };
}

/** @param {any[]} listed */
function selectorCard(listed) {
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

/**
 * Keeps a list of model rows in step with the state.
 * @param {(model: Model) => boolean} wanted
 * @param {Load} figures
 */
function modelRows(wanted, figures) {
  const element = h("ul", { class: "models" });
  /** @type {Map<string, ReturnType<typeof row>>} */
  let known = new Map();
  return {
    element,
    update() {
      const next = new Map();
      for (const model of state.models.filter(wanted)) {
        const before = known.get(model.id);
        const shown = before?.key === keyOf(model) ? before : row(model);
        shown.update(model, figures.rows.get(model.id));
        next.set(model.id, shown);
      }
      const rows = [...next.values()].map((each) => each.element);
      if (rows.length !== element.children.length
        || rows.some((each, at) => element.children[at] !== each)) element.replaceChildren(...rows);
      known = next;
      return rows.length;
    },
  };
}

export function modelsView() {
  const figures = new Load();
  let showsUnlisted = remembered("show-unlisted", false);
  let sought = "";
  const matches = (/** @type {Model} */ model) => !sought || [model.id, model.name, model.description,
    ...(model.aliases || [])].some((text) => text?.toLowerCase().includes(sought));
  const local = modelRows((model) => !model.peerID && (showsUnlisted || !model.unlisted) && matches(model), figures);
  const peers = modelRows((model) => Boolean(model.peerID) && matches(model), figures);
  const summary = h("p", { class: "muted", role: "status" });
  const none = h("div");
  const selectors = h("div");
  const profile = profileCard();
  const unloadAll = button("Unload all", async () => {
    unloadAll.disabled = true;
    try {
      await ask("/api/models/unload", { method: "POST" });
    } catch (error) {
      toast(`Not unloaded: ${/** @type {Error} */ (error).message}`, "error");
    }
    draw();
  });
  const unlisted = h("label", { class: "switch" }, h("input", { type: "checkbox", checked: showsUnlisted,
    onchange: (/** @type {any} */ event) => {
    showsUnlisted = event.target.checked;
    remember("show-unlisted", showsUnlisted);
    draw();
  } }), h("span"));
  const search = h("input", { type: "search", placeholder: "Find a model", "aria-label": "Find a model", "data-search": "",
    oninput: (/** @type {any} */ event) => {
    sought = event.target.value.trim().toLowerCase();
    draw();
  } });
  const peerCard = h("section", { class: "card" }, h("h2", null, "Of other servers"), peers.element);
  let listedKey = "";
  async function fetchListed() {
    const key = JSON.stringify([state.profiles, state.models.map((model) => model.id)]);
    if (key === listedKey) return;
    listedKey = key;
    try {
      fill(selectors, selectorCard((await askJson("/v1/models")).data));
    } catch {
      listedKey = "";
    }
  }
  function draw() {
    const all = state.models.filter((model) => !model.peerID);
    const shown = local.update();
    peerCard.hidden = !peers.update();
    const ready = all.filter((model) => model.state === "ready").length;
    const hiddenCount = all.filter((model) => model.unlisted).length;
    say(summary, state.known ? `${shown === all.length ? all.length : `${shown} of ${all.length}`} ${all.length === 1 ? "model" : "models"}, ${ready} ready` : "…");
    unloadAll.disabled = !all.some((model) => model.state === "ready" || model.state === "starting");
    unlisted.hidden = !hiddenCount;
    say(unlisted.lastChild, `Show ${hiddenCount} unlisted`);
    fill(none, state.known && !all.length
      && empty("No models yet", "Add some under “models:” in the configuration file, then reload it in ",
      h("a", { href: "#/settings" }, "settings"), "."),
      all.length && !shown && sought ? empty("Nothing matches", `No model is called “${sought}”.`) : null);
  }
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let due;
  function look() {
    clearTimeout(due);
    due = setTimeout(async () => {
      await figures.fetch();
      draw();
      if (running().length && !document.hidden) look();
    }, figures.rows.size || running().length ? 1500 : 100);
  }
  let before = 0;
  const stops = [on("models", () => { draw(); fetchListed(); look(); }), on("inflight", () => {
    draw();
    if (running().length && !before) look();
    before = running().length;
  }), profile.stop];
  draw();
  look();
  fetchListed();
  return {
    title: "Models",
    element: h("div", null, h("div", { class: "row head" }, h("h1", null, "Models"), summary, h("span", { class: "grow" }), search,
      unloadAll), profile.element,
      h("section", { class: "card", "aria-label": "Models of this server" }, h("div", { class: "row" }, unlisted), local.element,
        none), selectors, peerCard),
    stop() {
      clearTimeout(due);
      stops.forEach((end) => end());
    },
  };
}
