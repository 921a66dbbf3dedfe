// @ts-check
/** Divides a long list of models into sections: running ones first, then by the names' beginnings. Pure. */

import { stateOf } from "../../api/model_failure.js";
import { byName } from "../../lib/format.js";

/** @typedef {import("../../api/state.js").Model} Model */
/** @typedef {{id: string, title: string, models: Model[]}} Section */

/** Up to so many models are one list without headings: a row that keeps its place is easier to find. */
export const FEW = 12;
/** Up to so many models that do not run are one section: they fit on two screens. */
const ONE_SECTION = 30;
/** Sections by name; the smallest beyond are put together, so that headings alone do not fill the page. */
const MOST = 20;
/** A beginning that fewer models share is not worth a heading. */
const SHARED = 3;
const OTHERS = "Others";

/**
 * The beginning of a name: its author, else its family.
 * @param {string} id
 */
export function beginning(id) {
  const slash = id.indexOf("/");
  if (slash > 0) return id.slice(0, slash);
  return (/^[^-_.:\s]+/.exec(id)?.[0] || id).replace(/\d+$/, "") || id;
}

/**
 * @param {Model[]} models
 * @param {(model: Model) => string} nameOf
 * @param {string} all the title where there is one section only
 * @returns {Section[]}
 */
function byBeginning(models, nameOf, all) {
  if (models.length <= ONE_SECTION) return [{ id: all, title: all, models }];
  /** @type {Map<string, Model[]>} */
  const found = new Map();
  for (const model of models) {
    const name = nameOf(model);
    found.set(name, [...(found.get(name) || []), model]);
  }
  const kept = new Set([...found].filter(([, members]) => members.length >= SHARED)
    .sort((a, b) => b[1].length - a[1].length).slice(0, MOST).map(([name]) => name));
  const others = models.filter((model) => !kept.has(nameOf(model)));
  if (!kept.size || (kept.size === 1 && !others.length)) return [{ id: all, title: all, models }];
  const sections = [...kept].sort(byName).map((name) => ({ id: `name:${name}`, title: name, models: found.get(name) || [] }));
  if (others.length) sections.push({ id: OTHERS, title: OTHERS, models: others });
  return sections;
}

/**
 * Sections of this server's models, none of them empty.
 * @param {Model[]} models in the order of names
 * @param {boolean} [flat] one section, as for a short list
 * @returns {Section[]}
 */
export function sectionsOf(models, flat = false) {
  if (!models.length) return [];
  if (flat) return [{ id: "all", title: "", models }];
  /** @type {Record<string, Model[]>} */
  const by = { running: [], loading: [], failed: [], rest: [] };
  for (const model of models) {
    const state = stateOf(model);
    by[state === "ready" || state === "stopping" ? "running" : state === "starting" ? "loading"
      : state === "failed" ? "failed" : "rest"].push(model);
  }
  return [{ id: "running", title: "Running", models: by.running }, { id: "loading", title: "Loading", models: by.loading },
    { id: "failed", title: "Failed", models: by.failed }, ...byBeginning(by.rest, (model) => beginning(model.id), "Stopped")]
    .filter((section) => section.models.length);
}

/**
 * Sections of other servers' models: one each.
 * @param {Model[]} models
 * @param {boolean} [flat]
 * @returns {Section[]}
 */
export function peerSectionsOf(models, flat = false) {
  if (!models.length) return [];
  const peers = [...new Set(models.map((model) => model.peerID))].sort(byName);
  if (flat) return [{ id: "peers", title: "", models }];
  return peers.map((peer) => ({ id: `peer:${peer}`, title: peer, models: models.filter((model) => model.peerID === peer) }));
}
