// @ts-check
/** Draws one model for other views: its state, its pull, its failure, its buttons, its row in a list. */

import { ask, pathSegment, isAbort, url } from "../../api/client.js";
import { button, fill, h, icon, setText, toast } from "../../lib/dom.js";
import { failureOf, stateOf } from "../../api/model_failure.js";
import { context } from "../../lib/format.js";
import { hasScope, isCurrent, permit } from "../../api/permissions.js";
import { pullBar, pullOf } from "./pulls.js";

/** @typedef {import("../../api/state.js").Model} Model */

const ABILITIES = { vision: "vision", audio_transcriptions: "transcription", audio_speech: "speech", image_generation: "images",
  image_to_image: "image to image",
  function_calling: "tools", reranker: "rerank", embedding: "embeddings", reasoning: "reasoning" };

/** @param {string} id */
function modelAddress(id) {
  return `#/models/${pathSegment(id)}`;
}

/** @param {string} id */
export function modelLink(id) {
  return h("a", { href: modelAddress(id), class: "model-link", title: id }, id);
}

/**
 * The state of a model; one whose files are pulled is not down, but not loading either.
 * @param {Model} model
 */
function phaseOf(model) {
  return model.state === "stopped" && pullOf(model.id) ? "pulling" : stateOf(model);
}

/**
 * What to show as the state: without a connection it is not known.
 * @param {Model} model
 */
export function shownState(model) {
  if (!isCurrent()) return "unknown";
  return model.peerID ? "remote" : phaseOf(model);
}

/**
 * A state as dot and word.
 * @param {string} of
 */
function stateTag(of) {
  return h("span", { class: `state ${of}` }, h("i", { "aria-hidden": "true" }), of === "starting" ? "loading" : of || "remote");
}

/** A place for a state that is drawn anew only when it is another. */
export function statePlace() {
  const element = h("span");
  return {
    element,
    /** @param {Model} model */
    update(model) {
      const key = shownState(model);
      if (element.dataset.state === key) return false;
      element.dataset.state = key;
      fill(element, stateTag(key));
      return true;
    },
  };
}

// Loading and unloading

/** @type {Map<string, AbortController>} */
const loading = new Map();

/** @param {Model} model */
async function load(model) {
  const { id } = model;
  const controller = new AbortController();
  loading.set(id, controller);
  try {
    // A model that backs off refuses to start; to unload it ends the back-off.
    if (stateOf(model) === "failed") await ask(`/api/models/unload/${pathSegment(id)}`, { method: "POST", signal: controller.signal });
    await ask(`/api/models/load/${pathSegment(id)}`, { method: "POST", signal: controller.signal });
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
    await ask(`/api/models/unload/${pathSegment(id)}`, { method: "POST", query: force ? { force: "true" } : {} });
  } catch (error) {
    toast(`${id} was not unloaded: ${/** @type {Error} */ (error).message}`, "error");
  }
}

/** The one button that fits the state. */
export function loadButton() {
  let model = /** @type {Model | null} */ (null);
  let shown = "";
  let busy = false;
  const control = button("Load", () => {
    if (!model || busy) return;
    const { id } = model;
    const isDown = ["stopped", "failed"].includes(phaseOf(model));
    const release = () => {
      busy = false;
      if (model) update(model);
    };
    busy = true;
    update(model);
    (isDown ? load(model) : unload(id, model.state === "stopping")).finally(release);
    if (isDown) setTimeout(release, 300);
  });
  /** @param {Model} now */
  function update(now) {
    const state = phaseOf(now);
    if (shown !== state) busy = false;
    model = now;
    shown = state;
    const text = { stopped: "Load", failed: "Try again", pulling: "Cancel", starting: "Cancel", ready: "Unload", stopping: "Force" }[state] || "Load";
    setText(control, text);
    control.setAttribute("aria-label", `${text} ${now.id}`);
    control.className = state === "stopped" || state === "failed" ? "primary" : state === "stopping" ? "danger" : "";
    control.setAttribute("aria-disabled", String(busy)); // not switched off: it would lose the focus
    permit(control, "admin", { title: state === "stopping" ? "Do not wait for running requests: stop it now"
      : state === "pulling" ? "Stop the download; what came is kept" : state === "failed" ? "Start it now, whatever the pause after the failure" : "" });
  }
  return { control, update };
}

/**
 * Link to the pages of the model server itself.
 * @param {string} id
 */
export function upstreamLink(id) {
  const address = id === "comfyui_auto" ? url("/comfyui/") : url(`/upstream/${pathSegment(id)}/`);
  return h("a", { href: address, target: "_blank", rel: "noopener", class: "icon-link needs-admin",
    title: "Open the model server's own page; loads the model",
    "aria-label": `Open the own page of ${id}` }, icon("open"));
}

/** Why a model is not there, since when, and what comes next. */
export function failureBlock() {
  const cause = h("span", { class: "badge bad" });
  const reason = h("span");
  const when = h("span", { class: "muted" });
  const log = h("a", null, "Log");
  const lines = h("pre", { class: "code", tabindex: "0" });
  const last = h("details", null, h("summary", null, "Its last lines"), lines);
  const element = h("div", { class: "failure small-text", hidden: true }, h("div", { class: "reason" }, cause, reason),
    h("div", { class: "row when" }, when, log), last);
  return {
    element,
    /** @param {Model} model */
    update(model) {
      const found = failureOf(model, Date.now());
      element.hidden = !found;
      if (!found) return;
      cause.hidden = !found.cause || found.cause === found.reason;
      setText(cause, found.cause);
      setText(reason, `${model.failure_class === "pull_failed" ? "Not pulled" : "Not loaded"}: ${found.reason}`);
      last.hidden = !model.failure_log?.length;
      setText(lines, (model.failure_log || []).join("\n"));
      setText(when, [found.since, found.next].filter(Boolean).join(" · "));
      const address = `${modelAddress(model.id)}?tab=logs`;
      if (log.getAttribute("href") !== address) {
        log.setAttribute("href", address);
        log.setAttribute("aria-label", `Log of ${model.id}`);
      }
    },
  };
}

/** @param {Model} model */
function tags(model) {
  const able = Object.keys(model.capabilities || {}).map((name) => h("span", { class: "tag" },
    /** @type {any} */ (ABILITIES)[name] || name));
  return [model.context_length ? h("span", { class: "tag", title: `Context of ${model.context_length} tokens` },
    context(model.context_length)) : null, ...able,
    model.unlisted && h("span", { class: "tag faint" }, "unlisted")];
}

/**
 * What of a model is drawn once; a change means another row.
 * @param {Model} model
 */
export function keyOf(model) {
  return JSON.stringify([model.name, model.description, model.aliases, model.capabilities, model.context_length, model.unlisted]);
}

/**
 * One row of the list; updated in place, and only where something has changed.
 * @param {Model} model
 */
export function modelRow(model) {
  const place = statePlace();
  const busy = h("span", { class: "busy" });
  const failure = failureBlock();
  const pull = pullBar();
  const { control, update } = loadButton();
  const aliases = (model.aliases || []).join(", ");
  const local = !model.peerID;
  const ids = [model.name && model.name !== model.id ? model.id : "", aliases && `also ${aliases}`].filter(Boolean).join(" · ");
  const open = local && upstreamLink(model.id);
  const plan = local && h("a", { href: `${modelAddress(model.id)}?tab=plan`, class: "small-text",
    title: "What would happen to a request for it now", "aria-label": `Plan of ${model.id}` }, "Plan");
  const element = h("li", { class: "model", "data-model": model.id },
    h("div", { class: "model-main" },
      h("div", { class: "model-title" }, local ? h("a", { href: modelAddress(model.id), title: model.id }, model.name || model.id)
        : h("span", null, model.id), tags(model)),
      ids && h("div", { class: "muted mono small-text model-ids", title: ids }, ids),
      model.description && h("div", { class: "muted small-text model-about", title: model.description }, model.description),
      failure.element, pull.element),
    busy, place.element, local && h("div", { class: "row actions" }, plan, open, control));
  let drawn = "";
  return {
    element,
    key: keyOf(model),
    /** @param {Model} now @param {string} load what runs and waits, in words @param {string} context what else it depends on */
    update(now, load, context) {
      const pulling = pullOf(now.id);
      const key = `${pulling?.words}\n${now.state}\n${now.failure}\n${now.failure_class}\n${now.failed_at}\n${now.retry_at}\n${load}\n${context}`;
      if (key === drawn) return;
      drawn = key;
      place.update(now);
      setText(busy, load);
      busy.classList.toggle("later", /^unl/.test(load));
      pull.update(pulling);
      failure.update(now);
      if (open) {
        open.hidden = !hasScope("admin");
        open.inert = !isCurrent();
      }
      if (plan) plan.hidden = !hasScope("read");
      if (local) update(now);
    },
    /** The time goes on. @param {Model} now */
    tick(now) {
      if (!failure.element.hidden) failure.update(now);
    },
  };
}
