// @ts-check
/** Offers every name that a request may use as its model. */

import { askJson } from "../../api/client.js";
import { h, remember, remembered } from "../../lib/dom.js";
import { byName } from "../../lib/format.js";
import { hasScope } from "../../api/permissions.js";
import { subscribe } from "../../api/state.js";

/** @typedef {{id: string, name: string, group: string, able: Record<string, boolean>}} Choice */

const GROUPS = /** @type {const} */ (["Names of the profile", "Selectors", "Models", "Of other servers"]);
const KINDS = { profile: "Names of the profile", selector: "Selectors", peer: "Of other servers" };

/** @type {Choice[]} */
let known = [];
let failed = "";
/** @type {Set<() => void>} */
const watchers = new Set();
/** @type {ReturnType<typeof setTimeout> | undefined} */
let due;

async function fetchChoices() {
  if (!hasScope("inference")) return;
  try {
    const { data } = await askJson("/v1/models");
    known = data.map((/** @type {any} */ record) => {
      const of = record.meta?.llamaswap || {};
      return { id: record.id, name: record.name || "", group: /** @type {any} */ (KINDS)[of.type] || "Models",
        able: record.capabilities || {} };
    });
    failed = "";
  } catch (error) {
    failed = /** @type {Error} */ (error).message;
  }
  watchers.forEach((watcher) => watcher());
}

let wanted = "";

/** Fetch the list when what it depends on has changed. */
export function watchChoices() {
  const soon = () => {
    clearTimeout(due);
    due = setTimeout(fetchChoices, 200);
  };
  subscribe(soon, "profile", "session");
}

/**
 * Choose a model in every list from now on.
 * @param {string} id
 */
export function chooseModel(id) {
  wanted = id;
  watchers.forEach((watcher) => watcher());
}

export function choices() {
  return known;
}

/**
 * A select of models; those that can do the thing come first.
 * @param {string} name under which the choice is remembered
 * @param {string[]} [able] any of these abilities fits
 */
export function modelChoice(name, able = []) {
  const control = h("select", { class: "model-choice", onchange: () => remember(`model.${name}`, control.value) });
  let drawn = "";
  function draw() {
    const key = JSON.stringify([known, failed]);
    const current = (able.length ? "" : wanted) || control.value || remembered(`model.${name}`, "");
    if (key !== drawn) {
      drawn = key;
      control.replaceChildren();
      const fits = (/** @type {Choice} */ each) => able.some((one) => each.able[one]);
      const option = (/** @type {Choice} */ each) => h("option", { value: each.id },
        each.name && each.name !== each.id ? `${each.name} (${each.id})` : each.id);
      /** @type {[string, Choice[]][]} */
      const groups = GROUPS.map((group) => [group, known.filter((each) => each.group === group && !fits(each))]);
      groups.unshift(["Made for this", known.filter(fits)]);
      for (const [label, members] of groups) {
        if (members.length) control.append(h("optgroup", { label }, members.sort((a, b) => byName(a.id, b.id)).map(option)));
      }
      if (!known.length) control.append(h("option", { value: "" }, failed || "No models"));
    }
    if (current && known.some((each) => each.id === current)) control.value = current;
    if (!able.length && wanted && control.value === wanted) remember(`model.${name}`, wanted);
  }
  watchers.add(draw);
  draw();
  return control;
}
