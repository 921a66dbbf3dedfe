// @ts-check
/** Shows all models: running ones first, then the others in sections; profiles and selectors. */

import { ask, askJson } from "../../api/client.js";
import { arrange, button, empty, fill, h, remember, remembered, setText, toast } from "../../lib/dom.js";
import { stateOf } from "../../api/model_failure.js";
import { clock } from "../../lib/format.js";
import { keyOf, modelRow } from "./model_row.js";
import { hasScope, isCurrent, permit } from "../../api/permissions.js";
import { decisionsCard } from "./decisions.js";
import { devicesCard } from "./plan.js";
import { profileCard, selectorCard } from "./profiles.js";
import { ordersCard } from "./pulls.js";
import { FEW, peerSectionsOf, sectionsOf } from "./sections.js";
import { subscribe, running, state } from "../../api/state.js";
import { unservedCard } from "./unserved.js";

/** @typedef {import("../../api/state.js").Model} Model */
/** @typedef {import("./sections.js").Section} Section */

/** Rows of one section on the page at first; the rest comes on demand. */
const SHOWN = 20;
/** Sections are open at first until they show so many rows: about two screens. */
const OPEN_ROWS = 40;

/** Where a model's numbers are read from: how many wait for it. */
class Load {
  constructor() {
    /** @type {Map<string, any>} */
    this.rows = new Map();
    this.busy = false;
  }

  async fetch() {
    if (this.busy || !isCurrent()) return;
    this.busy = true;
    try {
      const { running: rows } = await askJson("/running");
      this.rows = new Map(rows.map((/** @type {any} */ row) => [row.model, row]));
    } catch {
      // The next refresh tries again.
    } finally {
      this.busy = false;
    }
  }

  /**
   * What runs and waits, in words, for every model at once.
   * @returns {(model: Model) => string}
   */
  words() {
    if (!isCurrent()) return () => "";
    /** @type {Map<string, number>} */
    const counts = new Map();
    for (const each of running()) counts.set(each.model, (counts.get(each.model) || 0) + 1);
    return (model) => {
      const all = counts.get(model.id) || 0;
      const isUp = Boolean(model.peerID) || model.state === "ready" || model.state === "stopping";
      const waiting = isUp ? Math.min(all, this.rows.get(model.id)?.waiting || 0) : all;
      const until = !all && this.rows.get(model.id)?.expires_at;
      return until ? `unloads at ${clock(until).slice(0, -3)}`
        : [all - waiting && `${all - waiting} running`, waiting && `${waiting} waiting`].filter(Boolean).join(" · ");
    };
  }
}

/**
 * A section that can be closed; without a title it is a plain list.
 * @param {string} id
 */
function sectionPlace(id) {
  const list = h("ul", { class: "models" });
  const title = h("span");
  const number = h("span", { class: "badge" });
  const more = button("", () => {
    limit = Infinity;
    onchange();
  }, { class: "link more" });
  const element = h("details", { class: "section", "data-section": id }, h("summary", null, title, " ", number), list, more);
  let limit = SHOWN;
  /** @type {boolean | undefined} what the user has chosen */
  let chosen = remembered("sections", {})[id];
  let onchange = () => {};
  element.addEventListener("toggle", () => {
    if (element.open === isOpen) return;
    isOpen = chosen = element.open;
    remember("sections", { ...remembered("sections", {}), [id]: chosen });
    onchange();
  });
  let isOpen = false;
  return {
    element,
    list,
    /**
     * Take what is to be shown; returns the models whose rows are.
     * @param {Section} section @param {boolean} open unless the user has said otherwise @param {boolean} sought @param {() => void} again
     */
    plan(section, open, sought, again) {
      onchange = again;
      setText(title, section.title);
      setText(number, String(section.models.length));
      element.classList.toggle("plain", !section.title);
      isOpen = !section.title || sought || (chosen ?? open);
      if (element.open !== isOpen) element.open = isOpen;
      const shown = isOpen ? section.models.slice(0, limit) : [];
      const left = isOpen ? section.models.length - shown.length : 0;
      more.hidden = !left;
      setText(more, `Show ${left} more`);
      return shown;
    },
  };
}

/**
 * Keeps rows of models, in sections, in step with the state.
 * @param {(models: Model[], flat: boolean) => Section[]} cut
 */
function modelRows(cut) {
  const element = h("div", { class: "sections" });
  /** @type {Map<string, ReturnType<typeof sectionPlace>>} */
  const places = new Map();
  /** @type {Map<string, ReturnType<typeof modelRow>>} */
  let known = new Map();
  let shownModels = /** @type {Model[]} */ ([]);
  /** @param {Model[]} models @param {number} all @param {(model: Model) => string} words @param {boolean} sought */
  function update(models, all, words, sought) {
    const isLong = all > FEW;
    const focused = /** @type {HTMLElement | null} */ (document.activeElement);
    element.classList.toggle("compact", isLong);
    const context = `${state.connection} ${state.session?.scopes}`;
    const next = new Map();
    shownModels = [];
    let open = OPEN_ROWS;
    const elements = cut(models, !isLong).map((section) => {
      const place = places.get(section.id) || sectionPlace(section.id);
      places.set(section.id, place);
      const shown = place.plan(section, open > 0, sought, () => update(models, all, words, sought));
      open -= shown.length;
      const rows = shown.map((model) => {
        const before = known.get(model.id);
        const row = before?.key === keyOf(model) ? before : modelRow(model);
        row.update(model, words(model), context);
        next.set(model.id, row);
        return row.element;
      });
      shownModels.push(...shown);
      arrange(place.list, rows);
      return place.element;
    });
    arrange(element, elements);
    known = next;
    // What is moved to another section loses the focus.
    if (focused !== document.activeElement && focused && element.contains(focused)) focused.focus({ preventScroll: true });
  }
  return { element, update, tick: () => shownModels.forEach((model) => known.get(model.id)?.tick(model)) };
}

export function modelsView() {
  const figures = new Load();
  let showsUnlisted = remembered("show-unlisted", false);
  let sought = "";
  const matches = (/** @type {Model} */ model) => !sought || [model.id, model.name, model.description,
    ...(model.aliases || [])].some((text) => text?.toLowerCase().includes(sought));
  const local = modelRows(sectionsOf);
  const peers = modelRows(peerSectionsOf);
  const summary = h("p", { class: "muted", role: "status" });
  const none = h("div");
  const selectors = h("div");
  const profile = profileCard();
  const unserved = unservedCard();
  const orders = ordersCard();
  const devices = devicesCard();
  const decisions = decisionsCard();
  let unloading = false;
  const unloadAll = button("Unload all", async () => {
    unloading = true;
    draw();
    try {
      await ask("/api/models/unload", { method: "POST" });
    } catch (error) {
      toast(`Not unloaded: ${/** @type {Error} */ (error).message}`, "error");
    }
    unloading = false;
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
    if (!hasScope("inference")) return;
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
    const theirs = state.models.filter((model) => model.peerID);
    const shown = all.filter((model) => (showsUnlisted || !model.unlisted) && matches(model));
    const shownTheirs = theirs.filter(matches);
    const words = figures.words();
    local.update(shown, all.length, words, sought !== "");
    peers.update(shownTheirs, theirs.length, words, sought !== "");
    peerCard.hidden = !shownTheirs.length;
    const ready = all.filter((model) => model.state === "ready").length;
    const failed = all.filter((model) => stateOf(model) === "failed").length;
    const hiddenCount = all.filter((model) => model.unlisted).length;
    setText(summary, !state.known ? "…" : [`${shown.length === all.length ? all.length : `${shown.length} of ${all.length}`} ${all.length === 1 ? "model" : "models"}`,
      isCurrent() ? `${ready} ready` : "states unknown", isCurrent() && failed && `${failed} failed`].filter(Boolean).join(", "));
    permit(unloadAll, "admin", { busy: unloading || !all.some((model) => model.state === "ready" || model.state === "starting") });
    unlisted.hidden = !hiddenCount;
    setText(unlisted.lastChild, `Show ${hiddenCount} unlisted`);
    fill(none, state.known && !all.length
      && empty("No models yet", "Name a folder with --models-dir, or add some under “models:” in the configuration file, then reload it in ",
      h("a", { href: "#/settings" }, "settings"), "."),
      state.models.length && !shown.length && !shownTheirs.length && sought
        ? empty("Nothing matches", `No model is called “${sought}”.`) : null);
  }
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let due;
  function refresh() {
    clearTimeout(due);
    due = setTimeout(async () => {
      await figures.fetch();
      draw();
      if (running().length && !document.hidden) refresh();
    }, figures.rows.size || running().length ? 1500 : 100);
  }
  let before = 0;
  const stops = [subscribe(() => { draw(); fetchListed(); refresh(); }, "models"), subscribe(() => {
    draw();
    if (running().length ? !before : before) refresh();
    before = running().length;
  }, "inflight"), subscribe(draw, "pulls", "connection"), subscribe(() => { draw(); fetchListed(); }, "session"), profile.stop,
  unserved.stop, orders.stop, devices.stop, decisions.stop];
  const ticks = setInterval(() => {
    local.tick();
    peers.tick();
  }, 1000);
  draw();
  refresh();
  fetchListed();
  return {
    title: "Models",
    element: h("div", null, h("div", { class: "row head" }, h("h1", null, "Models"), summary, h("span", { class: "grow" }), search,
      unloadAll), profile.element,
      h("section", { class: "card", "aria-label": "Models of this server" }, h("div", { class: "row" }, unlisted), local.element,
        none), orders.element, devices.element, decisions.element, unserved.element, selectors, peerCard),
    stop() {
      clearTimeout(due);
      clearInterval(ticks);
      stops.forEach((end) => end());
    },
  };
}
